//! lf-proxy: fibridge behind the redirects of ports 80 and 443, and its certificate, which a real certbot gets and renews on the
//! very port that fibridge serves on.

use stealthcheck::journal::ids;

use super::acme::Acme;
use crate::guarding::{assert_has, assert_thread, kinds};
use crate::lab::{MINUTE, Machine};

const HOST: &str = "lf-proxy.example.org";

/// lf-proxy by the runbook, up to the first certificate, with shorter times.
fn lf_proxy(name: &str) -> (Machine, Acme) {
    let machine = Machine::bare(name);
    machine.stand_in("fibridge.py", "/usr/local/bin/fibridge-proxy-rs");
    let acme = Acme::outside(&machine);
    machine.follow("lf-proxy");
    machine.becomes("fibridge", "passing");
    machine.becomes("fibridge-ports", "passing");
    machine.follow("The first certificate");
    machine.verify_units();
    machine.shorten("lf-proxy.yaml", &[("interval: 10s", "interval: 1s")]);
    machine.shorten(
        "lf-proxy-tls.yaml",
        &[
            ("interval: 10s", "interval: 1s"),
            ("interval: 12h", "interval: 2s"),
            ("interval: 10m", "interval: 2s"),
            ("initial: 6h, max: 24h", "initial: 1s, max: 5s"),
        ],
    );
    for check in CHECKS {
        machine.becomes(check, "passing");
    }
    served_outside(&machine);
    (machine, acme)
}

const CHECKS: [&str; 5] =
    ["fibridge", "fibridge-ports", "fibridge-tls", "fibridge-certificate", "fibridge-certificate-served"];

/// Waits until fibridge answers on port 443, with the newest certificate that certbot has.
fn served_outside(machine: &Machine) {
    let ask = format!("curl -s -m 2 -k --resolve {HOST}:443:192.0.2.1 https://{HOST}/");
    machine.wait_for("fibridge on port 443, outside", MINUTE, || {
        (machine.outside(&ask).stdout == "fibridge\n").then_some(())
    });
    assert_eq!(machine.served_certificate(9002, HOST), machine.certificate_on_disk(HOST));
}

/// The checks of fibridge pass, and none of them has had an incident so far.
fn nothing_happened_to_fibridge(machine: &Machine) {
    for check in ["fibridge", "fibridge-tls"] {
        machine.becomes(check, "passing");
        assert_eq!(machine.told(ids::RECOVERY_REQUESTED, check), Vec::<serde_json::Value>::new());
        assert_eq!(machine.told(ids::INCIDENT_OPENED, check), Vec::<serde_json::Value>::new());
        assert!(machine.mails_about(check).is_empty(), "{:#?}", machine.mails_about(check));
    }
}

