//! What the fault tests ask of the mails about incidents: each told from its beginning to its end, in order, and nothing
//! twice but in the same words.

use std::collections::{BTreeMap, BTreeSet};

use stealthcheck::journal::ids;

use crate::guarding::{kind, shown};
use crate::lab::{Machine, Mail};

/// Sets a property of the daemon's unit by a drop-in, from its next start on.
pub fn drop_in(machine: &Machine, name: &str, lines: &str) {
    machine.service(&format!("stealthcheck.service.d/{name}.conf"), &format!("[Service]\n{lines}\n"));
}

/// The ids of incidents that the journal tells of with this MESSAGE_ID, in order, for any check.
pub fn incidents_told(machine: &Machine, id: &str) -> Vec<String> {
    let entries = machine.journal_entries(&["-u", "stealthcheck.service", &format!("MESSAGE_ID={id}")]);
    let incident = |entry: &serde_json::Value| entry["STEALTHCHECK_INCIDENT"].as_str().map(str::to_owned);
    entries.iter().filter_map(incident).collect()
}

/// The mails of each incident, in order of arrival.
pub fn by_incident(mails: &[Mail]) -> BTreeMap<String, Vec<Mail>> {
    let mut found: BTreeMap<String, Vec<Mail>> = BTreeMap::new();
    for mail in mails {
        let incident = mail.header("X-Stealthcheck-Incident");
        assert!(!incident.is_empty(), "a mail of no incident, a digest perhaps: {}", mail.raw);
        found.entry(incident.to_owned()).or_default().push(mail.clone());
    }
    found
}

/// That every incident of the journal has been told by mail from its beginning to RECOVERED, in that order, and each mail
/// twice only with the same Message-ID. The first may say already that it requires action. Returns how many incidents there were, and how many mails came twice.
pub fn assert_all_told(machine: &Machine) -> (usize, usize) {
    let mails = by_incident(&machine.mailbox());
    let opened = incidents_told(machine, ids::INCIDENT_OPENED);
    let distinct: BTreeSet<&String> = opened.iter().collect();
    assert_eq!(opened.len(), distinct.len(), "an incident was opened twice: {opened:#?}");
    for incident in &opened {
        assert!(mails.contains_key(incident), "no mail tells of incident {incident}");
    }
    let mut twice = 0;
    for (incident, mails) in &mails {
        let mut first: Vec<(&str, &str)> = Vec::new();
        for mail in mails {
            let (kind, id) = (kind(mail), mail.header("Message-ID"));
            match first.iter().find(|(known, known_id)| *known == kind || *known_id == id) {
                // At least once: again where a death fell between the server's word and the note of it.
                Some(known) => {
                    assert_eq!(*known, (kind, id), "incident {incident}: the same, and yet another mail");
                    twice += 1;
                }
                None => first.push((kind, id)),
            }
        }
        let kinds: Vec<&str> = first.iter().map(|(kind, _)| *kind).collect();
        let whole: &[&[&str]] = &[
            &["DOWN", "RECOVERED"],
            &["DOWN", "ACTION REQUIRED", "RECOVERED"],
            &["ACTION REQUIRED", "RECOVERED"],
        ];
        assert!(whole.contains(&kinds.as_slice()), "incident {incident} is told as {kinds:?}");
    }
    (mails.len(), twice)
}

/// Waits until nothing is down any more and every mail is delivered.
pub fn wait_until_all_is_told(machine: &Machine) {
    machine.wait_for("all to be well and told", 4 * crate::lab::MINUTE, || {
        let output = machine.run(&["stealthctl", "status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&output.stdout).ok()?;
        let checks = status["checks"].as_array()?;
        let well = checks.iter().all(|check| {
            check["incident"].is_null() && ["passing", "paused"].contains(&shown(check).as_str())
        });
        (well && status["mail"]["queued"] == 0).then_some(())
    });
}

/// What `stealthctl status --json` says, once there is a daemon that says it: it may be on its way to its next life.
pub fn status(machine: &Machine) -> serde_json::Value {
    machine.wait_for("an answer of the daemon", crate::lab::MINUTE, || {
        serde_json::from_str(&machine.run(&["stealthctl", "status", "--json"]).stdout).ok()
    })
}
