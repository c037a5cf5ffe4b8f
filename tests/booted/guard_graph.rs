//! Units that have to do with each other: one that makes room, one that needs another, and one that a package stops.

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread, quick, shown};
use crate::lab::{MINUTE, Machine};

/// A oneshot that takes the port of web for so many seconds, and answers there.
fn takes_port(seconds: u32, unit_section: &str) -> String {
    format!(
        "[Unit]\nConflicts=web.service\nAfter=web.service\n{unit_section}\n\
         [Service]\nType=oneshot\nSuccessExitStatus=124\n\
         ExecStart=/usr/bin/timeout {seconds} python3 -m http.server 9001 --bind 127.0.0.1 --directory /run\n"
    )
}

fn why(machine: &Machine, name: &str) -> String {
    let said = machine.run(&["stealthctl", "why", name]);
    assert_eq!(said.code, 0, "{said}");
    said.stdout
}

#[test]
fn what_a_renewal_displaces_is_left_alone_and_comes_back() {
    let machine = Machine::ready("guard-displaced");
    let web = machine.victim("web", 9001);
    let back = "OnSuccess=web.service\nOnFailure=web.service";
    machine.service("renew.service", &takes_port(6, back));
    machine.service("long.service", &takes_port(600, back));
    machine.service("rude.service", &takes_port(3, ""));
    // A stop is respected by nobody here, so that only the graph is in the way of a restart.
    machine.guard(&format!(
        "  web: {{ unit: web.service, {}, grace: 5s, respect_stop: 0s }}\n\
         \x20 state: {{ unit: web.service, interval: 1s, retry_interval: 500ms, grace: 5s, respect_stop: 0s, recover: none, alert: {{ off: true }} }}\n",
        quick(9001)
    ));
    for name in ["web", "state"] {
        machine.becomes(name, "passing");
    }
    let untouched = |what: &str| {
        for name in ["web", "state"] {
            machine.becomes(name, "passing");
            assert_eq!(machine.asked(name), 0, "{what}: {}", why(&machine, name));
            assert!(machine.told(ids::INCIDENT_OPENED, name).is_empty(), "{what}: {}", why(&machine, name));
        }
        assert!(machine.mailbox().is_empty(), "{what}: {:?}", machine.mailbox());
    };

    // It runs to its end.
    let run = machine.unit(&web.unit(), "InvocationID");
    machine.sh_ok("systemctl start --no-block renew");
    let displaced = machine.becomes("web", "conflict");
    assert_eq!(displaced["suppressed_by"]["by"], "renew.service");
    machine.becomes("state", "conflict");
    let shown = machine.run(&["stealthctl", "status", "web"]);
    assert_eq!(shown.code, 0, "{shown}");
    assert_has(
        &shown.stdout,
        &["conflict for ", "with renew.service", "suppressed while renew.service is up"],
    );
    assert_has(
        &why(&machine, "web"),
        &["renew.service, which the unit conflicts with, is up; a restart would stop it (respect_conflict"],
    );
    machine.wait_for("web to be back", MINUTE, || {
        (machine.unit(&web.unit(), "InvocationID") != run && web.status() == 200).then_some(())
    });
    untouched("a renewal that ends well");
    assert_eq!(machine.unit("renew.service", "Result"), "success");
    assert_has(
        &why(&machine, "web"),
        &["web.service conflicts with renew.service, which is up: suppressed for 1h"],
    );

    // It is killed in the middle; and the daemon before it.
    machine.sh_ok("systemctl start --no-block long");
    machine.becomes("web", "conflict");
    let daemon = machine.daemon();
    machine.sh_ok("systemctl kill -s KILL stealthcheck");
    machine.daemon_after(daemon);
    let displaced = machine.becomes("web", "conflict");
    assert_eq!(displaced["suppressed_by"]["by"], "long.service");
    machine.becomes("state", "conflict");
    assert_eq!(machine.unit("long.service", "ActiveState"), "activating");
    machine.sh_ok("systemctl kill -s KILL long");
    untouched("a renewal that is killed");

    // Nobody brings it back.
    machine.sh_ok("systemctl start --no-block rude");
    machine.becomes("web", "conflict");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    assert_eq!(web.status(), 200);
    assert_eq!(machine.asked("web") + machine.asked("state"), 1);
    let mails = machine.wait_mails("web", 2);
    assert_thread(&mails, &["DOWN", "RECOVERED"]);
    assert_has(
        &mails[0].body,
        &[
            "rude.service, which conflicts with the unit, has been out of its way for 5s, and the unit has not come back",
        ],
    );
    assert_eq!(machine.unit("rude.service", "Result"), "success", "it was not disturbed");
}

#[test]
fn what_displaces_a_unit_for_too_long_gives_way() {
    let machine = Machine::ready("guard-displaced-long");
    let web = machine.victim("web", 9001);
    machine.service("long.service", &takes_port(600, ""));
    machine.guard(&format!("  web: {{ unit: web.service, {}, respect_conflict: 6s }}\n", quick(9001)));
    machine.becomes("web", "passing");
    machine.sh_ok("systemctl start --no-block long");
    machine.becomes("web", "conflict");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    assert_eq!(machine.asked("web"), 1);
    assert_eq!(web.status(), 200);
    assert_ne!(machine.unit("long.service", "ActiveState"), "activating");
    let mails = machine.wait_mails("web", 2);
    assert_thread(&mails, &["DOWN", "RECOVERED"]);
    assert_has(
        &mails[0].body,
        &["unit has been down for 6s as it conflicts with long.service (respect_conflict is over)"],
    );
}

