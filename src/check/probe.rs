//! The kinds of probe and their settings: one struct a kind, already validated. No I/O, no clock.

mod dns;
mod tls;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::credential::Source;
use super::url::Url;
use super::usage::UsageProbe;
use crate::time::human;

pub use dns::{DnsProbe, RecordKind};
pub use tls::{Starttls, TlsProbe};

/// How to tell whether a check is well.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// An HTTP or HTTPS request.
    Http(Arc<HttpProbe>),
    /// A TCP connection, with an optional exchange.
    Tcp(Arc<TcpProbe>),
    /// A command, run by systemd.
    Command(Arc<CommandProbe>),
    /// A TLS handshake, and what the certificate says.
    Tls(Arc<TlsProbe>),
    /// A question to a DNS server.
    Dns(Arc<DnsProbe>),
    /// The unit's own state is the check.
    Unit,
    /// What the unit or the machine uses of CPU time or memory.
    Usage(Arc<UsageProbe>),
    /// The unit is a job, or the timer of one: it must have run well not long ago.
    Job(JobProbe),
}

impl Probe {
    /// What is probed, for status and mails: `http GET http://127.0.0.1:9001/`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Http(http) => format!("http {} {}", http.method, http.url),
            Self::Tcp(tcp) => format!("tcp {}", tcp.address),
            Self::Command(command) => format!("command {}", command.name()),
            Self::Tls(tls) => tls.describe(),
            Self::Dns(dns) => dns.describe(),
            Self::Unit => "unit state".to_owned(),
            Self::Usage(usage) => usage.describe(),
            Self::Job(job) => format!("ran within {}", human(job.succeeded_within)),
        }
    }

    /// Whether what is probed takes its time to answer, and `max_response_time` has a meaning.
    #[must_use]
    pub fn has_response_time(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Tcp(_) | Self::Tls(_) | Self::Dns(_) | Self::Command(_))
    }

    /// Nothing is asked for it: what is known of the unit is looked at.
    #[must_use]
    pub fn looks_at_unit(&self) -> bool {
        matches!(self, Self::Unit | Self::Job(_))
    }

    /// The settings of a probe that judges a stretch of time and not a moment.
    #[must_use]
    pub fn usage(&self) -> Option<&UsageProbe> {
        match self {
            Self::Usage(usage) => Some(usage),
            _ => None,
        }
    }

    /// The settings of a probe that makes its unit a job: at rest when it is inactive.
    #[must_use]
    pub fn job(&self) -> Option<&JobProbe> {
        match self {
            Self::Job(job) => Some(job),
            _ => None,
        }
    }
}

/// How often a job must run. Of a timer it is the unit that it triggers that must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobProbe {
    /// Its last good run must have ended within this time.
    pub succeeded_within: Duration,
    /// No run may take longer.
    pub max_runtime: Duration,
}

/// An HTTP request and what is expected of its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// What to request.
    pub url: Source<Url>,
    /// `GET` unless told otherwise.
    pub method: http::Method,
    /// Sent besides `Host`, `User-Agent` and `Accept`, which they override.
    pub headers: Vec<(http::HeaderName, Source<http::HeaderValue>)>,
    /// Statuses that pass.
    pub status: StatusSet,
    /// The body must contain this text.
    pub body_contains: Option<String>,
    /// The body must match this regular expression.
    pub body_matches: Option<Pattern>,
    /// Follow up to 10 redirects, and judge the last answer.
    pub follow_redirects: bool,
    /// Verify the certificate's chain and name.
    pub verify_tls: bool,
}

/// A set of HTTP statuses: `200`, `200-299`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(pub Vec<RangeInclusive<u16>>);

impl StatusSet {
    /// Whether `status` is in the set.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl Default for StatusSet {
    /// 200 to 299: success by RFC 9110, section 15.3.
    fn default() -> Self {
        Self(vec![200..=299])
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            let separator = if i > 0 { ", " } else { "" };
            if range.start() == range.end() {
                write!(f, "{separator}{}", range.start())?;
            } else {
                write!(f, "{separator}{}-{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

/// A regular expression that compares by its text.
#[derive(Clone, Debug)]
pub struct Pattern(pub regex_lite::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// A TCP connection, and what is exchanged on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpProbe {
    /// Where to connect.
    pub address: HostPort,
    /// Sent once connected.
    pub send: Option<String>,
    /// What comes back must contain this text.
    pub expect: Option<String>,
}

/// `host:port`, `127.0.0.1:22`, `[::1]:22`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl HostPort {
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected HOST:PORT, such as `127.0.0.1:9001` or `[::1]:9001`, not `{text}`");
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || (bare.is_none() && host.contains(':')) || host.contains(char::is_whitespace) {
            return Err(expected());
        }
        match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(Self { host: host.to_owned(), port }),
            _ => Err(format!("`{port}` is not a port: 1 to 65535")),
        }
    }
}

/// A command whose exit status is the verdict. systemd runs it, as a unit of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandProbe {
    /// An absolute path, or a name that is looked for in the `PATH` of the unit.
    pub program: String,
    /// What it is given. May hold secrets: shown nowhere.
    pub arguments: Vec<String>,
}

impl CommandProbe {
    /// The program without its directory, which is all of the command line that is ever shown.
    #[must_use]
    pub fn name(&self) -> &str {
        self.program.rsplit('/').next().unwrap_or(&self.program)
    }

    /// The program and its arguments, as they are handed to the kernel.
    pub fn argv(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.program).chain(&self.arguments).map(String::as_str)
    }
}

impl fmt::Debug for CommandProbe {
    /// Without the arguments: what is printed for a developer ends in logs as well.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandProbe").field("program", &self.program).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_command_only_the_programs_name_is_shown() {
        let probe = CommandProbe {
            program: "/usr/lib/nagios/plugins/check_http".to_owned(),
            arguments: vec!["--password=s3cret".to_owned()],
        };
        assert_eq!(probe.argv().collect::<Vec<_>>(), [&probe.program, "--password=s3cret"]);
        assert!(!format!("{probe:?}").contains("s3cret"));
        assert_eq!(Probe::Command(Arc::new(probe)).describe(), "command check_http");
    }

    #[test]
    fn addresses_name_a_host_and_a_port() {
        assert_eq!(HostPort::parse("[::1]:22").unwrap().to_string(), "[::1]:22");
        assert_eq!(HostPort::parse("lf-proxy:443").unwrap().port, 443);
        for bad in ["", "host", "host:", "host:0", "host:70000", "::1:22", ":22", "a b:1"] {
            assert!(HostPort::parse(bad).is_err(), "{bad}");
        }
    }
}
