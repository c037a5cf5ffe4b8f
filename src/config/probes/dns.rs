//! `dns:`.
//!
//! In: its field. Out: a probe whose name can be asked for, and whose expected values are written as answers are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::check::{DnsProbe, HostPort, RecordKind};
use crate::config::field::Field;
use crate::config::mail::transpose;
use crate::config::placeholders;
use crate::config::report::Report;
use crate::config::suggestions;

const KEYS: &[&str] = &["name", "type", "server", "expect", "only"];
const NAME: &str = "a name such as `gru.example.org`";
const SERVER: &str = "a DNS server, such as `192.0.2.53` or `[2001:db8::53]:53`";
const TYPES: &[&str] = &["A", "AAAA", "CNAME", "MX", "TXT", "NS"];
/// Bytes of a name and of each of its labels (RFC 1035, section 2.3.4; a name without the dot at its end).
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// Checks `dns:`, a mapping or only the name.
pub(super) fn probe(field: &Field<'_>, report: &mut Report) -> Option<DnsProbe> {
    if field.as_text().is_some() {
        let name = field.parsed(NAME, report, name)?;
        return Some(DnsProbe { name, kind: RecordKind::A, server: None, expect: Vec::new(), only: false });
    }
    let table = field.table(KEYS, report)?;
    let asked = table.need("name", report).and_then(|field| field.parsed(NAME, report, name));
    let kind = table.get("type").map(|field| field.parsed("a type such as `A`", report, kind));
    let server = table.get("server").map(|field| field.parsed(SERVER, report, server));
    let only = table.get("only").map(|field| field.truth(report));
    let kind = transpose(kind)?.unwrap_or(RecordKind::A);
    let expect = table.get("expect").map(|field| values(kind, field, report));
    if let Some(only) = table.get("only")
        && table.get("expect").is_none()
    {
        report.error(&only.at, "without `expect` there is nothing that could be the only answer");
        return None;
    }
    Some(DnsProbe {
        name: asked?,
        kind,
        server: transpose(server)?,
        expect: transpose(expect)?.unwrap_or_default(),
        only: transpose(only)?.unwrap_or_default(),
    })
}

/// A name that can be asked for, without the dot at its end. What is not ASCII goes over the wire in another form, and
/// which one is for the administrator to know.
fn name(text: &str) -> Result<String, String> {
    placeholders::refuse(text, placeholders::WRITE_VALUE)?;
    if text.parse::<IpAddr>().is_ok() {
        return Err(format!("`{text}` is an address; expected {NAME}"));
    }
    if !text.is_ascii() {
        return Err(format!("`{text}` is not ASCII; write the name as DNS has it: `xn--...`"));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let sound = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    if name.len() > LONGEST_NAME || !name.split('.').all(sound) {
        return Err(format!("`{text}` is not a name; expected {NAME}"));
    }
    Ok(name.to_owned())
}

fn kind(text: &str) -> Result<RecordKind, String> {
    match text.to_ascii_uppercase().as_str() {
        "A" => Ok(RecordKind::A),
        "AAAA" => Ok(RecordKind::Aaaa),
        "CNAME" => Ok(RecordKind::Cname),
        "MX" => Ok(RecordKind::Mx),
        "TXT" => Ok(RecordKind::Txt),
        "NS" => Ok(RecordKind::Ns),
        _ => Err(suggestions::unknown_word(text, TYPES)),
    }
}

/// An address or a name, with a port or without.
fn server(text: &str) -> Result<HostPort, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() || !text.contains(':') {
        return HostPort::parse(&format!("[{bare}]:{}", DnsProbe::PORT))
            .map_err(|_| format!("expected {SERVER}"));
    }
    HostPort::parse(text).map_err(|_| format!("expected {SERVER}, not `{text}`"))
}

fn values(kind: RecordKind, field: &Field<'_>, report: &mut Report) -> Option<Vec<String>> {
    let items = field.items();
    if items.is_empty() {
        report.error(&field.at, "the list is empty; without `expect` any answer will do");
        return None;
    }
    let what = format!("{} (a number in quotes)", expected(kind));
    let values: Vec<Option<String>> =
        items.iter().map(|item| item.parsed(&what, report, |text| value(kind, text))).collect();
    values.into_iter().collect()
}

/// What the values of a kind look like.
fn expected(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::A => "an IPv4 address such as `192.0.2.1`",
        RecordKind::Aaaa => "an IPv6 address such as `2001:db8::1`",
        RecordKind::Cname | RecordKind::Ns => NAME,
        RecordKind::Mx => "a preference and a name, such as `10 mail.example.org`",
        RecordKind::Txt => "a text",
    }
}

/// A value as [`RecordKind`] says it is written.
fn value(kind: RecordKind, text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is not {}", expected(kind));
    match kind {
        RecordKind::A => text.parse::<Ipv4Addr>().map(|ip| ip.to_string()).map_err(|_| wrong()),
        RecordKind::Aaaa => text.parse::<Ipv6Addr>().map(|ip| ip.to_string()).map_err(|_| wrong()),
        RecordKind::Cname | RecordKind::Ns => Ok(name(text)?.to_ascii_lowercase()),
        RecordKind::Mx => {
            let (preference, host) = text.split_once(' ').ok_or_else(wrong)?;
            let preference: u16 = preference.parse().map_err(|_| wrong())?;
            let host = host.trim().trim_end_matches('.').to_ascii_lowercase();
            // RFC 7505: `0 .` says that there is no mail.
            let host = if host.is_empty() { ".".to_owned() } else { name(&host)? };
            Ok(format!("{preference} {host}"))
        }
        RecordKind::Txt => Ok(text.to_owned()),
    }
}
