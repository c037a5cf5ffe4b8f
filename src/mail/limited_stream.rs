//! The stream to the mail server, with a bound on what the server may say.
//!
//! What lettre reads of an answer it keeps until the line ends, however long that is: a server that sends without end
//! would take the machine's memory, and the machine's other services with it. So bytes are counted here, beneath it. In
//! flow an address and how the connection is to be protected; out flows a stream that fails where the server says too
//! much. It knows nothing of SMTP.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use lettre::transport::smtp::client::AsyncTokioStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The most that a server may say before it is spoken to again. Answers are a few lines; a TLS handshake has at most
/// some certificates of a few KiB.
const AT_ONCE: usize = 64 << 10;

/// The most that it may say in one connection: within TLS it could have itself be spoken to by asking for new keys.
/// Tens of thousands of mails fit in; then another connection is made.
const IN_ALL: usize = 32 << 20;

/// A stream that counts.
#[derive(Debug)]
pub struct LimitedStream<S> {
    stream: S,
    peer: SocketAddr,
    at_once: usize,
    in_all: usize,
}

impl LimitedStream<TcpStream> {
    /// Connects to the first of the host's addresses that takes it, each within `max_attempts`.
    ///
    /// # Errors
    /// What the resolver says, or the last of the addresses.
    pub async fn connect(host: &str, port: u16, limit: Duration) -> io::Result<Self> {
        let mut last = io::Error::other("the name has no address");
        for address in tokio::net::lookup_host((host, port)).await? {
            match tokio::time::timeout(limit, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(Self::over(stream, address)),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "connection timed out"),
            }
        }
        Err(last)
    }

    /// Makes the connection safe before anything is said on it.
    ///
    /// # Errors
    /// Why the handshake failed, or the machine's authorities cannot be had.
    pub async fn secure(self, host: &str) -> io::Result<LimitedStream<TlsStream<Self>>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        // Read when they are needed: neither at start-up nor on the event loop.
        let config = tokio::task::spawn_blocking(config).await.map_err(io::Error::other)??;
        let peer = self.peer;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, self).await?;
        Ok(LimitedStream::over(stream, peer))
    }
}

impl<S> LimitedStream<S> {
    fn over(stream: S, peer: SocketAddr) -> Self {
        Self { stream, peer, at_once: 0, in_all: 0 }
    }
}

/// TLS with the system's authorities.
fn config() -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    // Those that cannot be read are not trusted; a server of theirs is refused by name.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

impl<S: AsyncRead + Unpin> AsyncRead for LimitedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let read = buf.filled().len().saturating_sub(before);
        this.at_once = this.at_once.saturating_add(read);
        this.in_all = this.in_all.saturating_add(read);
        Poll::Ready(if this.at_once > AT_ONCE || this.in_all > IN_ALL {
            Err(io::Error::other("the server says more than an answer can have"))
        } else {
            Ok(())
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LimitedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.at_once = 0;
        Pin::new(&mut this.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> AsyncTokioStream
    for LimitedStream<S>
{
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}
