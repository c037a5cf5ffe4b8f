//! The daemon killed, over and over, at moments that nobody has chosen.

use std::time::Duration;

use stealthcheck::journal::ids;

use super::story::{assert_all_told, drop_in, incidents_told, wait_until_all_is_told};
use crate::guarding::{SECOND, at};
use crate::lab::{MINUTE, Machine, Victim, checkout};

const KILLS: usize = 300;
/// No more than four: five that fail together are a storm.
const VICTIMS: [(&str, u16); 4] = [("alder", 9001), ("birch", 9002), ("cedar", 9003), ("stubborn", 9004)];
/// Of the killer's chance, where `STEALTHCHECK_SEED` names no other.
const SEED: u64 = 20_261_128;
/// `backoff:` of the checks, in seconds.
const BACKOFF: (u64, u64) = (1, 8);

fn yaml(name: &str, port: u16) -> String {
    let (initial, max) = BACKOFF;
    // Each to another address: nobody gets so many that they become a digest.
    format!(
        "  {name}: {{ unit: {name}.service, http: {{ url: \"http://127.0.0.1:{port}/\" }}, interval: 300ms, \
         timeout: 250ms, retry_interval: 100ms, failure_threshold: 2, grace: 1s, alert: {{ to: [{name}@example.org] }}, \
         backoff: {{ initial: {initial}s, max: {max}s }} }}\n"
    )
}

/// Promise: no incident is forgotten, no notification lost, the order within an incident is kept, backoff and pauses hold.
#[test]
fn killed_three_hundred_times_it_forgets_no_incident_loses_no_mail_and_keeps_backoff_and_pause() {
    let seed = std::env::var("STEALTHCHECK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    println!("seed {seed} (as far as a busy machine plays it the same)");

    let machine = Machine::ready("faults-killed");
    drop_in(&machine, "again", "RestartSec=10ms");
    let victims: Vec<Victim<'_>> = VICTIMS.iter().map(|(name, port)| machine.victim(name, *port)).collect();
    machine.victim("quiet", 9010);
    let checks: String = VICTIMS.iter().map(|(name, port)| yaml(name, *port)).collect();
    machine.guard(&(checks + &yaml("quiet", 9010)));
    for (name, _) in VICTIMS {
        machine.becomes(name, "passing");
    }
    machine.sh_ok("stealthctl pause quiet --for 2h");
    let until = machine.becomes("quiet", "paused")["suppressed_by"]["until"].as_i64().unwrap();
    machine.sh_ok("systemctl kill -s KILL quiet");
    let stubborn = &victims[VICTIMS.len() - 1];
    stubborn.fault("500");
    let incident = machine.becomes("stubborn", "down")["incident"].clone();

    machine.push(&checkout().join("tests/booted/faults/killer.py"), "/usr/local/lib/killer.py");
    let names: Vec<&str> = VICTIMS.iter().map(|(name, _)| *name).collect();
    let began = machine.monotonic();
    machine.sh_ok(&format!(
        "systemd-run -q --unit=killer -p Type=exec python3 /usr/local/lib/killer.py {seed} {KILLS} {}",
        names.join(" ")
    ));
    machine.wait_for("the killer to end", Duration::from_secs(900), || {
        std::thread::sleep(Duration::from_secs(1));
        (machine.unit("killer.service", "ActiveState") != "active").then_some(())
    });
    let took = (machine.monotonic() - began) / SECOND;
    let told = machine.sh_ok("journalctl --no-pager -o cat _SYSTEMD_UNIT=killer.service");
    println!("{told}\n{took} s");
    assert!(told.contains(&format!("{KILLS} kills")), "the killer has not done its work");
    let lives = machine.unit("stealthcheck.service", "NRestarts");
    assert!(lives.parse::<usize>().unwrap() >= KILLS, "{lives} lives");

    // What was down all the while is the same incident still, and was not asked about more than its backoff allows.
    let now = machine.becomes("stubborn", "down")["incident"].clone();
    for key in ["id", "since", "cause"] {
        assert_eq!(now[key], incident[key], "{now}");
    }
    let starts: Vec<u64> =
        machine.told(ids::RECOVERY_REQUESTED, "stubborn").iter().map(at).filter(|at| *at > began).collect();
    println!("{} restarts of stubborn", starts.len());
    assert!(!starts.is_empty(), "nothing was tried");
    for (n, two) in starts.windows(2).enumerate() {
        let least = (BACKOFF.0 << n.min(10)).min(BACKOFF.1) * SECOND;
        // From one request to the next, as the journal has them.
        assert!(
            two[1] - two[0] > least - SECOND * 4 / 5,
            "restart {n}: sooner than the backoff: {starts:?} µs"
        );
    }
    let drift = machine.check("quiet")["suppressed_by"]["until"].as_i64().unwrap() - until;
    assert!(drift.abs() < 5_000, "the pause's end has moved by {drift} ms");
    assert_eq!((machine.asked("quiet"), machine.mails_about("quiet").len()), (0, 0), "it is paused");

    for victim in &victims {
        victim.heal();
    }
    wait_until_all_is_told(&machine);
    let (incidents, twice) = assert_all_told(&machine);
    let closed = incidents_told(&machine, ids::INCIDENT_CLOSED).len();
    println!("{incidents} incidents ({closed} ends in the journal), {twice} mails twice");
    assert!(incidents > 8, "{incidents} incidents are no test");
    let unusable = machine.sh_ok("ls -A /var/lib/stealthcheck /var/lib/stealthcheck/spool");
    assert!(!unusable.contains("unusable") && !unusable.contains("quarantine"), "{unusable}");
    machine.wait_for("an end of all mail", MINUTE, || {
        (machine.status_json()["mail"]["queued"] == 0).then_some(())
    });
}
