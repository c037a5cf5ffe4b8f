//! What systemd says by signal is acted on at once, long before the next probe.

use std::time::Duration;

use stealthcheck::journal::ids;

use crate::guarding::{SECOND, at};
use crate::lab::Machine;

/// So many units of each kind, each of which goes down so often: not often enough to count as flapping.
const UNITS: usize = 5;
const LAPS: usize = 2;

/// Generous: a busy host must not fail the test. What is expected is milliseconds, and it is printed.
const AT_MOST: u64 = 3 * SECOND;

#[test]
fn a_unit_that_fails_or_ends_is_restarted_on_the_signal() {
    let machine = Machine::ready("guard-signal");
    let unit = |command: &str| {
        format!(
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart={command}\n[Install]\nWantedBy=multi-user.target\n"
        )
    };
    machine.service("leaver@.service", &unit("/bin/sh -c 'read x <>/run/leaver%i; exit 3'"));
    machine.service("napper@.service", &unit("/usr/bin/sleep infinity"));
    let names: Vec<String> = (1..=UNITS).flat_map(|n| [format!("leaver{n}"), format!("napper{n}")]).collect();
    let unit_of = |name: &str| format!("{}@{}.service", &name[..6], &name[6..]);
    let units = names.iter().map(|name| unit_of(name)).collect::<Vec<String>>().join(" ");
    machine.sh_ok(&format!("mkfifo $(seq -f /run/leaver%g {UNITS})"));
    // Enabled, for systemd forgets a unit that has ended and that nothing refers to, and its timestamps with it.
    machine.sh_ok(&format!("systemctl enable -q --now {units}"));
    let check = |name: &String| {
        format!(
            "  {name}: {{ unit: {}, interval: 1h, backoff: {{ initial: 1s, max: 1s }}, alert: {{ off: true }} }}\n",
            unit_of(name)
        )
    };
    machine.guard(&names.iter().map(check).collect::<String>());

    let mut seen = [Vec::new(), Vec::new()];
    for lap in 0..LAPS {
        // Well for longer than the longest backoff since the lap before.
        for name in &names {
            machine.wait_told(ids::INCIDENT_CLOSED, name, lap);
            machine.becomes(name, "passing");
        }
        for name in &names {
            let unit = unit_of(name);
            let (strike, cause) = if name.starts_with("leaver") {
                (
                    format!("echo >/run/{name}"),
                    "unit is failed (Result: exit-code), main process exited with status 3",
                )
            } else {
                (format!("systemctl kill -s TERM {unit}"), "unit ended without a stop job: inactive (dead)")
            };
            let run = machine.unit(&unit, "InvocationID");
            machine.sh_ok(&strike);
            machine.wait_told(ids::RECOVERY_ENDED, name, lap + 1);
            assert_ne!(machine.unit(&unit, "InvocationID"), run);
            assert_eq!(machine.unit(&unit, "NRestarts"), "0");

            let opened = machine.told(ids::INCIDENT_OPENED, name);
            assert_eq!(opened.len(), lap + 1, "{opened:#?}");
            let opened = &opened[lap];
            assert!(opened["STEALTHCHECK_REASON"].as_str().unwrap().starts_with(cause), "{opened}");
            let down = machine.moment(&unit, "InactiveEnterTimestamp");
            let asked = at(machine.told(ids::RECOVERY_REQUESTED, name).last().unwrap()).saturating_sub(down);
            let job = machine.moment(&unit, "InactiveExitTimestamp").saturating_sub(down);
            for (seen, took) in seen.iter_mut().zip([asked, job]) {
                assert!(took < AT_MOST, "{name}: {took} µs from systemd's signal to the job");
                seen.push(took);
            }
        }
    }
    let rounds = LAPS * names.len();
    for (what, mut took) in ["asking for the job", "systemd's start of it"].into_iter().zip(seen) {
        took.sort_unstable();
        let [median, longest] = [took[took.len() / 2], took[took.len() - 1]].map(Duration::from_micros);
        println!("from the unit's end to {what}, {rounds} rounds: median {median:?}, longest {longest:?}");
    }
    for name in &names {
        machine.wait_told(ids::INCIDENT_CLOSED, name, LAPS);
        assert_eq!(machine.asked(name), LAPS, "{name}");
    }
    assert!(machine.mailbox().is_empty(), "alert: off, and there is mail");

    // Forgotten by systemd as soon as it has ended: that is an end all the same.
    machine.becomes("napper1", "passing");
    machine.sh_ok("systemctl disable -q napper@1 && systemctl kill -s TERM napper@1");
    machine.wait_told(ids::INCIDENT_CLOSED, "napper1", LAPS + 1);
    let opened = machine.told(ids::INCIDENT_OPENED, "napper1").pop().unwrap();
    assert_eq!(opened["STEALTHCHECK_REASON"], "unit ended without a stop job: inactive (dead)");
}
