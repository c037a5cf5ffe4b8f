//! Units whose rest is their normal state, and starts that systemd skips (rule 7); wrappers and sockets.

use std::time::Duration;

use stealthcheck::journal::ids;

use super::{Findings, SLEEPS};
use crate::guarding::{quick, shown};
use crate::lab::Machine;

/// A service that a socket starts: it answers one client and ends.
const ANSWERS_ONCE: &str = "[Service]\nExecStart=/usr/bin/python3 -c 'import socket; s = socket.socket(fileno=3); \
    c, _ = s.accept(); c.sendall(b\"well\"); c.close()'\n";

#[test]
fn unit_that_a_timer_or_socket_triggers_rests_after_it_ended_well() {
    let machine = Machine::ready("decide-triggered");
    machine.service(
        "nightly.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sh -c 'echo run >>/run/nightly; sleep 1; test ! -e /run/nightly-fails'\n",
    );
    machine.service("nightly.timer", "[Timer]\nOnCalendar=2100-01-01\n[Install]\nWantedBy=timers.target\n");
    machine.service("ondemand.service", ANSWERS_ONCE);
    machine.service("ondemand.socket", "[Socket]\nListenStream=127.0.0.1:9010\n");
    // The same without anything that would start it again.
    machine.service("plain.service", "[Service]\nExecStart=/bin/sh -c 'sleep 1'\n");
    machine.sh_ok("systemctl start nightly.timer ondemand.socket");
    machine.guard(
        "  nightly: { unit: nightly.service, interval: 1s, grace: 2s, backoff: { initial: 1s, max: 2s } }\n\
         \x20 ondemand: { unit: ondemand.service, interval: 1s, grace: 2s, backoff: { initial: 1s, max: 2s } }\n",
    );
    let mut findings = Findings::on(&machine);
    let runs = || machine.sh("cat /run/nightly 2>/dev/null | wc -l").stdout.trim().to_owned();
    // It was run at the daemon's start, and then again at each attempt.
    machine.sh_ok("sleep 4");
    findings.expect("nightly", &format!("it is not started by the daemon (runs: {})", runs()), runs() == "0");
    findings.calm("nightly");
    findings.calm("ondemand");

    // The timer's and the socket's own starts.
    machine.sh_ok("systemctl start nightly");
    let asked = machine.starts("ondemand.service");
    machine.sh_ok("nc -w 5 127.0.0.1 9010 </dev/null | grep -q well");
    // Both end within a second; each was started again in the same second.
    machine.sh_ok("sleep 4");
    for name in ["nightly", "ondemand"] {
        findings.expect(name, "it has ended", machine.is(&format!("{name}.service"), "inactive"));
    }
    findings.expect("nightly", &format!("one run, not {}", runs()), runs() == "1");
    let answered = machine.starts("ondemand.service") - asked;
    findings.expect("ondemand", &format!("one run, not {answered}"), answered == 1);
    findings.calm("nightly");
    findings.calm("ondemand");

    // One that fails is an incident all the same.
    machine.sh_ok("touch /run/nightly-fails; systemctl start nightly");
    findings.reaches("nightly", "a run that fails opens an incident", || {
        !machine.told(ids::INCIDENT_OPENED, "nightly").is_empty()
    });
    findings.end();
}

#[test]
fn start_that_systemd_skips_is_not_repeated_and_notified_once() {
    let machine = Machine::ready("decide-skipped");
    let needs_stick = [
        ("modem", "[Unit]\nConditionPathExists=/run/stick\n", ""),
        ("asserted", "[Unit]\nAssertPathExists=/run/stick\n", ""),
        ("executed", "", "ExecCondition=/usr/bin/test -e /run/stick\n"),
    ];
    let mut checks = String::new();
    for (name, unit, service) in needs_stick {
        machine.service(&format!("{name}.service"), &format!("{unit}{SLEEPS}{service}"));
        // (A failed assertion fails the command.)
        let _ = machine.sh(&format!("systemctl start {name}"));
        checks += &format!(
            "  {name}: {{ unit: {name}.service, interval: 1s, grace: 2s, backoff: {{ initial: 1s, max: 2s }} }}\n"
        );
    }
    // systemd forgets a unit that nothing names, with the conditions of its last start.
    machine.service("stick.target", "[Unit]\nWants=modem.service asserted.service executed.service\n");
    machine.sh_ok("systemctl start stick.target");
    // One that was up when its device went.
    machine.write("/run/port", "");
    machine.service("unplugged.service", &format!("[Unit]\nConditionPathExists=/run/port\n{SLEEPS}"));
    machine.sh_ok("systemctl start unplugged");
    machine.guard(&format!(
        "{checks}  unplugged: {{ unit: unplugged.service, interval: 1s, grace: 2s, backoff: {{ initial: 1s, max: 2s }} }}\n"
    ));
    machine.becomes("unplugged", "passing");
    machine.sh_ok("rm /run/port; systemctl kill -s KILL unplugged");
    // Four attempts fit in there.
    machine.sh_ok("sleep 8");
    let mut findings = Findings::on(&machine);
    for (name, most, condition) in [
        ("modem", 0, "ConditionPathExists=/run/stick"),
        ("asserted", 0, "AssertPathExists=/run/stick"),
        ("executed", 0, "ExecCondition="),
        // Only a start shows that it would be skipped.
        ("unplugged", 1, "ConditionPathExists=/run/port"),
    ] {
        let asked = machine.asked(name);
        findings.expect(name, &format!("at most {most} jobs, not {asked}"), asked <= most);
        let mails = machine.mails_about(name);
        let subjects: Vec<&str> = mails.iter().map(|mail| mail.subject()).collect();
        findings.expect(name, &format!("one mail, not {subjects:?}"), mails.len() == 1);
        let said = machine.why(name) + &machine.sh(&format!("stealthctl status {name}")).stdout;
        for part in ["systemd skips its start", condition] {
            findings.expect(name, &format!("why or status says \"{part}\""), said.contains(part));
        }
        if name != "unplugged" {
            let named = mails.first().is_some_and(|mail| mail.body.contains(condition));
            findings.expect(name, &format!("the mail says {condition}"), named);
        }
    }
    // With the device, an operator's start is enough.
    machine.sh_ok("touch /run/stick /run/port; systemctl start modem asserted executed unplugged");
    for name in ["modem", "asserted", "executed", "unplugged"] {
        findings.reaches(name, "it passes once it is started", || machine.passes(name));
    }
    findings.end();
}

