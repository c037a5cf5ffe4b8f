//! What a client may send, how slowly, and how many may come.

use std::time::Instant;

use super::*;

#[tokio::test(flavor = "current_thread")]
async fn only_reading_is_allowed_and_nothing_but_http_is_understood() {
    let (_rig, address) = Rig::on_loopback(limits()).await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "FROBNICATE"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
        let answer = exchange(address, request.as_bytes()).await;
        assert_eq!(status(&answer), "405", "{method}: {answer}");
        assert_eq!(field(&answer, "Allow"), "GET, HEAD");
    }
    for nonsense in [
        "hello\r\n\r\n",
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/7.0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\n: none\r\n\r\n",
        "GET / HTTP/1.1\r\nA\0B: c\r\n\r\n",
        "\u{16}\u{3}\u{1}\n\n",
    ] {
        let answer = exchange(address, nonsense.as_bytes()).await;
        assert_eq!(status(&answer), "400", "{nonsense:?}: {answer}");
        assert_eq!(body(&answer), "Bad Request\n");
    }
    assert_eq!(status(&get(address, "/").await), "200");
}

#[tokio::test(flavor = "current_thread")]
async fn a_head_has_an_end() {
    let (_rig, address) = Rig::on_loopback(limits()).await;
    let with = |field: &str| format!("GET / HTTP/1.1\r\n{field}\r\n\r\n");
    // 8 KiB, and a byte more.
    let room = 8192 - with("X: ").len();
    assert_eq!(status(&exchange(address, with(&format!("X: {}", "x".repeat(room))).as_bytes()).await), "200");
    let long = with(&format!("X: {}", "x".repeat(room + 1)));
    assert_eq!(status(&exchange(address, long.as_bytes()).await), "431");
    let many: Vec<String> = (0..100).map(|n| format!("X{n}: y")).collect();
    assert_eq!(status(&exchange(address, with(&many.join("\r\n")).as_bytes()).await), "431");
    assert_eq!(status(&exchange(address, &[b'x'; 8192]).await), "431");
}

#[tokio::test(flavor = "current_thread")]
async fn who_is_still_sending_gets_the_answer_too() {
    let (_rig, address) = Rig::on_loopback(Limits { linger: MINUTE, ..limits() }).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 40000\r\n\r\n").await.unwrap();
    // It has been answered already, and closed for all that the client knows.
    stream.readable().await.unwrap();
    for _ in 0..40 {
        stream.write_all(&[b'x'; 1000]).await.expect("a socket that still takes what comes");
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status(&answer), "405", "{answer}");

    // But nobody is listened to for ever.
    let (_rig, address) = Rig::on_loopback(limits()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
    let flood = async { while stream.write_all(&[b'x'; 1000]).await.is_ok() {} };
    tokio::time::timeout(MINUTE, flood).await.expect("an end");
}

#[tokio::test(flavor = "current_thread")]
async fn a_request_may_come_byte_by_byte_but_not_for_ever() {
    let (_patient, address) = Rig::on_loopback(Limits { request: MINUTE, ..limits() }).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!((status(&answer), body(&answer)), ("200", "ok\n"));

    // Who hangs up before the end is told, who only looked whether the port is open is not.
    for (sent, expected) in [(&b"GET / HT"[..], "400"), (b"", "")] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(status(&answer), expected, "{answer}");
    }

    let hurried = Limits { request: Duration::from_millis(100), ..limits() };
    let (_rig, address) = Rig::on_loopback(hurried).await;
    let answer = exchange(address, b"GET / HTTP/1.1\r\nHost: ").await;
    assert_eq!(status(&answer), "408", "{answer}");
}

/// As many as there is room for say nothing; each of the others is served all the same.
#[tokio::test(flavor = "current_thread")]
async fn slow_clients_starve_nobody() {
    let limits = Limits { connections: 8, request: MINUTE * 10, ..limits() };
    let (_rig, address) = Rig::on_loopback(limits).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        slow.push(stream);
        assert_eq!(status(&get(address, "/healthz").await), "200");
    }
    // No more than there is room for are open: the oldest have been shown out.
    let mut open = 0;
    for mut stream in slow {
        let read = tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await;
        open += usize::from(read.is_err());
    }
    assert!(open <= 8, "{open} are open");
}

