//! Questions to a real DNS server, by the machine's own resolv.conf and by its address.

use serde_json::Value;
use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread};
use crate::lab::{MINUTE, Machine};

/// A zone of this machine's own, one name of which has more addresses than fit into a packet.
fn unbound(machine: &Machine) {
    let data = |line: &str| format!("  local-data: '{line}'\n");
    let mut zone = "server:\n  interface: 127.0.0.1\n  local-zone: \"lab.test.\" static\n".to_owned();
    for line in [
        "gru.lab.test. A 192.0.2.7",
        "gru.lab.test. A 192.0.2.1",
        "gru.lab.test. AAAA 2001:db8::1",
        "lab.test. MX 10 Mail.lab.test.",
        "lab.test. NS ns.lab.test.",
        "lab.test. TXT \"v=spf1 \" \"-all\"",
        "www.lab.test. CNAME gru.lab.test.",
    ] {
        zone.push_str(&data(line));
    }
    for n in 0..100 {
        zone.push_str(&data(&format!("many.lab.test. A 198.51.100.{n}")));
    }
    machine.write("/etc/unbound/unbound.conf.d/lab.conf", &zone);
    // Without a network there is no key of the root to validate with.
    machine.sh_ok("rm /etc/unbound/unbound.conf.d/root-auto-trust-anchor-file.conf; systemctl start unbound");
    machine.wait_for("the DNS server", MINUTE, || {
        let answer = machine.sh("dig +short +tries=1 +time=1 gru.lab.test A @127.0.0.1");
        answer.stdout.contains("192.0.2.1").then_some(())
    });
}

fn observed(machine: &Machine, name: &str) -> Value {
    machine.wait_for(&format!("a word about {name}"), MINUTE, || {
        Some(machine.check(name)["last"]["observation"].clone()).filter(|seen| !seen.is_null())
    })
}

#[test]
fn names_are_asked_for_at_the_machines_resolver_and_at_a_given_server() {
    let machine = Machine::ready("dns");
    unbound(&machine);
    let quick = "interval: 1s, timeout: 900ms, retry_interval: 500ms, failure_threshold: 2, grace: 10s";
    let asks = [
        ("a", "dns: gru.lab.test", "A 192.0.2.1, 192.0.2.7"),
        (
            "aaaa",
            "dns: { name: gru.lab.test, type: AAAA, server: 127.0.0.1, expect: '2001:db8::1' }",
            "AAAA 2001:db8::1",
        ),
        (
            "mx",
            "dns: { name: lab.test, type: MX, expect: ['10 mail.lab.test'], only: true }",
            "MX 10 mail.lab.test",
        ),
        ("ns", "dns: { name: lab.test, type: NS }", "NS ns.lab.test"),
        ("txt", "dns: { name: LAB.test., type: TXT, expect: ['v=spf1 -all'] }", "TXT v=spf1 -all"),
        ("cname", "dns: { name: www.lab.test, type: CNAME }", "CNAME gru.lab.test"),
        (
            "many",
            "dns: many.lab.test",
            "A 198.51.100.0, 198.51.100.1, 198.51.100.10, 198.51.100.11, 198.51.100.12, 95 more",
        ),
        ("nxdomain", "dns: other.lab.test", "other.lab.test does not exist (NXDOMAIN)"),
        ("nodata", "dns: { name: gru.lab.test, type: MX }", "gru.lab.test has no MX record"),
        (
            "moved",
            "dns: { name: gru.lab.test, expect: [192.0.2.2] }",
            "A is 192.0.2.1, 192.0.2.7, expected 192.0.2.2",
        ),
    ];
    let mut checks = format!(
        "  server: {{ unit: unbound.service, dns: {{ name: gru.lab.test, server: 127.0.0.1 }}, {quick} }}\n"
    );
    for (name, ask, _) in asks {
        checks.push_str(&format!(
            "  {name}: {{ {ask}, alert: {{ off: true }}, interval: 1s, timeout: 900ms }}\n"
        ));
    }
    machine.guard(&checks);
    for (name, _, text) in asks {
        let seen = observed(&machine, name);
        assert_eq!(seen["detail"].as_str().or(seen["reason"].as_str()), Some(text), "{name}: {seen}");
        let fails = ["nxdomain", "nodata", "moved"].contains(&name);
        assert_eq!(seen["verdict"], if fails { "failing" } else { "passing" }, "{name}: {seen}");
    }
    machine.becomes("server", "passing");

    // It hangs: who asks that server sees it fail, and it is restarted; who asks the machine's resolver has not measured.
    // (All the others would fail with it, which would be a storm: nothing is restarted then.)
    for (name, _, _) in asks.iter().filter(|(name, _, _)| *name != "a") {
        machine.sh_ok(&format!("stealthctl pause {name}"));
    }
    let pid = machine.unit("unbound.service", "MainPID");
    machine.sh_ok(&format!("kill -STOP {pid}"));
    let unknown = machine.wait_for("an answer that does not come", MINUTE, || {
        Some(observed(&machine, "a")).filter(|seen| seen["verdict"] == "unknown")
    });
    assert_has(unknown["reason"].as_str().unwrap(), &["the resolver gave no answer within 900ms"]);
    machine.wait_told(ids::INCIDENT_CLOSED, "server", 1);
    assert_ne!(machine.unit("unbound.service", "MainPID"), pid);
    let mails = machine.wait_mails("server", 2);
    assert_thread(&mails, &["DOWN", "RECOVERED"]);
    assert_has(&mails[0].body, &["no answer within 900ms (while waiting for the response)", "restart: done"]);
    machine.wait_for("the resolver's answers again", MINUTE, || {
        (observed(&machine, "a")["verdict"] == "passing").then_some(())
    });
    assert!(machine.told(ids::INCIDENT_OPENED, "a").is_empty(), "what was not measured is no failure");

    // What the resolver cannot find out, since there is no network behind it, it says nothing of.
    machine.guard("  outside: { dns: gru.example.com, alert: { off: true } }\n");
    let outside = observed(&machine, "outside");
    assert_eq!(outside["verdict"], "unknown", "{outside}");
}
