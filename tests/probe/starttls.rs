//! The `tls` probe within SMTP.

use std::net::SocketAddr;
use std::sync::Arc;

use stealthcheck::check::{Probe, Starttls, TlsProbe};
use stealthcheck::probe::Prober;
use stealthcheck::verdict::Observation;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::certificates::*;
use super::server::*;
use super::tls::*;

fn smtp(address: SocketAddr) -> TlsProbe {
    TlsProbe { starttls: Some(Starttls::Smtp), ..at(address) }
}

async fn see_smtp(address: SocketAddr) -> Observation {
    Prober::new().run(&Probe::Tls(Arc::new(smtp(address))), AMPLE).await
}

/// A mail server that says these things, each after a line from the other side but for the first, and then waits for
/// the end. What it was told is sent to `told`.
async fn saying(says: &'static [&'static str]) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let server = serve(move |stream| {
        let tell = tell.clone();
        async move {
            let mut lines = BufReader::new(stream);
            for says in says {
                let _ = lines.write_all(says.as_bytes()).await;
                let mut line = String::new();
                let _ = lines.read_line(&mut line).await;
                let _ = tell.send(line);
            }
        }
    })
    .await;
    (server, told)
}

#[tokio::test]
async fn a_mail_server_is_asked_for_tls_and_shows_its_certificate() {
    let ours = authority("R11");
    let (params, end) = lasting(&["localhost"], -28, 62);
    let identity = issued(&ours, &params);
    let config = config(vec![identity.0.clone()], &identity.1);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let session = move |stream: TcpStream| {
        let (config, tell) = (Arc::clone(&config), tell.clone());
        async move {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            for says in [
                "220-mail.example.org ESMTP\r\n220 ready\r\n",
                "250-mail.example.org\r\n250-PIPELINING\r\n250 StartTLS\r\n",
            ] {
                for piece in says.split_inclusive('-') {
                    let _ = stream.write_all(piece.as_bytes()).await;
                    tokio::task::yield_now().await;
                }
                stream.read_line(&mut line).await.unwrap();
            }
            let _ = stream.write_all(b"220 go ahead\r\n").await;
            let secret = greet(stream.into_inner(), config).await.map_err(|error| error.to_string());
            let _ = tell.send((line, secret));
        }
    };
    let v4 = serve(session).await;
    let seen = see_by(&ours, smtp(v4)).await;
    passing(&seen, &format!("valid for 62 days (until {end}), issued by R11, for localhost"));
    let (line, secret) = told.recv().await.unwrap();
    assert_eq!(line, "EHLO [127.0.0.1]\r\nSTARTTLS\r\n");
    assert_eq!(secret, Ok(b"QUIT\r\n".to_vec()), "it says goodbye");
}

#[tokio::test]
async fn a_mail_server_that_does_not_want_to_is_quoted_and_left_politely() {
    for (says, reason) in [
        (
            &["554 5.7.1 no\x1b[2J\r\n", "221 bye\r\n"][..],
            r"the mail server turns the connection away: 554 5.7.1 no\u{1b}[2J",
        ),
        (&["220 hello\r\n", "502 what\r\n", "221 bye\r\n"][..], "the mail server refuses EHLO: 502 what"),
        (
            &["220 hello\r\n", "250-mail\r\n250 SIZE 1\r\n", "221 bye\r\n"][..],
            "the mail server does not offer STARTTLS",
        ),
        (
            &[
                "220 hello\r\n",
                "250-mail\r\n250 STARTTLS\r\n",
                "454 4.7.0 TLS not available\r\n",
                "221 bye\r\n",
            ][..],
            "the mail server offers STARTTLS, but refuses it: 454 4.7.0 TLS not available",
        ),
    ] {
        let (server, mut told) = saying(says).await;
        failing(&see_smtp(server).await, reason);
        let mut last = String::new();
        while let Some(line) = told.recv().await.filter(|line| !line.is_empty()) {
            last = line;
            if last == "QUIT\r\n" {
                break;
            }
        }
        assert_eq!(last, "QUIT\r\n", "{reason}");
    }
}

#[tokio::test]
async fn what_is_no_mail_server_is_told_as_such() {
    let (ssh, _told) = saying(&["SSH-2.0-OpenSSH_9.2p1\r\n"]).await;
    let reason = "the server does not speak SMTP; what came begins \"SSH-2.0-OpenSSH_9.2p1\"";
    failing(&see_smtp(ssh).await, reason);
    let closing = serve(|stream| async move { drop(stream) }).await;
    failing(&see_smtp(closing).await, "the mail server closed the connection without an answer");
    let endless =
        serve(|mut stream| async move { while stream.write_all(b"220-more\r\n").await.is_ok() {} }).await;
    failing(&see_smtp(endless).await, "the mail server's answer has more than 16 KiB");
    let long =
        serve(|mut stream| async move { while stream.write_all(&[b'x'; 4096]).await.is_ok() {} }).await;
    assert!(
        see_smtp(long).await.text().starts_with("the server does not speak SMTP; what came begins \"xxx")
    );
    let silent = serve(hang).await;
    let seen = Prober::new().run(&Probe::Tls(Arc::new(smtp(silent))), BRIEF).await;
    failing(&seen, "no answer within 300ms (while waiting for the response)");
}

#[tokio::test]
async fn words_smuggled_in_before_the_handshake_are_refused() {
    let (server, _told) =
        saying(&["220 hello\r\n", "250 STARTTLS\r\n", "220 go ahead\r\n250 injected\r\n"]).await;
    failing(&see_smtp(server).await, "the server sent more than its answer to STARTTLS before the handshake");
    let (server, _told) = saying(&["220 hello\r\n", "250 STARTTLS\r\n", "220 go ahead\r\n"]).await;
    let seen = see_smtp(server).await;
    assert!(seen.text().starts_with("TLS handshake failed: connection "), "{seen:?}");
}