#[test]
fn fibridge_by_the_runbook_is_renewed_near_the_end_of_its_certificate() {
    let (machine, _acme) = lf_proxy("lf-proxy");
    nothing_happened_to_fibridge(&machine);
    machine.killed_is_restarted_by_systemd("fibridge.service", "fibridge");

    // certbot's folders belong to somebody else, and so does the key's group, as where fibridge ran as that user once.
    machine.sh_ok(
        "useradd ubuntu && chown ubuntu /etc/letsencrypt/live /etc/letsencrypt/archive &&
         chgrp ubuntu /etc/letsencrypt/archive/*/privkey1.pem",
    );
    // certbot has never run for that unit: what it writes to is not there.
    machine.sh_ok("rm -rf /var/log/letsencrypt /var/lib/letsencrypt");
    machine.certificate_with_days_left(HOST, 3);
    let ending = machine.certificate_on_disk(HOST);

    // A certificate that is on disk and not served: fibridge is restarted for it. It has three days left: that is for the
    // renewal, which displaces fibridge.
    machine.wait_for("the renewal", MINUTE, || (machine.certificate_on_disk(HOST) != ending).then_some(()));
    machine.becomes("fibridge-certificate", "passing");
    served_outside(&machine);
    let mails = machine.wait_mails("fibridge-certificate", 2);
    assert_thread(&mails, &["DOWN", "RECOVERED"]);
    assert_has(&mails[1].body, &["start"]);
    assert_eq!(machine.unit("fibridge-cert-renew.service", "Result"), "success");
    assert_eq!(machine.asked("fibridge-certificate"), 1);
    assert_eq!(machine.sh_ok("stat -c %G /etc/letsencrypt/archive/*/privkey2.pem"), "ubuntu");
    for check in CHECKS {
        machine.becomes(check, "passing");
    }

    // Hung, both ports still accept connections. The handshake shows it, also without the check of the other port.
    machine.sh_ok("stealthctl pause fibridge fibridge-certificate-served");
    let before = machine.unit("fibridge.service", "InvocationID");
    machine.sh_ok("systemctl kill --signal=STOP fibridge");
    machine.sh_ok("nc -z -w 2 127.0.0.1 9001 && nc -z -w 2 127.0.0.1 9002");
    machine.restarted("fibridge.service", &before);
    served_outside(&machine);
    assert_thread(&machine.wait_mails("fibridge-tls", 2), &["DOWN", "RECOVERED"]);
}

#[test]
fn fibridge_is_back_however_a_renewal_ends() {
    let (machine, acme) = lf_proxy("renewals");
    let run = || machine.unit("fibridge.service", "InvocationID");

    // Debian's timer, left on: nothing is due, and nothing happens.
    machine.sh_ok("systemctl start certbot.service");
    // By hand, as the runbook says it: nothing is due, fibridge was away for a moment.
    let before = run();
    machine.follow("Renewal");
    machine.restarted("fibridge.service", &before);
    served_outside(&machine);
    machine.becomes("fibridge-certificate", "passing");
    nothing_happened_to_fibridge(&machine);

    // A renewal that somebody else made (the timer, where it needed no port): fibridge is restarted for it.
    machine.certificate_with_days_left(HOST, 25);
    machine.wait_for("the new certificate", MINUTE, || {
        (machine.served_certificate(9002, HOST) == machine.certificate_on_disk(HOST)).then_some(())
    });
    assert_has(&machine.wait_mails("fibridge-certificate-served", 1)[0].body, &["renewed", "restart"]);
    machine.becomes("fibridge-certificate-served", "passing");

    // Now one is due. The timer's renewal finds fibridge on the port: it fails, and fibridge does not notice.
    let before = run();
    assert!(!machine.sh("systemctl start certbot.service").success());
    assert_has(&machine.sh_ok("cat /var/log/letsencrypt/letsencrypt.log"), &["Could not bind TCP port 9001"]);
    assert_eq!(run(), before);
    machine.sh_ok("systemctl reset-failed certbot.service");

    // The authority says nothing. certbot is stopped and killed meanwhile. (After the second, stealthcheck has it renewed, and
    // nothing is due any more.)
    acme.server.signal("STOP");
    for (end, health) in [("stop", "stopped"), ("kill --signal=KILL", "passing")] {
        let before = run();
        machine.sh_ok("systemctl start --no-block fibridge-cert-renew");
        let shown = machine.becomes("fibridge", "conflict");
        assert_has(&shown.to_string(), &["fibridge-cert-renew.service"]);
        machine.wait_for("certbot", MINUTE, || machine.sh("pgrep -x certbot").success().then_some(()));
        if health == "passing" {
            acme.server.signal("CONT");
        }
        machine.sh_ok(&format!("systemctl {end} fibridge-cert-renew"));
        machine.restarted("fibridge.service", &before);
        served_outside(&machine);
        machine.becomes("fibridge-certificate", health);
        acme.server.signal("STOP");
    }
    acme.server.signal("CONT");
    drop(acme);

    // The authority is gone: fibridge is back at once, the failure is mailed, and the renewal is tried again.
    machine.certificate_with_days_left(HOST, 20);
    let mailed = machine.wait_mails("fibridge-certificate", 2).len();
    assert!(!machine.sh("systemctl start fibridge-cert-renew").success());
    served_outside(&machine);
    let mails = machine.wait_mails("fibridge-certificate", mailed + 1);
    assert_has(&mails[mailed].body, &["fibridge-cert-renew.service", "Connection refused"]);
    assert_eq!(kinds(&mails)[mailed], "DOWN");
    machine.wait_told(ids::RECOVERY_REQUESTED, "fibridge-certificate", 2);
    for check in ["fibridge", "fibridge-tls"] {
        assert_eq!(machine.told(ids::INCIDENT_OPENED, check), Vec::<serde_json::Value>::new());
    }
}
