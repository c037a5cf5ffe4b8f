//! `stealthctl` against the real daemon: as root, as anybody, and as somebody whom polkit allows more.

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread, quick};
use crate::lab::Machine;

#[test]
fn two_checks_of_a_unit_lead_to_one_restart_and_root_directs_the_daemon() {
    let machine = Machine::ready("guard-ctl");
    let web = machine.victim("web", 9001);
    machine.victim("other", 9002);
    let ctl = |arguments: &str, code: i32| {
        let output = machine.sh(&format!("stealthctl {arguments}"));
        assert_eq!(output.code, code, "stealthctl {arguments}: {output}");
        [output.stdout, output.stderr].concat()
    };
    for command in ["status", "check web", "pause web", "resume web", "reload", "test-mail"] {
        let said = ctl(command, 4);
        assert_eq!(
            said,
            "stealthctl: stealthcheck is not running; start it: `systemctl enable --now stealthcheck`\n"
        );
    }
    machine.guard(&format!(
        "  page: {{ unit: web.service, {0} }}\n  port: {{ unit: web.service, tcp: {{ address: \"127.0.0.1:9001\" }}, interval: 1s, retry_interval: 500ms, failure_threshold: 2, timeout: 900ms }}\n\
         \x20 other: {{ unit: other.service, {1} }}\n",
        quick(9001),
        quick(9002)
    ));
    for name in ["page", "port", "other"] {
        machine.becomes(name, "passing");
    }
    assert_has(&ctl("status", 0), &["3 checks, all passing", "web.service"]);
    assert_has(
        &ctl("status page", 0),
        &["State: passing", "Unit: web.service: active (running), main process "],
    );
    assert_has(&ctl("check page port", 0), &["page: 200 OK", "port: "]);
    assert_has(&ctl("status nosuch", 1), &["nosuch"]);
    assert_has(&ctl("check pagee", 1), &["pagee", "page"]);
    let json: serde_json::Value = serde_json::from_str(&ctl("status --json", 0)).unwrap();
    assert_eq!(json["checks"].as_array().unwrap().len(), 3);

    // Two checks go down, one restart comes of it.
    web.signal("KILL");
    for name in ["page", "port"] {
        machine.wait_told(ids::INCIDENT_CLOSED, name, 1);
        assert_thread(&machine.wait_mails(name, 2), &["DOWN", "RECOVERED"]);
    }
    assert_eq!(machine.asked("page") + machine.asked("port"), 1);
    assert_eq!(machine.sh_ok("journalctl -u web.service | grep -c ' Started web.service'"), "2");

    // Down, and left alone.
    assert_has(&ctl("pause page port --for 30m", 0), &["page is paused until ", "port is paused until "]);
    web.fault("500");
    let said = ctl("check page", 3);
    assert_has(&said, &["page: ", "500", "paused"]);
    assert_has(&ctl("status", 0), &["2 paused", "resumes in "]);
    ctl("resume page port", 0);
    machine.becomes("page", "down");
    assert_has(&ctl("status", 3), &["1 down", "✖"]);
    assert!(!ctl("status", 3).contains('\x1b'), "colour into a pipe");
    assert_has(&ctl("status --color always", 3), &["\x1b["]);
    let json: serde_json::Value = serde_json::from_str(&ctl("status page --json", 3)).unwrap();
    assert_eq!(json["checks"][0]["state"], "down");
    web.heal();
    machine.wait_told(ids::INCIDENT_CLOSED, "page", 2);
    machine.becomes("page", "passing");
    ctl("status", 0);
    assert_has(&ctl("reload", 0), &["3 checks"]);
}

#[test]
fn anybody_may_look_and_only_the_permitted_may_act() {
    let machine = Machine::ready("guard-polkit");
    machine.victim("web", 9001);
    machine.sh_ok("useradd -m visitor; useradd -m helper");
    machine.guard(&format!("  web: {{ unit: web.service, {} }}\n", quick(9001)));
    machine.becomes("web", "passing");
    let acts = ["check web", "pause web --for 1m", "resume web", "test-mail", "reload"];
    let as_user = |user: &str, arguments: &str| {
        machine.run(&["runuser", "-u", user, "--", "sh", "-c", &format!("stealthctl {arguments}")])
    };
    for user in ["visitor", "helper"] {
        let status = as_user(user, "status");
        assert_eq!(status.code, 0, "{status}");
        assert_has(&status.stdout, &["1 check: passing", "200 OK"]);
        for act in acts {
            let refused = as_user(user, act);
            assert_eq!(refused.code, 77, "{user}: {act}: {refused}");
            assert_has(&refused.stderr, &["stealthctl: access denied: "]);
            assert_eq!(refused.stderr.lines().count(), 1, "{refused}");
        }
    }
    machine.write(
        "/etc/polkit-1/rules.d/40-helper.rules",
        "polkit.addRule(function(action, subject) {\n\
         \x20   if (action.id.indexOf(\"io.iobio.Stealthcheck1.\") == 0 && subject.user == \"helper\")\n\
         \x20       return polkit.Result.YES;\n});\n",
    );
    // polkitd reads new rules when it comes to it.
    machine.wait_for("the rule to count", crate::lab::MINUTE, || {
        as_user("helper", "check web").success().then_some(())
    });
    for act in acts.iter().filter(|act| **act != "reload") {
        let done = as_user("helper", act);
        assert!(done.success(), "{act}: {done}");
        assert_eq!(as_user("visitor", act).code, 77, "{act}");
    }
    assert_eq!(machine.mails(1).len(), 1);
    // To reload is systemd's to allow, and it was not asked for here.
    assert_eq!(as_user("helper", "reload").code, 77);
    // What the daemon itself may not: units that the configuration does not name.
    let refused = machine.sh("runuser -u stealthcheck -- busctl call --allow-interactive-authorization=no org.freedesktop.systemd1 \
        /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager RestartUnit ss postfix.service replace");
    assert!(!refused.success(), "the daemon's user restarted postfix");
    let allowed = machine.sh("runuser -u stealthcheck -- busctl call --allow-interactive-authorization=no org.freedesktop.systemd1 \
        /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager RestartUnit ss web.service replace");
    assert!(allowed.success(), "the daemon's user may not restart what it guards: {allowed}");
}