#[test]
fn what_needs_a_broken_database_waits_for_it_in_silence() {
    let machine = Machine::ready("guard-blocked");
    let db = machine.victim("db", 9001);
    let needs = |edge: &str, unit: &str| format!("[Unit]\n{edge}={unit}\nAfter={unit}\n");
    let app = machine.victim_with("app", 9002, &needs("Requires", "db.service"));
    let bound = machine.victim_with("bound", 9003, &needs("BindsTo", "db.service"));
    // Through a unit that nobody guards.
    machine.service(
        "pool.service",
        &format!(
            "{}[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
            needs("Requires", "db.service")
        ),
    );
    let far = machine.victim_with("far", 9004, &needs("Requires", "pool.service"));
    let settings = "grace: 4s, backoff: { initial: 2s, max: 4s }";
    machine.guard(&format!(
        "  db: {{ unit: db.service, {}, {settings} }}\n  app: {{ unit: app.service, {}, {settings} }}\n\
         \x20 bound: {{ unit: bound.service, {}, {settings} }}\n  far: {{ unit: far.service, {}, {settings} }}\n",
        quick(9001),
        quick(9002),
        quick(9003),
        quick(9004)
    ));
    let dependents = ["app", "bound", "far"];
    for name in ["db", "app", "bound", "far"] {
        machine.becomes(name, "passing");
    }

    db.fault("fail-start");
    db.signal("KILL");
    machine.wait_told(ids::RECOVERY_REQUESTED, "db", 2);
    for name in dependents {
        let blocked = machine.becomes(name, "dependency");
        assert_eq!(blocked["suppressed_by"]["by"], "db.service", "{blocked}");
    }
    assert_has(&machine.run(&["stealthctl", "status"]).stdout, &["4 checks: 1 down, 3 dependency"]);
    assert_has(&machine.run(&["stealthctl", "status", "db"]).stdout, &["Affected: app (app.service), bound"]);
    assert_has(&why(&machine, "far"), &["db.service, which the unit depends on, must be recovered first"]);
    let mails = machine.wait_mails("db", 1);
    assert_has(&mails[0].body, &["AFFECTED UNITS", "app (app.service): ", "far (far.service): "]);

    // The daemon's next life keeps the silence.
    let daemon = machine.daemon();
    machine.sh_ok("systemctl kill -s KILL stealthcheck");
    machine.daemon_after(daemon);
    let so_far = machine.asked("db");
    machine.wait_told(ids::RECOVERY_REQUESTED, "db", so_far + 2);
    for name in dependents {
        assert_eq!(shown(&machine.check(name)), "dependency", "{}", why(&machine, name));
        assert_eq!(machine.asked(name), 0, "{}", why(&machine, name));
    }

    db.heal();
    machine.wait_told(ids::INCIDENT_CLOSED, "db", 1);
    for (name, victim) in [("app", &app), ("bound", &bound), ("far", &far)] {
        machine.becomes(name, "passing");
        assert_eq!(victim.status(), 200, "{name}");
        assert!(machine.asked(name) <= 1, "{}", why(&machine, name));
    }
    let mails = machine.wait_mails("db", 2);
    assert_eq!(mails[0].header("X-Stealthcheck-Incident"), mails[1].header("X-Stealthcheck-Incident"));
    for name in dependents {
        assert!(machine.mails_about(name).is_empty(), "{}", why(&machine, name));
    }
}

#[test]
fn the_reinstallation_of_a_guarded_package_is_not_disturbed() {
    let machine = Machine::ready("guard-reinstall");
    let files = [
        (
            "DEBIAN/control",
            "Package: tiny\nVersion: 1.0\nArchitecture: all\nMaintainer: Lab <lab@example.org>\nDescription: a service\n",
        ),
        // As debhelper writes them, but slow.
        ("DEBIAN/prerm", "#!/bin/sh\nset -e\ndeb-systemd-invoke stop tiny.service\nsleep 2\n"),
        (
            "DEBIAN/postinst",
            "#!/bin/sh\nset -e\nsleep 4\nsystemctl daemon-reload\nsystemctl enable -q tiny.service\ndeb-systemd-invoke start tiny.service\n",
        ),
        (
            "usr/lib/systemd/system/tiny.service",
            "[Service]\nExecStart=/usr/bin/python3 -m http.server 9005 --bind 127.0.0.1 --directory /run\n\
             [Install]\nWantedBy=multi-user.target\n",
        ),
    ];
    for (name, text) in files {
        machine.write(&format!("/root/tiny/{name}"), text);
    }
    machine.sh_ok(
        "chmod 755 /root/tiny/DEBIAN/prerm /root/tiny/DEBIAN/postinst && dpkg-deb --root-owner-group -b /root/tiny /root/tiny.deb",
    );
    let install = "DEBIAN_FRONTEND=noninteractive apt-get install -y --reinstall /root/tiny.deb";
    machine.sh_ok(install);
    machine.guard(&format!("  tiny: {{ unit: tiny.service, {} }}\n", quick(9005)));
    machine.becomes("tiny", "passing");
    let run = machine.unit("tiny.service", "InvocationID");

    machine.sh_ok(&format!("systemd-run -q --unit reinstall -p RemainAfterExit=yes sh -c '{install}'"));
    machine.becomes("tiny", "stopped");
    machine.wait_for("the end of the installation", MINUTE, || {
        (machine.unit("reinstall.service", "SubState") == "exited").then_some(())
    });
    assert_ne!(machine.unit("tiny.service", "InvocationID"), run, "it was not stopped and started");
    machine.becomes("tiny", "passing");
    assert_eq!(machine.asked("tiny"), 0, "{}", why(&machine, "tiny"));
    assert!(machine.told(ids::INCIDENT_OPENED, "tiny").is_empty());
    assert!(machine.mailbox().is_empty());
    assert_has(&why(&machine, "tiny"), &["tiny.service was stopped by an operator: respected for 5m"]);
}
