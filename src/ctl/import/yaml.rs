//! The configuration as YAML.
//!
//! In: what is planned. Out: the text of stealthcheck.yaml, with the old lines as comments. Whatever comes from the old
//! files stands in double quotes, where YAML has the escapes of JSON.

use std::fmt::Write as _;
use std::time::Duration;

use super::Surroundings;
use super::curl::Request;
use super::old::Smtp;
use super::plan::{Alerting, CREDENTIAL, Draft, Planned};
use super::probe::Probing;
use super::secrets;
use crate::text::{acts, visible};

/// The whole file.
pub(super) fn text(draft: &Draft<'_>, around: &Surroundings<'_>) -> String {
    let mut yaml = format!(
        "# Written by `stealthctl import` from {}; what became of each line is in REPORT.txt.\n\n",
        visible(around.old)
    );
    if let (Some(to), Some(smtp)) = (&draft.mail_to, &draft.old.smtp) {
        mail(&mut yaml, to, smtp);
    }
    yaml.push_str("checks:\n");
    for planned in &draft.checks {
        check(&mut yaml, planned);
    }
    yaml
}

fn mail(yaml: &mut String, to: &[String], smtp: &Smtp) {
    yaml.push_str("mail:\n");
    let _ = writeln!(yaml, "  from: {}", quoted(&from(&smtp.sender)));
    let _ = writeln!(yaml, "  to: {}", list(to));
    let _ = writeln!(yaml, "  smtp:\n    host: {}", scalar(&smtp.server));
    if let Some(port) = smtp.port {
        let _ = writeln!(yaml, "    port: {port}");
    }
    let _ = writeln!(yaml, "    tls: {}", tls(smtp));
    if !smtp.username.is_empty() {
        let _ = writeln!(yaml, "    username: {}", quoted(&smtp.username));
        let _ = writeln!(yaml, "    password_credential: {CREDENTIAL}");
    }
    yaml.push('\n');
}

/// The old tool's own `From`, so that what people sort their mail by goes on to work.
pub(super) fn from(sender: &str) -> String {
    if sender.contains('<') { sender.to_owned() } else { format!("stealthcheck automated alerts <{sender}>") }
}

/// The old tool knew STARTTLS alone; on 465 a server speaks TLS from the first byte.
pub(super) fn tls(smtp: &Smtp) -> &'static str {
    if smtp.port == Some(465) { "implicit" } else { "starttls" }
}

fn check(yaml: &mut String, check: &Planned<'_>) {
    if check.credentials().is_empty() {
        let _ = writeln!(yaml, "  # check_command: {}", visible(&check.was.check_command));
    } else {
        let _ = writeln!(
            yaml,
            "  # check_command: has a secret in it, see check {} in REPORT.txt",
            check.was.number
        );
    }
    if !check.was.fail_command.is_empty() {
        let _ = writeln!(yaml, "  # fail_command: {}", visible(&check.was.fail_command));
    }
    let _ = writeln!(yaml, "  {}:", scalar(&check.name));
    if let Some(unit) = &check.unit {
        let _ = writeln!(yaml, "    unit: {}", scalar(unit));
    }
    match &check.probing {
        Probing::Http(request) => http(yaml, &check.name, request),
        Probing::Tcp { address, .. } => {
            let _ = writeln!(yaml, "    tcp: {}", quoted(&address.to_string()));
        }
        Probing::Command(_) => {
            let _ = writeln!(yaml, "    command: [/bin/bash, -c, {}]", quoted(&check.was.check_command));
        }
        Probing::Always | Probing::Unit(_) | Probing::Process(_) => {}
    }
    let _ = writeln!(yaml, "    interval: {}", duration(check.interval));
    let _ = writeln!(yaml, "    timeout: {}", duration(check.timeout));
    let _ = writeln!(yaml, "    failure_threshold: {}", check.failure_threshold);
    if let Some(recover) = &check.recover {
        let _ = writeln!(yaml, "    recover: {recover}");
    }
    match &check.alert {
        Alerting::All => {}
        Alerting::These(to) => {
            let _ = writeln!(yaml, "    alert: {{ to: {} }}", list(to));
        }
        Alerting::Nobody => yaml.push_str("    alert: { off: true }\n"),
    }
}

fn http(yaml: &mut String, check: &str, request: &Request) {
    let _ = match secrets::url(check, request) {
        Some(credential) => writeln!(yaml, "    http:\n      url_credential: {}", scalar(&credential)),
        None => writeln!(yaml, "    http:\n      url: {}", quoted(&request.url)),
    };
    if let Some(method) = &request.method {
        let _ = writeln!(yaml, "      method: {}", scalar(method));
    }
    if !request.headers.is_empty() {
        yaml.push_str("      headers:\n");
        for (name, value) in &request.headers {
            let _ = match secrets::header(check, name, value) {
                Some(credential) => {
                    writeln!(yaml, "        {}: {{ credential: {} }}", quoted(name), scalar(&credential))
                }
                None => writeln!(yaml, "        {}: {}", quoted(name), quoted(value)),
            };
        }
    }
    let _ = writeln!(yaml, "      status: [{}]", statuses(request));
    if request.follow_redirects {
        yaml.push_str("      follow_redirects: true\n");
    }
    if request.insecure {
        yaml.push_str("      verify_tls: false\n");
    }
}

/// curl fails for a status only with `-f`, and then from 400 on.
fn statuses(request: &Request) -> &'static str {
    if request.fail { "\"200-399\"" } else { "\"100-599\"" }
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// As it is where YAML takes it for nothing else than text.
pub(super) fn scalar(text: &str) -> String {
    const WORDS: [&str; 11] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if acts(c) => {
                let code = u32::from(c);
                let _ =
                    if code > 0xffff { write!(out, "\\U{code:08x}") } else { write!(out, "\\u{code:04x}") };
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// In the largest unit that says it whole.
pub(super) fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, name) in [(3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if millis.is_multiple_of(unit) {
            return format!("{}{name}", millis / unit);
        }
    }
    format!("{millis}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_words_are_written_as_they_are_read() {
        for (millis, written) in [
            (10_000, "10s"),
            (120_000, "2m"),
            (7_200_000, "2h"),
            (90_000, "90s"),
            (1_500, "1500ms"),
            (100, "100ms"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), written);
        }
        assert_eq!(scalar("service1.example.com"), "service1.example.com");
        for (text, written) in [
            ("8080", "\"8080\""),
            ("No", "\"No\""),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("é\u{202e}\n\"\\", "\"é\\u202e\\n\\\"\\\\\""),
        ] {
            assert_eq!(scalar(text), written);
        }
    }
}
