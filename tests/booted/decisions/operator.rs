//! What an operator does is respected, whatever the daemon is doing at that moment (rules 9, 10 and 12).
//!
//! Each test runs on both Debian releases: systemd's jobs, freezing and signals differ between their versions.

use std::time::Duration;

use stealthcheck::journal::ids;

use super::{Findings, SLEEPS, at_gate, eventually};
use crate::guarding::{assert_has, quick, shown};
use crate::lab::{MINUTE, Machine, NEXT, OLDEST};

/// A stop that is respected without an end, and attempts that would follow at once.
const STOPS: &str = "respect_stop: forever, grace: 2s, backoff: { initial: 1s, max: 2s }";

#[test]
fn operators_stop_at_any_moment_is_respected() {
    stops("decide-stops", OLDEST);
}

#[test]
fn operators_stop_at_any_moment_is_respected_on_the_next_debian() {
    stops("decide-stops-next", NEXT);
}

#[test]
fn operators_restart_hold_and_freeze_are_no_incidents() {
    commands("decide-commands", OLDEST);
}

#[test]
fn operators_restart_hold_and_freeze_are_no_incidents_on_the_next_debian() {
    commands("decide-commands-next", NEXT);
}

fn stops(name: &str, suite: &str) {
    let machine = Machine::ready_on(name, suite);
    for gate in ["starting", "held", "stopping", "lazy"] {
        machine.open(gate);
    }
    for unit in ["starting", "held"] {
        let text = format!("[Service]\nExecStartPre={}\nExecStart=/usr/bin/sleep infinity\n", at_gate(unit));
        machine.service(&format!("{unit}.service"), &text);
    }
    let stops_at = |gate| format!("ExecStop={}\nTimeoutStopSec=60", at_gate(gate));
    machine.service("lazy.service", &format!("{SLEEPS}{}\n", stops_at("lazy")));
    machine.service("renew.service", &format!("[Service]\nType=oneshot\nExecStart={}\n", at_gate("renew")));
    machine.service("passive.service", SLEEPS);
    // An enabled unit that names it keeps it loaded, also after a reboot.
    machine.service(
        "neighbour.service",
        &format!("[Unit]\nAfter=passive.service\n{SLEEPS}[Install]\nWantedBy=multi-user.target\n"),
    );
    let stopping = machine.victim_with("stopping", 9001, &stops_at("stopping"));
    let renewed = machine.victim("renewed", 9002);
    let absent = machine.victim("absent", 9003);
    machine.sh_ok(
        "systemctl start starting held lazy passive; systemctl enable -q --now neighbour stealthcheck",
    );
    let by_state = |unit: &str| format!("  {unit}: {{ unit: {unit}.service, interval: 1s, {STOPS} }}\n");
    machine.guard(&format!(
        "{}{}{}{}  stopping: {{ unit: stopping.service, {}, {STOPS} }}\n\
         \x20 renewed: {{ unit: renewed.service, {}, {STOPS}, recover: [{{ start: renew.service }}, restart] }}\n\
         \x20 absent: {{ unit: absent.service, {}, grace: 2s, respect_stop: forever, backoff: {{ initial: 6s, max: 6s }} }}\n",
        by_state("starting"),
        by_state("held"),
        by_state("lazy"),
        by_state("passive"),
        quick(9001),
        quick(9002),
        quick(9003),
    ));
    machine.all_pass(&["starting", "held", "lazy", "passive", "stopping", "renewed", "absent"]);
    for gate in ["starting", "held", "stopping", "lazy"] {
        machine.close(gate);
    }
    let mut findings = Findings::on(&machine);

    // In the start phase of the daemon's own restart job.
    machine.sh_ok("systemctl kill -s KILL starting");
    machine.unit_becomes("starting.service", "activating");
    machine.sh_ok("systemctl stop starting");

    // In the stop phase of it.
    stopping.fault("500");
    machine.unit_becomes("stopping.service", "deactivating");
    machine.sh_ok("systemctl stop --no-block stopping");
    machine.open("stopping");

    // While the unit is started at the end of a hold.
    machine.sh_ok("systemd-run -q --unit=holder stealthctl hold held --stop -- sleep 1");
    machine.unit_becomes("held.service", "activating");
    machine.sh_ok("systemctl stop held");

    // While another unit runs for it, as a step.
    renewed.fault("500");
    machine.unit_becomes("renew.service", "activating");
    machine.sh_ok("systemctl stop renewed");
    machine.open("renew");

    // Behind an operator's own restart, which still stops the unit.
    machine.sh_ok("systemctl restart --no-block lazy");
    machine.unit_becomes("lazy.service", "deactivating");
    machine.sh_ok("systemctl stop --no-block lazy");
    machine.open("lazy");

    machine.sh_ok("systemctl stop passive");
    let stopped = ["starting", "stopping", "held", "renewed", "lazy", "passive"];
    let units: Vec<String> = stopped.iter().map(|name| format!("{name}.service")).collect();
    let units: Vec<&str> = units.iter().map(String::as_str).collect();
    machine.wait_for("the gated stops to end", MINUTE, || {
        (!["deactivating"]
            .iter()
            .any(|state| ["stopping.service", "lazy.service"].iter().any(|unit| machine.is(unit, state))))
        .then_some(())
    });
    // A restart came within 0.5 s, in the stop phase of our own job after the backoff; here that is 2 s at most.
    let up = machine.come_up(&units, Duration::from_secs(6));
    for (name, unit) in stopped.iter().zip(&units) {
        findings.expect(name, "it stays down after systemctl stop", !up.contains(&(*unit).to_owned()));
        if !up.contains(&(*unit).to_owned()) {
            let state = shown(&machine.check(name));
            findings.expect(name, &format!("its state is stopped, not {state}"), state == "stopped");
        }
    }
    for name in ["held", "lazy", "passive"] {
        findings.calm(name);
    }

    // In an incident, while the daemon does not run.
    absent.fault("500");
    machine.wait_told(ids::ATTEMPT_CONCLUDED, "absent", 1);
    let asked = machine.asked("absent");
    machine.sh_ok("systemctl stop stealthcheck; systemctl stop absent; systemctl start stealthcheck");
    let state = shown(&machine.check("absent"));
    findings.expect("absent", &format!("its state is stopped, not {state}"), state == "stopped");
    // It was restarted at the end of the backoff.
    let up = machine.come_up(&["absent.service"], Duration::from_secs(7));
    findings.expect("absent", "a stop in the daemon's absence is respected", up.is_empty());
    findings.expect("absent", "no further job", machine.asked("absent") == asked);

    // The respect outlives a reboot, whether systemd still has the unit loaded or not. Only what is down by now is looked at.
    let down: Vec<&str> = units
        .iter()
        .copied()
        .chain(["absent.service"])
        .filter(|unit| machine.not_down(&[*unit]).is_empty())
        .collect();
    machine.reboot();
    machine.wait_for("the daemon", MINUTE, || machine.is("stealthcheck.service", "active").then_some(()));
    // It was started 0.2 s after the daemon.
    let up = machine.come_up(&down, Duration::from_secs(4));
    for unit in &down {
        let about = unit.trim_end_matches(".service");
        findings.expect(about, "it stays down after a reboot", !up.contains(&(*unit).to_owned()));
    }
    // A start ends it.
    machine.sh_ok("systemctl start passive renewed");
    for check in ["passive", "renewed"] {
        findings.reaches(check, "it passes once it is started", || machine.passes(check));
    }
    findings.end();
}

