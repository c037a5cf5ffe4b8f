//! From a host and a port to a TCP connection, for every probe that needs one.
//!
//! In flows a host (a name or an address) and a port; out flows the connection, or whose fault it is that there is none.
//! It sends nothing and waits for nothing else.
//!
//! Connections are closed in the ordinary way and not by a reset (no `SO_LINGER` of zero): a reset is an error on the
//! server's side, which some servers log and others die of (in Node, an `error` event that nobody handles). What speaks
//! for a reset is the port that stays in TIME_WAIT on the side that closes first. With `Connection: close` that is the
//! server, as a rule; where it is not, ports are counted per destination, so only more than 470 checks a second of one
//! address and port could use them up, and on loopback Linux takes them into use again after a second (tcp_tw_reuse).

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::resolve::literal;
use super::trouble::Trouble;
use super::{Attempt, Phase};

/// No kernel and no administrator lets the ports to connect from begin lower than this: those below are privileged.
const LOWEST_EPHEMERAL: u16 = 1024;

/// Connects to the first address of `host` that takes the connection.
pub(super) async fn connect(host: &str, port: u16, attempt: &Attempt<'_>) -> Result<TcpStream, Trouble> {
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
async fn first(addresses: &[SocketAddr], port: u16, attempt: &Attempt<'_>) -> Result<TcpStream, Trouble> {
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
            timeout(share, one(address)).await.unwrap_or_else(|_| Err(Trouble::target("no answer")))
        };
        match result {
            Ok(stream) => return Ok(stream),
            Err(trouble) => failures.push((address, trouble)),
        }
    }
    Err(summary(failures))
}

/// One trouble out of those of all addresses. Ours outweighs the target's, since the target may well live at the address
/// that could not be tried; but a family of addresses that this machine does not have was never a way to it.
fn summary(mut failures: Vec<(SocketAddr, Trouble)>) -> Trouble {
    if failures.iter().any(|(_, trouble)| matches!(trouble, Trouble::Target(_))) {
        failures.retain(|(address, trouble)| !(address.is_ipv6() && no_such_family(trouble)));
    }
    let ours = failures.iter().any(|(_, trouble)| matches!(trouble, Trouble::Ours(_)));
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for (address, trouble) in &failures {
        match reasons.iter_mut().find(|(reason, _)| *reason == trouble.reason()) {
            Some((_, at)) => at.push(address.ip().to_string()),
            None => reasons.push((trouble.reason(), vec![address.ip().to_string()])),
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
    if ours { Trouble::Ours(text) } else { Trouble::Target(text) }
}

/// What a kernel without IPv6 says of an IPv6 address.
fn no_such_family(trouble: &Trouble) -> bool {
    use rustix::io::Errno;
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|e| Trouble::from_io(&io::Error::from(*e)) == *trouble)
}

async fn one(address: SocketAddr) -> Result<TcpStream, Trouble> {
    let stream = TcpStream::connect(address).await.map_err(|error| Trouble::from_io(&error))?;
    // Where nobody listens on a port of this machine, the kernel may pick that very port to connect from, and the socket
    // then talks to itself (TCP's simultaneous open). Ports below that range need not be asked about.
    if address.port() >= LOWEST_EPHEMERAL && stream.local_addr().is_ok_and(|own| own == address) {
        return Err(Trouble::target("connection refused"));
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summed(failures: &[(&str, Trouble)]) -> Trouble {
        summary(
            failures.iter().map(|(at, t)| (SocketAddr::new(at.parse().unwrap(), 80), t.clone())).collect(),
        )
    }

    fn errno(errno: rustix::io::Errno) -> Trouble {
        Trouble::from_io(&io::Error::from(errno))
    }

    #[test]
    fn one_reason_stands_alone_and_several_name_their_addresses() {
        use rustix::io::Errno;
        let (refused, unreachable) = (errno(Errno::CONNREFUSED), errno(Errno::NETUNREACH));
        assert_eq!(summed(&[("127.0.0.1", refused.clone()), ("::1", refused.clone())]), refused);
        assert_eq!(
            summed(&[("::1", unreachable), ("127.0.0.1", refused.clone()), ("127.0.0.2", refused)]),
            Trouble::target("network unreachable at ::1, connection refused at 127.0.0.1 and 127.0.0.2")
        );
    }

    #[test]
    fn an_address_that_could_not_be_tried_makes_it_unknown_unless_its_family_is_missing() {
        use rustix::io::Errno;
        let refused = errno(Errno::CONNREFUSED);
        let mixed = summed(&[("127.0.0.1", refused.clone()), ("127.0.0.2", errno(Errno::MFILE))]);
        assert!(matches!(mixed, Trouble::Ours(_)), "{mixed:?}");
        assert_eq!(summed(&[("::1", errno(Errno::ADDRNOTAVAIL)), ("127.0.0.1", refused.clone())]), refused);
        assert!(matches!(summed(&[("::1", errno(Errno::ADDRNOTAVAIL))]), Trouble::Ours(_)));
    }
}
