//! What is not ours to fight: a masked unit, somebody's job, systemd's own restarts. And what is: the start limit.

use stealthcheck::journal::ids;

use crate::guarding::{SECOND, assert_has, assert_thread, at, quick, shown};
use crate::lab::{MINUTE, Machine};

/// Fails again and again, far more often than a test lasts, until systemd gives it up or somebody mends it.
const RESTARTS: &str = "Restart=always\nRestartSec=200ms\n[Unit]\nStartLimitIntervalSec=0";

/// `backoff: initial:` of the check whose first restart fails, in seconds.
const BACKOFF: u64 = 15;

#[test]
fn systemds_own_restarts_are_left_to_systemd_and_a_crash_loop_is_told_once() {
    let machine = Machine::ready("guard-crash-loop");
    let looping = machine.victim_with("looping", 9001, RESTARTS);
    let once = machine.victim_with("once", 9002, "Restart=always\nRestartSec=300ms");
    let limit = "Restart=on-failure\nRestartSec=100ms\n[Unit]\nStartLimitIntervalSec=1h";
    let limited = machine.victim_with("limited", 9003, limit);
    machine.guard(&format!(
        "  looping: {{ unit: looping.service, {} }}\n  once: {{ unit: once.service, {} }}\n\
         \x20 limited: {{ unit: limited.service, {}, backoff: {{ initial: 2s, max: 4s }} }}\n",
        quick(9001),
        quick(9002).replace("failure_threshold: 2", "failure_threshold: 5"),
        quick(9003)
    ));
    for name in ["looping", "once", "limited"] {
        machine.becomes(name, "passing");
    }

    // A crash loop: told, and left to systemd.
    looping.fault("fail-start");
    looping.signal("KILL");
    let told = machine.wait_told(ids::CRASH_LOOP, "looping", 1);
    assert_eq!(told[0]["STEALTHCHECK_UNIT"], "looping.service");
    machine.wait_for("the reason to be shown", MINUTE, || {
        let held = machine.check("looping")["incident"]["withheld"].clone();
        (held == "the unit is crash-looping: it is started again after each failure; another restart would not help").then_some(())
    });

    // A single crash: nobody's business.
    let run = machine.unit(&once.unit(), "InvocationID");
    once.signal("KILL");
    machine.wait_for("systemd's restart", MINUTE, || {
        (machine.unit(&once.unit(), "InvocationID") != run && once.status() == 200).then_some(())
    });
    assert_eq!(machine.unit(&once.unit(), "NRestarts"), "1");

    // systemd gives up at its start limit: then it is ours, and the limit is in the way.
    limited.fault("fail-start");
    limited.signal("KILL");
    machine.wait_for("the start limit", MINUTE, || {
        let refused =
            machine.sh("journalctl -u limited.service | grep -q 'Start request repeated too quickly'");
        refused.success().then_some(())
    });
    limited.heal();
    machine.wait_told(ids::INCIDENT_CLOSED, "limited", 1);
    assert_eq!(limited.status(), 200);
    let mails = machine.wait_mails("limited", 2);
    assert_thread(&mails, &["DOWN", "RECOVERED"]);
    // By the first attempt's job, or by systemd, which that has set going again.
    assert_has(&mails[1].body, &["RECOVERY ATTEMPTS", " restart: "]);

    let mails = machine.wait_mails("looping", 1);
    assert_has(
        &mails[0].body,
        &["crash-looping: the unit was started 5 times after failures within ", "None yet."],
    );
    looping.heal();
    machine.wait_for("an answer", MINUTE, || (looping.status() == 200).then_some(()));
    // That it answers is no cure: it may have crashed a moment ago, and may again. It takes two quiet minutes.
    machine.sh_ok("stealthctl check looping");
    assert_eq!(shown(&machine.check("looping")), "down");
    let closed = std::time::Instant::now();
    while machine.told(ids::INCIDENT_CLOSED, "looping").is_empty() {
        assert!(closed.elapsed() < 4 * MINUTE, "the crash loop did not end");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    let mails = machine.wait_mails("looping", 2);
    // Only a person can help: the first notification says so.
    assert_thread(&mails, &["ACTION REQUIRED", "RECOVERED"]);
    assert_has(&mails[1].body, &["None: it recovered without one."]);
    assert_eq!(machine.asked("looping"), 0, "it was systemd's to restart");

    assert_eq!(machine.asked("once"), 0, "it was systemd's to restart");
    assert!(machine.told(ids::INCIDENT_OPENED, "once").is_empty());
    assert!(machine.mails_about("once").is_empty());
}

#[test]
fn a_masked_unit_and_one_with_a_job_are_left_alone_until_that_ends() {
    let machine = Machine::ready("guard-held-back");
    let waits = machine.victim("waits", 9001);
    let fails = machine.victim("fails", 9002);
    machine.sh_ok("mkfifo /run/gate");
    machine.service(
        "gate.service",
        "[Unit]\nBefore=waits.service fails.service\n[Service]\nType=oneshot\nExecStart=/bin/sh -c 'read x <>/run/gate'\n",
    );
    // Where packages put units: one in /etc cannot be masked.
    let unit = "[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";
    machine.write("/usr/lib/systemd/system/masked.service", unit);
    machine.sh_ok("systemctl daemon-reload; systemctl enable -q --now masked");
    machine.guard(&format!(
        "  waits: {{ unit: waits.service, {}, respect_stop: 1s }}\n\
         \x20 fails: {{ unit: fails.service, {}, backoff: {{ initial: {BACKOFF}s }} }}\n\
         \x20 masked: {{ unit: masked.service, interval: 1s, retry_interval: 500ms }}\n",
        quick(9001),
        quick(9002)
    ));
    for name in ["waits", "fails", "masked"] {
        machine.becomes(name, "passing");
    }

    // An operator mends what a restart did not help, and starts it: that start waits, as does one after a stop.
    fails.fault("fail-start-once");
    fails.signal("KILL");
    let failed = machine.wait_told(ids::RECOVERY_ENDED, "fails", 1);
    machine.sh_ok("systemctl stop waits; systemctl --no-block start gate");
    machine.sh_ok("systemctl --no-block start waits fails");
    machine.sh_ok("systemctl mask -q masked; systemctl kill -s KILL masked");
    machine.wait_withheld("fails", "systemd is starting the unit");
    machine.wait_withheld("masked", "masked");
    let shown = machine.run(&["stealthctl", "status", "fails", "masked"]).stdout;
    assert_has(
        &shown,
        &["Withheld: systemd is starting the unit", "Withheld: systemd cannot act on the unit: masked"],
    );
    let mails = machine.wait_mails("masked", 1);
    assert_has(&mails[0].body, &["masked", "None yet."]);
    // Longer than a stop is respected, than failures suffice, and than attempts are apart.
    machine.wait_until(at(&failed[0]) + (BACKOFF + 3) * SECOND, "the backoff to be over");
    assert_eq!((waits.status(), fails.status()), (0, 0), "the gate is open");
    assert_has(
        &machine.run(&["stealthctl", "why", "waits"]).stdout,
        &["the unit's start job waits for other units"],
    );

    machine.sh_ok("echo >/run/gate");
    machine.wait_told(ids::INCIDENT_CLOSED, "fails", 1);
    machine.becomes("waits", "passing");
    assert_eq!((waits.status(), fails.status()), (200, 200));
    assert_eq!((machine.asked("waits"), machine.asked("fails")), (0, 1), "beside somebody's job");
    assert_thread(&machine.wait_mails("fails", 2), &["DOWN", "RECOVERED"]);
    assert!(machine.told(ids::INCIDENT_OPENED, "waits").is_empty(), "its start was on its way");
    assert!(machine.mails_about("waits").is_empty(), "its start was on its way");

    assert_eq!(machine.asked("masked"), 0, "a masked unit");
    machine.sh_ok("systemctl unmask -q masked");
    machine.wait_told(ids::INCIDENT_CLOSED, "masked", 1);
    assert_eq!(machine.unit("masked.service", "ActiveState"), "active");
    assert_eq!(machine.asked("masked"), 1);
    assert_thread(&machine.wait_mails("masked", 2), &["DOWN", "RECOVERED"]);
}
