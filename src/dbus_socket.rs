//! The daemon's end of a connection to the bus: what anybody may send does not become its memory.
//!
//! In: the bytes of the bus. Out: messages as zbus reads them, of which calls have at most [`CALL`] bytes of body, and none has
//! a longer header, nor is a signal longer than `SIGNAL`. The bus carries messages of 32 MiB, and every user may send calls
//! to our name and signals to each of our connections; zbus keeps a message whole before anybody can look at its length.
//! Replies come only to what was asked (the bus sees to that), and are let in at any length.
//!
//! File descriptors come with the first byte of their message (unix(7)), and every message is read by itself; so they are
//! handed on with it, or closed with it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use zbus::Message;
use zbus::address::Transport;
use zbus::address::transport::UnixSocket;
use zbus::connection::Builder;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;

/// The longest body of a call, and the longest header fields of any message. A longer body is cut off here, a message with
/// longer fields is dropped: no sender of calls and signals needs more.
pub const CALL: usize = 8 * 1024;

/// A longer signal is dropped. The longest one of use is `PropertiesChanged` of a unit.
const SIGNAL: usize = 1024 * 1024;

/// The part of a message that has a fixed form: byte order, type, flags, version, length of the body, serial, length of the
/// header fields (D-Bus Specification, "Message Format").
const PRIMARY: usize = 16;

/// No message of a local socket brings more file descriptors (`SCM_MAX_FD` of the kernel's include/net/scm.h).
const FDS: usize = 253;
const TYPE_CALL: u8 = 1;
const TYPE_SIGNAL: u8 = 4;

/// A connection to the bus at `address`, to be built.
///
/// # Errors
/// Where there is no bus.
pub async fn connect(address: &zbus::Address) -> zbus::Result<Builder<'static>> {
    if let Transport::Unix(unix) = address.transport()
        && let UnixSocket::File(path) = unix.path()
    {
        return Ok(on(open(path).await?));
    }
    Ok(Builder::address(address.clone()))
}

async fn open(path: &Path) -> io::Result<UnixStream> {
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    UnixStream::connect(path).await.map_err(failed)
}

/// A connection over this socket, to be built.
pub fn on(stream: UnixStream) -> Builder<'static> {
    Builder::socket(Bounded(stream))
}

#[derive(Debug)]
struct Bounded(UnixStream);

impl Socket for Bounded {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let (read, write) = self.0.into_split();
        let inbox = Inbox { stream: read, next: Next::Unchecked, surplus: 0 };
        Split::new(Reader(inbox), Writer(write))
    }
}

/// Has [`Inbox`] read messages from the end of the handshake on.
#[derive(Debug)]
struct Reader(Inbox);

#[async_trait]
impl ReadHalf for Reader {
    async fn receive_message(
        &mut self,
        seq: u64,
        bytes: &mut Vec<u8>,
        fds: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        // What came with the end of the handshake are the bus's own first words.
        self.0.next = if bytes.is_empty() { Next::Primary } else { Next::Unchecked };
        self.0.receive_message(seq, bytes, fds).await
    }

    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.0.recvmsg(buffer).await
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

/// What comes next from the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The handshake.
    Unchecked,
    /// A message.
    Primary,
    /// The rest of a message.
    Rest,
}

/// Reads the bytes of one message after the other, without those that are too many.
#[derive(Debug)]
struct Inbox {
    stream: OwnedReadHalf,
    next: Next,
    /// Bytes that end a message, of which zbus is told nothing.
    surplus: usize,
}

impl Inbox {
    /// Reads what there is, at most to fill `buffer`, and never nothing.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let stream: &UnixStream = self.stream.as_ref();
        stream.async_io(Interest::READABLE, || receive(stream, buffer)).await
    }

    /// The fixed part of the next message that is let in, and its file descriptors.
    async fn primary(&mut self) -> io::Result<([u8; PRIMARY], Vec<OwnedFd>)> {
        loop {
            self.drop_surplus().await?;
            let (mut primary, mut fds) = ([0; PRIMARY], Vec::new());
            let mut read = 0;
            while read < PRIMARY {
                let (more, with) = self.receive(&mut primary[read..]).await?;
                read += more;
                fds.extend(with);
            }
            match admit(&mut primary)? {
                Admitted::Whole => return Ok((primary, fds)),
                Admitted::Without(surplus) => {
                    self.surplus = surplus;
                    return Ok((primary, fds));
                }
                Admitted::No(rest) => self.surplus = rest,
            }
        }
    }

    async fn drop_surplus(&mut self) -> io::Result<()> {
        let mut dropped = vec![0; self.surplus.min(64 * 1024)];
        while self.surplus > 0 {
            let most = self.surplus.min(dropped.len());
            self.surplus -= self.receive(&mut dropped[..most]).await?.0;
        }
        Ok(())
    }
}

/// How much of a message is let in.
#[derive(Debug, PartialEq, Eq)]
enum Admitted {
    Whole,
    /// Its fixed part says that it ends earlier than it does, by so many bytes.
    Without(usize),
    /// Nothing of it: so many bytes follow.
    No(usize),
}

fn admit(primary: &mut [u8; PRIMARY]) -> io::Result<Admitted> {
    let little = match primary[0] {
        b'l' => true,
        b'B' => false,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "no D-Bus message")),
    };
    let [.., b0, b1, b2, b3, _, _, _, _, f0, f1, f2, f3] = *primary;
    let number = |bytes| if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) } as usize;
    let (body, fields) = (number([b0, b1, b2, b3]), number([f0, f1, f2, f3]));
    let rest = fields.next_multiple_of(8).saturating_add(body);
    if fields > CALL || (primary[1] == TYPE_SIGNAL && body > SIGNAL) {
        return Ok(Admitted::No(rest));
    }
    if primary[1] != TYPE_CALL || body <= CALL {
        return Ok(Admitted::Whole);
    }
    #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
    let kept = CALL as u32;
    let kept = if little { kept.to_le_bytes() } else { kept.to_be_bytes() };
    primary[4..8].copy_from_slice(&kept);
    Ok(Admitted::Without(body - CALL))
}

#[async_trait]
impl ReadHalf for Inbox {
    /// zbus asks for the fixed part of a message first, for all of it, then for the rest.
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        if self.next == Next::Primary {
            let (primary, fds) = self.primary().await?;
            let Some(start) = buffer.get_mut(..PRIMARY) else {
                return Err(io::Error::other("a message is not read from its beginning"));
            };
            start.copy_from_slice(&primary);
            self.next = Next::Rest;
            return Ok((PRIMARY, fds));
        }
        self.receive(buffer).await
    }
}

#[derive(Debug)]
struct Writer(OwnedWriteHalf);

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, buffer: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        if fds.is_empty() {
            return self.0.write(buffer).await;
        }
        let stream: &UnixStream = self.0.as_ref();
        stream.async_io(Interest::WRITABLE, || send(stream, buffer, fds)).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

fn receive(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let read =
        recvmsg(stream, &mut [io::IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    match read {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok((read, fds.flatten().collect())),
    }
}

fn send(stream: &UnixStream, buffer: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let rights = SendAncillaryMessage::ScmRights(fds);
    let mut space = vec![MaybeUninit::uninit(); rights.size()];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(rights) {
        return Err(io::Error::other("too many file descriptors for one message"));
    }
    Ok(sendmsg(stream, &[io::IoSlice::new(buffer)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests;
