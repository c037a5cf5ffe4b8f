//! The machine itself is not well: its network, its resolver. Nothing is restarted for that, and one mail tells of it.

use std::time::Duration;

use stealthcheck::journal::ids;

use crate::guarding::{SECOND, assert_has, assert_thread, kind, quick, shown};
use crate::lab::{MINUTE, Machine, Mail};

const UNIT: &str = "[Service]\nExecStart=/usr/bin/sleep infinity\n";

/// Twelve services that answer on the ports from 9000 on. One web server answers for all of them: what is behind a port
/// does not matter here, and twelve would only keep the machine busy.
fn twelve(machine: &Machine) -> Vec<String> {
    let servers: String = (9000..9012)
        .map(|port| format!("server {{ listen 127.0.0.1:{port}; return 200 well; }}\n"))
        .collect();
    machine.write("/etc/nginx/conf.d/twelve.conf", &servers);
    machine.sh_ok("systemctl restart nginx");
    let names: Vec<String> = (0..12).map(|n| format!("w{n}")).collect();
    for name in &names {
        machine.write(&format!("/etc/systemd/system/{name}.service"), UNIT);
    }
    machine.sh_ok("systemctl daemon-reload; systemctl start $(seq -f w%.0f 0 11)");
    names
}

fn storm_mails(machine: &Machine) -> Vec<Mail> {
    let about = |mail: &Mail| mail.header("X-Stealthcheck-Incident").ends_with("-storm");
    machine.mailbox().into_iter().filter(about).collect()
}

fn wait_storm_mails(machine: &Machine, at_least: usize) -> Vec<Mail> {
    machine.wait_for(&format!("{at_least} mails about a storm"), 2 * MINUTE, || {
        Some(storm_mails(machine)).filter(|mails| mails.len() >= at_least)
    })
}

#[test]
fn an_outage_of_the_network_is_one_mail_and_no_restart_but_of_units_in_failed() {
    let machine = Machine::ready("guard-storm");
    let names = twelve(&machine);
    let checks: String = names
        .iter()
        .zip(9000..)
        .map(|(name, port)| format!("  {name}: {{ unit: {name}.service, {}, grace: 5s }}\n", quick(port)))
        .collect();
    machine.guard(&checks);
    for name in &names {
        machine.becomes(name, "passing");
    }
    let run = |name: &String| machine.unit(&format!("{name}.service"), "InvocationID");
    let runs: Vec<String> = names.iter().map(run).collect();

    machine.sh_ok("iptables -I INPUT -i lo -p tcp --dport 9000:9011 -j DROP");
    let mails = wait_storm_mails(&machine, 1);
    assert_eq!(mails[0].subject(), "[STORM] 12 of 12 checks failing on guard-storm");
    assert_has(
        &mails[0].body,
        &["It looks like the machine, not the units", "\nw3: down, no answer", "stealthctl status"],
    );
    let began = machine.journal_entries(&["-u", "stealthcheck", &format!("MESSAGE_ID={}", ids::STORM_BEGAN)]);
    assert_eq!(began.len(), 1, "{began:?}");
    let status = machine.run(&["stealthctl", "status"]);
    assert_eq!(status.code, 3, "{status}");
    assert_has(&status.stdout, &["! A storm, for ", "12 of 12 checks", "no recovery: storm: "]);

    // systemd's own word is another matter.
    machine.sh_ok("systemctl kill -s KILL w3");
    machine.wait_told(ids::RECOVERY_REQUESTED, "w3", 1);
    machine.wait_for("w3 to run anew", MINUTE, || {
        (machine.unit("w3.service", "ActiveState") == "active" && run(&names[3]) != runs[3]).then_some(())
    });
    // A daemon that is killed meanwhile goes on where it was.
    let daemon = machine.daemon();
    machine.sh_ok("systemctl kill -s KILL stealthcheck");
    machine.daemon_after(daemon);
    machine.wait_for("the storm to be known to the next life", MINUTE, || {
        machine.status_json()["alerts"].to_string().contains("A storm, for ").then_some(())
    });

    machine.sh_ok("iptables -D INPUT 1");
    let mails = wait_storm_mails(&machine, 2);
    assert_thread(&mails, &["STORM", "STORM OVER"]);
    assert_has(&mails[1].body, &["PASSING AGAIN (1", "\nw5\n"]);
    for name in &names {
        machine.becomes(name, "passing");
    }
    for ((name, before), asked) in names.iter().zip(&runs).zip([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]) {
        assert_eq!(machine.asked(name), asked, "{name}");
        assert_eq!(run(name) == *before, asked == 0, "{name} was restarted");
        let mails = machine.mails_about(name);
        assert!(asked == 1 || mails.is_empty(), "{name} has mails of its own: {mails:#?}");
    }
    assert_eq!(machine.status_json()["alerts"].to_string(), "[]");
}

