//! The `http` probe: one request, and where asked for the redirects it leads to; one connection for each, never kept.
//!
//! In flows an [`HttpProbe`]; out flows the detail of a pass, or what was wrong. Of the answer only what is judged is
//! read: the head (at most [`HEAD`] bytes), and the body (at most [`body::MOST`]) where something is demanded of it.
//! It keeps no cookies, knows no proxy and sends no body.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;

use super::connect::connect;
use super::error::{EXCERPT, ProbeError, find};
use super::secure::{explain, handshake};
use super::{Attempt, Phase};
use crate::check::url::redacted;
use crate::check::{HttpProbe, Url};
use crate::text::sanitize;

mod body;
mod entrusted;
mod redirect;
mod stream;

use body::Inspection;
use entrusted::{Entrusted, Header};
use redirect::{is_https, port, resolve, same_origin};
use stream::Stream;

/// The most that an answer's head may have. Servers themselves allow 8 to 16 KiB.
const HEAD: usize = 64 * 1024;

/// The most redirects that are followed.
const REDIRECTS: usize = 10;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("stealthcheck/", env!("CARGO_PKG_VERSION")));
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

type Connection = http1::Connection<Stream, Empty<Bytes>>;

/// One attempt.
pub(super) async fn run(probe: &HttpProbe, attempt: &Attempt<'_>) -> Result<String, ProbeError> {
    let request = Entrusted::read(probe, &attempt.tools.credentials).map_err(ProbeError::Local)?;
    let seen = follow(probe, &request, attempt).await;
    // A server may repeat what it was sent.
    seen.map_err(|failure| failure.map(|reason| request.hide(reason)))
}

/// The request, and where asked for the redirects that it leads to.
async fn follow(
    probe: &HttpProbe,
    entrusted: &Entrusted<'_>,
    attempt: &Attempt<'_>,
) -> Result<String, ProbeError> {
    let mut target = Target { url: entrusted.url.clone(), method: probe.method.clone(), same_origin: true };
    let mut trail: Vec<Target> = Vec::new();
    loop {
        let via = trail.last().map(|_| format!("after a redirect to {}", shown(&target.url)));
        match ask(probe, entrusted, &target, attempt).await {
            Ok(Answer::Passed(detail)) => {
                let downgraded =
                    trail.iter().any(|hop| is_https(hop.url.uri())) && !is_https(target.url.uri());
                let told = if downgraded { ", from https down to http" } else { "" };
                return Ok(via.map_or(detail.clone(), |via| entrusted.hide(&format!("{detail} {via}{told}"))));
            }
            Ok(Answer::Redirect(next)) => {
                trail.push(target);
                if trail.iter().any(|hop| hop.url == next.url && hop.method == next.method) {
                    let circle: Vec<String> = trail.iter().map(|hop| shown(&hop.url)).collect();
                    let circle = sanitize(&circle.join(" to "), 2 * EXCERPT);
                    return Err(ProbeError::target(format!(
                        "redirects in a circle: {circle} to {}",
                        shown(&next.url)
                    )));
                }
                if trail.len() > REDIRECTS {
                    let last = shown(&next.url);
                    return Err(ProbeError::target(format!(
                        "more than {REDIRECTS} redirects, the last to {last}"
                    )));
                }
                target = next;
            }
            Err(failure) => return Err(via.map_or(failure.clone(), |via| failure.after(&via))),
        }
    }
}

/// What is asked for.
struct Target {
    url: Url,
    method: Method,
    /// Whether every redirect so far stayed with the server that the configuration names; what the configuration
    /// entrusts to that server goes to no other.
    same_origin: bool,
}

enum Answer {
    Passed(String),
    Redirect(Target),
}

/// One request and its answer.
async fn ask(
    probe: &HttpProbe,
    entrusted: &Entrusted<'_>,
    target: &Target,
    attempt: &Attempt<'_>,
) -> Result<Answer, ProbeError> {
    let uri = target.url.uri();
    let Some(host) = uri.host().map(|host| host.trim_start_matches('[').trim_end_matches(']')) else {
        return Err(ProbeError::local(format!("{} names no host", shown(&target.url))));
    };
    let tcp = connect(host, port(uri), attempt).await?;
    let stream = if is_https(uri) {
        // Boxed for its size: it is part of every attempt's future, and most have no use for it.
        let tls = Box::pin(handshake(tcp, host, probe.verify_tls, &[b"http/1.1"], attempt)).await?;
        Stream::Tls(Box::new(tls))
    } else {
        Stream::Plain(tcp)
    };
    attempt.enter(Phase::Waiting);
    let (mut connection, response) = exchange(stream, request(entrusted, target)?).await?;
    let status = response.status();
    if let Some(location) = response.headers().get(header::LOCATION)
        && status.is_redirection()
    {
        if probe.follow_redirects && is_followed(status) {
            return next(target, status, location).map(Answer::Redirect);
        }
        if !probe.status.contains(status.as_u16()) {
            let to = leads_to(target, location);
            return Err(ProbeError::target(format!("{} to {to}, expected {}", words(status), probe.status)));
        }
    }
    if !probe.status.contains(status.as_u16()) {
        return Err(ProbeError::target(format!("{}, expected {}", words(status), probe.status)));
    }
    if let Some(inspection) = Inspection::of(probe) {
        attempt.enter(Phase::Body);
        inspect(inspection, response.into_body(), &mut connection, &words(status)).await?;
    }
    Ok(Answer::Passed(words(status)))
}

