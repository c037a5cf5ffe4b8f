//! Jobs that timers run: each way in which one is not well, on a real systemd with real timers, in seconds for hours.

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread, kinds};
use crate::lab::{MINUTE, Machine, Mail};

/// A job that is told by files what to do. Where `skip` is, systemd starts nothing.
// Started every two seconds, which is as often as systemd's start limit permits by default.
const BACKUP: &str = "[Unit]\nConditionPathExists=!/run/skip\nStartLimitIntervalSec=0\n\
    [Service]\nType=oneshot\n\
    ExecStart=/bin/sh -c 'if [ -e /run/fail ]; then echo no room; exit 3; fi; if [ -e /run/slow ]; then sleep 1000; fi'\n";

const TIMER: &str = "[Timer]\nOnCalendar=*:*:0/2\nAccuracySec=1ms\n[Install]\nWantedBy=timers.target\n";

fn seen(machine: &Machine, check: &str) -> String {
    let observation = machine.check(check)["last"]["observation"].clone();
    observation["detail"].as_str().or(observation["reason"].as_str()).unwrap_or_default().to_owned()
}

/// Waits for the mail that opens incident number `n` of the backup, and for it to say this.
fn told(machine: &Machine, n: usize, parts: &[&str]) {
    machine.wait_told(ids::INCIDENT_OPENED, "backup", n);
    let mails = machine.wait_mails("backup", 2 * n - 1);
    let down = &mails[2 * n - 2];
    assert_eq!(kinds(std::slice::from_ref(down)), ["DOWN"]);
    assert_has(&down.body, parts);
}

/// Waits for the end of incident number `n`, and returns its mails.
fn well_again(machine: &Machine, n: usize) -> Vec<Mail> {
    machine.wait_told(ids::INCIDENT_CLOSED, "backup", n);
    machine.becomes("backup", "passing");
    machine.wait_mails("backup", 2 * n).split_off(2 * n - 2)
}

#[test]
fn a_job_that_fails_is_late_or_runs_too_long_is_told_and_well_again_when_it_has_run() {
    let machine = Machine::ready("guard-jobs");
    machine.service("backup.service", BACKUP);
    machine.service("backup.timer", TIMER);
    machine.sh_ok("systemctl enable --now backup.timer");
    machine.guard(
        "  backup: { unit: backup.timer, job: { succeeded_within: 20s, max_runtime: 8s }, interval: 1s, respect_stop: 3s, \
         backoff: { max: 10s } }\n",
    );
    machine.wait_for("a run", MINUTE, || seen(&machine, "backup").starts_with("succeeded ").then_some(()));
    machine.becomes("backup", "passing");

    machine.write("/run/fail", "");
    told(
        &machine,
        1,
        &[
            "backup.service: the last run failed: exit-code, main process exited with status 3",
            "\nUNIT\nbackup.service\nfailed (Result: exit-code)",
            "JOURNAL OF backup.service",
            "no room",
            "No action is taken: no recovery is configured for this check.",
        ],
    );
    machine.sh_ok("rm /run/fail");
    assert_thread(&well_again(&machine, 1), &["DOWN", "RECOVERED"]);

    machine.write("/run/skip", "");
    told(&machine, 2, &["backup.service: last succeeded 2", "expected within 20s"]);
    machine.sh_ok("rm /run/skip");
    well_again(&machine, 2);

    machine.write("/run/slow", "");
    told(&machine, 3, &["backup.service: has been running for ", "expected to take less than 8s"]);
    machine.sh_ok("rm /run/slow; systemctl stop backup.service");
    well_again(&machine, 3);

    // A timer that somebody stops is respected for a while; then it is what is amiss.
    machine.sh_ok("systemctl disable --now backup.timer");
    machine.becomes("backup", "stopped");
    told(
        &machine,
        4,
        &["unit was stopped", " 3s ago and has not been started again", "\nUNIT\nbackup.timer"],
    );
    machine.sh_ok("systemctl enable --now backup.timer");
    well_again(&machine, 4);
    assert_eq!(machine.asked("backup"), 0, "a job is not run again unless somebody says so");
}

#[test]
fn a_run_is_remembered_though_systemd_forgets_it() {
    let machine = Machine::ready("guard-forgotten");
    machine.service("loose.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n");
    machine.service(
        "again.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'if rm /run/fail 2>/dev/null; then exit 3; fi'\n",
    );
    machine.guard(
        "  loose: { unit: loose.service, job: { succeeded_within: 1h }, interval: 1s }\n\
         \x20 again: { unit: again.service, job: { succeeded_within: 1h }, interval: 1s, recover: start }\n",
    );
    machine.becomes("loose", "passing");
    assert!(seen(&machine, "loose").starts_with("no run yet"), "{}", seen(&machine, "loose"));
    machine.sh_ok("systemctl start loose");
    assert_eq!(machine.unit("loose.service", "ExecMainExitTimestamp"), "", "systemd has forgotten it");
    let remembered = || seen(&machine, "loose").starts_with("succeeded ").then_some(());
    machine.wait_for("the run to be known", MINUTE, remembered);
    for end in ["systemctl restart stealthcheck", "systemctl kill -s KILL stealthcheck"] {
        let before = machine.daemon();
        machine.sh_ok(end);
        machine.daemon_after(before);
        machine.wait_for("the run to be remembered", MINUTE, remembered);
    }

    machine.write("/run/fail", "");
    assert!(!machine.sh("systemctl start again").success());
    machine.wait_told(ids::INCIDENT_CLOSED, "again", 1);
    let mails = machine.wait_mails("again", 2);
    assert_thread(&mails, &["DOWN", "RECOVERED"]);
    assert_has(&mails[0].body, &["the last run failed: exit-code, main process exited with status 3"]);
    assert_has(&mails[1].body, &["start: done, recovered"]);
    assert_eq!(machine.asked("again"), 1);
    assert_eq!(machine.mailbox().len(), 2);
}
