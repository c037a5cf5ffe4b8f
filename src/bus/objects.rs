//! The objects: the daemon's own, and one for each check, whose path is its name, escaped as systemd escapes unit names in
//! object paths. Values only.

use std::collections::BTreeMap;

use zbus::{OwnedObjectPath, Variant};

use super::interface::Row;
use crate::check::CheckName;
use crate::status::{CheckStatus, Snapshot};
use crate::text::bus_label;
use crate::time::Wall;
use crate::verdict::Health;

/// Under this are the checks' objects.
pub const CHECKS: &str = "/io/iobio/Stealthcheck1/check";

/// Property names and values.
pub(super) type Values = BTreeMap<&'static str, Variant<'static>>;

/// The path of a check's object.
#[must_use]
pub fn path_of(check: &CheckName) -> OwnedObjectPath {
    // Letters, digits and `_` in elements that are not empty make a path.
    OwnedObjectPath::try_from(format!("{CHECKS}/{}", bus_label(check.as_str()))).unwrap_or_default()
}

/// The name that a path stands for: `None` for a path that is none of a check's.
pub(super) fn name_of(path: &str) -> Option<CheckName> {
    let label = path.strip_prefix(CHECKS)?.strip_prefix('/')?;
    let name = CheckName::new(&unescape(label)?).ok()?;
    // One object has one path.
    (bus_label(name.as_str()) == label).then_some(name)
}

fn unescape(label: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(label.len());
    let mut rest = label.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'_' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Microseconds since 1970, as systemd's timestamps.
fn usec(at: Wall) -> u64 {
    u64::try_from(at.0).unwrap_or(0).saturating_mul(1000)
}

fn text(text: impl Into<String>) -> Variant<'static> {
    Variant::from(text.into())
}

/// What suppresses a check, in one word; empty for nothing.
fn suppressed_by(health: &Health) -> &'static str {
    health.suppressed_by.as_ref().map_or("", |by| by.word())
}

/// A check in the list.
pub(super) fn row(check: &CheckStatus) -> Row {
    (
        check.name.to_string(),
        check.unit.as_ref().map(ToString::to_string).unwrap_or_default(),
        check.probe.clone(),
        check.health.state.word().to_owned(),
        suppressed_by(&check.health).to_owned(),
        usec(check.since),
        check.incident.as_ref().map(|incident| incident.id.to_string()).unwrap_or_default(),
        path_of(&check.name),
    )
}

/// The properties of a check.
pub(super) fn of_check(check: &CheckStatus) -> Values {
    let incident = check.incident.as_ref();
    let last = check.last.as_ref();
    BTreeMap::from([
        ("Name", text(check.name.as_str())),
        ("Unit", text(check.unit.as_ref().map(ToString::to_string).unwrap_or_default())),
        ("Probe", text(check.probe.as_str())),
        ("State", text(check.health.state.word())),
        ("SuppressedBy", text(suppressed_by(&check.health))),
        ("StateChangeTimestamp", Variant::from(usec(check.since))),
        ("IncidentId", text(incident.map(|incident| incident.id.to_string()).unwrap_or_default())),
        ("IncidentTimestamp", Variant::from(incident.map_or(0, |incident| usec(incident.since)))),
        ("Cause", text(incident.map(|incident| incident.cause.clone()).unwrap_or_default())),
        ("Attempts", Variant::from(incident.map_or(0, |incident| incident.attempts))),
        ("ActionRequired", Variant::from(incident.is_some_and(|incident| incident.action_required))),
        ("LastObservation", text(last.map(|seen| seen.observation.text()).unwrap_or_default())),
        ("LastObservationTimestamp", Variant::from(last.map_or(0, |seen| usec(seen.last)))),
        ("NextProbe", Variant::from(check.next_probe.map_or(0, usec))),
        ("Next", text(check.next.as_str())),
    ])
}

/// The properties of the daemon.
pub(super) fn of_manager(snapshot: &Snapshot) -> Values {
    let refused = snapshot.configuration.refused.as_ref();
    let counts = &snapshot.counts;
    let number = |n: usize| Variant::from(u32::try_from(n).unwrap_or(u32::MAX));
    BTreeMap::from([
        ("Version", text(snapshot.version.as_str())),
        ("StartTimestamp", Variant::from(usec(snapshot.started))),
        ("NChecks", number(counts.checks)),
        ("NDown", number(counts.down)),
        ("NUnknown", number(counts.unknown)),
        ("NSuppressed", number(counts.suppressed)),
        ("Storm", text(snapshot.storm.clone().unwrap_or_default())),
        ("Alerts", Variant::from(snapshot.alerts.clone())),
        ("NotificationsQueued", number(snapshot.mail.queued)),
        ("ConfigurationLoadTimestamp", Variant::from(usec(snapshot.configuration.loaded))),
        ("ConfigurationRejected", Variant::from(refused.map(|(_, why)| why.clone()).unwrap_or_default())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::PATH;

    #[test]
    fn paths_are_escaped_as_systemd_does() {
        for (name, label) in
            [("web", "web"), ("gru-api", "gru_2dapi"), ("9p", "_39p"), ("a.b_c", "a_2eb_5fc")]
        {
            let name = CheckName::new(name).unwrap();
            assert_eq!(path_of(&name).as_str(), format!("{CHECKS}/{label}"));
            assert_eq!(name_of(path_of(&name).as_str()), Some(name));
        }
        for none in ["", "/", "/_zz", "/_6", "/_61", "/a/b"] {
            assert_eq!(name_of(&format!("{CHECKS}{none}")), None, "{none}");
        }
        assert_eq!(name_of(PATH), None);
    }
}
