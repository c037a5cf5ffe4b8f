//! systemd itself: re-executed and reloaded under a running job, with jobs that never end, with unit files that come and go.

use serde_json::Value;
use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread, kinds, quick};
use crate::lab::{MINUTE, Machine};

/// The words of the latest end of a recovery of this check.
fn last_result(machine: &Machine, check: &str) -> String {
    let ended = machine.told(ids::RECOVERY_ENDED, check);
    ended.last().and_then(|entry| entry["MESSAGE"].as_str()).unwrap_or_default().to_owned()
}

/// The number of the job that is on the unit.
fn job(machine: &Machine, unit: &str) -> String {
    machine.wait_for(&format!("a job on {unit}"), MINUTE, || {
        let jobs = machine.sh_ok("systemctl list-jobs --no-legend --plain");
        let line = jobs.lines().find(|line| line.split_whitespace().nth(1) == Some(unit))?;
        line.split_whitespace().next().map(str::to_owned)
    })
}

#[test]
fn systemd_re_executed_and_reloaded_again_and_again_loses_no_job_and_no_failure() {
    let machine = Machine::ready("faults-reexec");
    let web = machine.victim("web", 9001);
    let other = machine.victim("other", 9002);
    machine.victim("still", 9003);
    machine.guard(&format!(
        "  web: {{ unit: web.service, {} }}\n  other: {{ unit: other.service, {} }}\n\
         \x20 still: {{ unit: still.service, interval: 1s }}\n",
        quick(9001),
        quick(9002)
    ));
    for name in ["web", "other", "still"] {
        machine.becomes(name, "passing");
    }
    let daemon = machine.daemon();

    // While a job of ours runs.
    for (n, strike) in ["systemctl daemon-reexec", "systemctl daemon-reload"].into_iter().enumerate() {
        web.fault_with("slow-start-once", "4");
        web.signal("KILL");
        let running = job(&machine, "web.service");
        machine.sh_ok(strike);
        assert_eq!(job(&machine, "web.service"), running, "{strike} came too late");
        machine.wait_told(ids::INCIDENT_CLOSED, "web", n + 1);
        assert_has(&last_result(&machine, "web"), &["done"]);
        assert_eq!(machine.asked("web"), n + 1);
    }
    assert_thread(&machine.wait_mails("web", 4)[..2], &["DOWN", "RECOVERED"]);

    // Storms of both, and units that fail in the middle of them.
    machine.sh_ok(
        "systemd-run -q --unit=shaken sh -c 'for i in 1 2 3 4 5 6 7 8; do systemctl daemon-reload; \
         systemctl daemon-reload; systemctl daemon-reload; systemctl daemon-reexec; done'",
    );
    // (systemd loses the job again and again; and each incident has to pass for longer than the one before, rule 13.)
    let closes = |n: usize| {
        machine.wait_for("the end of the incident", 3 * MINUTE, || {
            (machine.told(ids::INCIDENT_CLOSED, "other").len() >= n).then_some(())
        });
    };
    for n in 1..=2 {
        other.signal("KILL");
        closes(n);
    }
    machine.wait_for("the storm to pass", 3 * MINUTE, || {
        // While systemd executes itself anew it may have no answer.
        (machine.sh("systemctl is-active shaken.service").stdout.trim() == "inactive").then_some(())
    });
    other.signal("KILL");
    closes(3);
    // One each, and one more where systemd lost it again and again.
    assert!((3..=5).contains(&machine.asked("other")), "{}", machine.asked("other"));
    machine.becomes("still", "passing");
    for (name, incidents) in [("web", 2), ("other", 3), ("still", 0)] {
        assert_eq!(machine.told(ids::INCIDENT_OPENED, name).len(), incidents, "{name}");
    }
    assert_eq!(kinds(&machine.wait_mails("other", 6)), ["DOWN", "RECOVERED"].repeat(3));
    assert_eq!(machine.daemon(), daemon);
    assert_eq!(machine.run(&["stealthctl", "status"]).code, 0);
}

