//! What goes out: a status, a few fields of our own choice, a body.
//!
//! In: a body. Out: the bytes of an HTTP/1.1 response after which the connection ends. No field holds anything that
//! came from a client, a probe or a file, so nothing can break out of one; and no body is ever taken for HTML.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// The version stands in the type: https://prometheus.io/docs/instrumenting/exposition_formats/
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A response.
#[derive(Clone, Debug)]
pub(super) struct Response {
    status: StatusCode,
    kind: &'static str,
    body: Arc<str>,
}

impl Response {
    pub(super) fn text(body: impl Into<Arc<str>>) -> Self {
        Self { status: StatusCode::OK, kind: TEXT, body: body.into() }
    }

    pub(super) fn json(body: impl Into<Arc<str>>) -> Self {
        Self { kind: JSON, ..Self::text(body) }
    }

    pub(super) fn metrics(body: impl Into<Arc<str>>) -> Self {
        Self { kind: METRICS, ..Self::text(body) }
    }

    /// The engine cannot be vouched for; the sentence says why.
    pub(super) fn unavailable(why: &str) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, ..Self::text(format!("{why}\n")) }
    }

    /// What came is no request that could be served.
    pub(super) fn refusal(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        Self { status, ..Self::text(format!("{reason}\n")) }
    }

    /// Something other than reading was asked for.
    pub(super) fn not_allowed() -> Self {
        let sentence = "Only GET and HEAD are supported. Use stealthctl to act.\n";
        Self { status: StatusCode::METHOD_NOT_ALLOWED, ..Self::text(sentence) }
    }

    /// What was asked for is not told to whoever calls this machine by a foreign name.
    pub(super) fn misdirected() -> Self {
        let sentence = "Use an IP address, localhost or the name of this machine in the URL.\n";
        Self { status: StatusCode::MISDIRECTED_REQUEST, ..Self::text(sentence) }
    }

    /// Everything before the body.
    pub(super) fn head(&self) -> String {
        let Self { status, kind, body } = self;
        let reason = status.canonical_reason().unwrap_or_default();
        // RFC 9110, section 6.6.1: whoever has a clock says the time.
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now()).unwrap_or_default();
        let allow = match *status {
            StatusCode::METHOD_NOT_ALLOWED => "Allow: GET, HEAD\r\n",
            _ => "",
        };
        format!(
            "HTTP/1.1 {} {reason}\r\nDate: {date}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            status.as_u16(),
            body.len(),
        )
    }

    pub(super) fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }
}
