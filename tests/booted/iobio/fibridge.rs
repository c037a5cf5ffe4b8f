//! fibridge: its certificate is renewed on the very port that it serves on, without a race and without a false mail.

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread};
use crate::lab::{MINUTE, Machine, checkout};

const HOST: &str = "lf-proxy.example.org";

/// The drop-in for TLS that the unit's sample has in its comment.
fn tls_drop_in() -> String {
    let sample = std::fs::read_to_string(checkout().join("units/fibridge.service")).unwrap();
    let lines = sample.lines().filter_map(|line| line.strip_prefix("#   "));
    let drop_in: Vec<String> = lines.map(|line| line.replace("HOST", HOST)).collect();
    assert!(drop_in.iter().any(|line| line == "[Service]"), "no drop-in in:\n{sample}");
    drop_in.join("\n")
}

/// A machine on which fibridge serves TLS with a certificate that ends in so many days, guarded by the sample.
fn lf_proxy(name: &str, days: u32) -> Machine {
    let machine = Machine::ready(name);
    machine.stand_in("fibridge.py", "/usr/local/bin/fibridge-proxy-rs");
    machine.stand_in("certbot.py", "/usr/bin/certbot");
    machine.stand_in("certificate.py", "/etc/lab/certificate");
    machine.sh_ok(&format!("python3 /etc/lab/certificate {days}"));
    machine.write("/etc/systemd/system/fibridge.service.d/tls.conf", &tls_drop_in());
    machine.push(&checkout().join("config/rules.v4"), "/etc/iptables/rules.v4");
    machine.sample_units(&["fibridge.service", "fibridge-ports.service", "fibridge-cert-renew.service"]);
    machine.sh_ok("systemctl enable --now fibridge-ports fibridge");
    served(&machine);
    machine
}

fn guard(machine: &Machine) {
    machine.guard_by(
        "lf-proxy.yaml",
        &[
            ("interval: 10s", "interval: 1s"),
            ("interval: 12h", "interval: 2s"),
            ("initial: 6h, max: 24h", "initial: 1s, max: 5s"),
        ],
    );
    for check in ["fibridge", "fibridge-tls", "fibridge-ports"] {
        machine.becomes(check, "passing");
    }
}

/// Waits until the world is served on its port, and returns when the certificate ends.
fn served(machine: &Machine) -> String {
    let ask = "curl -s -m 2 --cacert /dev/null -k https://192.0.2.1/";
    machine.wait_for("fibridge on port 443, outside", MINUTE, || {
        (machine.outside(ask).stdout == "fibridge\n").then_some(())
    });
    machine.sh_ok(
        "openssl s_client -connect 127.0.0.1:9002 </dev/null 2>/dev/null | openssl x509 -noout -enddate",
    )
}

fn certbot(machine: &Machine, seconds: u32, outcome: &str) {
    machine.write("/etc/lab/certbot", &format!("{seconds} {outcome}\n"));
}

/// Waits until certbot answers on fibridge's port.
fn certbot_has_the_port(machine: &Machine) {
    machine.wait_for("certbot on fibridge's port", MINUTE, || {
        machine.outside("curl -s -m 2 -I http://192.0.2.1/").stdout.contains("Server: certbot").then_some(())
    });
}

/// Nobody fought for the port, and nobody was mailed about fibridge.
fn left_in_peace(machine: &Machine) {
    for check in ["fibridge", "fibridge-tls"] {
        machine.becomes(check, "passing");
        assert_eq!(machine.told(ids::RECOVERY_REQUESTED, check), Vec::<serde_json::Value>::new());
        assert_eq!(machine.told(ids::INCIDENT_OPENED, check), Vec::<serde_json::Value>::new());
        assert!(machine.mails_about(check).is_empty(), "{:#?}", machine.mails_about(check));
    }
}

#[test]
fn a_certificate_near_its_end_is_renewed_on_fibridges_own_port() {
    let machine = lf_proxy("renewed", 3);
    certbot(&machine, 20, "renew");
    let before = served(&machine);
    guard(&machine);

    // The check finds it and starts the renewal; fibridge gives way, and whoever has its port meanwhile is not it.
    certbot_has_the_port(&machine);
    assert_eq!(machine.unit("fibridge.service", "ActiveState"), "inactive");
    let shown = machine.becomes("fibridge", "conflict");
    assert_has(&shown.to_string(), &["fibridge-cert-renew.service"]);
    machine.becomes("fibridge-tls", "conflict");

    machine.becomes("fibridge-certificate", "passing");
    assert_ne!(served(&machine), before, "the old certificate is still served");
    left_in_peace(&machine);
    let mails = machine.wait_mails("fibridge-certificate", 2);
    assert_thread(&mails, &["DOWN", "RECOVERED"]);
    assert_has(&mails[1].body, &["start"]);
    assert_eq!(machine.unit("fibridge-cert-renew.service", "Result"), "success");
    assert_eq!(machine.asked("fibridge-certificate"), 1);
}

#[test]
fn fibridge_is_back_when_certbot_fails_or_is_killed_or_is_stopped() {
    let machine = lf_proxy("not-renewed", 90);
    certbot(&machine, 4, "renew");
    guard(&machine);
    machine.becomes("fibridge-certificate", "passing");
    let run = || machine.unit("fibridge.service", "InvocationID");

    for (end, health) in [("kill --signal=KILL", "passing"), ("stop", "stopped")] {
        let before = run();
        machine.sh_ok("systemctl start --no-block fibridge-cert-renew");
        certbot_has_the_port(&machine);
        // What it is to do in its next life: the check sees to it that a renewal which failed is tried again.
        machine.sh_ok(&format!("systemctl {end} fibridge-cert-renew"));
        machine.wait_for("another run of fibridge", MINUTE, || (run() != before).then_some(()));
        served(&machine);
        machine.becomes("fibridge-certificate", health);
        left_in_peace(&machine);
    }

    // An authority that says no: fibridge is back at once, the failure is mailed, and the renewal is tried again.
    let mailed = machine.mails_about("fibridge-certificate").len();
    certbot(&machine, 4, "fail");
    assert!(!machine.sh("systemctl start fibridge-cert-renew").success());
    certbot(&machine, 1, "renew");
    served(&machine);
    let mails = machine.wait_mails("fibridge-certificate", mailed + 2);
    assert_has(&mails[mailed].body, &["fibridge-cert-renew.service", "the authority says no"]);
    machine.becomes("fibridge-certificate", "passing");
    left_in_peace(&machine);
}
