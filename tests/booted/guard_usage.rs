//! A renegade child spins in a unit's cgroup: it is found by the unit's CPU time, and the restart kills it.

use serde_json::Value;
use stealthcheck::journal::ids;

use crate::guarding::{SECOND, assert_has, assert_thread, at};
use crate::lab::{MINUTE, Machine};

/// A service that does nothing, and a child of it that spins from when it is told to until it is killed.
const GRU: &str = "[Service]\n\
    ExecStart=/bin/sh -c '(until rm /run/renegade 2>/dev/null; do sleep 1; done; while :; do :; done) & exec sleep infinity'\n";

/// What is done where a restart was not enough: here it leaves only a mark.
const TERMINATE: &str = "[Service]\nType=oneshot\nExecStart=/usr/bin/touch /run/terminated\n";

fn last_seen(check: &Value) -> (&str, &str) {
    let seen = &check["last"]["observation"];
    let text = seen["detail"].as_str().or(seen["reason"].as_str());
    (seen["verdict"].as_str().unwrap_or_default(), text.unwrap_or_default())
}

fn processes(machine: &Machine) -> usize {
    machine.sh_ok("cat /sys/fs/cgroup/system.slice/gru.service/cgroup.procs").lines().count()
}

#[test]
fn a_renegade_is_killed_by_a_restart_and_one_that_comes_back_climbs_the_steps() {
    let machine = Machine::ready("guard-usage");
    machine.service("gru.service", GRU);
    machine.service("gru-terminate.service", TERMINATE);
    machine.sh_ok("systemctl start gru");
    // The limit leaves room on both sides: on a busy host even a loop gets only what others leave.
    machine.guard(
        "  gru-cpu:\n\
         \x20   unit: gru.service\n\
         \x20   cpu: { below: 10%, over: 5s }\n\
         \x20   interval: 1s\n\
         \x20   grace: 2s\n\
         \x20   backoff: { initial: 1s, max: 1h }\n\
         \x20   recover: [restart, { start: gru-terminate.service }]\n\
         \x20 gru-runs: { unit: gru.service, interval: 1s }\n",
    );
    machine.becomes("gru-cpu", "passing");
    machine.wait_for("a second sample", MINUTE, || {
        last_seen(&machine.check("gru-cpu")).1.contains("% of one CPU").then_some(())
    });
    let run = machine.unit("gru.service", "InvocationID");

    let began = machine.monotonic();
    machine.write("/run/renegade", "");
    let asked = machine.wait_told(ids::RECOVERY_REQUESTED, "gru-cpu", 1);
    let after = at(&asked[0]) - began;
    assert!(after >= 4 * SECOND, "a restart after {after} µs is for a spike");
    machine.wait_told(ids::INCIDENT_CLOSED, "gru-cpu", 1);
    machine.becomes("gru-cpu", "passing");
    assert_ne!(machine.unit("gru.service", "InvocationID"), run);
    assert_eq!(processes(&machine), 3, "the service, its child, and what that sleeps by");
    let mails = machine.wait_mails("gru-cpu", 2);
    assert_thread(&mails, &["DOWN", "RECOVERED"]);
    assert_has(&mails[0].body, &["of one CPU for 5s, 10% is the limit", "restart: done"]);
    assert_has(&mails[1].body, &["restart: done, recovered"]);

    machine.write("/run/renegade", "");
    let asked = machine.wait_told(ids::RECOVERY_REQUESTED, "gru-cpu", 2);
    assert_has(
        asked[1]["MESSAGE"].as_str().unwrap_or_default(),
        &["requested start of gru-terminate.service"],
    );
    machine.wait_for("the last resort", MINUTE, || {
        machine.sh("test -e /run/terminated").success().then_some(())
    });
    // The mark kills nothing, so it did not help, until somebody does.
    machine.wait_told(ids::ATTEMPT_CONCLUDED, "gru-cpu", 2);
    machine.sh_ok("systemctl restart gru");
    machine.wait_told(ids::INCIDENT_CLOSED, "gru-cpu", 2);
    machine.becomes("gru-cpu", "passing");
    assert_eq!(machine.asked("gru-runs"), 0, "systemd found it well all the while");
    assert!(machine.mails_about("gru-runs").is_empty());
}

#[test]
fn what_the_machine_uses_is_measured_and_what_is_not_counted_is_said() {
    let machine = Machine::ready("guard-host");
    machine.service("plain.service", "[Service]\nExecStart=/usr/bin/sleep infinity\n");
    machine.sh_ok("systemctl start plain");
    machine.guard(
        "  memory: { memory: { below: 100%, of: host, over: 1s }, interval: 1s }\n\
         \x20 full: { memory: { below: 1M, of: host, over: 1s }, interval: 1s }\n\
         \x20 cpu: { cpu: { below: 99999%, of: host, percent_of: cpu, over: 2s }, interval: 1s }\n\
         \x20 plain: { unit: plain.service, memory: { below: 1G, over: 1s }, interval: 1s }\n",
    );
    machine.becomes("memory", "passing");
    machine.becomes("cpu", "passing");
    assert_has(last_seen(&machine.check("memory")).1, &["% of ", "iB (limit 100%)"]);
    machine.wait_for("a second sample", MINUTE, || {
        last_seen(&machine.check("cpu")).1.contains("% of one CPU").then_some(())
    });
    machine.becomes("full", "down");
    let mails = machine.wait_mails("full", 1);
    assert_has(&mails[0].body, &["at least ", "iB for 1s, 1 MiB is the limit"]);

    // These machines have no memory controller: systemd counts nothing, and that is no failure of the unit.
    assert_eq!(machine.unit("plain.service", "MemoryCurrent"), "[not set]");
    let plain = machine.wait_for("a sample of plain", MINUTE, || {
        Some(machine.check("plain")).filter(|check| !check["last"].is_null())
    });
    let expected = ("unknown", "memory accounting is off for plain.service, see MemoryAccounting=");
    assert_eq!(last_seen(&plain), expected);
    assert_eq!(machine.asked("plain"), 0);
    assert!(machine.mails_about("plain").is_empty());
}
