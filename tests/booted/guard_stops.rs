//! Somebody stops or restarts a guarded service: that is respected, for a while.

use stealthcheck::journal::ids;

use crate::guarding::{SECOND, assert_has, assert_thread, at, quick, shown};
use crate::lab::{MINUTE, Machine};

const RESPECT_STOP: u64 = 8;

/// Has a service that takes seconds to stop, and answers nobody in that time.
const SLOW_TO_STOP: &str = "ExecStop=/bin/sh -c 'touch /run/victim/%p/close-port-once; sleep 4'";

#[test]
fn a_stop_is_respected_for_after_stop_and_no_longer() {
    let machine = Machine::ready("guard-stops");
    let web = machine.victim("web", 9001);
    // systemd calls it failed, although somebody stopped it: it exits with 143 instead of dying of SIGTERM.
    let sloppy = "/bin/sh -c 'trap \"exit 143\" TERM; sleep infinity & wait'";
    machine.service("sloppy.service", &format!("[Service]\nExecStart={sloppy}\nKillMode=mixed\n"));
    machine.service("kept.service", "[Service]\nExecStart=/usr/bin/sleep infinity\nStateDirectory=kept\n");
    let brief = machine.victim("brief", 9002);
    machine.sh_ok("systemctl start sloppy kept");
    machine.guard(&format!(
        "  web: {{ unit: web.service, {}, respect_stop: {RESPECT_STOP}s }}\n\
         \x20 sloppy: {{ unit: sloppy.service, interval: 1s, respect_stop: {RESPECT_STOP}s }}\n\
         \x20 kept: {{ unit: kept.service, interval: 1s, respect_stop: forever }}\n\
         \x20 brief: {{ unit: brief.service, {}, respect_stop: {RESPECT_STOP}s }}\n",
        quick(9001),
        quick(9002)
    ));
    let all = ["web", "sloppy", "kept", "brief"];
    for name in all {
        machine.becomes(name, "passing");
    }

    let stopped = machine.monotonic();
    machine.sh_ok("systemctl stop web sloppy kept brief");
    assert_eq!(machine.unit("sloppy.service", "ActiveState"), "failed");
    for name in all {
        machine.becomes(name, "stopped");
    }
    let status = machine.run(&["stealthctl", "status"]);
    assert_eq!(status.code, 0, "{status}");
    assert_has(&status.stdout, &["4 checks, all stopped"]);
    let detail = machine.run(&["stealthctl", "status", "web", "kept"]).stdout;
    assert_has(
        &detail,
        &[
            "stopped by an operator; counts as down in ",
            "stopped by an operator; suppressed until it is started",
        ],
    );

    // What is cleaned stays stopped.
    machine.sh_ok("systemctl clean --what=all kept");

    // Started again in time: nothing was ever amiss.
    machine.sh_ok("systemctl start brief");
    let run = machine.unit(&brief.unit(), "InvocationID");
    machine.becomes("brief", "passing");

    for name in ["web", "sloppy"] {
        let asked = machine.wait_told(ids::RECOVERY_REQUESTED, name, 1);
        let after = at(&asked[0]) - stopped;
        // (The stop itself takes its time as well.)
        let expected = RESPECT_STOP * SECOND..(RESPECT_STOP + 15) * SECOND;
        assert!(expected.contains(&after), "{name} was brought back after {after} µs, not {RESPECT_STOP} s");
        machine.becomes(name, "passing");
        let mails = machine.wait_mails(name, 2);
        assert_thread(&mails, &["DOWN", "RECOVERED"]);
        assert_has(
            &mails[0].body,
            &["unit was stopped 8s ago and has not been started again", "(respect_stop is over)"],
        );
        assert_eq!(machine.asked(name), 1);
    }
    assert_eq!(web.status(), 200);

    // That took longer than `respect_stop`, so these two have proven it.
    assert_eq!(shown(&machine.check("kept")), "stopped");
    assert_eq!(machine.unit("kept.service", "ActiveState"), "inactive");
    machine.sh_ok("systemctl start kept");
    machine.becomes("kept", "passing");
    assert_eq!(machine.unit(&brief.unit(), "InvocationID"), run);
    for name in ["kept", "brief"] {
        assert_eq!(machine.asked(name), 0, "{name}");
        assert!(machine.told(ids::INCIDENT_OPENED, name).is_empty(), "{name}");
    }
    assert_eq!(machine.mailbox().len(), 4, "mails about what somebody wanted");
}

#[test]
fn what_an_operator_does_slowly_is_no_incident() {
    let machine = Machine::ready("guard-operator");
    let web = machine.victim("web", 9001);
    let lazy = machine.victim_with("lazy", 9002, SLOW_TO_STOP);
    machine.service("plain.service", "[Service]\nExecStart=/usr/bin/sleep infinity\n");
    machine.sh_ok("systemctl start plain");
    machine.guard(&format!(
        "  web: {{ unit: web.service, {}, grace: 20s }}\n\
         \x20 lazy: {{ unit: lazy.service, {}, grace: 20s }}\n\
         \x20 plain: {{ unit: plain.service, interval: 1s }}\n",
        quick(9001),
        quick(9002)
    ));
    for name in ["web", "lazy", "plain"] {
        machine.becomes(name, "passing");
    }

    // Longer than it takes to be down, had nobody done it.
    web.fault_with("slow-start-once", "5");
    machine.sh_ok("systemctl --no-block restart web lazy");
    let waited = machine.monotonic() + 5 * SECOND;
    machine.wait_until(waited, "the slow restarts to be under way");
    for victim in [&web, &lazy] {
        machine.wait_for("the slow restart", MINUTE, || (victim.status() == 200).then_some(()));
        let job = || machine.unit(&victim.unit(), "Job");
        machine.wait_for("the job's end", MINUTE, || job().is_empty().then_some(()));
    }
    machine.becomes("web", "passing");
    machine.becomes("lazy", "passing");

    // A stop that takes long is a stop from its beginning.
    machine.sh_ok("systemctl stop lazy plain");
    machine.becomes("lazy", "stopped");
    machine.becomes("plain", "stopped");

    // The daemon's next life respects it too, also where systemd has forgotten the unit.
    for end in ["systemctl restart stealthcheck", "systemctl kill -s KILL stealthcheck"] {
        let before = machine.daemon();
        machine.sh_ok(end);
        machine.daemon_after(before);
        for name in ["lazy", "plain"] {
            machine.becomes(name, "stopped");
            assert_eq!(machine.unit(&format!("{name}.service"), "ActiveState"), "inactive");
        }
    }
    machine.sh_ok("systemctl start lazy plain");
    for name in ["web", "lazy", "plain"] {
        machine.becomes(name, "passing");
        assert_eq!(machine.asked(name), 0, "{name}");
        assert!(machine.told(ids::INCIDENT_OPENED, name).is_empty(), "{name}");
    }
    assert!(machine.mailbox().is_empty(), "mail about what somebody wanted");
}
