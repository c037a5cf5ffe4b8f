//! One connection: the head of one request, one answer, the end.
//!
//! In: bytes from anybody. Out: a [`Response`]. A body is never wanted and never read for itself. Each step has its
//! deadline; nothing that comes in is repeated in what goes out. Who asked by a name that is not this machine's
//! (`host.rs`) gets no page.

use std::sync::Arc;

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::host;
use super::pages::Pages;
use super::response::Response;
use super::{Limits, Stage};

/// The longest head of a request.
const HEAD: usize = 8 << 10;
/// The most header fields in it.
const FIELDS: usize = 64;
/// How much is read and thrown away after the answer: to a socket that is closed with unread bytes the client's next
/// write fails, and many a client then never looks at the answer.
const LINGER_BYTES: usize = 64 << 10;

/// Serves a connection to its end.
pub(super) async fn serve(mut stream: TcpStream, pages: Arc<Pages>, limits: Limits, stage: Stage) {
    let request = timeout(limits.request, read(&mut stream, &stage)).await;
    stage.is(Stage::ASKED);
    let (response, body) = match request {
        Ok(Ok(Request { method, path, host })) => {
            let response = match method {
                Method::GET | Method::HEAD if Pages::tells(&path) && !host::is_ours(&stream, &host) => {
                    Response::misdirected()
                }
                Method::GET | Method::HEAD => pages.page(&path).await,
                _ => Response::not_allowed(),
            };
            (response, method != Method::HEAD)
        }
        Ok(Err(Some(status))) => (Response::refusal(status), true),
        // Somebody only looked whether the port is open.
        Ok(Err(None)) => return,
        Err(_) => (Response::refusal(StatusCode::REQUEST_TIMEOUT), true),
    };
    let send = async {
        // The head and the body are two writes; the second shall not wait for the first's acknowledgement.
        stream.set_nodelay(true)?;
        stream.write_all(response.head().as_bytes()).await?;
        if body {
            stream.write_all(response.body()).await?;
        }
        stream.shutdown().await
    };
    let sent = timeout(limits.delivery, send).await;
    stage.is(Stage::ANSWERED);
    if let Ok(Ok(())) = sent {
        let _ = timeout(limits.linger, drain(&mut stream)).await;
    }
}

/// What is asked for.
struct Request {
    method: Method,
    /// Without the query.
    path: String,
    /// The field `Host`; empty where there is none.
    host: String,
}

/// Reads a request's head. The error is the answer to what is none; `None`: there is nobody to answer.
async fn read(stream: &mut TcpStream, stage: &Stage) -> Result<Request, Option<StatusCode>> {
    let mut head = Vec::with_capacity(1 << 10);
    loop {
        let known = head.len();
        let mut rest = (&mut *stream).take((HEAD - known) as u64);
        match rest.read_buf(&mut head).await {
            Ok(0) if known == HEAD => return Err(Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)),
            Ok(0) if known > 0 => return Err(Some(StatusCode::BAD_REQUEST)),
            Ok(0) | Err(_) => return Err(None),
            Ok(_) => {}
        }
        // Parsed where an empty line has come, and not with every byte of those who send bytes.
        let fresh = head.get(known.saturating_sub(3)..).unwrap_or_default();
        if (fresh.windows(2).any(|pair| pair == b"\n\n") || fresh.windows(4).any(|four| four == b"\r\n\r\n"))
            && let Some(request) = parse(&head).map_err(Some)?
        {
            return Ok(request);
        }
        stage.is(Stage::DAWDLING);
    }
}

/// Reads the head of a request out of `bytes`; `None`: it is not at its end.
fn parse(bytes: &[u8]) -> Result<Option<Request>, StatusCode> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        Err(_) => return Err(StatusCode::BAD_REQUEST),
    }
    let method = parsed.method.and_then(|method| method.parse().ok()).ok_or(StatusCode::BAD_REQUEST)?;
    let path = path(parsed.path.unwrap_or_default()).to_owned();
    let mut hosts = parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("Host"));
    let host = hosts.next().map_or(&b""[..], |field| field.value);
    // Of two, one could be meant for us and the other for a proxy (RFC 9112, section 3.2).
    if hosts.next().is_some() {
        return Err(StatusCode::BAD_REQUEST);
    }
    let host = String::from_utf8_lossy(host).into_owned();
    Ok(Some(Request { method, path, host }))
}

/// The path of a request's target, which a proxy's client writes as a whole URL (RFC 9112, section 3.2.2).
fn path(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |slash| &rest[slash..]),
        _ => target,
    }
}

async fn drain(stream: &mut TcpStream) {
    let mut rubbish = [0; 1 << 10];
    let mut total = 0;
    while let Ok(n @ 1..) = stream.read(&mut rubbish).await {
        total += n;
        if total > LINGER_BYTES {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_found_in_every_form_of_a_target() {
        for (target, expected) in [
            ("/", "/"),
            ("/metrics?collect[]=a/b", "/metrics"),
            ("http://127.0.0.1:8484/healthz", "/healthz"),
            ("http://127.0.0.1:8484", "/"),
            ("/a://b", "/a://b"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(path(target), expected, "{target}");
        }
    }
}
