//! Names and texts of any bytes: what is taken for a name is one, what is shown is inert, and a mail has no header but
//! ours.

use std::sync::Arc;

use jiff::tz::TimeZone;
use stealthcheck::check::{CheckName, HostPort, Step};
use stealthcheck::ctl;
use stealthcheck::mail::compose::{self, Place};
use stealthcheck::mail::text as mail;
use stealthcheck::notification::{
    Attempt, Dependent, IncidentId, Notification, NotificationId, NotificationKind,
};
use stealthcheck::text;
use stealthcheck::time::Wall;
use stealthcheck::unit::UnitName;

use super::is_one_line;

/// A name as somebody typed it.
pub fn name(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match UnitName::new(&text) {
        Ok(unit) => {
            assert_eq!((unit.as_str(), unit.to_string().as_str()), (&*text, &*text));
            let written = serde_json::to_string(&unit).expect("a name can be written");
            assert_eq!(serde_json::from_str::<UnitName>(&written).ok(), Some(unit.clone()));
            assert!(text.ends_with(unit.kind()) && !text.contains('/') && text.len() < 256);
        }
        Err(why) => assert!(!why.is_empty() && why.len() < 1500 && is_one_line(&why), "{why:?}"),
    }
    match CheckName::new(&text) {
        Ok(check) => {
            assert_eq!(check.as_str(), text);
            // Every check's name makes the name of its probe's unit.
            let probe = UnitName::of_probe(&check);
            assert_eq!(UnitName::new(probe.as_str()).as_ref(), Ok(&probe));
        }
        Err(why) => assert!(!why.is_empty() && why.len() < 1500 && is_one_line(&why), "{why:?}"),
    }
    if let Ok(address) = HostPort::parse(&text) {
        assert_eq!(HostPort::parse(&address.to_string()).as_ref(), Ok(&address), "{text:?}");
    }
}

/// Text from outside, as the terminal, the journal and systemd's status get it.
pub fn shown(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for max in [0, 1, 2, 7, 200, 1000] {
        for shown in [text::sanitize(&text, max), text::inert_bytes(bytes, max), mail::line(&text, max)] {
            assert!(is_one_line(&shown) && shown.chars().count() <= max, "{max}: {shown:?}");
        }
        let fitted = ctl::text::fit(&ctl::text::sanitize(&text), max, true);
        assert!(is_one_line(&fitted), "{fitted:?}");
    }
    for line in ctl::text::wrap(&ctl::text::sanitize(&text), 40).iter().chain(&mail::block(&text, 20)) {
        assert!(is_one_line(line), "{line:?}");
    }
    let visible = text::visible(&text).into_owned();
    if !visible.contains('\u{ff3c}') {
        assert_eq!(text::from_status(&text::to_status(&visible)), visible);
    }
    let json = serde_json::to_string(&*text).expect("a text can be written");
    let sanitize = ctl::text::sanitize_json(&json);
    assert!(is_one_line(&sanitize), "{sanitize:?}");
    assert_eq!(serde_json::from_str::<String>(&sanitize).ok().as_deref(), Some(&*text), "{sanitize}");
    let atom = mail::atom(&text);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.%".contains(c);
    assert!(atom.chars().all(plain) && atom.len() <= 200 && !atom.contains(".."), "{atom}");
    let domain = mail::domain(&text);
    assert!(!domain.is_empty() && domain.len() < 254 && domain.is_ascii(), "{domain:?}");
}

/// The headers that a mail may have, each once.
const HEADERS: &[&str] = &[
    "Auto-Submitted",
    "Content-Transfer-Encoding",
    "Content-Type",
    "Date",
    "From",
    "In-Reply-To",
    "MIME-Version",
    "Message-ID",
    "References",
    "Subject",
    "To",
    "X-Stealthcheck-Check",
    "X-Stealthcheck-Incident",
    "X-Stealthcheck-Unit",
];

/// A notification in which whatever comes from outside is made of `bytes`: parts between NULs, used in turn.
pub fn notification(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let parts: Vec<&str> = text.split('\0').collect();
    let part = |n: usize| parts.get(n % parts.len()).copied().unwrap_or_default().to_owned();
    let number = u32::try_from(bytes.len() % 3).expect("small") + 1;
    let kind = [
        NotificationKind::Down,
        NotificationKind::ActionRequired,
        NotificationKind::Recovered,
        NotificationKind::Unknown,
    ][bytes.len() % 4];
    let notification = Notification {
        id: NotificationId { incident: IncidentId(part(0).into()), number },
        kind,
        to: vec!["ops@example.org".into(), part(1).into()],
        at: Wall(i64::from(bytes.first().copied().unwrap_or_default()) << 55),
        check: CheckName::new("web").expect("a name"),
        unit: UnitName::new("web.service").ok(),
        probe: part(2),
        since: Wall(0),
        cause: part(3),
        attempts: vec![Attempt {
            number: 1,
            step: Step::Restart,
            requested: Wall(0),
            result: None,
            outcome: None,
        }],
        attempts_total: u32::MAX,
        next: part(4),
        state: None,
        failed_invocation: part(5),
        runbook: Some(Arc::from(part(6))),
        dependents: vec![Dependent {
            check: CheckName::new("db").expect("a name"),
            unit: UnitName::new("db.service").expect("a unit"),
            well: false,
        }],
    };
    let place = Place { host: part(7), zone: TimeZone::UTC, user: !bytes.len().is_multiple_of(2) };
    let journal = if bytes.len().is_multiple_of(5) {
        Err(part(8))
    } else {
        Ok(part(9).lines().map(str::to_owned).collect())
    };
    let email = compose::email(&notification, Some(&journal), &place);
    let from = "stealthcheck <alerts@example.org>".parse().expect("a mailbox");
    let message = compose::message(&email, &from).expect("a mail can be built");
    is_harmless(&message);
    let host = compose::host_email(
        email.id.clone(),
        vec!["ops@example.org".to_owned()],
        &part(3),
        &part(6),
        Wall(0),
        &place,
    );
    is_harmless(&compose::message(&host, &from).expect("a mail can be built"));
    // What is spooled is read as it was.
    let spooled = serde_json::to_vec(&email).expect("a letter can be written");
    assert_eq!(serde_json::from_slice::<compose::Email>(&spooled).ok(), Some(email));
}

/// ASCII, in lines of mail, with no header but those, and with one body.
fn is_harmless(message: &[u8]) {
    let text = std::str::from_utf8(message).expect("ASCII");
    let printable = |c: char| matches!(c, ' '..='~' | '\r' | '\n' | '\t');
    assert!(text.chars().all(printable), "{text:?}");
    assert!(message.len() < 1 << 17, "{} bytes", message.len());
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "a bare line end: {text:?}");
    assert!(text.split("\r\n").all(|line| line.len() < 999), "a line that SMTP does not carry: {text:?}");
    let (head, _) = text.split_once("\r\n\r\n").expect("a body");
    let mut seen: Vec<&str> = Vec::new();
    for line in head.split("\r\n").filter(|line| !line.starts_with([' ', '\t'])) {
        let (name, _) = line.split_once(": ").expect("a header");
        assert!(HEADERS.contains(&name) && !seen.contains(&name), "{name}: {text:?}");
        seen.push(name);
    }
}
