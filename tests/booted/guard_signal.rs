//! What systemd says by signal is acted on at once, long before the next probe.

use std::time::Duration;

use stealthcheck::journal::ids;

use crate::guarding::{SECOND, at};
use crate::lab::Machine;

const ROUNDS: usize = 20;

/// Generous: a busy host must not fail the test. What is expected is milliseconds, and it is printed.
const AT_MOST: u64 = 3 * SECOND;

#[test]
fn a_unit_that_fails_or_ends_is_restarted_on_the_signal() {
    let machine = Machine::ready("guard-signal");
    machine.sh_ok("cp /usr/bin/sleep /usr/local/bin/napper; mkfifo /run/leaver");
    let unit = |command: &str| {
        format!(
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart={command}\n[Install]\nWantedBy=multi-user.target\n"
        )
    };
    machine.service("leaver.service", &unit("/bin/sh -c 'read x <>/run/leaver; exit 3'"));
    machine.service("napper.service", &unit("/usr/local/bin/napper infinity"));
    // Enabled, for systemd forgets a unit that has ended and that nothing refers to, and its timestamps with it.
    machine.sh_ok("systemctl enable -q --now leaver napper");
    let check = |name: &str| {
        format!(
            "  {name}: {{ unit: {name}.service, interval: 1h, backoff: {{ initial: 1s, max: 1s }}, alert: {{ off: true }} }}\n"
        )
    };
    machine.guard(&[check("leaver"), check("napper")].concat());

    let mut seen = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        // In turn, so that each rests while the other is struck.
        let (name, strike, cause) = [
            (
                "leaver",
                "echo >/run/leaver",
                "unit is failed (Result: exit-code), main process exited with status 3",
            ),
            ("napper", "killall napper", "unit ended without a stop job: inactive (dead)"),
        ][round % 2];
        let unit = format!("{name}.service");
        machine.becomes(name, "passing");
        let earlier = machine.told(ids::INCIDENT_CLOSED, name);
        if let Some(last) = earlier.last() {
            machine.wait_until(at(last) + SECOND + SECOND / 2, "the backoff to be over");
        }
        let run = machine.unit(&unit, "InvocationID");
        machine.sh_ok(strike);
        machine.wait_told(ids::INCIDENT_CLOSED, name, earlier.len() + 1);
        assert_ne!(machine.unit(&unit, "InvocationID"), run);
        assert_eq!(machine.unit(&unit, "NRestarts"), "0");

        let opened = machine.told(ids::INCIDENT_OPENED, name).pop().unwrap();
        assert!(opened["STEALTHCHECK_REASON"].as_str().unwrap().starts_with(cause), "{opened}");
        let down = machine.moment(&unit, "InactiveEnterTimestamp");
        let asked = at(machine.told(ids::RECOVERY_REQUESTED, name).last().unwrap()).saturating_sub(down);
        let job = machine.moment(&unit, "InactiveExitTimestamp").saturating_sub(down);
        for (seen, took) in seen.iter_mut().zip([asked, job]) {
            assert!(took < AT_MOST, "{name}: {took} µs from systemd's signal to the job");
            seen.push(took);
        }
    }
    for (what, mut took) in ["asking for the job", "systemd's start of it"].into_iter().zip(seen) {
        took.sort_unstable();
        let [median, longest] = [took[took.len() / 2], took[took.len() - 1]].map(Duration::from_micros);
        println!("from the unit's end to {what}, {ROUNDS} rounds: median {median:?}, longest {longest:?}");
    }
    assert_eq!(machine.asked("leaver") + machine.asked("napper"), ROUNDS);
    assert!(machine.mailbox().is_empty(), "alert: off, and there is mail");

    // Forgotten by systemd as soon as it has ended: that is an end all the same.
    machine.becomes("napper", "passing");
    let incidents = machine.told(ids::INCIDENT_CLOSED, "napper").len();
    machine.sh_ok("systemctl disable -q napper && killall napper");
    machine.wait_told(ids::INCIDENT_CLOSED, "napper", incidents + 1);
    let opened = machine.told(ids::INCIDENT_OPENED, "napper").pop().unwrap();
    assert_eq!(opened["STEALTHCHECK_REASON"], "unit ended without a stop job: inactive (dead)");
}
