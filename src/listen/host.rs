//! Whether a request that came over loopback was meant for this machine.
//!
//! In: a connection, and the field `Host` of what came over it. Out: yes or no. Every local user may read the status,
//! but a web page may not: one that a browser on this machine shows can have its own name point to 127.0.0.1 (DNS
//! rebinding), and is then free to read what stands there. The browser still says by which name it asks. A page can
//! have any name in the DNS, but no address as its name, not `localhost`, and not the name of this machine. What came
//! over the network is left alone: by which names a machine is known there only its administrator knows, and who
//! listens there means to tell.

use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::net::TcpStream;

/// Whether what came over `stream` with this `Host` may be told.
pub(super) fn is_ours(stream: &TcpStream, host: &str) -> bool {
    match stream.local_addr() {
        Ok(local) if local.ip().to_canonical().is_loopback() => {
            names_this_machine(host, rustix::system::uname().nodename().to_str().unwrap_or_default())
        }
        // A socket that does not know its own address any more has nobody at its other end either.
        Ok(_) | Err(_) => true,
    }
}

/// Whether `host`, with or without a port, is an address, `localhost`, or this machine's name. No name at all is no
/// browser's.
fn names_this_machine(host: &str, machine: &str) -> bool {
    let name = without_port(host.trim());
    let name = name.strip_suffix('.').unwrap_or(name);
    let short = machine.split('.').next().unwrap_or_default();
    let own = [machine, short].into_iter().any(|own| !own.is_empty() && name.eq_ignore_ascii_case(own));
    name.is_empty() || own || name.eq_ignore_ascii_case("localhost") || is_address(name)
}

fn is_address(name: &str) -> bool {
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok(),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn addresses_localhost_and_the_own_name_are_this_machine_and_nothing_else_is() {
        for host in [
            "",
            "localhost",
            "LOCALHOST:8484",
            "localhost.",
            "127.0.0.1",
            "127.0.0.1:8484",
            "[::1]:8484",
            "[::1]",
            "192.0.2.7:80",
            "dev.backend:8484",
            "DEV.backend",
            "dev",
        ] {
            assert!(names_this_machine(host, "dev.backend"), "{host}");
        }
        for host in [
            "evil.example.com",
            "evil.example.com:8484",
            "127.0.0.1.evil.example.com",
            "localhost.evil.example.com:1",
            "dev.backend.evil.example.com",
            "backend",
            "::1",
            "[::1",
            "127.0.0.1@evil.example.com",
            "1.2.3:80",
            "localhost:x",
            "\u{fffd}",
        ] {
            assert!(!names_this_machine(host, "dev.backend"), "{host}");
        }
        assert!(!names_this_machine("x", ""), "a machine without a name");
        assert!(IpAddr::from(Ipv4Addr::LOCALHOST.to_ipv6_mapped()).to_canonical().is_loopback());
    }
}
