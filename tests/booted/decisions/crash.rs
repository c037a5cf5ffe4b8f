//! Services that end or fail again and again: which of that is one incident, which is systemd's business, and which is
//! the normal course of a worker (rules 7 and 13).

use std::time::Duration;

use stealthcheck::journal::ids;

use super::{Findings, SLEEPS};
use crate::guarding::{SECOND, kinds, quick, shown};
use crate::lab::{MINUTE, Machine};

/// Attempts that follow each other soon.
const SOON: &str = "grace: 4s, backoff: { initial: 1s, max: 4s }";

/// For how long the service that flaps answers after each start: longer than a recovery must hold to be one.
const ANSWERS_FOR: u64 = 13;

/// An incident is flapping when there were more than six before it within the hour.
const INCIDENTS: usize = 7;

#[test]
fn unit_that_fails_again_soon_is_one_incident_and_a_worker_that_ends_is_none() {
    let machine = Machine::ready("decide-crashes");
    // A service that ends two seconds after each start, as one that reads a bad configuration late.
    machine.service(
        "brief.service",
        "[Service]\nExecStart=/bin/sh -c 'sleep 2; test -e /run/brief-bad || exec sleep infinity; exit 1'\n",
    );
    // Its child keeps the port, and answers for the run that cannot have it.
    machine.service(
        "leftover.service",
        "[Service]\nKillMode=process\n\
         ExecStart=/bin/sh -c 'python3 -m http.server 9003 --bind 127.0.0.1 --directory /run/systemd & wait $!'\n",
    );
    // A queue worker with a maximum time.
    let always = "Restart=always\nRestartSec=200ms\n[Unit]\nStartLimitIntervalSec=0";
    machine.service("worker.service", &format!("[Service]\nExecStart=/usr/bin/sleep 2\n{always}\n"));
    let looping = machine.victim_with("looping", 9001, always);
    let patient = machine.victim_with("patient", 9002, "Restart=always\nRestartSec=6s");
    machine.service("monthly.service", &format!("{SLEEPS}Restart=always\nRestartSec=30min\n"));
    // It hangs so long after each start.
    machine.service(
        "flapping.service",
        &format!("[Service]\nExecStartPre=/bin/sh -c 'mkdir -p /run/victim/flapping; rm -f /run/victim/flapping/*'\n\
         ExecStartPost=/bin/sh -c '(sleep {ANSWERS_FOR}; touch /run/victim/flapping/500) &'\n\
         ExecStart=/usr/bin/python3 /usr/local/lib/victim.py 9004 /run/victim/flapping\nType=notify\n"),
    );
    machine.write("/run/good", "");
    machine.sh_ok(
        "systemd-run -q --unit=transient -p Restart=on-failure -p RestartSec=100ms \
         sh -c 'test -e /run/good || exit 1; exec sleep infinity'",
    );
    machine.sh_ok("systemctl start brief leftover worker monthly");
    let by_state = |name: &str| format!("  {name}: {{ unit: {name}.service, interval: 1s, {SOON} }}\n");
    machine.guard(&format!(
        "{}{}{}{}  leftover: {{ unit: leftover.service, {}, {SOON} }}\n\
         \x20 looping: {{ unit: looping.service, {}, {SOON} }}\n\
         \x20 patient: {{ unit: patient.service, {} }}\n\
         \x20 flapping: {{ unit: flapping.service, {}, grace: 2s, backoff: {{ initial: 1s, max: 10s }}, alert: {{ to: flapping@example.org }} }}\n",
        by_state("brief"),
        by_state("worker"),
        by_state("monthly"),
        by_state("transient"),
        quick(9003),
        quick(9001),
        quick(9002),
        quick(9004),
    ));
    machine.all_pass(&["brief", "leftover", "looping", "patient", "monthly", "transient"]);
    machine.sh_ok("systemctl start flapping");
    let mut findings = Findings::on(&machine);

    machine.sh_ok("touch /run/brief-bad; systemctl kill -s KILL brief");
    machine.sh_ok("systemctl kill -s KILL --kill-who=main leftover monthly; rm /run/good; systemctl kill -s KILL transient");
    looping.fault("fail-start");
    looping.signal("KILL");
    patient.signal("KILL");
    machine.wait_for("a crash loop", MINUTE, || {
        machine.unit("looping.service", "NRestarts").parse().is_ok_and(|n: u32| n >= 8).then_some(())
    });
    looping.fault("hang-once");
    machine.sh_ok("rm /run/victim/looping/fail-start");
    let hangs = machine.monotonic();

    transient(&machine, &mut findings);

    // RestartSec= says when systemd will do something.
    let month = || machine.withheld("monthly").iter().any(|reason| reason.contains("RestartSec="));
    findings.reaches("monthly", "the restart is withheld, which says when systemd restarts it", month);
    findings.expect("monthly", "no job", machine.asked("monthly") == 0);
    findings.reaches("patient", "systemd has restarted it", || {
        patient.status() == 200 && machine.passes("patient")
    });
    findings.calm("patient");

    let mails = machine.mails_about("leftover");
    let kinds_seen = kinds(&mails);
    findings.expect(
        "leftover",
        &format!("no RECOVERED while the old process answers: {kinds_seen:?}"),
        !kinds_seen.contains(&"RECOVERED"),
    );
    machine.sh_ok("pkill -f '[h]ttp.server 9003'");

    flapping(&machine, &mut findings);

    // One incident each, however often it was started.
    for name in ["brief", "leftover"] {
        let opened = machine.told(ids::INCIDENT_OPENED, name).len();
        findings.expect(name, &format!("one incident, not {opened}"), opened == 1);
    }
    findings.reaches("leftover", "it recovers once the port is free", || {
        machine.told(ids::INCIDENT_CLOSED, "leftover").len()
            == machine.told(ids::INCIDENT_OPENED, "leftover").len()
    });
    let mails = machine.mails_about("brief");
    findings.expect(
        "brief",
        &format!("{:?} are DOWN and ACTION REQUIRED", kinds(&mails)),
        kinds(&mails) == ["DOWN", "ACTION REQUIRED"],
    );
    machine.sh_ok("rm /run/brief-bad");
    findings.reaches("brief", "RECOVERED, once it stays up", || {
        kinds(&machine.mails_about("brief")).last() == Some(&"RECOVERED")
            && machine.is("brief.service", "active")
    });

    let restarts = machine.unit("worker.service", "NRestarts");
    assert!(restarts.parse().is_ok_and(|n: u32| n >= 8), "systemd has restarted it {restarts} times");
    let state = shown(&machine.check("worker"));
    findings.expect("worker", &format!("passing, not {state}"), state == "passing");
    findings.expect("worker", "no crash loop", machine.told(ids::CRASH_LOOP, "worker").is_empty());
    findings.calm("worker");

    // A crash loop is over when systemd has not restarted the service for two minutes. Then it is like any other.
    let over = Duration::from_micros((hangs + 160 * SECOND).saturating_sub(machine.monotonic()));
    findings.reaches_within(
        over,
        "looping",
        "the service that hangs after a crash loop is restarted",
        || looping.status() == 200,
    );
    findings.end();
}

