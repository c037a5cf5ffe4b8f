//! Several checks, names, steps and configurations for one unit, and units that require one (rules 4, 5, 9 and 17).

use std::time::Duration;

use stealthcheck::journal::ids;

use super::{Findings, SLEEPS, at_gate, eventually};
use crate::guarding::{kinds, quick, shown};
use crate::lab::{MAIL_YAML, MINUTE, Machine};

const SOON: Duration = Duration::from_secs(15);

#[test]
fn checks_of_one_unit_do_not_keep_each_other_from_recovering_it() {
    let machine = Machine::ready("decide-ladders");
    let short = "grace: 3s, backoff: { initial: 1s, max: 2s }";
    for unit in ["renewal", "convert", "long"] {
        machine.service(&format!("{unit}.service"), "[Service]\nType=oneshot\nExecStart=/bin/true\n");
    }
    machine.service(
        "long.service",
        "[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/usr/bin/sleep infinity\n",
    );
    let both = machine.victim("both", 9001);
    let reloads = machine.victim_with("reloads", 9002, "ExecReload=/bin/true");
    let single = machine.victim("single", 9003);
    let pair = machine.victim("pair", 9004);
    machine.service(
        "mariadb.service",
        &format!("{SLEEPS}[Install]\nAlias=mysql.service\nWantedBy=multi-user.target\n"),
    );
    machine.victim("db", 9005);
    machine.service("app.service", &format!("[Unit]\nRequires=db.service\nAfter=db.service\n{SLEEPS}"));
    machine.sh_ok("systemctl enable -q --now mariadb; systemctl start app");
    machine.guard(&format!(
        "  both-a: {{ unit: both.service, {}, {short}, recover: {{ start: renewal.service }} }}\n\
         \x20 both-b: {{ unit: both.service, {}, {short}, recover: restart }}\n\
         \x20 reloads-a: {{ unit: reloads.service, {}, {short}, recover: reload }}\n\
         \x20 reloads-b: {{ unit: reloads.service, {}, {short}, recover: restart }}\n\
         \x20 single: {{ unit: single.service, {}, {short}, recover: [{{ start: long.service }}, restart] }}\n\
         \x20 pair-a: {{ unit: pair.service, {}, {short}, recover: {{ start: long.service }} }}\n\
         \x20 pair-b: {{ unit: pair.service, interval: 1s, {short}, recover: restart }}\n\
         \x20 by-alias: {{ unit: mysql.service, interval: 1s, {short} }}\n\
         \x20 by-name: {{ unit: mariadb.service, interval: 1s, {short} }}\n\
         \x20 db: {{ unit: db.service, interval: 1s, {short} }}\n\
         \x20 db-content: {{ unit: db.service, {}, {short}, recover: none }}\n\
         \x20 app: {{ unit: app.service, interval: 1s, {short} }}\n",
        quick(9001),
        quick(9001),
        quick(9002),
        quick(9002),
        quick(9003),
        quick(9004),
        quick(9005).replace("http: { ", "http: { body_contains: well, "),
    ));
    machine.all_pass(&[
        "both-a",
        "both-b",
        "reloads-b",
        "single",
        "pair-a",
        "pair-b",
        "by-alias",
        "by-name",
        "db-content",
        "app",
    ]);
    let mut findings = Findings::on(&machine);
    let back = |unit: &str, port: u16| {
        machine.is(unit, "active") && machine.sh(&format!("curl -sfm 1 http://127.0.0.1:{port}/")).success()
    };

    // Both checks are down with one crash; only the second can help.
    both.signal("KILL");
    reloads.signal("KILL");
    for (name, port) in [("both", 9001), ("reloads", 9002)] {
        findings.reaches_within(SOON, name, "it is restarted by the step that can", || {
            back(&format!("{name}.service"), port)
        });
    }
    findings.expect("reloads-a", "no reload of a unit that is down", machine.asked("reloads-a") == 0);

    // Another unit runs as a step, for longer than the test.
    single.fault("500");
    pair.fault("500");
    for check in ["single", "pair-a"] {
        machine.wait_told(ids::RECOVERY_REQUESTED, check, 1);
    }
    machine.unit_becomes("long.service", "activating");
    single.heal();
    pair.heal();
    for (name, victim) in [("single", &single), ("pair", &pair)] {
        let run = machine.unit(&victim.unit(), "InvocationID");
        victim.signal("KILL");
        findings.reaches_within(SOON, name, "a crash is recovered while the other unit still runs", || {
            machine.unit(&victim.unit(), "InvocationID") != run && victim.status() == 200
        });
    }
    findings.expect("long", "the other unit is not disturbed", machine.is("long.service", "activating"));

    // One unit, two names.
    let starts = machine.starts("mariadb.service");
    machine.sh_ok("systemctl kill -s KILL mariadb");
    findings
        .reaches_within(SOON, "by-name", "it is restarted", || machine.starts("mariadb.service") > starts);
    // The second restart followed within 40 ms.
    machine.sh_ok("sleep 2");
    let more = machine.starts("mariadb.service") - starts;
    findings.expect("by-name", &format!("one restart for one crash, not {more}"), more == 1);
    machine.becomes("by-alias", "passing");
    machine.sh_ok("systemd-run -q --unit=holder stealthctl hold by-alias --stop -- sleep 8");
    machine.unit_becomes("mariadb.service", "inactive");
    for check in ["by-alias", "by-name"] {
        findings.reaches_within(SOON, check, "the hold covers it", || shown(&machine.check(check)) == "held");
    }
    findings.reaches_within(SOON, "by-name", "it is up after the hold", || {
        machine.is("mariadb.service", "active")
    });

    // What is required is up, whatever a check that only notifies says of it.
    machine.write("/run/victim/db/body", "sick\n");
    machine.becomes("db-content", "down");
    machine.sh_ok("systemctl kill -s KILL app");
    findings.reaches_within(SOON, "app", "it is restarted", || machine.is("app.service", "active"));
    findings.end();
}