fn commands(name: &str, suite: &str) {
    let machine = Machine::ready_on(name, suite);
    let related = |relation: &str, unit: &str| format!("[Unit]\n{relation}={unit}\nAfter={unit}\n{SLEEPS}");
    machine.open("db");
    machine.service(
        "db.service",
        &format!("[Service]\nExecStartPre={}\nExecStart=/usr/bin/sleep infinity\n", at_gate("db")),
    );
    machine.service("app.service", &format!("[Unit]\nAfter=db.service\n{SLEEPS}"));
    machine.service("store.service", SLEEPS);
    machine.service("front.service", &related("Requires", "store.service"));
    machine.service("part.service", &related("PartOf", "store.service"));
    machine.service("apart.service", &related("Requires", "store.service"));
    machine.service("stock.service", SLEEPS);
    machine.service("cache.service", SLEEPS);
    machine.service("shop.service", &related("Wants", "stock.service"));
    let page = machine.victim_with("page", 9001, "[Unit]\nWants=cache.service\nAfter=cache.service");
    let iced = machine.victim("iced", 9002);
    machine.sh_ok("systemctl start db app store front part apart stock cache shop");
    let names = ["db", "app", "store", "front", "part", "apart", "stock", "shop"];
    let by_state: String = names
        .iter()
        .map(|unit| {
            format!(
                "  {unit}: {{ unit: {unit}.service, interval: 1s, backoff: {{ initial: 1s, max: 2s }} }}\n"
            )
        })
        .collect();
    machine.guard(&format!(
        "{by_state}  page: {{ unit: page.service, {}, backoff: {{ initial: 1s, max: 2s }} }}\n\
         \x20 iced: {{ unit: iced.service, {} }}\n",
        quick(9001),
        quick(9002)
    ));
    machine.all_pass(&[names.as_slice(), &["page", "iced"]].concat());
    let mut findings = Findings::on(&machine);

    // Frozen: it answers no probe, and an operator wants it so.
    machine.sh_ok("systemctl freeze iced");
    let frozen = machine.monotonic();
    let run = machine.unit("iced.service", "InvocationID");

    restarts_together(&machine, &mut findings);
    holds(&machine, &mut findings);

    // A recovery must not start what an operator has stopped, whether it has a check or not.
    machine.sh_ok("systemctl stop stock cache; systemctl kill -s KILL shop");
    page.fault("500-once");
    for (check, other) in [("shop", "stock.service"), ("page", "cache.service")] {
        let names_it = || machine.withheld(check).iter().any(|reason| reason.contains(other));
        let deadline = Duration::from_secs(10);
        findings.reaches_within(
            deadline,
            check,
            &format!("the restart is withheld, which names {other}"),
            names_it,
        );
    }
    // The restart came 2 s after the failure.
    let up = machine.come_up(&["stock.service", "cache.service"], Duration::from_secs(4));
    for (check, unit) in [("shop", "stock.service"), ("page", "cache.service")] {
        findings.expect(
            check,
            &format!("{unit} stays as the operator left it"),
            !up.contains(&unit.to_owned()),
        );
    }
    machine.sh_ok("systemctl start stock cache");
    for check in ["shop", "page"] {
        findings.reaches(check, "it is recovered once the other is up", || machine.passes(check));
    }

    // On systemd 252 the frozen unit was restarted after 4 s.
    machine.wait_until(frozen + 8_000_000, "a frozen unit to fail often enough");
    let said = machine.why("iced") + &machine.sh("stealthctl status iced").stdout;
    findings.expect("iced", "why or status names the command", said.contains("systemctl thaw iced.service"));
    let same = machine.unit("iced.service", "InvocationID") == run
        && machine.unit("iced.service", "FreezerState") == "frozen";
    findings.expect("iced", "it stays frozen and is not restarted", same);
    // (After a restart on 252 there is nothing to thaw.)
    let _ = machine.sh("systemctl thaw iced");
    findings.reaches("iced", "it answers again", || iced.status() == 200);
    findings.reaches("iced", "it passes", || machine.passes("iced"));
    findings.calm("iced");
    findings.end();
}

