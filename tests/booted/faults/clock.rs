//! The machine suspended. (The clock set back or forward is played on the simulated machine, tests/engine/clocks.rs: what
//! is set in a guest here would be set on its host.)

use std::time::Duration;

use stealthcheck::journal::ids;

use super::story::{assert_all_told, drop_in, status, wait_until_all_is_told};
use crate::guarding::quick;
use crate::lab::Machine;

/// Longer than all intervals and timeouts, and than the watchdog's half; the last also than the watchdog. (A virtual
/// machine's own monotonic clock stands still meanwhile, and with it systemd's watchdog. This one's goes on.)
const SLEEPS: [u64; 3] = [8, 8, 21];

/// Promise: a machine that was suspended is what it was before: nobody is restarted for it, and nobody is told.
#[test]
fn a_machine_that_was_suspended_restarts_nobody_and_tells_nobody() {
    let machine = Machine::ready("faults-asleep");
    drop_in(&machine, "watchdog", "WatchdogSec=20s");
    let stubborn = machine.victim("stubborn", 9001);
    let mut checks = format!(
        "  stubborn: {{ unit: stubborn.service, {}, grace: 1s, backoff: {{ initial: 1s, max: 4s }} }}\n",
        quick(9001)
    );
    // They answer at once, or just in time: then it falls asleep with the question asked. The first failure counts.
    for (name, port) in [("web", 9002), ("lazy", 9003), ("quiet", 9004)] {
        machine.victim(name, port);
        checks += &format!(
            "  {name}: {{ unit: {name}.service, http: {{ url: \"http://127.0.0.1:{port}/\" }}, interval: 1s, \
             timeout: 900ms, failure_threshold: 1 }}\n"
        );
    }
    crate::lab::Victim::of(&machine, "lazy", 9003).fault_with("slow", "0.4");
    machine.guard(&checks);
    machine.sh_ok("stealthctl pause quiet --for 2h");
    let until = machine.becomes("quiet", "paused")["suppressed_by"]["until"].as_i64().unwrap();
    stubborn.fault("500");
    let incident = machine.becomes("stubborn", "down")["incident"]["id"].clone();
    let runs =
        || ["web", "lazy", "quiet"].map(|name| machine.unit(&format!("{name}.service"), "InvocationID"));
    let before = runs();
    machine.becomes("web", "passing");
    machine.becomes("lazy", "passing");
    let daemon = machine.daemon();
    for (n, lasting) in SLEEPS.iter().enumerate() {
        machine.sleeps(Duration::from_secs(*lasting));
        if n < 2 {
            assert_eq!(machine.daemon(), daemon);
        }
        // Until each has been probed anew.
        let woke = status(&machine)["at"].as_i64().unwrap();
        machine.wait_for("new probes", crate::lab::MINUTE, || {
            let status = status(&machine);
            let checks = status["checks"].as_array().unwrap();
            let probed = |name: &str| {
                checks
                    .iter()
                    .any(|check| check["name"] == name && check["last"]["last"].as_i64() > Some(woke))
            };
            (probed("web") && probed("lazy")).then_some(())
        });
    }
    for name in ["web", "lazy", "quiet"] {
        assert!(machine.told(ids::INCIDENT_OPENED, name).is_empty(), "{name}: a false incident");
        assert_eq!(machine.asked(name), 0, "{name}");
        assert!(machine.mails_about(name).is_empty(), "{name}");
    }
    assert_eq!(runs(), before);
    let now = machine.becomes("stubborn", "down")["incident"]["id"].clone();
    assert_eq!(now, incident);
    let drift = machine.check("quiet")["suppressed_by"]["until"].as_i64().unwrap() - until;
    assert!(drift.abs() < 5_000, "the pause's end has moved by {drift} ms");
    println!("{} lives more by the watchdog", machine.unit("stealthcheck.service", "NRestarts"));
    stubborn.heal();
    wait_until_all_is_told(&machine);
    assert_eq!(assert_all_told(&machine).0, 1);
}