/// A client that does not take what it asked for holds nothing but its own connection, and that not for ever.
#[tokio::test(flavor = "current_thread")]
async fn who_does_not_read_is_left_behind() {
    let limits = Limits { delivery: Duration::from_millis(500), ..limits() };
    let address = free().await;
    let (_addresses, seen) = watch::channel(vec![address]);
    let (questions, asked) = mpsc::channel(16);
    let (troubles, _told) = mpsc::channel(1);
    tokio::spawn(answer(asked, Arc::default(), Arc::default()));
    let draw = Draw { text: |_| "x".repeat(64 << 20), json: |_| String::new() };
    tokio::spawn(listen::run(seen, questions, troubles, draw, limits));
    get(address, "/ready").await;

    let mut lazy = TcpStream::connect(address).await.unwrap();
    lazy.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    // (Its answer has begun.)
    lazy.peek(&mut [0]).await.unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(status(&get(address, "/healthz").await), "200");
    }
    // What it finds, when it looks at last, is not the whole of it.
    let mut taken = Vec::new();
    let _ = tokio::time::timeout(MINUTE, lazy.read_to_end(&mut taken)).await.expect("an end");
    assert!(taken.len() < 64 << 20, "{}", taken.len());
}

/// More slow clients than there is room for, many times over, with the bounds that the daemon has: as many as ever
/// come, so many are open, and whoever asks properly is answered.
#[tokio::test(flavor = "current_thread")]
async fn five_hundred_that_never_finish_their_request_starve_nobody() {
    let (_rig, address) = Rig::on_loopback(Limits { request: MINUTE * 10, ..Limits::default() }).await;
    let mut slow = Vec::new();
    let mut longest = Duration::ZERO;
    for n in 0..500 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
        slow.push(stream);
        // Each gives another byte now and then, to be taken for alive.
        if n % 10 == 9 {
            for stream in &mut slow {
                let _ = stream.write_all(b"x").await;
            }
            let asked = Instant::now();
            assert_eq!(status(&get(address, "/healthz").await), "200", "beside {n}");
            longest = longest.max(asked.elapsed());
        }
    }
    println!("the longest answer took {longest:?}");
    assert!(longest < Limits::default().request, "{longest:?}");
    let mut open = 0;
    for mut stream in slow {
        open += usize::from(tokio::time::timeout(Duration::from_millis(2), stream.read_u8()).await.is_err());
    }
    assert!(open <= Limits::default().connections, "{open} are open");
}

/// Who has asked is served, however many come after it that have not.
#[tokio::test(flavor = "current_thread")]
async fn those_who_dawdle_drive_out_only_each_other() {
    let limits = Limits { connections: 4, request: MINUTE * 10, answer: Duration::from_secs(2), ..limits() };
    let (rig, address) = Rig::on_loopback(limits).await;
    rig.stuck.store(true, Ordering::SeqCst);
    let asked = tokio::spawn(async move { get(address, "/healthz").await });
    // The engine has been asked for it, and takes its time: that is the answer, and no connection that just ends.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        slow.push(stream);
        tokio::task::yield_now().await;
    }
    let answer = asked.await.unwrap();
    assert_eq!(status(&answer), "503", "{answer}");
    rig.stuck.store(false, Ordering::SeqCst);
    assert_eq!(status(&get(address, "/healthz").await), "200");
}

/// A crowd that comes all at once, and asks for nothing: whoever stands among it and asks is answered.
#[tokio::test(flavor = "current_thread")]
async fn a_rush_at_the_door_pushes_nobody_out_before_its_turn() {
    let (_rig, address) = Rig::on_loopback(Limits { request: MINUTE, ..Limits::default() }).await;
    let mut held = Vec::new();
    for round in 0..20 {
        // They connect, and this one in their middle, before the listener gets to any of them.
        let connect = |n: usize| async move { (n, TcpStream::connect(address).await.unwrap()) };
        let mut streams = futures_util::future::join_all((0..100).map(connect)).await;
        let (_, mut honest) = streams.swap_remove(50);
        honest.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(MINUTE, honest.read_to_string(&mut answer)).await;
        read.expect("an end").unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(status(&answer), "200", "round {round}: {answer}");
        held.append(&mut streams);
    }
}
