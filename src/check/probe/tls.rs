//! The settings of a `tls` probe.

use std::path::PathBuf;
use std::time::Duration;

use super::HostPort;

/// A TLS handshake, and what is expected of the certificate that the server shows in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProbe {
    /// Where to connect.
    pub address: HostPort,
    /// The name or address that the certificate must be for; sent to the server as well, which may have several.
    pub server_name: String,
    /// It must be valid for at least this long from now.
    pub valid_for: Duration,
    /// Trust the authorities (or the very certificates) in this PEM file, and not the machine's.
    pub ca_file: Option<PathBuf>,
    /// Speak this protocol first, and ask for TLS in it.
    pub starttls: Option<Starttls>,
    /// The server is to serve the first certificate of this PEM file.
    pub file: Option<PathBuf>,
}

impl TlsProbe {
    /// Certificates for 90 days are renewed, as a rule, when 30 days are left. With 14 somebody has two weeks to see
    /// why they were not.
    pub const VALID_FOR: Duration = Duration::from_hours(14 * 24);

    /// As [`super::Probe::describe`] has it: `tls lf-proxy.example.org at 127.0.0.1:9002`.
    pub(super) fn describe(&self) -> String {
        let starttls = match self.starttls {
            Some(Starttls::Smtp) => " (SMTP, STARTTLS)",
            None => "",
        };
        if self.server_name == self.address.host {
            format!("tls {}{starttls}", self.address)
        } else {
            format!("tls {} at {}{starttls}", self.server_name, self.address)
        }
    }
}

/// A protocol in which TLS is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starttls {
    /// RFC 3207.
    Smtp,
}