/// `systemctl restart db app`, where `app` waits for the start of `db`: its job is no restart any more, but a start.
fn restarts_together(machine: &Machine, findings: &mut Findings<'_>) {
    for late in [false, true, false, true] {
        machine.close("db");
        let run = machine.unit("app.service", "InvocationID");
        if late {
            // The daemon reads the units when systemd has changed the jobs.
            machine.sh_ok("systemctl kill -s STOP --kill-who=main stealthcheck");
        }
        machine.sh_ok("systemctl restart --no-block db app");
        machine.wait_for("db to start", MINUTE, || machine.is("db.service", "activating").then_some(()));
        let waits = machine.unit("app.service", "Job");
        assert_ne!(waits, "", "app waits for db");
        if late {
            machine.sh_ok("sleep 0.3; systemctl kill -s CONT --kill-who=main stealthcheck");
        }
        // A recovery followed within some milliseconds of the reading.
        machine.sh_ok("sleep 1; stealthctl check app; true");
        machine.open("db");
        machine.wait_for("both to be up", MINUTE, || {
            let new = machine.unit("app.service", "InvocationID") != run;
            (new && machine.is("app.service", "active") && machine.is("db.service", "active")).then_some(())
        });
    }
    for check in ["db", "app"] {
        findings.reaches(check, "it passes", || machine.passes(check));
        findings.calm(check);
    }
}

/// What the stop of a hold took down comes back with the unit; what was stopped before stays so.
fn holds(machine: &Machine, findings: &mut Findings<'_>) {
    machine.sh_ok("systemctl stop apart");
    machine.becomes("apart", "stopped");
    let held = machine.run(&[
        "stealthctl",
        "hold",
        "store",
        "--stop",
        "--",
        "sh",
        "-c",
        "sleep 1; systemctl is-active front part",
    ]);
    assert_has(&held.stdout, &["inactive\ninactive\n"]);
    for name in ["store", "front", "part"] {
        let unit = format!("{name}.service");
        // `respect_stop` is 5 min.
        let back = eventually(Duration::from_secs(20), || machine.is(&unit, "active"));
        findings.expect(name, "it is up again after the hold", back);
        if back {
            findings.reaches(name, "it passes", || machine.passes(name));
        }
        // (What does not come back with the unit within 10 s is started as in any other incident.)
        let mails = machine.mails_about(name).len();
        findings.expect(name, &format!("nobody is notified, not {mails} times"), mails == 0);
    }
    findings.calm("store");
    findings.expect(
        "apart",
        "what was stopped before the hold stays stopped",
        machine.is("apart.service", "inactive"),
    );
    findings.calm("apart");

    // The command ends before the daemon has read that the unit is down.
    for _ in 0..3 {
        machine.sh_ok("stealthctl hold stock --stop -- true");
        let back = eventually(Duration::from_secs(5), || machine.is("stock.service", "active"));
        if !findings.expect("stock", "it is up again after a hold that ends at once", back) {
            machine.sh_ok("systemctl start stock");
        }
        machine.all_pass(&["stock"]);
    }
}
