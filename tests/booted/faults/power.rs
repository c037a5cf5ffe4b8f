//! The power fails in the middle of incidents.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use stealthcheck::journal::ids;

use super::story::{assert_all_told, incidents_told, wait_until_all_is_told};
use crate::lab::{MINUTE, Machine};

/// Fails at every start until it is mended; what mends it outlives a reboot.
/// (Before it is up: one that was for a millisecond passes in that.)
const BROKEN: &str =
    "[Service]\nExecStartPre=/usr/bin/test -e /var/lib/mended\nExecStart=/usr/bin/sleep infinity\n";
const GATE: &str = "[Service]\nExecStart=/usr/bin/nc -lk 127.0.0.1 9100\n";

/// Promise: no incident is forgotten and no notification lost, whatever moment the power fails at. (What a disk's own cache loses
/// is beyond this test: a machine here dies as a whole, and its host writes on. The order in which the state is brought
/// onto the disk is the other test's.)
#[test]
fn power_cuts_in_mid_incident_forget_nothing() {
    let machine = Machine::ready("faults-power");
    machine.service("broken.service", BROKEN);
    machine.service("gate.service", GATE);
    machine.victim("quiet", 9002);
    // Told while nobody takes mail.
    machine.sh_ok("systemctl enable -q stealthcheck quiet; systemctl stop postfix");
    machine.guard(
        "  gate: { tcp: { address: \"127.0.0.1:9100\" }, interval: 500ms, timeout: 400ms, retry_interval: 200ms, failure_threshold: 2 }\n\
         \x20 broken: { unit: broken.service, grace: 1s, backoff: { initial: 1s, max: 5s } }\n\
         \x20 quiet: { tcp: { address: \"127.0.0.1:9002\" }, interval: 1s, timeout: 900ms }\n",
    );
    machine.becomes("quiet", "passing");
    machine.sh_ok("stealthctl pause quiet --for 2h");
    let queued = |at_least: u64| {
        machine.wait_for(&format!("{at_least} mails in the spool"), MINUTE, || {
            let mail = machine.status_json()["mail"].clone();
            (mail["queued"].as_u64() >= Some(at_least)).then_some(mail)
        })
    };
    let known = |name: &str| {
        let incident = machine.becomes(name, "down")["incident"].clone();
        [&incident["id"], &incident["since"], &incident["cause"]].map(Value::clone)
    };
    let (gate, broken) = (known("gate"), known("broken"));
    let oldest = queued(2)["oldest"].clone();
    let until = machine.becomes("quiet", "paused")["suppressed_by"]["until"].as_i64().unwrap();
    let mut attempts = 0;
    for cut in 0..4 {
        machine.crash();
        machine.wait_for("the daemon after a power cut", MINUTE, || {
            (machine.unit("stealthcheck.service", "ActiveState") == "active").then_some(())
        });
        assert_eq!((known("gate"), known("broken")), (gate.clone(), broken.clone()), "after power cut {cut}");
        assert_eq!(queued(2)["oldest"], oldest, "after power cut {cut}");
        let drift = machine.becomes("quiet", "paused")["suppressed_by"]["until"].as_i64().unwrap() - until;
        assert!(drift.abs() < 5_000, "the pause's end has moved by {drift} ms");
        let now = machine.check("broken")["incident"]["attempts"].as_u64().unwrap();
        assert!(now >= attempts, "{now} attempts, and there were {attempts}");
        attempts = now;
        // Each time at another moment of its attempts.
        thread::sleep(Duration::from_millis(cut * 430));
    }
    machine.sh_ok("touch /var/lib/mended; systemctl start gate");
    machine.smtp();
    wait_until_all_is_told(&machine);
    let (incidents, twice) = assert_all_told(&machine);
    assert_eq!((incidents, twice), (2, 0));
    assert_eq!(incidents_told(&machine, ids::INCIDENT_CLOSED).len(), 2);
}

/// Promise: a power failure finds a whole state. Its content is on the disk before its name is, and then the name, too.
#[test]
fn the_state_is_on_the_disk_before_it_has_its_name() {
    let machine = Machine::ready("faults-sync");
    machine.guard("  gate: { tcp: { address: \"127.0.0.1:9100\" }, interval: 1h, failure_threshold: 1 }\n");
    machine.becomes("gate", "down");
    let calls = "openat,fdatasync,fsync,close,rename,renameat,renameat2";
    machine.sh_ok(&format!(
        "systemd-run -q --unit=trace strace -f -qq -y -e trace={calls} -o /run/trace -p {}; \
         for i in $(seq 200); do grep -qs TracerPid.*[1-9] /proc/{0}/status && break; sleep 0.05; done",
        machine.daemon()
    ));
    machine.sh_ok("stealthctl pause gate --for 1h; sleep 1; systemctl stop trace");
    let trace = machine.read("/run/trace");
    let line = |what: &str, name: &str| {
        trace
            .lines()
            .position(|line| line.contains(what) && line.contains(name))
            .unwrap_or_else(|| panic!("no {what} of {name} in\n{trace}"))
    };
    let written = line("fdatasync(", "state.json.new");
    let renamed = line("rename", "state.json.new\"");
    let named = line("fsync(", "/var/lib/stealthcheck>");
    assert!(written < renamed && renamed < named, "{trace}");
}
