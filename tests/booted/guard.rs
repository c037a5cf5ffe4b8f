//! A guarded service goes down in each way that services do: it is restarted, and two mails tell of it.

use stealthcheck::journal::ids;

use crate::guarding::{SECOND, assert_has, assert_thread, at, quick};
use crate::lab::{Machine, Victim};

/// Breaks a service one way, and has the story told to its end.
struct Fault {
    name: &'static str,
    port: u16,
    strike: fn(&Victim<'_>),
    /// In the cause that the mail names.
    cause: &'static str,
}

#[test]
fn a_killed_hung_failing_or_closed_service_is_restarted_and_told_twice() {
    let machine = Machine::ready("guard-faults");
    let faults = [
        Fault {
            name: "killed",
            port: 9001,
            strike: |web| web.signal("KILL"),
            cause: "killed by signal 9 (KILL)",
        },
        Fault { name: "hung", port: 9002, strike: |web| web.signal("STOP"), cause: "no answer" },
        Fault { name: "says500", port: 9003, strike: |web| web.fault("500-once"), cause: "500" },
        Fault { name: "closed", port: 9004, strike: |web| web.fault("close-port-once"), cause: "refused" },
    ];
    let victims: Vec<Victim<'_>> =
        faults.iter().map(|fault| machine.victim(fault.name, fault.port)).collect();
    let yaml = faults.iter().map(|Fault { name, port, .. }| {
        let quick = quick(*port);
        format!("  {name}: {{ unit: {name}.service, {quick}, runbook: \"Ask the owner of {name}.\" }}\n")
    });
    machine.guard(&yaml.collect::<String>());
    let runs: Vec<String> = faults
        .iter()
        .zip(&victims)
        .map(|(fault, victim)| {
            machine.becomes(fault.name, "passing");
            machine.unit(&victim.unit(), "InvocationID")
        })
        .collect();
    assert_eq!(machine.run(&["stealthctl", "status"]).code, 0);

    for (fault, victim) in faults.iter().zip(&victims) {
        (fault.strike)(victim);
    }
    for ((fault, victim), run) in faults.iter().zip(&victims).zip(&runs) {
        let name = fault.name;
        machine.wait_told(ids::INCIDENT_CLOSED, name, 1);
        machine.becomes(name, "passing");
        assert_eq!(victim.status(), 200, "{name}");
        let unit = victim.unit();
        assert_ne!(machine.unit(&unit, "InvocationID"), *run, "{name} was not restarted");
        assert_eq!(machine.unit(&unit, "NRestarts"), "0", "{name} was restarted by systemd");

        let mails = machine.wait_mails(name, 2);
        assert_thread(&mails, &["DOWN", "RECOVERED"]);
        let down = &mails[0].body;
        let (look, journal) =
            (format!("stealthctl status {name}"), format!("journalctl -u {unit} --since '"));
        assert_has(down, &[&format!("{name} on guard-faults is down."), fault.cause, &look, &journal]);
        assert_has(
            down,
            &["restart: done", &format!("Ask the owner of {name}."), &format!("\nUNIT\n{unit}\n")],
        );
        let (_, quoted) = down.split_once(&format!("JOURNAL OF {unit}\n")).unwrap_or_default();
        assert!(quoted.contains("\"GET / HTTP/1.1\" 200"), "not what the service wrote:\n{down}");
        assert_has(
            &mails[1].body,
            &[&format!("{name} on guard-faults has recovered"), "restart: done, recovered"],
        );
    }
    // Nothing more came of it.
    for fault in &faults {
        assert_eq!(machine.asked(fault.name), 1, "{}", fault.name);
        assert_eq!(machine.mails_about(fault.name).len(), 2, "{}", fault.name);
    }
    assert_eq!(machine.run(&["stealthctl", "status"]).code, 0);
}

#[test]
fn a_service_that_fails_at_its_start_is_tried_at_growing_distances_until_it_is_mended() {
    let machine = Machine::ready("guard-backoff");
    let web = machine.victim("web", 9001);
    machine.guard(&format!(
        "  web: {{ unit: web.service, {}, grace: 5s, backoff: {{ initial: 1s, max: 4s }} }}\n",
        quick(9001)
    ));
    machine.becomes("web", "passing");
    web.fault("fail-start");
    web.signal("KILL");

    let asked = machine.wait_told(ids::RECOVERY_REQUESTED, "web", 5);
    let gaps: Vec<u64> = asked.windows(2).map(|pair| at(&pair[1]) - at(&pair[0])).collect();
    for (gap, least) in gaps.iter().zip([1, 2, 4, 4]) {
        // Entries are written a moment after what they tell, not always the same.
        let expected = least * SECOND - SECOND / 10..(least + 2) * SECOND;
        assert!(expected.contains(gap), "not 1 s, 2 s, 4 s, 4 s: {gaps:?} µs");
    }
    let check = machine.check("web");
    assert_eq!(check["incident"]["action_required"], true, "{check}");
    let mails = machine.wait_mails("web", 2);
    assert_thread(&mails, &["DOWN", "ACTION REQUIRED"]);
    assert_has(&mails[0].body, &["restart: failed"]);
    assert_has(&mails[1].body, &["3 recovery attempts were ineffective", "told to fail at its start"]);
    let status = machine.run(&["stealthctl", "status"]);
    assert_eq!(status.code, 3, "{status}");
    assert_has(&status.stdout, &["web requires action", "attempt"]);

    web.heal();
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    let mails = machine.wait_mails("web", 3);
    assert_thread(&mails, &["DOWN", "ACTION REQUIRED", "RECOVERED"]);
    assert_eq!(web.status(), 200);
    assert_eq!(machine.run(&["stealthctl", "status"]).code, 0);
}
