//! Verdicts of the `http` probe and their words.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stealthcheck::check::{Probe, Source, StatusSet};
use stealthcheck::probe::Prober;
use stealthcheck::verdict::Observation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::server::*;

#[tokio::test]
async fn a_success_passes_and_takes_time() {
    let server = answering(page("200 OK", "hello")).await;
    let seen = see(get_at(server)).await;
    passing(&seen, "200 OK");
    assert!(matches!(seen, Observation::Passing { latency, .. } if latency > Duration::ZERO));
}

#[tokio::test]
async fn another_status_fails_and_says_what_was_expected() {
    let server = answering(page("500 Oh No", "")).await;
    failing(&see(get_at(server)).await, "500 Internal Server Error, expected 200-299");
    let server = answering(page("599 Whatever", "")).await;
    failing(&see(get_at(server)).await, "599, expected 200-299");
}

#[tokio::test]
async fn the_expected_statuses_are_the_configurations() {
    let server = answering(page("400 Bad Request", "")).await;
    let mut probe = get_at(server);
    probe.status = StatusSet(vec![400..=400]);
    passing(&see(probe.clone()).await, "400 Bad Request");
    probe.status = StatusSet(vec![200..=204, 404..=404]);
    failing(&see(probe).await, "400 Bad Request, expected 200-204, 404");
}

/// The head of the request that `probe` sends; its address is replaced by the server's.
async fn sent(mut probe: stealthcheck::check::HttpProbe) -> (String, Vec<String>) {
    let seen = Arc::new(Mutex::new(String::new()));
    let copy = Arc::clone(&seen);
    let server = serve(move |mut stream| {
        let copy = Arc::clone(&copy);
        async move {
            let head = head(&mut stream).await;
            *copy.lock().unwrap() = head;
            let _ = stream.write_all(page("200 OK", "").as_bytes()).await;
        }
    })
    .await;
    let Source::Written(url) = &probe.url else { panic!("{:?}", probe.url) };
    let path = url.uri().path_and_query().unwrap().clone();
    // Only a redirect can have a user in it.
    let with_user = format!("http://user:secret@{server}{path}").parse().unwrap();
    probe.url = Source::Written(url.redirected(with_user));
    passing(&see(probe).await, "200 OK");
    let head = seen.lock().unwrap().replace(&server.to_string(), "SERVER");
    let mut lines = head.trim_end().split("\r\n").map(str::to_owned);
    let first = lines.next().unwrap();
    let mut headers: Vec<String> = lines.collect();
    headers.sort();
    (first, headers)
}

#[tokio::test]
async fn the_request_is_small_and_says_who_asks() {
    let (line, headers) = sent(get("http://x/a%20b?c=d")).await;
    assert_eq!(line, "GET /a%20b?c=d HTTP/1.1");
    let agent = concat!("user-agent: stealthcheck/", env!("CARGO_PKG_VERSION"));
    assert_eq!(headers, ["accept: */*", "connection: close", "host: SERVER", agent]);
}

