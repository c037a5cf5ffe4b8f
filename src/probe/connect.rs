//! From a host and a port to a TCP connection, for every probe that needs one.
//!
//! In flows a host (a name or an address) and a port; out flows the connection, or whose fault it is that there is
//! none. It sends nothing and waits for nothing else.
//!
//! Connections are closed in the ordinary way and not by a reset (no `SO_LINGER` of zero): a reset is an error on the
//! server's side, which some servers log and others die of (in Node, an `error` event that nobody handles). What speaks
//! for a reset is the port that stays in TIME_WAIT on the side that closes first. With `Connection: close` that is the
//! server, as a rule; where it is not, ports are counted per destination, so only more than 470 checks a second of one
//! address and port could use them up, and on loopback Linux takes them into use again after a second (tcp_tw_reuse).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::error::ProbeError;
use super::resolve::literal;
use super::{Attempt, Phase};

/// No kernel and no administrator lets the ports to connect from begin lower than this: those below are privileged.
const LOWEST_EPHEMERAL: u16 = 1024;

/// Connects to the first address of `host` that takes the connection.
pub(super) async fn connect(host: &str, port: u16, attempt: &Attempt<'_>) -> Result<TcpStream, ProbeError> {
    if let Ok(address) = host.parse() {
        attempt.enter(Phase::Connecting);
        return one(SocketAddr::new(address, port)).await;
    }
    if let Some(addresses) = literal(host) {
        return first(&addresses, port, attempt).await;
    }
    attempt.enter(Phase::LookingUp);
    let addresses = attempt.tools.resolver.addresses(host).await?;
    first(&addresses, port, attempt).await
}

/// Tries the addresses in their order. An address that does not answer may take its share of the time that is left, so
/// that a dead IPv6 path does not hide a living IPv4 one.
async fn first(addresses: &[SocketAddr], port: u16, attempt: &Attempt<'_>) -> Result<TcpStream, ProbeError> {
    attempt.enter(Phase::Connecting);
    let mut failures = Vec::new();
    for (i, address) in addresses.iter().enumerate() {
        let mut address = *address;
        address.set_port(port);
        let left = u32::try_from(addresses.len() - i).unwrap_or(u32::MAX);
        let result = if left == 1 {
            // The attempt's own deadline is enough.
            one(address).await
        } else {
            let share = attempt.deadline.saturating_duration_since(Instant::now()) / left;
            timeout(share, one(address)).await.unwrap_or_else(|_| Err(ProbeError::target("no answer")))
        };
        match result {
            Ok(stream) => return Ok(stream),
            Err(failure) => failures.push((address, failure)),
        }
    }
    Err(summary(failures))
}

/// One trouble out of those of all addresses. Ours outweighs the target's, since the target may well live at the
/// address that could not be tried; but a family of addresses that this machine does not have, or has no route for, was
/// never a way to it.
fn summary(mut failures: Vec<(SocketAddr, ProbeError)>) -> ProbeError {
    if failures.iter().any(|(_, failure)| matches!(failure, ProbeError::Target(_))) {
        failures.retain(|(address, failure)| !(address.is_ipv6() && no_such_family(failure)));
    }
    let ours = failures.iter().any(|(_, failure)| matches!(failure, ProbeError::Local(_)));
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for (address, failure) in &failures {
        match reasons.iter_mut().find(|(reason, _)| *reason == failure.reason()) {
            Some((_, at)) => at.push(address.ip().to_string()),
            None => reasons.push((failure.reason(), vec![address.ip().to_string()])),
        }
    }
    let text = match reasons.as_slice() {
        [(reason, _)] => (*reason).to_owned(),
        several => {
            let clauses: Vec<String> =
                several.iter().map(|(why, at)| format!("{} at {}", why, at.join(" and "))).collect();
            clauses.join(", ")
        }
    };
    if ours { ProbeError::Local(text) } else { ProbeError::Target(text) }
}

