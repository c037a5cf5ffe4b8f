//! Probes against real sockets: servers in this process, each on a port of its own, each with one way to behave.

mod crowd;
mod http;
mod redirects;
mod server;
mod tcp;
mod tls;