#[test]
fn steps_start_over_with_each_incident_and_a_rename_loses_no_attempt() {
    let machine = Machine::ready("decide-steps");
    machine.open("renamed");
    let renamed = machine.victim_with("renamed", 9001, &format!("ExecStartPre={}", at_gate("renamed")));
    machine.service(
        "poweroff-node.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo off >>/run/powered-off'\n",
    );
    let twice = machine.victim_with("twice", 9002, "ExecReload=/bin/true");
    let checks = |name: &str| {
        let short = "grace: 3s, backoff: { initial: 1s, max: 2s }";
        format!(
            "  {name}: {{ unit: renamed.service, {}, {short}, recover: [restart, {{ start: poweroff-node.service }}] }}\n\
             \x20 twice: {{ unit: twice.service, {}, {short}, recover: [reload, restart], max_attempts: 1 }}\n",
            quick(9001),
            quick(9002)
        )
    };
    machine.guard(&checks("old"));
    machine.all_pass(&["old", "twice"]);
    let mut findings = Findings::on(&machine);

    // Its check is renamed while its job runs.
    machine.close("renamed");
    renamed.signal("KILL");
    machine.unit_becomes("renamed.service", "activating");
    machine.wait_mails("old", 1);
    machine.configure(&format!("{MAIL_YAML}checks:\n{}", checks("new")));
    machine.sh_ok("systemctl reload stealthcheck");
    machine.open("renamed");
    machine.wait_for("the renamed check to pass", MINUTE, || {
        (renamed.status() == 200 && machine.passes("new")).then_some(())
    });

    // A reload cannot help a unit that is down: it costs neither time nor the only attempt. (It cost 10 s.)
    for crash in 1..=2 {
        let killed = machine.monotonic();
        twice.signal("KILL");
        let back = eventually(SOON, || twice.status() == 200);
        findings.expect("twice", &format!("crash {crash}: it is restarted within its only attempt"), back);
        let took = machine.moment("twice.service", "ActiveEnterTimestamp").saturating_sub(killed);
        findings.expect("twice", &format!("crash {crash}: at once, not after {took} µs"), took < 5_000_000);
        if back {
            findings.reaches("twice", "the incident is closed", || {
                machine.told(ids::INCIDENT_CLOSED, "twice").len() >= crash
            });
        } else {
            machine.sh_ok("systemctl start twice");
            machine.all_pass(&["twice"]);
        }
    }

    let closed = |mails: &[crate::lab::Mail]| {
        kinds(mails).last().is_some_and(|kind| *kind == "NO LONGER MONITORED" || *kind == "RECOVERED")
    };
    findings.reaches_within(SOON, "old", "its thread is closed by a mail", || {
        closed(&machine.mails_about("old"))
    });

    // A hang long after that begins with the first step, as any.
    renamed.fault("500-once");
    findings.reaches_within(SOON, "new", "it answers again", || renamed.status() == 200);
    let off = machine.sh("cat /run/powered-off 2>/dev/null").stdout;
    findings.expect("new", "the second step was not taken", off.is_empty());
    findings.end();
}
