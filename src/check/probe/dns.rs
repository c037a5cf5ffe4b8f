//! The settings of a `dns` probe.

use std::fmt;

use super::HostPort;

/// A question to a DNS server, and what is expected of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsProbe {
    /// A whole name, without the dot at its end: no search list is applied.
    pub name: String,
    /// Which records are asked for.
    pub kind: RecordKind,
    /// Who is asked; `None` for the resolvers of the system (`/etc/resolv.conf`).
    pub server: Option<HostPort>,
    /// These must be among the answers, each as [`RecordKind`] says its values are written. Empty: any answer will do.
    pub expect: Vec<String>,
    /// And nothing else may be.
    pub only: bool,
}

impl DnsProbe {
    /// Where DNS servers listen (RFC 1035, section 4.2).
    pub const PORT: u16 = 53;

    /// As [`super::Probe::describe`] has it: `dns A gru.example.org at 192.0.2.53`.
    pub(super) fn describe(&self) -> String {
        let Self { name, kind, .. } = self;
        match &self.server {
            None => format!("dns {kind} {name}"),
            Some(server) if server.port == Self::PORT => format!("dns {kind} {name} at {}", server.host),
            Some(server) => format!("dns {kind} {name} at {server}"),
        }
    }
}

/// A type of record (RFC 1035, section 3.2.2; AAAA by RFC 3596). Names in values are written in small letters and
/// without the dot at their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// An IPv4 address: `192.0.2.1`.
    A,
    /// An IPv6 address, as RFC 5952 writes it: `2001:db8::1`.
    Aaaa,
    /// The name that this one is an alias of.
    Cname,
    /// A preference and a name: `10 mail.example.org`.
    Mx,
    /// A text: its strings joined.
    Txt,
    /// The name of a server of the zone.
    Ns,
}

impl RecordKind {
    /// As people write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Txt => "TXT",
            Self::Ns => "NS",
        }
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
