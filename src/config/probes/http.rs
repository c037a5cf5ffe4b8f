//! `http:`.
//!
//! In: its field. Out: a probe whose every part the `http` crate and the regular expression engine have accepted.
//! Values that can hold a secret (headers, URLs) are never quoted in a problem.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use http::{HeaderName, HeaderValue, Method};

use crate::check::{CredentialName, HttpProbe, Pattern, Source, StatusSet, Url};
use crate::config::field::{Field, Table};
use crate::config::mail::transpose;
use crate::config::placeholders;
use crate::config::report::Report;

const KEYS: &[&str] = &[
    "url",
    "url_credential",
    "method",
    "headers",
    "status",
    "body_contains",
    "body_matches",
    "follow_redirects",
    "verify_tls",
];
const STATUS: &str = "statuses such as `200` or `200-299`";
/// What the connection itself depends on.
const OWN_HEADERS: [&str; 5] = ["connection", "content-length", "transfer-encoding", "upgrade", "te"];

/// Checks `http:`, a mapping or only the URL.
pub(super) fn probe(field: &Field<'_>, report: &mut Report) -> Option<HttpProbe> {
    if field.as_text().is_some() {
        return Some(with_url(Source::Written(field.parsed(Url::EXPECTED, report, url)?)));
    }
    let table = field.table(KEYS, report)?;
    let url = source(&table, report);
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
    let default = with_url(url?);
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

fn with_url(url: Source<Url>) -> HttpProbe {
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

/// The URL, or the credential that contains it: one of both.
fn source(table: &Table<'_>, report: &mut Report) -> Option<Source<Url>> {
    match (table.get("url"), table.get("url_credential")) {
        (Some(field), None) => field.parsed(Url::EXPECTED, report, url).map(Source::Written),
        (None, Some(field)) => credential(field, report).map(Source::Credential),
        (Some(_), Some(field)) => {
            report.error(&field.at, "there is a `url` as well: keep one of both");
            None
        }
        (None, None) => {
            report.error(
                &table.at,
                "`url` is missing, or `url_credential`, the name of a credential that contains it",
            );
            None
        }
    }
}

fn url(text: &str) -> Result<Url, String> {
    placeholders::refuse(
        text,
        "write `url_credential: NAME` instead of `url`; that systemd credential contains the URL",
    )?;
    Url::parse(text)
}

/// The name of a credential.
fn credential(field: &Field<'_>, report: &mut Report) -> Option<CredentialName> {
    field.parsed("the name of a systemd credential such as `health-token`", report, CredentialName::new)
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

fn headers(field: &Field<'_>, report: &mut Report) -> Option<Vec<(HeaderName, Source<HeaderValue>)>> {
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
        let value = header_value(&field, report);
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

/// `text`, or `{ credential: NAME }`. The text may be a token: it is never quoted.
fn header_value(field: &Field<'_>, report: &mut Report) -> Option<Source<HeaderValue>> {
    if field.is_map() {
        let table = field.table(&["credential"], report)?;
        let name = table.need("credential", report)?;
        return credential(name, report).map(Source::Credential);
    }
    let expected = "the header's value (a number in quotes), or `{ credential: NAME }`";
    field
        .parsed(expected, report, |text| {
            placeholders::refuse(
                text,
                "write `{ credential: NAME }`; that systemd credential contains the value",
            )?;
            let mut value = HeaderValue::from_str(text)
                .map_err(|_| "a header's value is one line of plain text".to_owned())?;
            value.set_sensitive(true);
            Ok(value)
        })
        .map(Source::Written)
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
