//! What the tests of guarding share: the daemon on a machine, what it says of its checks, and its mails.

use std::time::Duration;

use serde_json::Value;
use stealthcheck::journal::ids;

use crate::lab::{MAIL_YAML, MINUTE, Machine, Mail};

/// A web check that is quick to notification, without its braces: to be followed by more keys, or by nothing.
pub fn quick(port: u16) -> String {
    format!(
        "http: {{ url: \"http://127.0.0.1:{port}/\" }}, interval: 1s, timeout: 900ms, retry_interval: 500ms, failure_threshold: 2"
    )
}

/// One second, in microseconds: what the journal and systemd count in.
pub const SECOND: u64 = 1_000_000;

/// The word that people see first of a check's status: why it is suppressed, or else its state.
pub fn shown(check: &Value) -> String {
    let word = check["suppressed_by"]["reason"].as_str().or(check["state"].as_str());
    word.unwrap_or_else(|| panic!("no state in {check}")).to_owned()
}

impl Machine {
    /// A machine with the mail server and the package; nothing is guarded yet.
    pub fn ready(name: &str) -> Self {
        let machine = Self::boot(name);
        machine.smtp();
        machine.install_deb();
        machine
    }

    /// Starts the daemon on these checks: lines of YAML, each indented by two.
    pub fn guard(&self, checks: &str) {
        self.configure(&format!("{MAIL_YAML}checks:\n{checks}"));
        self.start_stealthcheck();
    }

    /// What the status says of one check.
    pub fn check(&self, name: &str) -> Value {
        let status = self.status_json();
        let checks = status["checks"].as_array().expect("a list of checks");
        let found = checks.iter().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no check {name} in {status}")).clone()
    }

    /// Waits until a check's health is this word.
    pub fn becomes(&self, name: &str, health: &str) -> Value {
        self.wait_for(&format!("{name} to be {health}"), MINUTE, || {
            Some(self.check(name)).filter(|check| shown(check) == health)
        })
    }

    /// The daemon's entries with this MESSAGE_ID about this check.
    pub fn told(&self, id: &str, check: &str) -> Vec<Value> {
        let (id, check) = (format!("MESSAGE_ID={id}"), format!("STEALTHCHECK_CHECK={check}"));
        self.journal_entries(&["-u", "stealthcheck.service", &id, &check])
    }

    /// How often systemd was asked for a recovery of this check.
    pub fn asked(&self, check: &str) -> usize {
        self.told(ids::RECOVERY_REQUESTED, check).len()
    }

    /// Waits until the journal has so many of these entries, at least.
    pub fn wait_told(&self, id: &str, check: &str, at_least: usize) -> Vec<Value> {
        self.wait_for(&format!("{at_least} entries {id} of {check}"), MINUTE, || {
            Some(self.told(id, check)).filter(|entries| entries.len() >= at_least)
        })
    }

    /// Waits until a recovery of this check is withheld for a reason that contains `words`.
    pub fn wait_withheld(&self, check: &str, words: &str) -> Value {
        self.wait_for(&format!("a recovery of {check} to be withheld: {words}"), MINUTE, || {
            let entries = self.told(ids::RECOVERY_WITHHELD, check);
            let reason = |entry: &Value| entry["STEALTHCHECK_REASON"].as_str().unwrap_or_default().to_owned();
            entries.into_iter().find(|entry| reason(entry).contains(words))
        })
    }

    /// The mails about this check, in order of arrival.
    pub fn mails_about(&self, check: &str) -> Vec<Mail> {
        self.mailbox().into_iter().filter(|mail| mail.header("X-Stealthcheck-Check") == check).collect()
    }

    /// Waits for so many mails about this check.
    pub fn wait_mails(&self, check: &str, at_least: usize) -> Vec<Mail> {
        self.wait_for(&format!("{at_least} mails about {check}"), MINUTE, || {
            Some(self.mails_about(check)).filter(|mails| mails.len() >= at_least)
        })
    }

    /// A unit's moment in microseconds of the machine's monotonic clock.
    pub fn moment(&self, unit: &str, property: &str) -> u64 {
        let text = self.unit(unit, &format!("{property}Monotonic"));
        text.parse().unwrap_or_else(|_| panic!("{unit} has no {property}: '{text}'"))
    }

    /// Now, by the machine's monotonic clock.
    pub fn monotonic(&self) -> u64 {
        let text = self
            .sh_ok("python3 -c 'import time; print(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)'");
        text.parse().expect("a number")
    }

    /// Waits until the machine's monotonic clock is past this.
    pub fn wait_until(&self, moment: u64, what: &str) {
        let ahead = Duration::from_micros(moment.saturating_sub(self.monotonic()));
        self.wait_for(what, MINUTE + ahead, || (self.monotonic() > moment).then_some(()));
    }

    /// The daemon's process.
    pub fn daemon(&self) -> u32 {
        self.unit("stealthcheck.service", "MainPID").parse().unwrap_or(0)
    }

    /// Waits until another daemon process than this one is READY.
    pub fn daemon_after(&self, before: u32) -> u32 {
        self.wait_for("the next life of the daemon", MINUTE, || {
            let now = self.daemon();
            let up = self.unit("stealthcheck.service", "ActiveState") == "active";
            (up && now != before && now != 0).then_some(now)
        })
    }
}

/// An entry's moment in microseconds of the machine's monotonic clock.
pub fn at(entry: &Value) -> u64 {
    entry["__MONOTONIC_TIMESTAMP"].as_str().and_then(|text| text.parse().ok()).expect("a timestamp")
}

/// The state in brackets that a subject begins with.
pub fn kind(mail: &Mail) -> &str {
    mail.subject().split_once("] ").map_or("", |(kind, _)| kind.trim_start_matches('['))
}

/// The kinds of these mails, in order.
pub fn kinds(mails: &[Mail]) -> Vec<&str> {
    mails.iter().map(kind).collect()
}

/// That these are the mails of one incident, of these kinds in this order, threaded, and marked as a program's.
pub fn assert_thread(mails: &[Mail], expected: &[&str]) {
    assert_eq!(kinds(mails), expected, "{mails:#?}");
    let root = mails[0].header("Message-ID");
    assert!(root.starts_with('<') && root.ends_with('>'), "{root}");
    for (i, mail) in mails.iter().enumerate() {
        assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
        assert_eq!(mail.header("X-Stealthcheck-Incident"), mails[0].header("X-Stealthcheck-Incident"));
        assert_eq!(mail.header("To"), "ops@example.org");
        assert!(mail.header("Received").contains("ESMTPSA"), "not by TLS and password: {}", mail.raw);
        let answers = if i == 0 { "" } else { root };
        assert_eq!(mail.header("In-Reply-To"), answers, "{}", mail.raw);
        assert_eq!(mail.header("References"), answers, "{}", mail.raw);
        let same = mails.iter().filter(|other| other.header("Message-ID") == mail.header("Message-ID"));
        assert_eq!(same.count(), 1, "the same mail twice: {}", mail.raw);
    }
}

/// That a text has each of these in it.
pub fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no \"{part}\" in:\n{text}");
    }
}