/// systemd forgets a failed transient unit as soon as it is reset: then no command can start it again.
fn transient(machine: &Machine, findings: &mut Findings<'_>) {
    // It was deleted 8 ms after the start limit.
    machine.wait_for("the start limit", MINUTE, || {
        let refused =
            machine.sh("journalctl -u transient.service | grep -q 'Start request repeated too quickly'");
        refused.success().then_some(())
    });
    machine.sh_ok("sleep 3");
    let kept = machine.unit("transient.service", "LoadState") == "loaded";
    findings.expect("transient", "a failed transient unit is not deleted", kept);
    machine.write("/run/good", "");
    if kept {
        findings.reaches("transient", "it is restarted when its start limit is over", || {
            machine.is("transient.service", "active")
        });
    }
}

/// Many incidents within the hour: from some number on, one mail stands for all that follow.
fn flapping(machine: &Machine, findings: &mut Findings<'_>) {
    let cycle = ANSWERS_FOR + 3;
    let many = Duration::from_secs(u64::try_from(INCIDENTS + 2).unwrap() * cycle);
    let mails = || machine.mails_about("flapping");
    let flaps = || kinds(&mails()).contains(&"FLAPPING");
    if !findings.reaches_within(many, "flapping", "a mail says that it is flapping", flaps) {
        let kinds: Vec<String> = kinds(&mails()).iter().map(|kind| (*kind).to_owned()).collect();
        findings.expect("flapping", &format!("{kinds:?}"), false);
        return;
    }
    let (so_far, asked) = (mails().len(), machine.asked("flapping"));
    // One more failure, and the recovery of it. (It was DOWN and RECOVERED each time.)
    findings.reaches("flapping", "it is still recovered", || machine.asked("flapping") > asked);
    machine.sh_ok("sleep 5");
    findings.expect("flapping", "no further mail", mails().len() == so_far);
}
