//! Units that come, go, are renamed, and a systemd that reads everything anew.

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread};
use crate::lab::{MINUTE, Machine};

const UNIT: &str = "[Service]\nExecStart=/usr/bin/sleep infinity\n";

#[test]
fn an_unknown_unit_is_an_alert_until_its_file_is_there() {
    let machine = Machine::ready("guard-unknown");
    let ghost = "/etc/systemd/system/ghost.service";
    machine.guard(
        "  ghost: { unit: ghost.service, interval: 1s, retry_interval: 500ms, backoff: { initial: 1s, max: 1m } }\n",
    );
    let alerts = || machine.status_json()["alerts"].to_string();
    let alert = || {
        machine.wait_for("the alert", MINUTE, || {
            alerts().contains("systemd does not know the unit ghost.service").then_some(())
        });
    };
    let pid = machine.daemon();
    alert();
    let status = machine.run(&["stealthctl", "status"]).stdout;
    assert_has(&status, &["! ghost: systemd does not know the unit ghost.service."]);
    machine.becomes("ghost", "down");

    // It comes: it is started, without a reload of ours.
    machine.service("ghost.service", UNIT);
    machine.wait_told(ids::INCIDENT_CLOSED, "ghost", 1);
    assert_eq!(machine.unit("ghost.service", "ActiveState"), "active");
    assert_eq!(alerts(), "[]");
    assert_thread(&machine.wait_mails("ghost", 2), &["DOWN", "RECOVERED"]);

    // Its file goes while it runs, and then it.
    machine.sh_ok(&format!("rm {ghost}; systemctl daemon-reload"));
    alert();
    machine.sh_ok("systemctl kill -s KILL ghost");
    machine.becomes("ghost", "down");
    machine.wait_for("the recovery to be withheld again", MINUTE, || {
        let held = machine.told(ids::RECOVERY_WITHHELD, "ghost");
        let missing = "systemd cannot act on the unit: not found";
        let again = held.iter().filter(|entry| entry["STEALTHCHECK_REASON"] == missing).count() == 2;
        again.then_some(())
    });

    machine.service("ghost.service", UNIT);
    machine.wait_told(ids::INCIDENT_CLOSED, "ghost", 2);
    assert_eq!(machine.unit("ghost.service", "ActiveState"), "active");
    assert_eq!(machine.daemon(), pid, "the daemon did not live through it");
}

#[test]
fn reload_reexec_and_an_alias_change_nothing() {
    let machine = Machine::ready("guard-reexec");
    machine.service("web.service", UNIT);
    machine.service(
        "real.service",
        &format!("{UNIT}[Install]\nAlias=nick.service\nWantedBy=multi-user.target\n"),
    );
    machine.sh_ok("systemctl enable -q --now real; systemctl start web");
    // The next probe is an hour away: what is seen is seen by signal.
    machine.guard(
        "  web: { unit: web.service, interval: 1h, backoff: { initial: 1s, max: 1m } }\n\
         \x20 nick: { unit: nick.service, interval: 1h, backoff: { initial: 1s, max: 1m } }\n",
    );
    let kill = |check: &str, unit: &str| {
        machine.becomes(check, "passing");
        let closed = machine.told(ids::INCIDENT_CLOSED, check).len();
        let run = machine.unit(unit, "InvocationID");
        machine.sh_ok(&format!("systemctl kill -s KILL {unit}"));
        machine.wait_told(ids::INCIDENT_CLOSED, check, closed + 1);
        assert_ne!(machine.unit(unit, "InvocationID"), run);
    };
    // Under its alias, polkit included: it is asked about the unit's own name.
    assert_has(
        &machine.read("/run/stealthcheck.authorized"),
        &["restart nick.service\n", "restart real.service\n"],
    );
    kill("nick", "real.service");
    assert_thread(&machine.wait_mails("nick", 2), &["DOWN", "RECOVERED"]);

    for command in ["daemon-reload", "daemon-reexec"] {
        machine.sh_ok(&format!("systemctl {command}"));
        kill("web", "web.service");
        machine.sh_ok(&format!("systemctl {command}"));
        kill("nick", "real.service");
    }
    let unhappy = machine.journal_entries(&["-u", "stealthcheck.service", "-p", "warning"]);
    let unhappy: Vec<&str> = unhappy.iter().filter_map(|entry| entry["MESSAGE"].as_str()).collect();
    assert!(unhappy.iter().all(|line| line.contains(" is down: ")), "{unhappy:#?}");
}

/// `systemctl disable --now` removes the alias that the check names while its unit still runs, and then stops the unit.
#[test]
fn stop_of_a_unit_whose_alias_is_gone_is_respected() {
    let machine = Machine::ready("guard-disabled");
    machine.service(
        "real.service",
        &format!("{UNIT}[Install]\nAlias=nick.service\nWantedBy=multi-user.target\n"),
    );
    machine.sh_ok("systemctl enable -q --now real");
    machine.guard("  nick: { unit: nick.service, interval: 1s, retry_interval: 500ms }\n");
    machine.becomes("nick", "passing");
    machine.sh_ok("systemctl disable --now real");
    machine.becomes("nick", "stopped");
    machine.sh_ok("systemctl enable --now real");
    machine.becomes("nick", "passing");
    assert_eq!(machine.asked("nick"), 0);
    assert!(machine.mails_about("nick").is_empty());
}