#[test]
fn wrapper_socket_and_plugin_are_taken_for_what_they_are() {
    let machine = Machine::ready("decide-wrappers");
    // As Debian's postgresql.service: it only stands for the clusters, and is active (exited) for ever.
    machine.service(
        "wrapper.service",
        "[Unit]\nWants=real@15.service\n[Service]\nType=oneshot\nExecStart=/bin/true\nExecReload=/bin/true\nRemainAfterExit=on\n",
    );
    machine.service("real@.service", &format!("[Unit]\nPartOf=wrapper.service\n{SLEEPS}"));
    // The service of a socket hangs; only the socket is guarded.
    machine.service("api.socket", "[Socket]\nListenStream=127.0.0.1:9020\n");
    machine.service("api.service", SLEEPS);
    let graced = machine.victim("graced", 9021);
    machine.service("plugged.service", SLEEPS);
    machine.sh_ok("systemctl start wrapper api.socket plugged; echo | nc -w 1 127.0.0.1 9020; true");
    machine.unit_becomes("api.service", "active");
    machine.guard(&format!(
        "  wrapper: {{ unit: wrapper.service, interval: 1s }}\n\
         \x20 api: {{ unit: api.socket, {}, grace: 1s, recover: restart, backoff: {{ initial: 1s, max: 2s }} }}\n\
         \x20 graced: {{ unit: graced.service, {}, grace: 10m }}\n\
         \x20 plugged: {{ unit: plugged.service, command: [sh, -c, 'echo \"UNKNOWN - cannot resolve host name\"; exit 3'], interval: 1s, failure_threshold: 1 }}\n",
        quick(9020),
        quick(9021)
    ));
    machine.all_pass(&["wrapper", "graced"]);
    let mut findings = Findings::on(&machine);

    machine.sh_ok("systemctl kill -s KILL real@15");
    let soon = Duration::from_secs(15);
    findings.reaches_within(soon, "wrapper", "the failed part is an incident that names it", || {
        let opened = machine.told(ids::INCIDENT_OPENED, "wrapper");
        opened
            .iter()
            .any(|entry| entry["MESSAGE"].as_str().is_some_and(|text| text.contains("real@15.service")))
    });
    findings
        .reaches_within(soon, "wrapper", "the part is up again", || machine.is("real@15.service", "active"));

    // A pass ends the grace, whatever it was.
    machine.sh_ok("systemctl restart graced");
    machine.wait_for("a pass of the new run", crate::lab::MINUTE, || {
        let state = shown(&machine.check("graced"));
        (graced.status() == 200 && state == "passing").then_some(())
    });
    machine.sh_ok("stealthctl check graced");
    graced.fault("500-once");
    findings.reaches_within(soon, "graced", "failures count after the first pass", || {
        machine.asked("graced") == 1
    });

    // By now the socket was down for long, and the plugin had said three or more times that it does not know.
    findings.reaches_within(soon, "api", "the restart is withheld, which names the service", || {
        machine.withheld("api").iter().any(|reason| reason.contains("api.service"))
    });
    findings.expect(
        "api",
        "the socket is not restarted",
        machine.asked("api") == 0 && machine.is("api.socket", "active"),
    );
    let state = shown(&machine.check("plugged"));
    findings.expect("plugged", &format!("exit 3 is unknown, not {state}"), state == "unknown");
    findings.expect("plugged", "it is not restarted", machine.asked("plugged") == 0);
    findings.end();
}
