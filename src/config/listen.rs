//! The `listen:` key: where the daemon answers HTTP.
//!
//! In: its field, a port, an address with a port, or a list of these. Out: socket addresses, each once. It never binds
//! anything: whether an address can be had is seen, and told, when the daemon runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::field::Field;
use super::report::Report;
use crate::check::HostPort;

const EXPECTED: &str = "a port such as `8484`, or an address such as `127.0.0.1:8484`";
/// Nobody listens on more addresses than this on purpose.
const MOST: usize = 16;

/// Checks the section. What is wrong in it is reported and left out.
pub(super) fn addresses(field: &Field<'_>, report: &mut Report) -> Vec<SocketAddr> {
    let items = field.items();
    if items.is_empty() {
        report.error(&field.at, format!("expected {EXPECTED}, found an empty list"));
    }
    if items.len() > MOST {
        report.error(&field.at, format!("at most {MOST} addresses, not {}", items.len()));
    }
    let mut all = Vec::new();
    for item in items.iter().take(MOST) {
        let Some(address) = address(item, report) else { continue };
        if all.contains(&address) {
            continue;
        }
        if !address.ip().to_canonical().is_loopback() {
            report.warn(
                &item.at,
                "reachable from other machines: everyone who can connect to this address can read the status",
            );
        }
        all.push(address);
    }
    all
}

fn address(field: &Field<'_>, report: &mut Report) -> Option<SocketAddr> {
    if field.is_integer() {
        let port = field.number(1, 65_535, report).and_then(|port| u16::try_from(port).ok());
        return port.map(loopback);
    }
    field.parsed(EXPECTED, report, parse)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn parse(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address.port() {
            0 => Err("`0` is not a port: 1 to 65535".to_owned()),
            _ => Ok(address),
        };
    }
    if let Ok(port) = text.parse::<u16>()
        && port > 0
    {
        return Ok(loopback(port));
    }
    if let Some(port) = text.strip_prefix(':').or_else(|| text.strip_prefix("*:"))
        && port.parse::<u16>().is_ok()
    {
        return Err(format!(
            "expected {EXPECTED}; for all addresses of the machine: `0.0.0.0:{port}`, with IPv6 `[::]:{port}`"
        ));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("an IPv6 address needs brackets and a port: `[{text}]:8484`"));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(format!("the port is missing: `{text}:8484`"));
    }
    match HostPort::parse(text) {
        Ok(HostPort { host, port }) if host == "localhost" => {
            Err(format!("expected an address, not a name: `127.0.0.1:{port}`"))
        }
        Ok(HostPort { host, port }) if !host.contains(['/', '@']) => {
            Err(format!("expected an address, not the name `{host}`: such as `127.0.0.1:{port}`"))
        }
        _ => Err(format!("expected {EXPECTED}, not `{text}`")),
    }
}
