//! Units that are on their way up: at a boot, at a boot that does not end, and when the daemon comes late (rules 6 and 7).

use std::time::Duration;

use stealthcheck::journal::ids;

use super::{Findings, SLEEPS, at_gate, eventually};
use crate::guarding::{SECOND, assert_has, quick};
use crate::lab::{MINUTE, Machine, Victim};

/// Wanted by the boot.
const ENABLED: &str = "[Install]\nWantedBy=multi-user.target\n";

/// Longer than it takes to be down where failures count, and for a service to listen.
const SLOW: u64 = 8;

#[test]
fn unit_on_its_way_up_is_no_incident_at_boot_or_when_the_daemon_starts() {
    let machine = Machine::ready("decide-boot");
    machine.service(
        "slow.service",
        &format!("[Service]\nType=oneshot\nExecStart=/usr/bin/sleep 5\nRemainAfterExit=yes\n{ENABLED}"),
    );
    machine.service("ordered.service", &format!("[Unit]\nAfter=slow.service\n{SLEEPS}{ENABLED}"));
    let after_slow = "[Unit]\nAfter=slow.service";
    machine.victim_with("site", 9001, after_slow);
    // It is active at once, and listens some seconds later, at each start.
    let listens_late = format!(
        "Type=simple\nExecStartPre=/bin/sh -c 'mkdir -p /run/victim/tomcat; echo {SLOW} >/run/victim/tomcat/slow-start'"
    );
    let tomcat = machine.victim_with("tomcat", 9002, &listens_late);
    machine.sh_ok("systemctl start slow ordered; systemctl enable -q slow ordered site stealthcheck");
    machine.guard("  ordered: { unit: ordered.service, interval: 1s }\n");
    machine.becomes("ordered", "passing");
    let mut findings = Findings::on(&machine);
    let passes = |check: &str| machine.passes(check);

    // The order of the README: enabled and started, then guarded.
    let all = format!(
        "  ordered: {{ unit: ordered.service, interval: 1s }}\n  site: {{ unit: site.service, {} }}\n\
         \x20 tomcat: {{ unit: tomcat.service, {}, grace: 1m }}\n",
        quick(9001),
        quick(9002)
    );
    machine.configure(&format!("{}checks:\n{all}", crate::lab::MAIL_YAML));
    machine.sh_ok("systemctl enable -q tomcat; systemctl restart tomcat; systemctl reload stealthcheck");
    comes_up(&machine, &mut findings, &tomcat, "after a reload");
    machine.sh_ok("systemctl restart tomcat; systemctl restart stealthcheck");
    comes_up(&machine, &mut findings, &tomcat, "after a start of the daemon");

    // The mail server stays off: what the daemon would send waits in its queue.
    machine.reboot();
    machine.wait_for("the daemon", MINUTE, || machine.is("stealthcheck.service", "active").then_some(()));
    let (began, started) = (
        machine.moment("stealthcheck.service", "ActiveEnterTimestamp"),
        machine.moment("ordered.service", "ActiveEnterTimestamp"),
    );
    assert!(began + SECOND < started, "the daemon came too late to see the job wait: {began} {started}");
    comes_up(&machine, &mut findings, &tomcat, "at a boot");
    for check in ["ordered", "site"] {
        findings.reaches(check, "it passes", || passes(check));
        findings.calm(check);
    }
    findings.calm("tomcat");
    let queued = machine.status_json()["mail"]["queued"].clone();
    findings.expect("ordered", &format!("no mail waits to be sent, not {queued}"), queued == 0);
    findings.end();
}

/// Waits until it answers, and expects that the very start that was under way has brought it there.
fn comes_up(machine: &Machine, findings: &mut Findings<'_>, tomcat: &Victim<'_>, when: &str) {
    let run = machine.unit("tomcat.service", "InvocationID");
    findings.reaches("tomcat", &format!("{when}: it answers"), || tomcat.status() == 200);
    let same = machine.unit("tomcat.service", "InvocationID") == run;
    findings.expect("tomcat", &format!("{when}: it was not restarted within its grace"), same);
    findings.reaches("tomcat", &format!("{when}: it passes"), || machine.passes("tomcat"));
}

#[test]
fn boot_that_never_ends_delays_no_recovery_and_is_notified() {
    let machine = Machine::ready("decide-endless-boot");
    machine.service(
        "container.service",
        &format!("[Service]\nType=notify\nNotifyAccess=all\nTimeoutStartSec=infinity\nExecStart=/usr/bin/sleep infinity\n{ENABLED}"),
    );
    machine.service("web.service", &format!("{SLEEPS}{ENABLED}"));
    machine.service("late.service", &format!("{SLEEPS}{ENABLED}"));
    machine.service(
        "gated.service",
        &format!("[Service]\nType=oneshot\nExecStart={}\n{ENABLED}", at_gate("boot")),
    );
    machine.service("behind.service", &format!("[Unit]\nAfter=gated.service\n{SLEEPS}{ENABLED}"));
    machine.sh_ok("systemctl enable -q container web late gated behind stealthcheck postfix");
    let check = |name: &str| format!("  {name}: {{ unit: {name}.service, interval: 1s, grace: 5s }}\n");
    machine.configure(&format!(
        "{}checks:\n{}{}{}{}",
        crate::lab::MAIL_YAML,
        check("container"),
        check("web"),
        check("late"),
        check("behind")
    ));
    machine.reboot_until("stealthcheck.service");
    machine.all_pass(&["web", "late"]);
    assert_eq!(machine.sh("systemctl is-system-running").stdout, "starting\n");
    let mut findings = Findings::on(&machine);

    // What was active already is recovered.
    let run = machine.unit("web.service", "InvocationID");
    machine.sh_ok("systemctl kill -s KILL web");
    let soon = Duration::from_secs(15);
    findings.reaches_within(soon, "web", "it is restarted although the machine still boots", || {
        machine.is("web.service", "active") && machine.unit("web.service", "InvocationID") != run
    });
    machine.sh_ok("timeout 30 stealthctl hold late --stop -- sleep 1; true");
    findings
        .reaches_within(soon, "late", "it is up again after a hold", || machine.is("late.service", "active"));

    // What does not get ready is an incident when its grace is over, and what waits behind another unit is none.
    let opened = findings.reaches_within(soon, "container", "its incident opens after the grace", || {
        !machine.told(ids::INCIDENT_OPENED, "container").is_empty()
    });
    if opened {
        let mails = machine.wait_mails("container", 1);
        assert_has(&mails[0].body, &["activating"]);
        findings.expect("container", "no job beside its own start job", machine.asked("container") == 0);
        findings.expect("container", "status exits with 3", machine.run(&["stealthctl", "status"]).code == 3);
    }
    findings.calm("behind");
    machine.open("boot");
    findings.reaches("behind", "it passes", || machine.passes("behind"));
    // The boot ends when nothing is left to wait for.
    machine.sh_ok("systemctl stop container");
    let ended = eventually(MINUTE, || machine.sh("systemctl is-system-running").stdout != "starting\n");
    assert!(ended, "the boot has not ended");
    findings.calm("behind");
    findings.end();
}
