//! The `mail:` section and mail addresses.
//!
//! In: fields. Out: [`MailSettings`]. It never reads a credential and never connects to anything.

use lettre::message::Mailbox;

use super::field::Field;
use super::placeholders::{self, WRITE_VALUE};
use super::report::Report;
use super::{MailSettings, Smtp, SmtpTls};
use crate::check::{CredentialName, HostPort};

const KEYS: &[&str] = &["from", "to", "smtp"];
const SMTP_KEYS: &[&str] = &["host", "port", "tls", "username", "password_credential"];
const ADDRESS: &str = "a mail address such as `ops@example.org`";
/// The credential's name where a user name is given and no other name.
const CREDENTIAL: &str = "smtp-password";

/// Checks the section.
pub(super) fn settings(section: &Field<'_>, report: &mut Report) -> Option<MailSettings> {
    let table = section.table(KEYS, report)?;
    let from = table.need("from", report).and_then(|field| address(field, report));
    let to = table.need("to", report).and_then(|field| addresses(field, report));
    let smtp = table.need("smtp", report).and_then(|field| smtp(field, report));
    Some(MailSettings { from: from?, to: to?, smtp: smtp? })
}

/// One address or a list of them, at least one, each once.
pub(super) fn addresses(field: &Field<'_>, report: &mut Report) -> Option<Vec<String>> {
    let items = field.items();
    if items.is_empty() {
        report.error(&field.at, format!("expected {ADDRESS}, found an empty list"));
        return None;
    }
    let mut all = Vec::new();
    let mut sound = true;
    for item in items {
        match address(&item, report) {
            Some(address) if all.contains(&address) => {}
            Some(address) => all.push(address),
            None => sound = false,
        }
    }
    sound.then_some(all)
}

fn address(field: &Field<'_>, report: &mut Report) -> Option<String> {
    field.parsed(ADDRESS, report, |text| {
        if text.contains(char::is_control) {
            return Err("a mail address is one line without control characters".to_owned());
        }
        placeholders::refuse(text, WRITE_VALUE)?;
        match text.trim().parse::<Mailbox>() {
            // SMTPUTF8 (RFC 6531) is an extension that few servers have; a name before the address is encoded.
            Ok(mailbox) if !mailbox.email.to_string().is_ascii() => Err(format!(
                "the address in `{text}` has a letter outside ASCII; write the domain as DNS has it (`xn--...`)"
            )),
            Ok(_) => Ok(text.trim().to_owned()),
            Err(_) if text.contains(',') && !text.contains('"') => Err(format!(
                "`{text}` is not one mail address; write several as a list: `[a@example.org, b@example.org]`"
            )),
            Err(_) => Err(format!(
                "`{text}` is not a mail address such as `ops@example.org` or `Ops <ops@example.org>`"
            )),
        }
    })
}

fn smtp(field: &Field<'_>, report: &mut Report) -> Option<Smtp> {
    let table = field.table(SMTP_KEYS, report)?;
    let host = table
        .need("host", report)
        .and_then(|field| field.parsed("a mail server such as `smtp.example.org`", report, host));
    let tls = match table.get("tls") {
        None => Some(SmtpTls::Starttls),
        Some(field) => field
            .word("`starttls`, `implicit` or `none`", &["starttls", "implicit", "none"], report)
            .map(|word| match word {
                "implicit" => SmtpTls::Implicit,
                "none" => SmtpTls::None,
                _ => SmtpTls::Starttls,
            }),
    };
    let port = match table.get("port") {
        Some(field) => field.number(1, 65_535, report).and_then(|port| u16::try_from(port).ok()),
        None => tls.map(|tls| match tls {
            SmtpTls::Starttls => 587,
            SmtpTls::Implicit => 465,
            SmtpTls::None => 25,
        }),
    };
    let username = table.get("username").map(|field| {
        let name = field.parsed("a user name", report, |text| {
            if text.contains(char::is_control) {
                return Err("a user name has no control characters".to_owned());
            }
            placeholders::refuse(text, WRITE_VALUE)?;
            Ok(text.to_owned())
        })?;
        if tls == Some(SmtpTls::None) && !host.as_deref().is_some_and(is_local) {
            report.warn(&field.at, "with `tls: none` the password crosses the network in the clear");
        }
        Some(name)
    });
    let credential = table.get("password_credential").map(|field| {
        if username.is_none() {
            report.error(&field.at, "a password needs a `username` beside it");
        }
        field.parsed("the name of a systemd credential such as `smtp-password`", report, CredentialName::new)
    });
    let username = transpose(username)?;
    let credential = transpose(credential)?
        .or_else(|| CredentialName::new(CREDENTIAL).ok().filter(|_| username.is_some()));
    Some(Smtp { host: host?, port: port?, tls: tls?, username, password_credential: credential })
}

/// A key that is absent is fine; one that is wrong is not.
pub(super) fn transpose<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn host(text: &str) -> Result<String, String> {
    placeholders::refuse(text, WRITE_VALUE)?;
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    if let Ok(address) = HostPort::parse(text) {
        let HostPort { host, port } = address;
        return Err(format!("the port has its own key: `host: {host}`, `port: {port}`"));
    }
    if text.contains(|c: char| !(c.is_alphanumeric() || "-._".contains(c))) {
        return Err(format!("`{text}` is not a host name or an address"));
    }
    Ok(text.to_owned())
}