#[tokio::test]
async fn headers_override_and_repeat() {
    let probe = get("http://x/").header("host", "gru.example.org").header("user-agent", "me");
    let (_, headers) = sent(probe.header("x-a", "1").header("x-a", "2")).await;
    let expected =
        ["accept: */*", "connection: close", "host: gru.example.org", "user-agent: me", "x-a: 1", "x-a: 2"];
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn other_methods_are_sent() {
    let mut probe = get("http://x/");
    probe.method = http::Method::HEAD;
    assert_eq!(sent(probe.clone()).await.0, "HEAD / HTTP/1.1");
    probe.method = http::Method::POST;
    let (line, headers) = sent(probe).await;
    assert_eq!(line, "POST / HTTP/1.1");
    assert!(headers.contains(&"content-length: 0".to_owned()), "{headers:?}");
}

#[tokio::test]
async fn a_body_is_searched() {
    let server = answering(page("200 OK", "{\"status\": \"good\"}")).await;
    passing(&see(get_at(server).containing("\"good\"")).await, "200 OK");
    passing(&see(get_at(server).matching(r"^\{.*\}$").containing("status")).await, "200 OK");
    failing(
        &see(get_at(server).containing("better")).await,
        r#"200 OK but the body does not contain "better"; it is "{"status": "good"}""#,
    );
    failing(
        &see(get_at(server).matching("^good")).await,
        r#"200 OK but the body does not match /^good/; it is "{"status": "good"}""#,
    );
    let empty = answering(page("200 OK", "")).await;
    failing(
        &see(get_at(empty).containing("x")).await,
        "200 OK but the body does not contain \"x\"; it is empty",
    );
}

#[tokio::test]
async fn a_text_is_found_across_the_pieces_it_comes_in() {
    let server = serve(|mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for piece in ["1\r\ns\r\n", "3\r\ntea\r\n", "3\r\nlth\r\n", "0\r\n\r\n"] {
            let _ = stream.write_all(piece.as_bytes()).await;
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    passing(&see(get_at(server).containing("stealth")).await, "200 OK");
}

#[tokio::test]
async fn what_a_server_says_comes_out_inert() {
    let body = format!("a\r\nBcc: x\u{1b}[2J{}", "y".repeat(5000));
    let server = answering(page("200 OK", &body)).await;
    let seen = see(get_at(server).containing("no such")).await;
    let (before, excerpt) = seen.text().split_once("begins ").unwrap();
    assert_eq!(before, "200 OK but the body does not contain \"no such\"; it ");
    assert!(excerpt.starts_with(r#""a\r\nBcc: x\u{1b}[2Jyy"#), "{excerpt}");
    assert!(excerpt.chars().count() <= 202, "{excerpt}");
}

/// A server that never ends its body.
async fn endless() -> std::net::SocketAddr {
    serve(|mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\nstart").await;
        while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
    })
    .await
}

#[tokio::test]
async fn of_an_endless_body_no_more_is_read_than_it_takes() {
    let server = endless().await;
    passing(&see(get_at(server)).await, "200 OK");
    passing(&see(get_at(server).containing("start")).await, "200 OK");
    passing(&see(get_at(server).matching("startx+")).await, "200 OK");
    let seen = see(get_at(server).containing("end")).await;
    let expected = "200 OK but the body's first MiB does not contain \"end\"; it begins \"startxxx";
    assert!(seen.text().starts_with(expected), "{seen:?}");
    let seen = see(get_at(server).matching("end$")).await;
    assert!(seen.text().starts_with("200 OK but the body's first MiB does not match /end$/"), "{seen:?}");
}

#[tokio::test]
async fn a_body_that_breaks_off_fails() {
    let server = answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort").await;
    let expected = "200 OK but the body broke off: connection closed";
    failing(&see(get_at(server).containing("long")).await, expected);
}

#[tokio::test]
async fn a_drip_ends_at_the_deadline() {
    let server = serve(|mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let seen = see_within(get_at(server).containing("y"), BRIEF).await;
    failing(&seen, "no answer within 300ms (while reading the body)");
    let server = serve(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await;
        while stream.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let seen = see_within(get_at(server), BRIEF).await;
    failing(&seen, "no answer within 300ms (while waiting for the response)");
}

#[tokio::test]
async fn a_server_that_says_nothing_ends_at_the_deadline() {
    let server = serve(hang).await;
    let begun = Instant::now();
    let seen = see_within(get_at(server), BRIEF).await;
    failing(&seen, "no answer within 300ms (while waiting for the response)");
    assert!(begun.elapsed() >= BRIEF);
}

#[tokio::test]
async fn a_server_that_accepts_nothing_ends_at_the_deadline() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let server = listener.local_addr().unwrap();
    // Fill its queue until it takes no more.
    let mut queued = Vec::new();
    while let Ok(stream) = timeout(BRIEF, TcpStream::connect(server)).await {
        queued.push(stream.unwrap());
    }
    let seen = see_within(get_at(server), BRIEF).await;
    failing(&seen, "no answer within 300ms (while connecting)");
}

#[tokio::test]
async fn what_is_not_http_fails() {
    let server = answering("220 mail.example.org ESMTP\r\n").await;
    failing(&see(get_at(server)).await, "no proper HTTP: invalid HTTP version parsed");
    let server = answering([0_u8, 159, 146, 150, 13, 10]).await;
    failing(&see(get_at(server)).await, "no proper HTTP: invalid HTTP version parsed");
    let server = answering("HTTP/1.1 200 OK\r\n\u{1}: x\r\n\r\n").await;
    failing(&see(get_at(server)).await, "no proper HTTP: invalid HTTP header parsed");
}

#[tokio::test]
async fn a_head_without_end_fails() {
    for endless in ["x", "X-A: b\r\n"] {
        let server = serve(move |mut stream| async move {
            head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while stream.write_all(endless.repeat(100).as_bytes()).await.is_ok() {}
        })
        .await;
        failing(&see(get_at(server)).await, "no proper HTTP: message head is too large");
    }
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_fails() {
    let closing = serve(|mut stream| async move {
        head(&mut stream).await;
    })
    .await;
    failing(&see(get_at(closing)).await, "connection closed before the answer was complete");
    // Closed with the request unread, which resets the connection.
    let resetting = serve(|stream| async move {
        stream.readable().await.unwrap();
    })
    .await;
    failing(&see(get_at(resetting)).await, "connection reset");
}

#[tokio::test]
async fn a_closed_port_refuses() {
    failing(&see(get_at(closed_port().await)).await, "connection refused");
}

#[tokio::test]
async fn both_families_are_spoken() {
    let answer = |mut stream: TcpStream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(page("200 OK", "").as_bytes()).await;
    };
    let six = serve_at("[::1]:0", answer).await;
    passing(&see(get_at(six)).await, "200 OK");
    let four = serve(answer).await;
    for server in [six, four] {
        passing(&see(get(format!("http://localhost:{}/", server.port()))).await, "200 OK");
    }
    let nobody = closed_port().await.port();
    failing(&see(get(format!("http://localhost:{nobody}/"))).await, "connection refused");
}

/// Whether a name that cannot exist is known not to, or could not be asked for, is the machine's resolver to tell;
/// what each means is tested where it is decided.
#[tokio::test]
async fn a_name_that_cannot_exist_never_passes() {
    let seen = see_within(get("http://no-such-name.invalid/"), Duration::from_secs(5)).await;
    match &seen {
        Observation::Failing { reason } => assert_eq!(reason, "name no-such-name.invalid does not exist"),
        Observation::Unknown { reason } => assert!(
            reason.starts_with("no-such-name.invalid could not be looked up: ")
                || reason == "the resolver gave no answer within 5s",
            "{reason}"
        ),
        Observation::Passing { .. } | Observation::NotRestartable { .. } => panic!("{seen:?}"),
    }
}

#[tokio::test]
async fn a_units_state_is_not_probed() {
    let seen = Prober::new().run(&Probe::Unit, AMPLE).await;
    unknown(&seen, "a unit's state is for systemd to tell, not for a probe");
}

#[tokio::test]
async fn a_dropped_probe_closes_its_connection() {
    let (ended, end) = oneshot::channel();
    let ended = Mutex::new(Some(ended));
    let server = serve(move |mut stream| {
        let ended = ended.lock().unwrap().take();
        async move {
            head(&mut stream).await;
            let rest = stream.read_u8().await;
            ended.unwrap().send(rest.is_err()).unwrap();
        }
    })
    .await;
    assert!(timeout(BRIEF, see(get_at(server))).await.is_err(), "the probe should still have been waiting");
    assert!(timeout(AMPLE, end).await.unwrap().unwrap());
}

#[tokio::test]
async fn when_this_process_did_not_run_the_deadline_says_nothing_about_the_target() {
    let server = serve(hang).await;
    let (seen, ()) = tokio::join!(see_within(get_at(server), BRIEF), async {
        // As a stopped or starved process: nothing else runs on this thread.
        std::thread::sleep(Duration::from_millis(1600));
    });
    unknown(&seen, "stealthcheck itself was held up past the deadline");
}
