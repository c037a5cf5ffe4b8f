//! Verdicts of the `tcp` probe and their words.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::{HostPort, Probe, TcpProbe};
use stealthcheck::probe::Prober;
use stealthcheck::verdict::Observation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::server::*;

async fn see(at: SocketAddr, send: Option<&str>, expect: Option<&str>, within: Duration) -> Observation {
    let probe = TcpProbe {
        address: HostPort::parse(&at.to_string()).unwrap(),
        send: send.map(str::to_owned),
        expect: expect.map(str::to_owned),
    };
    Prober::new().run(&Probe::Tcp(Arc::new(probe)), within).await
}

#[tokio::test]
async fn a_connection_is_enough_where_nothing_is_expected() {
    let server = serve(hang).await;
    passing(&see(server, None, None, AMPLE).await, "connected");
    let server = serve_at("[::1]:0", hang).await;
    passing(&see(server, Some("hello"), None, AMPLE).await, "connected");
    failing(&see(closed_port().await, None, None, AMPLE).await, "connection refused");
}

#[tokio::test]
async fn a_greeting_is_read_in_pieces() {
    let server = serve(|mut stream| async move {
        for piece in ["2", "20", " mail.example", ".org ESMTP\r\n"] {
            let _ = stream.write_all(piece.as_bytes()).await;
            sleep(Duration::from_millis(20)).await;
        }
        hang(stream).await;
    })
    .await;
    passing(&see(server, None, Some("220 mail"), AMPLE).await, "connected, answered \"220 mail\"");
    let seen = see(server, None, Some("250"), BRIEF).await;
    failing(&seen, "no answer within 300ms (while waiting for the response)");
}

#[tokio::test]
async fn what_is_sent_is_answered() {
    let server = serve(|mut stream| async move {
        let mut asked = [0; 6];
        stream.read_exact(&mut asked).await.unwrap();
        let answer = if asked == *b"PING\r\n" { "+PONG\r\n" } else { "-ERR\u{1b}[2J\r\n" };
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    passing(&see(server, Some("PING\r\n"), Some("+PONG"), AMPLE).await, "connected, answered \"+PONG\"");
    failing(
        &see(server, Some("PONG\r\n"), Some("+PONG"), AMPLE).await,
        r#"no "+PONG" before the connection was closed; what came begins "-ERR\u{1b}[2J\r\n""#,
    );
}

#[tokio::test]
async fn silence_and_resets_are_told() {
    let server = serve(|stream| async move { drop(stream) }).await;
    failing(
        &see(server, None, Some("220"), AMPLE).await,
        "no \"220\" before the connection was closed; nothing came",
    );
    let server = serve(|stream| async move { stream.readable().await.unwrap() }).await;
    failing(
        &see(server, Some("x"), Some("220"), AMPLE).await,
        "no \"220\" before: connection reset; nothing came",
    );
}

#[tokio::test]
async fn an_endless_answer_is_read_to_its_bound() {
    let server =
        serve(|mut stream| async move { while stream.write_all(&[b'x'; 4096]).await.is_ok() {} }).await;
    let seen = see(server, None, Some("y"), AMPLE).await;
    assert!(seen.text().starts_with("no \"y\" not in the first 64 KiB; what came begins \"xxx"), "{seen:?}");
}
