//! The daemon itself: killed, rebooted, traced, hung, asked for its story.

use stealthcheck::journal::ids;

use crate::guarding::{SECOND, assert_has, assert_thread, at, kinds, quick};
use crate::lab::{MINUTE, Machine};

#[test]
fn an_incident_and_a_pause_survive_the_daemons_death_and_a_pause_a_reboot() {
    let machine = Machine::ready("guard-survives");
    let web = machine.victim("web", 9001);
    machine.victim("quiet", 9002);
    machine.sh_ok("systemctl enable -q web quiet stealthcheck");
    machine.guard(&format!(
        "  web: {{ unit: web.service, {}, grace: 1s, backoff: {{ initial: 1s, max: 1m }} }}\n\
         \x20 quiet: {{ unit: quiet.service, {} }}\n",
        quick(9001),
        quick(9002)
    ));
    machine.becomes("web", "passing");
    machine.becomes("quiet", "passing");
    machine.sh_ok("stealthctl pause quiet --for 2h");
    let until = machine.becomes("quiet", "paused")["suppressed_by"]["until"].clone();
    let asleep = |machine: &Machine, until: &serde_json::Value| {
        let health = machine.check("quiet")["suppressed_by"].clone();
        assert_eq!(health["reason"], "paused");
        let drift = health["until"].as_i64().unwrap() - until.as_i64().unwrap();
        assert!(drift.abs() < 5_000, "the pause's end has moved by {drift} ms");
    };

    // Struck at no particular moment of its attempts. Not between the server's word that it has a mail and the note of
    // that, though: mail is sent at least once, and would be sent again.
    web.fault("500");
    let incident = machine.becomes("web", "down")["incident"].clone();
    let mut attempts = 0;
    for _ in 0..4 {
        machine.wait_for("its mails to be delivered", MINUTE, || {
            let notifications = machine.check("web")["incident"]["notifications"].clone();
            (notifications[0] != 0 && notifications[0] == notifications[1]).then_some(())
        });
        let before = machine.daemon();
        machine.sh_ok("systemctl kill -s KILL stealthcheck");
        machine.daemon_after(before);
        let check = machine.becomes("web", "down");
        assert_eq!(check["incident"]["id"], incident["id"]);
        assert_eq!(check["incident"]["since"], incident["since"]);
        assert_eq!(check["incident"]["cause"], incident["cause"]);
        asleep(&machine, &until);
        let now = check["incident"]["attempts"].as_u64().unwrap();
        assert!(now >= attempts, "{now} attempts, and there were {attempts}");
        attempts = machine.wait_for("another attempt", MINUTE, || {
            machine.check("web")["incident"]["attempts"].as_u64().filter(|more| *more > now)
        });
    }
    assert_eq!(machine.told(ids::INCIDENT_OPENED, "web").len(), 1);
    // The backoff is one, through all the daemon's lives.
    let asked: Vec<u64> = machine.told(ids::RECOVERY_REQUESTED, "web").iter().map(at).collect();
    for (two, least) in asked.windows(2).zip([1, 2, 4, 8]) {
        assert!(two[1] - two[0] > least * SECOND - SECOND / 10, "not 1 s, 2 s, 4 s, 8 s apart: {asked:?} µs");
    }

    web.heal();
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    // (On a slow machine it takes so long that a person is asked for.)
    let recovered =
        || Some(machine.mails_about("web")).filter(|mails| kinds(mails).last() == Some(&"RECOVERED"));
    let mails = machine.wait_for("the last mail", MINUTE, recovered);
    let all = kinds(&mails);
    assert!(matches!(all[..], ["DOWN", "RECOVERED"] | ["DOWN", "ACTION REQUIRED", "RECOVERED"]), "{all:?}");

    machine.reboot();
    machine.becomes("web", "passing");
    asleep(&machine, &until);
    machine.sh_ok("systemctl kill -s KILL quiet");
    machine.sh_ok("stealthctl check web");
    assert_eq!(machine.asked("quiet"), 0, "it is paused");
    machine.sh_ok("stealthctl resume quiet");
    machine.wait_told(ids::INCIDENT_CLOSED, "quiet", 1);
    assert_eq!(machine.asked("quiet"), 1);
    assert_eq!(kinds(&machine.mails_about("web")), all, "a reboot told an old story anew");
}

