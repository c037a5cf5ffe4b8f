//! `http:`.
//!
//! In: its field. Out: a probe whose every part the `http` crate and the regular expression engine have accepted.
//! Values that can hold a secret (headers, a URL with a password) are never quoted in a problem.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use http::{HeaderName, HeaderValue, Method, Uri};

use crate::check::{HttpProbe, Pattern, StatusSet};
use crate::config::field::Field;
use crate::config::mail::transpose;
use crate::config::report::Report;

const KEYS: &[&str] = &[
    "url",
    "method",
    "headers",
    "status",
    "body_contains",
    "body_matches",
    "follow_redirects",
    "verify_tls",
];
const URL: &str = "a URL such as `http://127.0.0.1:9001/`";
const STATUS: &str = "statuses such as `200` or `200-299`";
/// What the connection itself depends on.
const OWN_HEADERS: [&str; 5] = ["connection", "content-length", "transfer-encoding", "upgrade", "te"];

/// Checks `http:`, a mapping or only the URL.
pub(super) fn probe(field: &Field<'_>, report: &mut Report) -> Option<HttpProbe> {
    if field.as_text().is_some() {
        return Some(with_url(field.parsed(URL, report, url)?));
    }
    let table = field.table(KEYS, report)?;
    let uri = table.need("url", report).and_then(|field| field.parsed(URL, report, url));
    let method = table.get("method").map(|field| field.parsed("a method such as `GET`", report, method));
    let headers = table.get("headers").map(|field| headers(field, report));
    let status = table.get("status").map(|field| statuses(field, report));
    let contains = table
        .get("body_contains")
        .map(|field| field.text("text (a number in quotes)", report).map(str::to_owned));
    let matches =
        table.get("body_matches").map(|field| field.parsed("a regular expression", report, pattern));
    let follow = table.get("follow_redirects").map(|field| field.truth(report));
    let verify = table.get("verify_tls").map(|field| {
        let verify = field.truth(report)?;
        if !verify {
            report.warn(&field.at, "the certificate is not verified, so any server is trusted");
        }
        Some(verify)
    });
    let default = with_url(uri?);
    Some(HttpProbe {
        method: transpose(method)?.unwrap_or(default.method),
        headers: transpose(headers)?.unwrap_or(default.headers),
        status: transpose(status)?.unwrap_or(default.status),
        body_contains: transpose(contains)?,
        body_matches: transpose(matches)?,
        follow_redirects: transpose(follow)?.unwrap_or(default.follow_redirects),
        verify_tls: transpose(verify)?.unwrap_or(default.verify_tls),
        url: default.url,
    })
}

fn with_url(url: Uri) -> HttpProbe {
    HttpProbe {
        url,
        method: Method::GET,
        headers: Vec::new(),
        status: StatusSet::default(),
        body_contains: None,
        body_matches: None,
        follow_redirects: false,
        verify_tls: true,
    }
}

fn url(text: &str) -> Result<Uri, String> {
    let Some((scheme, rest)) = text.split_once("://") else { return Err(format!("expected {URL}")) };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(format!("expected {URL}; the scheme is `http` or `https`"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("no user or password in a URL; use an `Authorization` header".to_owned());
    }
    if rest.contains('#') {
        return Err("a fragment (`#`) is never sent; leave it out".to_owned());
    }
    if !authority.starts_with('[') && authority.matches(':').count() > 1 {
        return Err("an IPv6 address in a URL needs brackets, such as `http://[::1]:8080/`".to_owned());
    }
    if authority.is_empty() || authority.starts_with(':') {
        return Err(format!("the URL has no host; expected {URL}"));
    }
    let uri: Uri = text.parse().map_err(|error| format!("not a URL: {error}"))?;
    let port = match uri.authority() {
        Some(authority) => authority.as_str().strip_prefix(authority.host()).unwrap_or_default(),
        None => return Err(format!("the URL has no host; expected {URL}")),
    };
    match port.strip_prefix(':').map(str::parse::<u16>) {
        Some(Ok(0) | Err(_)) => Err("the port of a URL is 1 to 65535".to_owned()),
        None if !port.is_empty() => Err(format!("expected {URL}")),
        _ => Ok(uri),
    }
}

fn method(text: &str) -> Result<Method, String> {
    let method =
        Method::from_bytes(text.as_bytes()).map_err(|_| format!("`{text}` is not a method such as `GET`"))?;
    let upper = text.to_ascii_uppercase();
    if upper != text && Method::from_bytes(upper.as_bytes()).is_ok_and(|m| m.is_safe() || m == Method::POST) {
        return Err(format!("methods are written in capitals: `{upper}`"));
    }
    if method == Method::CONNECT {
        return Err("`CONNECT` is for proxies; use a `tcp:` check to see whether a port answers".to_owned());
    }
    Ok(method)
}

fn headers(field: &Field<'_>, report: &mut Report) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let table = field.open_table("a mapping from header names to values", report)?;
    let mut headers = Vec::new();
    let mut seen = HashMap::new();
    let mut sound = true;
    for (name, field) in table.into_fields() {
        let name = match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) if OWN_HEADERS.contains(&name.as_str()) => {
                report.error(&field.at, "the probe itself sends this header");
                None
            }
            Ok(name) => Some(name),
            Err(_) => {
                report.error(&field.at, "not a header name");
                None
            }
        };
        // The value may be a token: it is never quoted.
        let value = field.parsed("the header's value (a number in quotes)", report, |text| {
            HeaderValue::from_str(text).map_err(|_| "a header's value is one line of plain text".to_owned())
        });
        if let Some(name) = &name
            && let Some(first) = seen.insert(name.clone(), field.at.clone())
        {
            report.duplicate(&field.at, &first);
        }
        match (name, value) {
            (Some(name), Some(value)) => headers.push((name, value)),
            _ => sound = false,
        }
    }
    sound.then_some(headers)
}

fn statuses(field: &Field<'_>, report: &mut Report) -> Option<StatusSet> {
    let items = field.items();
    if items.is_empty() {
        report.error(&field.at, format!("expected {STATUS}, found an empty list"));
        return None;
    }
    let ranges: Vec<Option<RangeInclusive<u16>>> = items.iter().map(|item| range(item, report)).collect();
    ranges.into_iter().collect::<Option<Vec<_>>>().map(StatusSet)
}

fn range(field: &Field<'_>, report: &mut Report) -> Option<RangeInclusive<u16>> {
    let Some(text) = field.as_text() else {
        if !field.is_integer() {
            return field.expected(STATUS, report);
        }
        let status = u16::try_from(field.number(100, 599, report)?).ok()?;
        return Some(status..=status);
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (100..=599).contains(status));
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Some(first..=last),
        (Some(first), Some(last)) => {
            report.error(&field.at, format!("`{text}` runs backwards: `{last}-{first}`?"));
            None
        }
        _ => {
            report.error(&field.at, format!("expected {STATUS} (100 to 599), not `{text}`"));
            None
        }
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    regex_lite::Regex::new(text).map(Pattern).map_err(|error| format!("not a regular expression: {error}"))
}
