//! What stands on which page, and what is said where the engine does not turn over.

use std::sync::atomic::Ordering;

use super::*;

#[tokio::test(flavor = "current_thread")]
async fn every_path_is_answered_with_200_while_the_loop_turns() {
    let (_rig, address) = Rig::on_loopback(limits()).await;
    for (path, kind, expected) in [
        ("/", "text/plain; charset=utf-8", "version 1."),
        ("/?verbose=1", "text/plain; charset=utf-8", "version 1."),
        ("/status.json", "application/json", "{\"version\":\"1."),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", "# HELP stealthcheck_build_info"),
        ("/healthz", "text/plain; charset=utf-8", "ok\n"),
        ("/anything/else", "text/plain; charset=utf-8", "ok\n"),
    ] {
        let answer = get(address, path).await;
        assert_eq!(status(&answer), "200", "{path}: {answer}");
        assert_eq!(field(&answer, "Content-Type"), kind, "{path}");
        assert!(body(&answer).starts_with(expected), "{path}: {answer}");
        assert_eq!(field(&answer, "Content-Length"), body(&answer).len().to_string(), "{path}");
        assert_eq!(field(&answer, "X-Content-Type-Options"), "nosniff", "{path}");
        assert_eq!(field(&answer, "Connection"), "close", "{path}");
        assert!(field(&answer, "Date").ends_with(" GMT"), "{answer}");
        // Without a body all the same, and the length of the one that would be.
        let head = exchange(address, format!("HEAD {path} HTTP/1.0\r\n\r\n").as_bytes()).await;
        assert_eq!((status(&head), body(&head)), ("200", ""), "{path}");
        assert_eq!(field(&head, "Content-Length"), field(&answer, "Content-Length"), "{path}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_the_status_says_stays_in_the_body() {
    let (_rig, address) = Rig::on_loopback(limits()).await;
    let answer = get(address, "/status.json").await;
    assert!(body(&answer).contains(r"<script>\r\nSet-Cookie: forged=1"), "{answer}");
    assert_eq!(field(&answer, "Set-Cookie"), "");
    assert_eq!(field(&answer, "Content-Type"), "application/json");
}

#[tokio::test(flavor = "current_thread")]
async fn a_loop_that_does_not_answer_is_a_503_until_it_does() {
    let (rig, address) = Rig::on_loopback(limits()).await;
    rig.stuck.store(true, Ordering::SeqCst);
    for path in ["/", "/status.json", "/metrics", "/healthz", "/anything"] {
        let answer = get(address, path).await;
        assert_eq!(status(&answer), "503", "{path}: {answer}");
        assert!(body(&answer).starts_with("the main loop has not responded for "), "{answer}");
    }
    // It says how long, from the first question that was not answered.
    let told = tokio::time::timeout(MINUTE, async {
        loop {
            let answer = get(address, "/healthz").await;
            if !body(&answer).ends_with(" 0s\n") {
                break answer;
            }
        }
    });
    assert!(body(&told.await.unwrap()).contains("not responded for "));
    rig.stuck.store(false, Ordering::SeqCst);
    for path in ["/healthz", "/"] {
        assert_eq!(status(&get(address, path).await), "200", "{path}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_loop_that_has_ended_is_a_503() {
    let address = free().await;
    let (_addresses, seen) = watch::channel(vec![address]);
    let (questions, asked) = mpsc::channel(1);
    let (troubles, _told) = mpsc::channel(1);
    drop(asked);
    let draw = Draw { text: |_| String::new(), json: |_| String::new() };
    tokio::spawn(listen::run(seen, questions, troubles, draw, limits()));
    let answer = get(address, "/").await;
    assert_eq!((status(&answer), body(&answer)), ("503", "stealthcheck is stopping\n"));
}

#[tokio::test(flavor = "current_thread")]
async fn a_crowd_is_one_question_and_no_answer_is_old() {
    let (rig, address) = Rig::on_loopback(limits()).await;
    let crowd = (0..40).map(|n| get(address, if n % 2 == 0 { "/" } else { "/metrics" }));
    for answer in futures_util::future::join_all(crowd).await {
        assert_eq!(status(&answer), "200");
    }
    // (A host that takes its time to serve forty may ask more often, but not for each.)
    let asked = rig.reports.load(Ordering::SeqCst);
    assert!(asked < 20, "{asked} reports for 40 questions");
    // Who comes a little later gets another report, without having to ask for it.
    let first = get(address, "/").await;
    tokio::time::timeout(MINUTE, async {
        while body(&get(address, "/").await) == body(&first) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("a newer report");
}
