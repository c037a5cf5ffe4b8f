//! Two instances that watch each other: the machine's own and a user's, each with a check on the other's listener. One
//! that stands still answers nothing, and the other tells people.

use std::fs;

use crate::guarding::{assert_has, assert_thread};
use crate::lab::{MAIL_YAML, MINUTE, Machine, Mail, checkout};
use crate::users::User;

/// In both samples.
const CHECK: &str = "other-stealthcheck";

/// A sample that looks every second instead of every ten, and knows its own runbook. (Whichever of the two is started
/// first finds nobody for a moment; that must not be enough.)
fn quick(file: &str) -> String {
    let sample = fs::read_to_string(checkout().join(file)).unwrap();
    let quicker = sample.replace(
        "interval: 10s",
        "interval: 1s\n    timeout: 900ms\n    retry_interval: 1s\n    failure_threshold: 6",
    );
    assert_ne!(sample, quicker);
    quicker
}

/// Waits for so many mails of the one whose runbook has this in it.
fn mails_of(machine: &Machine, runbook: &str, at_least: usize) -> Vec<Mail> {
    machine.wait_for(&format!("{at_least} mails with \"{runbook}\""), MINUTE, || {
        let mut mails = machine.mails_about(CHECK);
        // A mail that answers another has no runbook where all is well again: it belongs to the one it answers.
        let own: Vec<String> = mails
            .iter()
            .filter(|mail| mail.body.contains(runbook))
            .map(|mail| mail.header("X-Stealthcheck-Incident").to_owned())
            .collect();
        mails.retain(|mail| own.iter().any(|id| id == mail.header("X-Stealthcheck-Incident")));
        (mails.len() >= at_least).then_some(mails)
    })
}

#[test]
fn each_of_two_instances_tells_when_the_other_stands_still() {
    let machine = Machine::boot("mutual");
    machine.smtp();
    machine.install_deb();
    let user = User::lingering(&machine);
    // Only what the two have to do with each other: gru and Mosaic are another test's.
    let pe = quick("config/iobio/pe.yaml");
    let (head, checks) = pe.split_once("checks:\n").unwrap();
    let (_, other) = checks.split_once("  # other-stealthcheck:").unwrap();
    user.configure(&format!("{head}checks:\n  other-stealthcheck:{}", other.replace("\n  # ", "\n  ")));
    machine.configure(MAIL_YAML);
    machine.write("/etc/stealthcheck/conf.d/mutual.yaml", &quick("config/iobio/mutual.yaml"));
    // Here it is this test that says when the standstill is over, there it is systemd (WatchdogSec= of the package).
    user.write(".config/systemd/user/stealthcheck.service.d/test.conf", "[Service]\nWatchdogSec=infinity\n");
    user.sh_ok("systemctl --user daemon-reload && systemctl --user start stealthcheck");
    machine.start_stealthcheck();
    machine.becomes(CHECK, "passing");
    user.becomes(CHECK, "passing");

    // The user's stands still.
    user.sh_ok("systemctl --user kill -s STOP stealthcheck");
    let theirs = "as ucgd-peanalysis: systemctl --user status stealthcheck";
    let mails = mails_of(&machine, theirs, 1);
    assert_has(&mails[0].body, &["other-stealthcheck on mutual is down.", "no answer within 900ms"]);
    machine.becomes(CHECK, "down");
    user.sh_ok("systemctl --user kill -s CONT stealthcheck");
    assert_thread(&mails_of(&machine, theirs, 2), &["DOWN", "RECOVERED"]);
    machine.becomes(CHECK, "passing");
    user.becomes(CHECK, "passing");

    // The machine's stands still: the user's tells people at once, and systemd's watchdog ends the standstill.
    let pid = machine.daemon();
    machine.sh_ok("systemctl kill -s STOP stealthcheck");
    let ours = "systemctl status stealthcheck";
    let of_ours = |n: usize| mails_of(&machine, "The machine's stealthcheck does not answer", n);
    assert_has(&of_ours(1)[0].body, &["no answer within 900ms", ours]);
    machine.daemon_after(pid);
    assert_thread(&of_ours(2), &["DOWN", "RECOVERED"]);
    assert_has(&machine.journal(), &["Watchdog timeout"]);
    machine.becomes(CHECK, "passing");
    user.becomes(CHECK, "passing");

    // Gone for good, it is refused at once.
    user.sh_ok("systemctl --user stop stealthcheck");
    let mails = mails_of(&machine, theirs, 3);
    assert_has(&mails[2].body, &["refused"]);
    user.sh_ok("systemctl --user start stealthcheck");
    assert_thread(&mails_of(&machine, theirs, 4)[2..], &["DOWN", "RECOVERED"]);
}

