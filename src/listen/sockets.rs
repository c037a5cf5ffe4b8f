//! The sockets: which addresses are listened on, and why others are not.
//!
//! In: the addresses that are wanted. Out: connections. An address that is no longer wanted is given up only when all
//! that are wanted are there.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::time::human;

/// How many connections the kernel keeps until they are accepted.
const BACKLOG: u32 = 128;
/// Ports below this are for processes with CAP_NET_BIND_SERVICE (ip(7), ip_unprivileged_port_start).
const UNPRIVILEGED: u16 = 1024;

/// The open sockets, and what keeps others from being opened.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: BTreeMap<SocketAddr, TcpListener>,
    refused: Vec<(SocketAddr, io::Error)>,
    /// Which is looked at first, so that a flood on one address does not keep the others waiting.
    first: usize,
}

impl Sockets {
    /// Opens what is wanted and not open, and closes what is not wanted once nothing is missing.
    pub(super) fn settle(&mut self, wanted: &[SocketAddr]) {
        self.refused.clear();
        for address in wanted {
            if !self.open.contains_key(address)
                && let Err(error) = self.add(*address, wanted)
            {
                self.refused.push((*address, error));
            }
        }
        if self.refused.is_empty() {
            self.open.retain(|address, _| wanted.contains(address));
        }
    }

    fn add(&mut self, address: SocketAddr, wanted: &[SocketAddr]) -> io::Result<()> {
        let error = match listen(address) {
            Ok(socket) => {
                self.open.insert(address, socket);
                return Ok(());
            }
            Err(error) => error,
        };
        // One of our own may be in the way, as 127.0.0.1:8484 is of 0.0.0.0:8484. It goes first then, and comes back
        // where that was not it.
        let unwanted = |open: &SocketAddr| open.port() == address.port() && !wanted.contains(open);
        let ours: Vec<SocketAddr> = self.open.keys().copied().filter(unwanted).collect();
        if error.kind() != ErrorKind::AddrInUse || ours.is_empty() {
            return Err(error);
        }
        self.open.retain(|address, _| !ours.contains(address));
        let (opened, tried) = match listen(address) {
            Ok(socket) => (vec![(address, socket)], Ok(())),
            Err(error) => {
                let back = ours.iter().filter_map(|address| Some((*address, listen(*address).ok()?)));
                (back.collect(), Err(error))
            }
        };
        self.open.extend(opened);
        tried
    }

    /// What keeps addresses from being listened on, a sentence each.
    pub(super) fn troubles(&self, retry: Duration) -> Vec<String> {
        let sentence = |(address, error): &(SocketAddr, io::Error)| {
            let said = error.to_string();
            let reason = said.split(" (os error").next().unwrap_or(&said).to_lowercase();
            let hint = if error.kind() == ErrorKind::PermissionDenied && address.port() < UNPRIVILEGED {
                format!(" (ports below {UNPRIVILEGED} need a privilege that stealthcheck does not have)")
            } else {
                String::new()
            };
            format!("cannot listen on {address}: {reason}{hint}; retrying every {}", human(retry))
        };
        self.refused.iter().map(sentence).collect()
    }

    /// The next connection on any of the addresses; waits for ever where there is none.
    pub(super) async fn accept(&mut self) -> io::Result<TcpStream> {
        self.first = self.first.wrapping_add(1);
        let start = self.first % self.open.len().max(1);
        let open = &self.open;
        poll_fn(|context| {
            for socket in open.values().cycle().skip(start).take(open.len()) {
                if let Poll::Ready(accepted) = socket.poll_accept(context) {
                    return Poll::Ready(accepted.map(|(stream, _)| stream));
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A daemon that is started again must not wait for the end of connections of its former life.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