#[test]
fn a_dead_resolver_and_a_missing_route_are_no_failures_and_are_told_when_they_last() {
    let machine = Machine::ready("guard-resolver");
    machine.victim("web", 9001);
    machine.service("far.service", UNIT);
    machine.write(
        "/etc/unbound/unbound.conf.d/lab.conf",
        "server:\n  interface: 127.0.0.1\n  local-zone: lab.test. static\n  local-data: \"web.lab.test. A 127.0.0.1\"\n",
    );
    // The root's key would have to be fetched. And without a route the kernel itself refuses: a router's word may be lost.
    machine.sh_ok(
        "rm /etc/unbound/unbound.conf.d/root-auto-trust-anchor-file.conf; systemctl restart unbound
         echo nameserver 127.0.0.1 >/etc/resolv.conf; ip route del default; systemctl start far",
    );
    machine.wait_for("an answer of the resolver", MINUTE, || {
        machine.sh("getent ahostsv4 web.lab.test").success().then_some(())
    });
    let often = "interval: 1s, timeout: 900ms, retry_interval: 500ms, failure_threshold: 2";
    machine.guard(&format!(
        "  web: {{ unit: web.service, http: {{ url: \"http://web.lab.test:9001/\" }}, {often}, alert: {{ unknown_after: 3s }} }}\n\
         \x20 far: {{ unit: far.service, tcp: {{ address: \"203.0.113.9:80\" }}, {often}, alert: {{ unknown_after: 1h }} }}\n",
    ));
    machine.becomes("web", "passing");
    let far = machine.becomes("far", "unknown");
    assert_has(&far["last"].to_string(), &["network unreachable"]);
    machine.sh_ok("ip route add unreachable 203.0.113.9");
    machine.wait_for("the other way to have no route", MINUTE, || {
        machine.check("far")["last"].to_string().contains("no route to the host").then_some(())
    });
    let runs = [machine.unit("web.service", "InvocationID"), machine.unit("far.service", "InvocationID")];

    machine.sh_ok("for p in udp tcp; do iptables -I INPUT -p $p --dport 53 -j DROP; done");
    machine.becomes("web", "unknown");
    let mails = machine.wait_mails("web", 1);
    assert_eq!(mails[0].subject(), "[UNKNOWN] web on guard-resolver");
    assert_has(
        &mails[0].body,
        &["The state of web on guard-resolver has been unknown for ", "resolver gave no answer"],
    );
    let status = machine.run(&["stealthctl", "status"]);
    assert_eq!(status.code, 3, "{status}");
    assert_has(&status.stdout, &["2 checks, all unknown", "unknown: "]);
    let told = machine.told(ids::UNKNOWN, "web");
    assert_eq!(told.len(), 1, "{told:?}");

    // As long as it lasts, and however often it is tried.
    machine.wait_until(machine.monotonic() + 10 * SECOND, "ten more attempts or so");
    assert_eq!(shown(&machine.check("web")), "unknown");
    machine.sh_ok("for p in udp tcp; do iptables -D INPUT -p $p --dport 53 -j DROP; done");
    machine.becomes("web", "passing");
    assert_thread(&machine.wait_mails("web", 2), &["UNKNOWN", "KNOWN AGAIN"]);
    assert_eq!(
        runs,
        [machine.unit("web.service", "InvocationID"), machine.unit("far.service", "InvocationID")]
    );
    assert_eq!((machine.asked("web"), machine.asked("far")), (0, 0));
    assert_eq!(machine.mailbox().len(), 2);
}

#[test]
fn many_units_that_fail_at_once_are_each_restarted_and_told_in_a_few_mails() {
    let machine = Machine::ready("guard-digest");
    let names: Vec<String> = (0..25).map(|n| format!("k{n}")).collect();
    for name in &names {
        machine.write(&format!("/etc/systemd/system/{name}.service"), UNIT);
    }
    machine.sh_ok("systemctl daemon-reload; systemctl start $(seq -f k%.0f 0 24)");
    let checks: String = names.iter().map(|name| format!("  {name}: {{ unit: {name}.service }}\n")).collect();
    machine.guard(&checks);
    for name in &names {
        machine.becomes(name, "passing");
    }
    machine.sh_ok("systemctl kill -s KILL $(seq -f k%.0f 0 24)");
    for name in &names {
        machine.wait_told(ids::INCIDENT_CLOSED, name, 1);
        assert_eq!(machine.asked(name), 1, "{name}");
    }
    let mails = machine.wait_for("a digest, and nothing left to send", 4 * MINUTE, || {
        let mails = machine.mailbox();
        let digest = mails.iter().any(|mail| kind(mail) == "DIGEST");
        (digest && machine.status_json()["mail"]["queued"] == 0).then_some(mails)
    });
    let (digests, singles): (Vec<&Mail>, Vec<&Mail>) = mails.iter().partition(|mail| kind(mail) == "DIGEST");
    assert!(singles.len() <= 10 && digests.len() <= 2, "{} and {}", singles.len(), digests.len());
    let all: String = mails.iter().map(|mail| format!("{}\n{}\n", mail.subject(), mail.body)).collect();
    for name in &names {
        for tag in ["DOWN", "RECOVERED"] {
            assert_has(&all, &[&format!("[{tag}] {name} on guard-digest\n")]);
        }
    }
    assert_eq!(storm_mails(&machine).len(), 0, "systemd's word is no storm");
    // Every one of them counts as delivered.
    machine.wait_for("all to be delivered", Duration::from_secs(30), || {
        let delivered = names.iter().map(|name| machine.told(ids::MAIL_DELIVERED, name).len());
        (delivered.sum::<usize>() == 50).then_some(())
    });
}