#[test]
fn a_job_that_never_ends_delays_nobody_and_ends_when_it_is_cancelled() {
    let machine = Machine::ready("faults-stuck");
    let endless = "TimeoutStopSec=infinity\nTimeoutStartSec=infinity\n\
                   ExecStop=/bin/sh -c 'while [ -e /run/stuck ]; do sleep 0.1; done'";
    let stuck = machine.victim_with("stuck", 9001, endless);
    let web = machine.victim("web", 9002);
    machine.guard(&format!(
        "  stuck: {{ unit: stuck.service, {}, grace: 1s, backoff: {{ initial: 1s, max: 2s }}, respect_stop: 5s }}\n\
         \x20 web: {{ unit: web.service, {}, backoff: {{ initial: 1s, max: 2s }} }}\n",
        quick(9001),
        quick(9002)
    ));
    machine.becomes("stuck", "passing");
    machine.becomes("web", "passing");

    // Of a restart, the stop.
    machine.write("/run/stuck", "");
    stuck.fault("500-once");
    let running = job(&machine, "stuck.service");
    for n in 1..=2 {
        web.signal("KILL");
        machine.wait_told(ids::INCIDENT_CLOSED, "web", n);
    }
    assert_eq!(job(&machine, "stuck.service"), running);
    assert_eq!(machine.asked("stuck"), 1, "one at a time");
    assert_has(&machine.sh("stealthctl status stuck").stdout, &["waiting for the restart job"]);
    machine.sh_ok(&format!("systemctl cancel {running}"));
    machine.wait_told(ids::RECOVERY_ENDED, "stuck", 1);
    assert_has(&last_result(&machine, "stuck"), &["canceled"]);
    // systemd goes on stopping it all the same.
    machine.wait_withheld("stuck", "systemd is stopping the unit");
    machine.sh_ok("rm /run/stuck");
    // Whoever cancelled the restart wants the unit down: that is respected like a stop.
    machine.becomes("stuck", "stopped");
    assert_eq!(machine.asked("stuck"), 1, "against an operator");
    machine.wait_told(ids::INCIDENT_CLOSED, "stuck", 1);
    assert_eq!(stuck.status(), 200);
    assert_eq!(machine.asked("stuck"), 2);

    // The start.
    stuck.fault_with("slow-start", "100000");
    stuck.signal("KILL");
    machine.wait_told(ids::RECOVERY_REQUESTED, "stuck", 3);
    let running = job(&machine, "stuck.service");
    web.signal("KILL");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 3);
    machine.sh_ok(&format!("systemctl cancel {running}"));
    machine.wait_told(ids::RECOVERY_ENDED, "stuck", 3);
    assert_has(&last_result(&machine, "stuck"), &["canceled"]);
    stuck.heal();
    machine.sh_ok("systemctl kill -s KILL stuck.service");
    machine.wait_told(ids::INCIDENT_CLOSED, "stuck", 2);
    machine.becomes("stuck", "passing");
    let mails = machine.wait_mails("stuck", 4);
    assert_eq!((kinds(&mails)[0], kinds(&mails)[mails.len() - 1]), ("DOWN", "RECOVERED"), "{mails:#?}");
}

/// The incident that is open on the check.
fn incident(machine: &Machine, check: &str) -> Value {
    machine.check(check)["incident"]["id"].clone()
}

#[test]
fn a_unit_whose_file_goes_breaks_or_is_masked_in_mid_incident_is_told_and_comes_back_with_it() {
    let machine = Machine::ready("faults-unit-file");
    let web = machine.victim("web", 9001);
    machine.victim("gone", 9002);
    machine.guard(&format!(
        "  web: {{ unit: web.service, {}, grace: 1s, backoff: {{ initial: 1s, max: 2s }} }}\n\
         \x20 gone: {{ unit: gone.service, interval: 1s, respect_stop: 1s }}\n",
        quick(9001)
    ));
    machine.becomes("web", "passing");
    machine.becomes("gone", "passing");

    // Without an incident: a unit that is not there is one.
    machine.sh_ok("mv /etc/systemd/system/gone.service /root/ && systemctl daemon-reload && systemctl stop gone.service");
    machine.becomes("gone", "down");
    let mails = machine.wait_mails("gone", 1);
    assert_has(&mails[0].body, &["has not been started again, and is not found"]);
    machine.sh_ok("mv /root/gone.service /etc/systemd/system/ && systemctl daemon-reload");
    machine.wait_told(ids::INCIDENT_CLOSED, "gone", 1);
    assert_thread(&machine.wait_mails("gone", 2), &["DOWN", "RECOVERED"]);

    // In the middle of one: the file goes while the process runs on, and then the process as well.
    web.fault("500");
    machine.wait_told(ids::RECOVERY_ENDED, "web", 1);
    let id = incident(&machine, "web");
    machine.sh_ok("mv /etc/systemd/system/web.service /root/ && systemctl daemon-reload");
    let held = |words: &str| {
        machine.wait_for(words, MINUTE, || {
            let held = machine.told(ids::RECOVERY_WITHHELD, "web");
            let ended = machine.told(ids::RECOVERY_ENDED, "web");
            let last = held.iter().chain(&ended).filter_map(|entry| entry["MESSAGE"].as_str());
            last.filter(|message| message.contains(words)).count().checked_sub(1).map(|_| ())
        });
    };
    machine.sh_ok("systemctl kill -s KILL web.service; systemctl reset-failed web.service || true");
    held("systemd cannot act on the unit: not found");
    assert_eq!(machine.unit("web.service", "LoadState"), "not-found");
    let attempts = machine.asked("web");
    assert_eq!(incident(&machine, "web"), id);
    assert_has(&machine.sh("stealthctl status web").stdout, &["not found"]);

    // It is there again, but cannot be read.
    machine.write("/etc/systemd/system/web.service", "[Service]\nExecStart=not/absolute\n");
    machine.sh_ok("systemctl daemon-reload");
    held("bad setting in the unit file");
    assert_eq!(incident(&machine, "web"), id);

    // It is masked.
    machine.sh_ok("ln -sf /dev/null /etc/systemd/system/web.service && systemctl daemon-reload");
    held("systemd cannot act on the unit: masked");
    assert_eq!(incident(&machine, "web"), id);
    assert_eq!(machine.asked("web"), attempts, "there was nothing to restart");

    // All is well with it, and it is well.
    web.heal();
    machine.sh_ok("rm /etc/systemd/system/web.service; mv /root/web.service /etc/systemd/system/ && systemctl daemon-reload");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    machine.becomes("web", "passing");
    assert_eq!(machine.unit("web.service", "ActiveState"), "active");
    assert_eq!(machine.told(ids::INCIDENT_OPENED, "web").len(), 1);
    let mails = machine.wait_mails("web", 2);
    assert_eq!((kinds(&mails)[0], kinds(&mails)[mails.len() - 1]), ("DOWN", "RECOVERED"), "{mails:#?}");
    assert!(kinds(&mails).iter().filter(|kind| **kind == "DOWN").count() == 1);
}
