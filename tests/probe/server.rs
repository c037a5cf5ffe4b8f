//! Servers for one test each, and short ways to write a probe and to look at what it saw.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use stealthcheck::check::{HttpProbe, Pattern, Probe, Source, StatusSet, Url};
use stealthcheck::probe::Prober;
use stealthcheck::verdict::Observation;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// More time than anything here needs.
pub const AMPLE: Duration = Duration::from_secs(20);

/// A deadline that is meant to strike.
pub const BRIEF: Duration = Duration::from_millis(300);

/// A server that does `each` with every connection.
pub async fn serve<F, Fut>(each: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    serve_at("127.0.0.1:0", each).await
}

/// [`serve`] at an address.
pub async fn serve_at<F, Fut>(at: &str, each: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(each(stream));
        }
    });
    address
}

/// Reads a request's head.
pub async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// A server that reads a request, answers with `answer` and closes.
pub async fn answering(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> SocketAddr {
    let answer = Arc::new(answer);
    serve(move |mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            head(&mut stream).await;
            let _ = stream.write_all(answer.as_ref().as_ref()).await;
        }
    })
    .await
}

/// An answer with a length.
pub fn page(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// Keeps a connection open and does nothing with it.
pub async fn hang(stream: TcpStream) {
    std::future::pending::<()>().await;
    drop(stream);
}

/// A port where nobody listens.
pub async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// `GET url`, expecting 200-299.
pub fn get(url: impl AsRef<str>) -> HttpProbe {
    HttpProbe {
        url: Source::Written(Url::parse(url.as_ref()).unwrap()),
        method: Method::GET,
        headers: Vec::new(),
        status: StatusSet::default(),
        body_contains: None,
        body_matches: None,
        follow_redirects: false,
        verify_tls: true,
    }
}

/// `GET` at an address.
pub fn get_at(address: SocketAddr) -> HttpProbe {
    get(format!("http://{address}/"))
}

/// The probe with more to it.
pub trait With: Sized {
    fn header(self, name: &'static str, value: &'static str) -> Self;
    fn containing(self, text: &str) -> Self;
    fn matching(self, expression: &str) -> Self;
    fn following(self) -> Self;
}

impl With for HttpProbe {
    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((HeaderName::from_static(name), Source::Written(HeaderValue::from_static(value))));
        self
    }
    fn containing(mut self, text: &str) -> Self {
        self.body_contains = Some(text.to_owned());
        self
    }
    fn matching(mut self, expression: &str) -> Self {
        self.body_matches = Some(Pattern(regex_lite::Regex::new(expression).unwrap()));
        self
    }
    fn following(mut self) -> Self {
        self.follow_redirects = true;
        self
    }
}

/// What an `http` probe sees.
pub async fn see(probe: HttpProbe) -> Observation {
    see_within(probe, AMPLE).await
}

/// What an `http` probe sees within a deadline.
pub async fn see_within(probe: HttpProbe, timeout: Duration) -> Observation {
    Prober::new().run(&Probe::Http(Arc::new(probe)), timeout).await
}

#[track_caller]
pub fn passing(seen: &Observation, detail: &str) {
    assert!(matches!(seen, Observation::Passing { .. }), "{seen:?}");
    assert_eq!(seen.text(), detail);
}

#[track_caller]
pub fn failing(seen: &Observation, reason: &str) {
    assert!(matches!(seen, Observation::Failing { .. }), "{seen:?}");
    assert_eq!(seen.text(), reason);
}

#[track_caller]
pub fn unknown(seen: &Observation, reason: &str) {
    assert!(matches!(seen, Observation::Unknown { .. }), "{seen:?}");
    assert_eq!(seen.text(), reason);
}

#[track_caller]
pub fn incurable(seen: &Observation, reason: &str) {
    assert!(matches!(seen, Observation::NotRestartable { .. }), "{seen:?}");
    assert_eq!(seen.text(), reason);
}