#[test]
fn the_listener_is_there_while_its_address_can_be_had() {
    let machine = Machine::boot("listen");
    machine.install_deb();
    machine.sh_ok("systemd-run --unit=squatter python3 -m http.server --bind 127.0.0.1 8484");
    machine.wait_for("the squatter", MINUTE, || machine.sh("nc -z 127.0.0.1 8484").success().then_some(()));
    let yaml = |listen: &str| format!("listen: {listen}\nchecks: {{ pid1: {{ unit: dbus.service }} }}\n");
    machine.configure(&yaml("8484"));
    machine.start_stealthcheck();
    let told = "cannot listen on 127.0.0.1:8484: address already in use";
    machine.wait_for("the alert", MINUTE, || {
        machine.sh("stealthctl status").stdout.contains(told).then_some(())
    });
    assert_has(&machine.sh_ok("journalctl -u stealthcheck -o cat"), &[told]);
    machine.sh_ok("systemctl stop squatter");
    let get = |url: &str| machine.sh(&format!("curl -sf -m 5 http://{url}")).stdout;
    machine.wait_for("the page", MINUTE, || get("127.0.0.1:8484/healthz").starts_with("ok").then_some(()));
    machine.wait_for("the end of the alert", MINUTE, || {
        (machine.status_json()["alerts"].as_array().unwrap().is_empty()).then_some(())
    });
    assert!(!machine.outside("curl -s -m 5 http://192.0.2.1:8484/").success(), "loopback only, it said");

    // The page is what the command prints, but for the ages in it.
    let words = |text: &str| -> Vec<String> {
        text.split_whitespace()
            .filter(|word| !word.contains(|c: char| c.is_ascii_digit()))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(words(&get("127.0.0.1:8484/")), words(&machine.sh_ok("stealthctl status")));
    let json: serde_json::Value = serde_json::from_str(&get("127.0.0.1:8484/status.json")).unwrap();
    assert_eq!(json["checks"][0]["name"], "pid1");
    assert_has(
        &get("127.0.0.1:8484/metrics"),
        &["stealthcheck_check_up{check=\"pid1\",unit=\"dbus.service\"} 1\n"],
    );

    // Another address, for the network this time: a warning, and no more than that.
    machine.configure(&yaml("['0.0.0.0:8484', 8485]"));
    let reload = machine.sh_ok("stealthctl validate 2>&1 && stealthctl reload");
    assert_has(&reload, &["warning:", "everyone who can connect to this address can read the status"]);
    machine.wait_for("the page, outside", MINUTE, || {
        machine.outside("curl -sf -m 5 http://192.0.2.1:8484/healthz").success().then_some(())
    });
    assert_eq!(get("127.0.0.1:8485/anything"), "ok\n");
    machine.configure(&yaml("8485"));
    machine.sh_ok("stealthctl reload");
    machine.wait_for("the closed port", MINUTE, || {
        (!machine.sh("nc -z 127.0.0.1 8484").success()).then_some(())
    });
    assert_eq!(get("127.0.0.1:8485/anything"), "ok\n");
    let loud = machine.journal_entries(&["-u", "stealthcheck.service", "-p", "err"]);
    assert!(loud.is_empty(), "{loud:#?}");
}
