#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use futures_util::StreamExt as _;
use zbus::message::Type;
use zbus::{Connection, MessageStream};

use super::*;

/// The daemon's end, all that comes in there, and the peer.
async fn pair() -> (Connection, MessageStream, Connection) {
    let (a, b) = UnixStream::pair().unwrap();
    let peer = Builder::unix_stream(b.into_std().unwrap()).server(zbus::Guid::generate()).p2p();
    let (daemon, peer) = tokio::try_join!(on(a).p2p().build(), peer.build()).unwrap();
    let messages = MessageStream::from(&daemon);
    (daemon, messages, peer)
}

async fn next(messages: &mut MessageStream) -> Message {
    let message = tokio::time::timeout(Duration::from_secs(10), messages.next()).await;
    message.expect("a message").expect("a connection").expect("a message that can be read")
}

fn call(path: &str, body: &[u8]) -> Message {
    Message::method_call(path, "Method").interface("a.b").build(&body).unwrap()
}

#[tokio::test]
async fn body_of_a_long_call_is_cut_off() {
    let (_daemon, mut messages, peer) = pair().await;
    for length in [10, CALL - 4, CALL - 3, 5_000_000, 20] {
        peer.send(&call("/a", &vec![7; length])).await.unwrap();
        let message = next(&mut messages).await;
        let whole = length + 4 <= CALL;
        assert_eq!(message.body().data().len(), if whole { length + 4 } else { CALL }, "{length}");
        assert_eq!(message.body().deserialize::<Vec<u8>>().is_ok(), whole, "{length}");
        assert_eq!(message.header().member().unwrap().as_str(), "Method");
    }
}

#[tokio::test]
async fn long_signals_and_long_headers_are_dropped() {
    let (_daemon, mut messages, peer) = pair().await;
    let signal = |body: &[u8]| Message::signal("/a", "a.b", "Signal").build(&body).unwrap();
    peer.send(&signal(&vec![7; SIGNAL])).await.unwrap();
    peer.send(&call(&format!("/{}", "a".repeat(CALL)), b"")).await.unwrap();
    peer.send(&signal(&vec![7; SIGNAL - 4])).await.unwrap();
    peer.send(&call("/a", b"last")).await.unwrap();
    let message = next(&mut messages).await;
    assert_eq!((message.message_type(), message.body().data().len()), (Type::Signal, SIGNAL));
    assert_eq!(next(&mut messages).await.message_type(), Type::MethodCall);
}

#[tokio::test]
async fn reply_has_any_length() {
    let (daemon, _messages, peer) = pair().await;
    let mut calls = MessageStream::from(&peer);
    let (answer, ()) =
        tokio::join!(daemon.call_method(None::<&str>, "/a", Some("a.b"), "Method", &()), async {
            let call = next(&mut calls).await;
            peer.reply(&call.header(), &vec![7_u8; 3_000_000]).await.unwrap();
        });
    assert_eq!(answer.unwrap().body().deserialize::<Vec<u8>>().unwrap().len(), 3_000_000);
}

#[tokio::test]
async fn file_descriptor_is_sent() {
    let (daemon, _messages, peer) = pair().await;
    let mut calls = MessageStream::from(&peer);
    let (read, write) = io::pipe().unwrap();
    let message = Message::method_call("/a", "Method").build(&zbus::wire::Fd::from(&write)).unwrap();
    daemon.send(&message).await.unwrap();
    let message = next(&mut calls).await;
    let fd: zbus::wire::OwnedFd = message.body().deserialize().unwrap();
    drop(write);
    let mut sent = std::fs::File::from(OwnedFd::from(fd));
    io::Write::write_all(&mut sent, b"x").unwrap();
    let mut byte = [0];
    io::Read::read_exact(&mut &read, &mut byte).unwrap();
    assert_eq!(&byte, b"x");
}

/// A file descriptor comes with its message; those of a message that is dropped, or that nobody reads, are closed.
#[tokio::test]
async fn file_descriptors_are_received_or_closed() {
    let (_daemon, mut messages, peer) = pair().await;
    for (path, received) in [("/a".to_owned(), true), (format!("/{}", "a".repeat(CALL)), false)] {
        let (read, write) = io::pipe().unwrap();
        let fd = zbus::wire::Fd::from(&write);
        let message = Message::method_call(path, "Method").build(&fd).unwrap();
        peer.send(&message).await.unwrap();
        peer.send(&call("/a", b"next")).await.unwrap();
        drop((message, write));
        if received {
            next(&mut messages).await.body().deserialize::<zbus::wire::OwnedFd>().unwrap();
        }
        assert!(next(&mut messages).await.body().deserialize::<Vec<u8>>().is_ok());
        let end = tokio::task::spawn_blocking(move || io::Read::read(&mut &read, &mut [0]));
        assert_eq!(tokio::time::timeout(Duration::from_secs(10), end).await.unwrap().unwrap().unwrap(), 0);
    }
}