#[test]
fn the_daemon_starts_no_process_and_tells_its_story_in_the_journal() {
    let machine = Machine::ready("guard-traced");
    let web = machine.victim("web", 9001);
    machine.sh_ok("mkdir -p /etc/systemd/system/stealthcheck.service.d");
    machine.service("stealthcheck.service.d/watchdog.conf", "[Service]\nWatchdogSec=3s\n");
    machine.guard(&format!("  web: {{ unit: web.service, {} }}\n", quick(9001)));
    machine.becomes("web", "passing");
    let status = |line: &str| {
        machine.wait_for(line, MINUTE, || {
            (machine.unit("stealthcheck.service", "StatusText") == line).then_some(())
        });
    };
    status("1 check, none down");

    let calls = "execve,execveat,fork,vfork,clone,clone3,connect";
    machine.sh_ok(&format!(
        "systemd-run -q --unit=trace strace -f -qq -e trace={calls} -o /run/trace -p {}",
        machine.daemon()
    ));
    machine.wait_for("strace to hold it", MINUTE, || {
        machine.sh_ok("cat /run/trace").contains("htons(9001)").then_some(())
    });
    web.fault("500");
    machine.wait_told(ids::INCIDENT_OPENED, "web", 1);
    status("1 check, 1 down: web");
    assert_has(&machine.sh("systemctl status stealthcheck").stdout, &["Status: \"1 check, 1 down: web\""]);
    machine.wait_told(ids::RECOVERY_ENDED, "web", 1);
    web.heal();
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    assert_thread(&machine.wait_mails("web", 2), &["DOWN", "RECOVERED"]);
    status("1 check, none down");
    machine.sh_ok("systemctl stop trace");
    let trace = machine.read("/run/trace");
    // It was all seen: the probes, and the mail.
    assert_has(&trace, &["htons(9001)", "htons(587)"]);
    assert!(!trace.contains("exec") && !trace.contains("fork("), "{trace}");
    for line in trace.lines().filter(|line| line.contains("clone")) {
        assert!(line.contains("CLONE_THREAD") || line.contains("resumed>"), "a process: {line}");
    }

    // Every step is an entry with its fields, and is explained.
    let opened = machine.told(ids::INCIDENT_OPENED, "web").remove(0);
    let incident = opened["STEALTHCHECK_INCIDENT"].as_str().unwrap().to_owned();
    for id in [ids::RECOVERY_REQUESTED, ids::RECOVERY_ENDED, ids::ATTEMPT_CONCLUDED, ids::INCIDENT_CLOSED] {
        let entry = machine.told(id, "web").remove(0);
        assert_eq!(entry["STEALTHCHECK_INCIDENT"], incident, "{entry}");
        assert_eq!(entry["STEALTHCHECK_UNIT"], "web.service", "{entry}");
        assert_eq!(entry["SYSLOG_IDENTIFIER"], "stealthcheck");
    }
    let explained = machine.sh_ok(&format!("journalctl -x --no-pager STEALTHCHECK_INCIDENT={incident}"));
    assert_has(
        &explained,
        &["Subject: Check web is down", "Subject: Recovery requested: restart web.service"],
    );
    assert_has(
        &explained,
        &["Subject: Check web is passing again", &format!("Incident {incident} has been opened.")],
    );
    let of_unit = machine.sh_ok("journalctl --no-pager UNIT=web.service");
    assert_has(&of_unit, &["web: requested restart of web.service"]);

    // A daemon that hangs is restarted by systemd, and goes on.
    let before = machine.daemon();
    machine.sh_ok(&format!("kill -STOP {before}"));
    machine.daemon_after(before);
    assert_eq!(machine.unit("stealthcheck.service", "NRestarts"), "1");
    machine.becomes("web", "passing");
    web.fault("500-once");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 2);

    // It stops in good order, within a second.
    let took = machine
        .sh_ok("a=$(date +%s%N); systemctl stop stealthcheck; b=$(date +%s%N); echo $(((b - a) / 1000000))");
    assert!(took.parse::<u64>().unwrap() < 1_000, "{took} ms to stop");
    assert_eq!(machine.unit("stealthcheck.service", "Result"), "success");
    assert!(!machine.journal_entries(&[&format!("MESSAGE_ID={}", ids::STOPPING)]).is_empty());
}