fn request(entrusted: &Entrusted<'_>, target: &Target) -> Result<Request<Empty<Bytes>>, ProbeError> {
    let mut headers = HeaderMap::with_capacity(4 + entrusted.headers.len());
    let uri = target.url.uri();
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    // What stands before an @ is a password, and nothing for a Host header.
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let host =
        HeaderValue::from_str(host).map_err(|_| ProbeError::local("the host cannot stand in a header"))?;
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, USER_AGENT);
    headers.insert(header::ACCEPT, ANYTHING);
    headers.insert(header::CONNECTION, CLOSE);
    if [Method::POST, Method::PUT, Method::PATCH].contains(&target.method) {
        // Where a body is usual, its absence is to be said (RFC 9110, section 8.6), and hyper does not say it.
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    for (i, Header { name, value, for_one_server }) in entrusted.headers.iter().enumerate() {
        if *for_one_server && !target.same_origin {
            continue;
        }
        // The first of a name replaces ours; more of it are added.
        if entrusted.headers[..i].iter().any(|earlier| earlier.name == *name) {
            headers.append(*name, value.clone());
        } else {
            headers.insert(*name, value.clone());
        }
    }
    let mut request = Request::new(Empty::new());
    *request.method_mut() = target.method.clone();
    *request.uri_mut() = uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
    *request.headers_mut() = headers;
    Ok(request)
}

/// Sends the request and waits for the answer's head. The connection is driven by whoever waits, not by a task of its
/// own, so that nothing is left when the waiting ends.
async fn exchange(
    stream: Stream,
    request: Request<Empty<Bytes>>,
) -> Result<(Option<Connection>, Response<Incoming>), ProbeError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD)
        .writev(false)
        .handshake(stream)
        .await
        .map_err(|e| broken(&e))?;
    let mut connection = Some(connection);
    let response = beside(&mut connection, sender.send_request(request)).await.map_err(|e| broken(&e))?;
    Ok((connection, response))
}

/// Reads of the body what the inspection needs.
async fn inspect(
    mut inspection: Inspection<'_>,
    mut body: Incoming,
    connection: &mut Option<Connection>,
    answer: &str,
) -> Result<(), ProbeError> {
    loop {
        match beside(connection, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await {
            None => break,
            Some(Ok(frame)) => {
                if frame.data_ref().is_some_and(|piece| !inspection.take(piece)) {
                    break;
                }
            }
            Some(Err(error)) => return Err(broken(&error).after(&format!("{answer} but the body broke off"))),
        }
    }
    inspection.judge(answer).await
}

/// Awaits `main` while the connection works. What it ended with reaches `main` by itself.
async fn beside<F: Future>(connection: &mut Option<Connection>, main: F) -> F::Output {
    let mut main = pin!(main);
    poll_fn(|cx| {
        if let Some(working) = connection
            && Pin::new(working).poll(cx).is_ready()
        {
            *connection = None;
        }
        main.as_mut().poll(cx)
    })
    .await
}

/// What hyper's error says to a person.
fn broken(error: &hyper::Error) -> ProbeError {
    if let Some(error) = find::<rustls::Error>(error) {
        return explain(error);
    }
    if error.is_parse() {
        return ProbeError::target(format!("no proper HTTP: {}", sanitize(&error.to_string(), EXCERPT)));
    }
    if error.is_incomplete_message() {
        return ProbeError::target("connection closed before the answer was complete");
    }
    if let Some(error) = find::<std::io::Error>(error) {
        return ProbeError::from_io(error);
    }
    ProbeError::target(sanitize(&error.to_string(), EXCERPT))
}

/// The statuses whose `Location` is to be followed; 300 and 304 mean something else by it.
fn is_followed(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// What a redirect asks for next, by RFC 9110, section 15.4.
fn next(target: &Target, status: StatusCode, location: &HeaderValue) -> Result<Target, ProbeError> {
    let uri = resolve(target.url.uri(), location.as_bytes()).map_err(|why| {
        let to = leads_to(target, location);
        ProbeError::target(format!("{} to {to}, {}", words(status), sanitize(&why, EXCERPT)))
    })?;
    let method = match (status.as_u16(), &target.method) {
        (_, method @ (&Method::GET | &Method::HEAD)) => method.clone(),
        (303, _) | (301 | 302, &Method::POST) => Method::GET,
        (_, method) => method.clone(),
    };
    let same_origin = target.same_origin && same_origin(target.url.uri(), &uri);
    Ok(Target { url: target.url.redirected(uri), method, same_origin })
}

/// The `Location` of a redirect that is not followed, as the server wrote it where that may be shown.
fn leads_to(target: &Target, location: &HeaderValue) -> String {
    if target.url.is_secret() {
        return resolve(target.url.uri(), location.as_bytes())
            .map_or_else(|_| "…".to_owned(), |uri| shown(&target.url.redirected(uri)));
    }
    sanitize(&redacted(&String::from_utf8_lossy(location.as_bytes())), EXCERPT)
}

/// `200 OK`; of a status that nobody knows, only the number.
fn words(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_str()),
        None => status.as_str().to_owned(),
    }
}

/// A URL for a reason.
fn shown(url: &Url) -> String {
    sanitize(&url.to_string(), EXCERPT)
}
