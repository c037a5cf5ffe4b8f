//! A systemd that does not answer for longer than anybody waits for it.

use std::time::Duration;

use stealthcheck::journal::ids;

use super::polkit::is_probed;
use crate::guarding::{assert_has, assert_thread, quick};
use crate::lab::{MINUTE, Machine};

/// Fills the queue of messages to systemd (sd_notify(3)) to the last place, as they do who go on talking to one that hangs.
const FILL: &str = "
import socket
talks, said = [], 0
while said < 100000:
    # Each may have only so much on its way.
    talk = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    talk.connect('/run/systemd/notify')
    talks.append(talk)
    before = said
    try:
        while True:
            talk.send(b'STATUS=full')
            said += 1
    except BlockingIOError:
        pass
    if said == before:
        print(said)
        break
";

#[test]
fn a_systemd_that_hangs_is_told_and_nothing_is_done_twice_when_it_goes_on() {
    let machine = Machine::ready("faults-hung");
    machine.sh_ok("mkdir -p /etc/systemd/system/stealthcheck.service.d");
    machine.service("stealthcheck.service.d/watchdog.conf", "[Service]\nWatchdogSec=10s\n");
    let web = machine.victim("web", 9001);
    let idle = machine.victim("idle", 9002);
    machine.guard(&format!(
        "  web: {{ unit: web.service, {}, grace: 1s, backoff: {{ initial: 1s, max: 2s }} }}\n\
         \x20 idle: {{ unit: idle.service, {} }}\n  state: {{ unit: idle.service, interval: 1s }}\n",
        quick(9001),
        quick(9002)
    ));
    for name in ["web", "idle", "state"] {
        machine.becomes(name, "passing");
    }
    let daemon = machine.daemon();
    let runs = [machine.unit(&web.unit(), "InvocationID"), machine.unit(&idle.unit(), "InvocationID")];

    // All of it that there is: the cgroup of PID 1.
    let freezer = "/sys/fs/cgroup/init.scope/cgroup.freeze";
    machine.sh_ok(&format!("echo 1 >{freezer}"));
    web.fault("500-once");
    machine.wait_told(ids::RECOVERY_REQUESTED, "web", 1);
    let filled = machine.run(&["python3", "-c", FILL]);
    assert!(filled.stdout.trim().parse::<u32>().is_ok(), "its queue is not full: {filled}");

    machine.wait_for("the hang to be told", 3 * MINUTE, || {
        let entries = machine.journal_entries(&["-u", "stealthcheck.service"]);
        let told = |entry: &serde_json::Value| {
            entry["MESSAGE"].as_str().unwrap_or_default().contains("systemd does not answer")
        };
        entries.iter().any(told).then_some(())
    });
    assert_has(&machine.sh("stealthctl status").stdout, &["systemd does not answer: no answer within 25 s"]);
    is_probed(&machine, "idle");
    machine.wait_for("the unit's state to count as not known", MINUTE, || {
        machine.check("state")["last"]["observation"]["reason"].as_str().map(|_| ())
    });
    for name in ["idle", "state"] {
        assert!(machine.told(ids::INCIDENT_OPENED, name).is_empty(), "nothing is wrong with {name}");
    }
    assert_eq!(machine.asked("web"), 1, "an order cannot be taken back, and is not given twice");

    machine.sh_ok(&format!("echo 0 >{freezer}"));
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    machine.becomes("web", "passing");
    machine.becomes("state", "passing");
    machine.wait_for("the alert to go", MINUTE, || {
        (machine.status_json()["alerts"].as_array().map(Vec::len) == Some(0)).then_some(())
    });
    // It was restarted by the one order, and nothing else was.
    assert_eq!(machine.asked("web"), 1);
    let started =
        machine.journal_entries(&["_PID=1", "UNIT=web.service", "JOB_RESULT=done", "JOB_TYPE=restart"]);
    assert_eq!(started.len(), 1, "{started:#?}");
    assert_ne!(machine.unit(&web.unit(), "InvocationID"), runs[0]);
    assert_eq!(machine.unit(&idle.unit(), "InvocationID"), runs[1]);
    assert_thread(&machine.wait_mails("web", 2), &["DOWN", "RECOVERED"]);
    // Its watchdog has not struck, for whoever does not look cannot have missed anything.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(machine.daemon(), daemon);
    assert_eq!(machine.unit("stealthcheck.service", "NRestarts"), "0");
}
