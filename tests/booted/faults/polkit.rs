//! polkit, without which systemd lets the daemon do nothing: it says no, or it hangs. (That it is gone altogether is a story
//! of `rights.rs`.)

use std::time::{Duration, Instant};

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, kinds, quick};
use crate::lab::{MINUTE, Machine};

/// Waits until a recovery of this check was refused with these words, after so many other ends.
fn refused(machine: &Machine, check: &str, words: &str) {
    machine.wait_for(&format!("a refusal of {check}: {words}"), 2 * MINUTE, || {
        let ended = machine.told(ids::RECOVERY_ENDED, check);
        ended.iter().any(|entry| entry["MESSAGE"].as_str().unwrap_or_default().contains(words)).then_some(())
    });
}

/// Probes of the check begin and end: it has been seen again, and again.
pub fn is_probed(machine: &Machine, check: &str) {
    let last = || machine.check(check)["last"]["last"].as_i64().expect("a time");
    for _ in 0..3 {
        let before = last();
        machine.wait_for(&format!("{check} to be probed"), MINUTE, || (last() > before).then_some(()));
    }
}

#[test]
fn a_polkit_that_forbids_or_hangs_is_told_and_holds_up_nothing_else() {
    let machine = Machine::ready("faults-polkit");
    let web = machine.victim("web", 9001);
    let other = machine.victim("other", 9002);
    machine.victim("still", 9003);
    let patient = "grace: 1s, backoff: { initial: 1s, max: 4s }";
    machine.guard(&format!(
        "  web: {{ unit: web.service, {}, {patient} }}\n  other: {{ unit: other.service, {}, {patient} }}\n\
         \x20 still: {{ unit: still.service, {} }}\n",
        quick(9001),
        quick(9002),
        quick(9003)
    ));
    for name in ["web", "other", "still"] {
        machine.becomes(name, "passing");
    }
    machine.sh_ok("useradd --create-home somebody");
    let daemon = machine.daemon();

    // The administrator forbids it, for one unit.
    let rule = "/etc/polkit-1/rules.d/00-forbidden.rules";
    machine.write(
        rule,
        "polkit.addRule(function(action, subject) {\n\
         if (action.id == \"org.freedesktop.systemd1.manage-units\" && action.lookup(\"unit\") == \"web.service\")\n\
         return polkit.Result.NO; });\n",
    );
    machine.sh_ok("systemctl restart polkit");
    let run = machine.unit(&web.unit(), "InvocationID");
    web.signal("STOP");
    refused(&machine, "web", "a polkit rule of this machine forbids it");
    assert_has(
        &machine.wait_mails("web", 1)[0].body,
        &["systemd does not let stealthcheck restart web.service", "/etc/polkit-1/rules.d"],
    );
    other.signal("KILL");
    machine.wait_told(ids::INCIDENT_CLOSED, "other", 1);
    assert_eq!(machine.unit(&web.unit(), "InvocationID"), run, "who has restarted it?");
    machine.sh_ok(&format!("rm {rule} && systemctl restart polkit"));
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    assert_ne!(machine.unit(&web.unit(), "InvocationID"), run);
    let mails = machine.wait_mails("web", 2);
    assert_eq!((kinds(&mails)[0], kinds(&mails)[mails.len() - 1]), ("DOWN", "RECOVERED"), "{mails:#?}");

    // It hangs.
    machine.sh_ok("systemctl kill -s STOP polkit");
    let asked = machine.asked("web");
    let run = machine.unit(&web.unit(), "InvocationID");
    web.signal("STOP");
    other.signal("KILL");
    machine.wait_told(ids::RECOVERY_REQUESTED, "web", asked + 1);
    machine.wait_told(ids::RECOVERY_REQUESTED, "other", 2);
    // Somebody who needs polkit waits for it, and nobody for him.
    machine.sh_ok("systemd-run -q --unit=asker --uid=somebody stealthctl pause still");
    let begun = Instant::now();
    machine.sh_ok("stealthctl pause still --for 1h && stealthctl resume still");
    let shown = machine.sh("runuser -u somebody -- stealthctl status");
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    assert_has(&shown.stdout, &["still", "web"]);
    is_probed(&machine, "still");
    refused(&machine, "web", "polkit does not answer it");
    refused(&machine, "web", "`systemctl restart polkit` ends a hang");
    machine.becomes("still", "passing");
    assert_eq!(machine.unit(&web.unit(), "InvocationID"), run, "who has restarted it?");
    // systemd itself answers: nothing is said of that.
    let alerts = machine.status_json()["alerts"].to_string();
    assert_has(&alerts, &["polkit hangs"]);
    assert_eq!(machine.status_json()["alerts"].as_array().map(Vec::len), Some(1), "{alerts}");
    machine.sh_ok("systemctl kill -s CONT polkit");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 2);
    machine.wait_told(ids::INCIDENT_CLOSED, "other", 2);
    for name in ["web", "other"] {
        machine.becomes(name, "passing");
        let mails = machine.mails_about(name);
        assert!(kinds(&mails).iter().filter(|kind| **kind == "DOWN").count() == 2, "{:?}", kinds(&mails));
    }
    assert_eq!(machine.daemon(), daemon);
    assert!(machine.told(ids::INCIDENT_OPENED, "still").is_empty());
}
