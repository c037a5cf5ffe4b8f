//! Servers that mean harm, or are broken past telling: whatever they send, there is one observation by the deadline, in
//! a sentence that a terminal and a mail can bear, and no more is read than it takes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stealthcheck::check::Probe;
use stealthcheck::probe::Prober;
use stealthcheck::verdict::Observation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::certificates::at;
use super::server::*;

/// A sentence: one line, no control character, not without end.
#[track_caller]
pub fn sentence(seen: &Observation) {
    let text = seen.text();
    assert!(!text.is_empty() && text.chars().count() <= 1_500, "{} characters: {text}", text.chars().count());
    assert!(!text.chars().any(char::is_control), "{text:?}");
    // What turns the direction of a line, too.
    assert!(!text.chars().any(|c| ('\u{202a}'..='\u{202e}').contains(&c)), "{text:?}");
}

/// What the target is to blame for, in a sentence.
#[track_caller]
fn blamed(seen: &Observation) {
    assert!(matches!(seen, Observation::Failing { .. }), "{seen:?}");
    sentence(seen);
}

/// A server that sends a head and then this piece for ever, and how much of it was taken.
async fn endless(head_text: &'static str, piece: &'static [u8]) -> (SocketAddr, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let piece = piece.repeat(1 + 65_536 / piece.len());
    let server = serve(move |mut stream| {
        let (count, piece) = (Arc::clone(&count), piece.clone());
        async move {
            head(&mut stream).await;
            let _ = stream.write_all(head_text.as_bytes()).await;
            // Where the last write ended in the middle of a piece, the next one goes on there.
            let mut at = 0;
            while let Ok(taken) = stream.write(&piece[at..]).await {
                count.fetch_add(taken as u64, Ordering::Relaxed);
                at = (at + taken) % piece.len();
            }
        }
    })
    .await;
    (server, sent)
}

/// What the kernel may hold on its way, and what is read before it is judged.
const TAKEN_AT_MOST: u64 = 16 * 1024 * 1024;

#[tokio::test]
async fn of_ten_gigabytes_in_whatever_shape_only_the_beginning_is_read() {
    for (head_text, piece) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", &b"x"[..]),
        ("HTTP/1.1 200 OK\r\n\r\n", b"x"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n", b"x"),
        // An extension of a chunk, and trailers, without an end.
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n"),
        // Answers before the answer, a name of a header, and a status line without an end.
        ("", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\n", b"x"),
        ("HTTP/1.1 200 ", b"x"),
    ] {
        // Those that are read to the deadline are answers that never begin. (The server is in this thread: on a busy
        // machine it may hold up the probe.)
        let (mut seen, mut sent);
        let mut tries = 0;
        loop {
            let server;
            tries += 1;
            (server, sent) = endless(head_text, piece).await;
            seen = see_within(get_at(server).containing("no such text"), Duration::from_secs(3)).await;
            if tries == 20 || !seen.text().contains("itself was held up") {
                break;
            }
        }
        blamed(&seen);
        let begins_never = piece.starts_with(b"HTTP");
        let taken = sent.load(Ordering::Relaxed);
        assert!(begins_never || taken < TAKEN_AT_MOST, "{taken} bytes of {head_text:?}: {seen:?}");
        // A body in pieces of a byte may not have been read by then either, on a slow machine.
        assert!(!begins_never || seen.text().starts_with("no answer within"), "{head_text:?}: {seen:?}");
    }
    let endless_bytes =
        serve(|mut stream| async move { while stream.write_all(&[0xff; 65_536]).await.is_ok() {} });
    blamed(&see(get_at(endless_bytes.await)).await);
}

#[tokio::test]
async fn heads_that_contradict_themselves_are_told() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx",
        "HTTP/1.1 999999 OK\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: \u{1b}[2J\0\r\n\r\n",
    ] {
        let seen = see(get_at(answering(answer).await).containing("y")).await;
        blamed(&seen);
    }
}

#[tokio::test]
async fn redirects_to_anywhere_but_the_web_are_not_gone_to() {
    let long = format!("http://127.0.0.1/{}", "x".repeat(60_000));
    for location in [
        "file:///etc/shadow",
        "javascript:alert(1)",
        "data:text/html,x",
        "gopher://127.0.0.1:70/",
        "ftp://127.0.0.1/",
        "unix:/run/x",
        "",
        "//",
        "http://",
        "https://:443/",
        "http://[::1/",
        "http://127.0.0.1:99999/",
        "\u{1b}[2J",
        "\u{ff}\u{fe}",
        "?",
        "#",
        &long,
    ] {
        let location = location.to_owned();
        let server =
            answering(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"));
        let seen = see_within(get_at(server.await).following(), Duration::from_secs(5)).await;
        assert!(!matches!(seen, Observation::Passing { .. }), "{location:?}: {seen:?}");
        sentence(&seen);
    }
}

/// What a TLS probe sees within a brief deadline of a server that sends these bytes after the greeting, one piece after
/// the other with a pause, again and again.
async fn see_handshake_of(pieces: Pieces, pause: Duration) -> (Observation, Duration) {
    let server = serve(move |mut stream: TcpStream| async move {
        let mut hello = [0; 64];
        let _ = stream.read(&mut hello).await;
        for piece in pieces.iter().cycle() {
            if stream.write_all(piece).await.is_err() {
                return;
            }
            sleep(pause).await;
        }
    })
    .await;
    let begun = Instant::now();
    let probe = Probe::Tls(Arc::new(at(server)));
    let seen = timeout(AMPLE, Prober::new().run(&probe, BRIEF)).await.expect("past the deadline");
    (seen, begun.elapsed())
}

type Pieces = &'static [&'static [u8]];

/// Changes of the cipher, warnings, a message that is longer than any, records with nothing in them, and no TLS at all.
const FLOODS: [Pieces; 5] = [
    &[b"\x14\x03\x03\x00\x01\x01"],
    &[b"\x15\x03\x03\x00\x02\x01\x5a"],
    &[b"\x16\x03\x03\x00\x05\x0b\xff\xff\xff\x00"],
    &[b"\x16\x03\x03\x00\x00"],
    &[b"HTTP/1.1 200 OK\r\n"],
];

/// One that says nothing at all, and one that says no more than that there will be an answer.
const STALLS: [Pieces; 2] = [&[], &[b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03"]];

#[tokio::test]
async fn handshakes_that_never_get_on_end_at_the_deadline_or_before() {
    const DRIP: Duration = Duration::from_millis(20);
    // The head of a record that would be long, and then a byte at a time.
    let (seen, took) = see_handshake_of(&[b"\x16\x03\x03\x3f\xff", b"\x02", b"\x02", b"\x02"], DRIP).await;
    blamed(&seen);
    assert!(took < Duration::from_secs(10), "{took:?}");
    for flood in FLOODS {
        let (seen, took) = see_handshake_of(flood, Duration::ZERO).await;
        blamed(&seen);
        assert!(took < Duration::from_secs(10), "{took:?} for {flood:?}");
    }
    // One that answers nothing at all, and one that says no more than that there will be an answer.
    for stall in STALLS {
        let server = serve(move |mut stream: TcpStream| async move {
            for piece in stall {
                let _ = stream.write_all(piece).await;
            }
            hang(stream).await;
        })
        .await;
        let seen = Prober::new().run(&Probe::Tls(Arc::new(at(server))), Duration::from_secs(2)).await;
        failing(&seen, "no answer within 2s (in the TLS handshake)");
    }
}
