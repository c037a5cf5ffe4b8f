//! A connection as hyper wants it: plain or TLS, one type, so that hyper is compiled once.
//!
//! Bytes flow through unchanged, with two exceptions: a TLS connection that ends without a word (`close_notify`) ends
//! like any other, since hyper knows by itself whether the answer was complete; and a plain connection is not shut down
//! before it is closed, which would be one system call more for the same packet.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What one read takes at most: most answers whole.
const CHUNK: usize = 8 * 1024;

/// A connection, plain or TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    /// Boxed: its state is large, and most probes have none.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [MaybeUninit::<u8>::uninit(); CHUNK];
        let room = to.remaining().min(CHUNK);
        let mut buffer = ReadBuf::uninit(&mut chunk[..room]);
        let result = match self.get_mut() {
            Self::Plain(stream) => ready!(Pin::new(stream).poll_read(cx, &mut buffer)),
            Self::Tls(stream) => match ready!(Pin::new(stream.as_mut()).poll_read(cx, &mut buffer)) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
                result => result,
            },
        };
        to.put_slice(buffer.filled());
        Poll::Ready(result)
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
