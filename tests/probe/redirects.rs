//! Redirects: followed where asked for, and never further than is good.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;

use super::server::*;

fn to(location: impl std::fmt::Display) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

/// A server that answers each path by `site`.
async fn site(site: fn(&str) -> String) -> SocketAddr {
    serve(move |mut stream| async move {
        let head = head(&mut stream).await;
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let _ = stream.write_all(site(&path).as_bytes()).await;
    })
    .await
}

#[tokio::test]
async fn not_followed_it_is_a_status_that_tells_where_it_leads() {
    let server = answering(to("https://gru.example.org:9002/")).await;
    let expected = "302 Found to https://gru.example.org:9002/, expected 200-299";
    failing(&see(get_at(server)).await, expected);
    let mut probe = get_at(server);
    probe.status.0 = vec![302..=302];
    passing(&see(probe).await, "302 Found");
}

#[tokio::test]
async fn followed_the_last_answer_is_judged() {
    let server = site(|path| match path {
        "/" => to("a/b"),
        "/a/b" => to("../c?d"),
        "/c?d" => page("200 OK", "here"),
        _ => page("404 Not Found", ""),
    })
    .await;
    let detail = format!("200 OK after a redirect to http://{server}/c?…");
    passing(&see(get_at(server).following().containing("here")).await, &detail);
    let seen = see(get(format!("http://{server}/a/b")).following().containing("there")).await;
    let expected = format!(
        "after a redirect to http://{server}/c?…: 200 OK but the body does not contain \"there\"; it is \"here\""
    );
    failing(&seen, &expected);
}

#[tokio::test]
async fn a_circle_is_seen() {
    let server = site(|path| if path == "/" { to("/a") } else { to("/") }).await;
    let expected =
        format!("redirects in a circle: http://{server}/ to http://{server}/a to http://{server}/");
    failing(&see(get_at(server).following()).await, &expected);
}

#[tokio::test]
async fn ten_are_followed_and_no_more() {
    let server = site(|path| {
        let n: u32 = path[1..].parse().unwrap();
        if n == 0 { page("200 OK", "") } else { to(format!("/{}", n - 1)) }
    })
    .await;
    let detail = format!("200 OK after a redirect to http://{server}/0");
    passing(&see(get(format!("http://{server}/10")).following()).await, &detail);
    let expected = format!("more than 10 redirects, the last to http://{server}/0");
    failing(&see(get(format!("http://{server}/11")).following()).await, &expected);
}

#[tokio::test]
async fn other_places_are_not_gone_to() {
    let server = answering(to("file:///etc/passwd")).await;
    let expected = "302 Found to file:///etc/passwd, which is neither http nor https (file)";
    failing(&see(get_at(server).following()).await, expected);
}

#[tokio::test]
async fn a_redirect_that_leads_nowhere_says_where() {
    let nobody = closed_port().await;
    let server = answering(to(format!("http://user:secret@{nobody}/"))).await;
    let expected = format!("after a redirect to http://…@{nobody}/: connection refused");
    failing(&see(get_at(server).following()).await, &expected);
}

#[tokio::test]
async fn what_is_for_one_server_goes_to_no_other() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let copy = Arc::clone(&seen);
    let other = serve(move |mut stream| {
        let copy = Arc::clone(&copy);
        async move {
            let head = head(&mut stream).await;
            copy.lock().unwrap().push(head);
            let _ = stream.write_all(page("200 OK", "").as_bytes()).await;
        }
    })
    .await;
    let server = answering(to(format!("http://{other}/"))).await;
    let entrusted = |address| {
        get_at(address)
            .header("authorization", "Bearer secret")
            .header("cookie", "id=secret")
            .header("host", "secret")
            .header("x-plain", "kept")
            .following()
    };
    passing(&see(entrusted(server)).await, &format!("200 OK after a redirect to http://{other}/"));
    passing(&see(entrusted(other)).await, "200 OK");
    let seen = seen.lock().unwrap();
    assert!(!seen[0].contains("secret") && seen[0].contains("x-plain: kept"), "{}", seen[0]);
    assert_eq!(seen[1].matches("secret").count(), 3, "{}", seen[1]);
}