/// What a kernel without IPv6 says of an IPv6 address, and what one says that has it for itself alone.
fn no_such_family(failure: &ProbeError) -> bool {
    use rustix::io::Errno;
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::NETUNREACH]
        .iter()
        .any(|e| ProbeError::from_io(&io::Error::from(*e)) == *failure)
}

async fn one(address: SocketAddr) -> Result<TcpStream, ProbeError> {
    let stream = TcpStream::connect(address).await.map_err(|error| not_connected(address, &error))?;
    // Where nobody listens on a port of this machine, the kernel may pick that very port to connect from, and the
    // socket then talks to itself (TCP's simultaneous open). Ports below that range need not be asked about.
    if address.port() >= LOWEST_EPHEMERAL && stream.local_addr().is_ok_and(|own| own == address) {
        return Err(ProbeError::target("connection refused"));
    }
    Ok(stream)
}

/// "Host unreachable" is the word of a router or of the local network on the target, as a rule; but also that of this
/// machine's own table of routes. That one has the same answer for a datagram socket, which sends nothing to learn it.
fn not_connected(address: SocketAddr, error: &io::Error) -> ProbeError {
    use rustix::io::Errno;
    let unreachable = Errno::from_io_error(error) == Some(Errno::HOSTUNREACH);
    if unreachable && !has_route(address) {
        return ProbeError::local("this machine has no route to the host");
    }
    ProbeError::from_io(error)
}

fn has_route(address: SocketAddr) -> bool {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(any).and_then(|socket| socket.connect(address)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summed(failures: &[(&str, ProbeError)]) -> ProbeError {
        summary(
            failures.iter().map(|(at, t)| (SocketAddr::new(at.parse().unwrap(), 80), t.clone())).collect(),
        )
    }

    fn errno(errno: rustix::io::Errno) -> ProbeError {
        ProbeError::from_io(&io::Error::from(errno))
    }

    #[test]
    fn one_reason_stands_alone_and_several_name_their_addresses() {
        use rustix::io::Errno;
        let (refused, unreachable) = (errno(Errno::CONNREFUSED), errno(Errno::HOSTUNREACH));
        assert_eq!(summed(&[("127.0.0.1", refused.clone()), ("::1", refused.clone())]), refused);
        assert_eq!(
            summed(&[("::1", unreachable), ("127.0.0.1", refused.clone()), ("127.0.0.2", refused)]),
            ProbeError::target("host unreachable at ::1, connection refused at 127.0.0.1 and 127.0.0.2")
        );
    }

    #[test]
    fn an_address_that_could_not_be_tried_makes_it_unknown_unless_its_family_is_missing() {
        use rustix::io::Errno;
        let refused = errno(Errno::CONNREFUSED);
        let mixed = summed(&[("127.0.0.1", refused.clone()), ("127.0.0.2", errno(Errno::MFILE))]);
        assert!(matches!(mixed, ProbeError::Local(_)), "{mixed:?}");
        for missing in [Errno::ADDRNOTAVAIL, Errno::NETUNREACH] {
            assert_eq!(summed(&[("::1", errno(missing)), ("127.0.0.1", refused.clone())]), refused);
        }
        let no_v4 = summed(&[("::1", refused), ("192.0.2.1", errno(Errno::NETUNREACH))]);
        assert!(matches!(no_v4, ProbeError::Local(_)), "{no_v4:?}");
        assert!(matches!(summed(&[("::1", errno(Errno::ADDRNOTAVAIL))]), ProbeError::Local(_)));
    }

    #[test]
    fn a_target_on_this_machine_always_has_a_route_and_its_word_is_taken() {
        for at in ["127.0.0.1:9", "127.8.9.1:9"] {
            assert!(has_route(at.parse().unwrap()), "{at}");
        }
        let unreachable = io::Error::from(rustix::io::Errno::HOSTUNREACH);
        let at = "127.0.0.1:9".parse().unwrap();
        assert_eq!(not_connected(at, &unreachable), ProbeError::target("host unreachable"));
        let refused = io::Error::from(rustix::io::Errno::CONNREFUSED);
        assert_eq!(not_connected(at, &refused), ProbeError::target("connection refused"));
    }
}
