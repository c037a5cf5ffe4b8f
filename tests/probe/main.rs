//! Probes against real sockets: servers in this process, each on a port of its own, each with one way to behave.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

mod certificates;
mod crowd;
mod dns;
mod hostile;
mod hostile_certificates;
mod hostile_dns;
mod http;
mod redirects;
mod renewed;
mod secrets;
mod server;
mod starttls;
mod tcp;
mod tls;
