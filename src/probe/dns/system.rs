//! The resolvers of this machine, as its C library finds them: the lines `nameserver` of `/etc/resolv.conf`.
//!
//! In flows that file; out flow addresses. Its search list and options are left alone: names in the configuration are
//! whole, and the time is the check's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;

use super::super::Attempt;
use super::super::error::ProbeError;
use super::super::file::read;
use crate::check::DnsProbe;

const FILE: &str = "/etc/resolv.conf";

/// So many the C library asks (resolv.conf(5)).
const MOST: usize = 3;

/// The resolvers, in the order in which they are to be asked; never none.
pub(super) async fn servers(attempt: &Attempt<'_>) -> Result<Vec<SocketAddr>, ProbeError> {
    let text = read(Path::new(FILE), attempt).await?;
    Ok(listed(&String::from_utf8_lossy(&text)))
}

fn listed(text: &str) -> Vec<SocketAddr> {
    let words = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    let mut servers: Vec<SocketAddr> = words.filter_map(address).take(MOST).collect();
    if servers.is_empty() {
        // resolv.conf(5): where none is named it is the one on this machine.
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DnsProbe::PORT));
    }
    servers
}

/// An address, where it is a link's with the interface that it is reached by: `fe80::1%eth0`.
fn address(text: &str) -> Option<SocketAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, DnsProbe::PORT));
    }
    let (ip, interface) = text.split_once('%')?;
    let ip: Ipv6Addr = ip.parse().ok()?;
    let scope = interface.parse().ok().or_else(|| {
        let index = std::fs::read_to_string(Path::new("/sys/class/net").join(interface).join("ifindex"));
        index.ok()?.trim().parse().ok()
    })?;
    Some(SocketAddrV6::new(ip, DnsProbe::PORT, 0, scope).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        listed(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_lines_of_resolv_conf_are_read_as_the_c_library_does() {
        let text = "# nameserver 192.0.2.9\n; old\ndomain example.org\nsearch example.org\n\
                    nameserver\t127.0.0.53\nnameserver 2001:db8::53 # the other\nnameserver fe80::1%7\n\
                    nameserver 192.0.2.3\noptions edns0 timeout:1\n";
        assert_eq!(shown(text), ["127.0.0.53:53", "[2001:db8::53]:53", "[fe80::1%7]:53"]);
        assert_eq!(shown("nameserver resolver.example.org\nnameserver\n"), ["127.0.0.1:53"]);
        assert_eq!(shown(""), ["127.0.0.1:53"]);
        assert_eq!(
            shown("nameserver fe80::1%lo\n"),
            ["[fe80::1%1]:53"],
            "the loopback interface is the first"
        );
    }
}
