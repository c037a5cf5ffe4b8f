//! The configuration as YAML.
//!
//! In: what is planned. Out: the text of stealthcheck.yaml, with the old lines as comments.

use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::plan::{CREDENTIAL, Draft};
use crate::text::visible;

/// A mapping with these keys in this order, without those that have no value.
pub(super) fn mapping<'k>(entries: impl IntoIterator<Item = (&'k str, Option<Value>)>) -> Value {
    let entries = entries.into_iter().filter_map(|(key, value)| Some((Value::from(key), value?)));
    Value::Mapping(entries.collect::<Mapping>())
}

/// The whole file.
///
/// # Errors
/// It cannot be written as YAML.
pub(super) fn text(draft: &Draft<'_>) -> Result<String, serde_yaml::Error> {
    let mut yaml = format!(
        "# Written by `stealthctl import` from {}. What to look at is in REPORT.txt.\n\n",
        visible(draft.around.old)
    );
    if let Some(mail) = mail(draft) {
        yaml += &serde_yaml::to_string(&mapping([("mail", Some(mail))]))?;
        yaml.push('\n');
    }
    yaml.push_str("checks:\n");
    for check in &draft.checks {
        for (key, line) in &check.lines {
            yaml += &(format!("  # {key}: {line}").trim_end().to_owned() + "\n");
        }
        let entry = mapping([(check.name.as_str(), Some(check.settings.clone()))]);
        for line in serde_yaml::to_string(&entry)?.lines() {
            yaml += &format!("  {line}\n");
        }
    }
    Ok(yaml)
}

fn mail(draft: &Draft<'_>) -> Option<Value> {
    let smtp = draft.smtp()?;
    // The old tool's own `From`, so that what people sort their mail by goes on to work.
    let from = match smtp.sender.contains('<') {
        true => smtp.sender.clone(),
        false => format!("stealthcheck automated alerts <{}>", smtp.sender),
    };
    // The old tool knew STARTTLS alone; on 465 a server speaks TLS from the first byte.
    let tls = if smtp.port == 465 { "implicit" } else { "starttls" };
    let login = !smtp.username.is_empty();
    let server = mapping([
        ("host", Some(smtp.server.as_str().into())),
        ("port", (smtp.port > 0).then(|| smtp.port.into())),
        ("tls", Some(tls.into())),
        ("username", login.then(|| smtp.username.as_str().into())),
        ("password_credential", login.then(|| CREDENTIAL.into())),
    ]);
    Some(mapping([
        ("from", Some(from.into())),
        ("to", Some(draft.mail_to.clone().into())),
        ("smtp", Some(server)),
    ]))
}

/// In the largest unit that says it whole.
pub(super) fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let whole = units.iter().find(|(unit, _)| millis.is_multiple_of(*unit));
    whole.map_or_else(String::new, |(unit, name)| format!("{}{name}", millis / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_they_are_read() {
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
    }
}
