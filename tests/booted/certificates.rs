//! Certificates of real servers: one that was renewed and is not served leads to a restart, one that nobody renewed does
//! not; and a mail server that is asked for TLS.

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread, kinds};
use crate::lab::{MINUTE, Machine};

/// Where a renewal puts certificate and key, and who alone may look there: as certbot does.
const LIVE: &str = "/etc/letsencrypt/live/web";

/// Puts a new certificate for web.example.org on disk, valid for so many days, and returns its serial number.
fn renew(machine: &Machine, days: u32) -> String {
    machine.sh_ok(&format!(
        "set -e; mkdir -p -m 0700 /etc/letsencrypt/live; mkdir -p {LIVE}; cd {LIVE}
         # Certificates count in seconds: each is to be newer than the one before.
         before=$(date +%s); while [ $(date +%s) = $before ]; do sleep 0.05; done
         openssl req -newkey rsa:2048 -nodes -subj /CN=web -keyout key.new -out csr 2>&1
         printf 'subjectAltName=DNS:web.example.org\\nbasicConstraints=CA:FALSE\\n' >ext
         openssl x509 -req -in csr -CA /etc/lab/ca.crt -CAkey /etc/lab/ca.key -CAcreateserial -days {days} \
             -extfile ext -out new 2>&1
         cat new /etc/lab/ca.crt >chain; mv key.new privkey.pem; mv chain fullchain.pem"
    ));
    machine.sh_ok(&format!("openssl x509 -noout -serial -in {LIVE}/fullchain.pem"))
}

/// The serial number of the certificate that is served.
fn served(machine: &Machine) -> String {
    machine.sh_ok(
        "openssl s_client -connect 127.0.0.1:9443 -servername web.example.org </dev/null 2>/dev/null | \
         openssl x509 -noout -serial",
    )
}

/// What the check saw last.
fn seen(machine: &Machine) -> String {
    machine.check("web")["last"]["observation"].to_string()
}

#[test]
fn a_renewed_certificate_is_served_after_a_restart_and_one_that_is_not_renewed_restarts_nothing() {
    let machine = Machine::ready("certificates");
    let first = renew(&machine, 90);
    machine.write(
        "/etc/nginx/conf.d/web.conf",
        &format!(
            "server {{ listen 127.0.0.1:9443 ssl; ssl_certificate {LIVE}/fullchain.pem;\n\
             ssl_certificate_key {LIVE}/privkey.pem; }}\n"
        ),
    );
    machine.sh_ok("systemctl start nginx");
    machine.guard(&format!(
        "  web: {{ unit: nginx.service, tls: {{ address: \"127.0.0.1:9443\", server_name: web.example.org, valid_for: 14d, \
         file: {LIVE}/fullchain.pem }}, interval: 1s, timeout: 900ms, retry_interval: 500ms, failure_threshold: 2, grace: 2s }}\n"
    ));

    // Only root may look there: that is told, and nothing is done about it.
    machine.wait_for("a word about the file", MINUTE, || {
        seen(&machine).contains("permission denied").then_some(())
    });
    assert_has(&seen(&machine), &["unknown", &format!("{LIVE}/fullchain.pem cannot be read"), "setfacl"]);
    machine.sh_ok("chgrp stealthcheck /etc/letsencrypt/live && chmod 0710 /etc/letsencrypt/live");
    machine.becomes("web", "passing");
    assert_has(&seen(&machine), &["valid for 89 days", "issued by lab authority", "for web.example.org"]);

    // Renewed: nginx serves the old one until it is restarted.
    let run = machine.unit("nginx.service", "InvocationID");
    let second = renew(&machine, 90);
    let closed = machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    assert_eq!(closed.len(), 1);
    assert_ne!(machine.unit("nginx.service", "InvocationID"), run);
    assert_ne!(first, second);
    assert_eq!(served(&machine), second);
    let mails = machine.wait_mails("web", 2);
    assert_thread(&mails, &["DOWN", "RECOVERED"]);
    assert_has(
        &mails[0].body,
        &[
            "a renewed certificate is on disk (valid until ",
            "but the server still serves the one",
            "restart: done",
        ],
    );
    assert_eq!(machine.asked("web"), 1);

    // About to expire, and served as it is: no restart would change that, and somebody has to be told.
    renew(&machine, 5);
    machine.wait_for("a word about the worse one", MINUTE, || {
        seen(&machine).contains("the one on disk ends sooner").then_some(())
    });
    machine.sh_ok("systemctl restart nginx");
    machine.wait_withheld("web", "no job on the unit would change what the probe found");
    // Only a person can change that: the first notification says so.
    let mails = machine.wait_mails("web", 3);
    assert_has(
        &mails[2].body,
        &[
            "valid for no more than 4 days",
            "less than 14d",
            "None yet.",
            "Action required: no job on the unit would change what the probe found.",
        ],
    );
    let probed = machine.check("web")["last"]["count"].as_u64().unwrap_or(0);
    machine.wait_for("five more looks at it", MINUTE, || {
        (machine.check("web")["last"]["count"].as_u64()? >= probed + 5).then_some(())
    });
    assert_eq!(machine.asked("web"), 1, "a restart in vain");

    // Until it is renewed after all.
    let last = renew(&machine, 90);
    machine.wait_told(ids::INCIDENT_CLOSED, "web", closed.len() + 1);
    assert_eq!(served(&machine), last);
    let mails = machine.wait_mails("web", 4);
    assert_eq!(kinds(&mails), ["DOWN", "RECOVERED", "ACTION REQUIRED", "RECOVERED"]);
    assert_has(&mails[3].body, &["restart: done, recovered"]);
}

#[test]
fn a_mail_server_shows_its_certificate_when_asked_for_tls() {
    let machine = Machine::ready("certificate-smtp");
    // The lab itself has looked at the ports, and left without a word.
    let began = machine.sh_ok("sleep 0.1; date +%s.%N");
    machine.guard(
        "  smtp: { tls: { address: \"127.0.0.1:587\", server_name: smtp.example.org, starttls: smtp } }\n\
         \x20 implicit: { tls: { address: \"127.0.0.1:465\", server_name: smtp.example.org } }\n\
         \x20 other: { tls: { address: \"127.0.0.1:465\", server_name: other.example.org } }\n\
         \x20 clear: { tls: { address: \"127.0.0.1:25\", starttls: smtp } }\n",
    );
    for name in ["smtp", "implicit"] {
        let check = machine.becomes(name, "passing");
        let seen = check["last"]["observation"].to_string();
        assert_has(
            &seen,
            &["valid for 36", "issued by lab authority", "for smtp.example.org, localhost, 127.0.0.1"],
        );
    }
    for (name, reason) in [
        ("other", "is not for other.example.org, but for smtp.example.org, localhost, 127.0.0.1"),
        ("clear", "the mail server does not offer STARTTLS"),
    ] {
        let seen = machine.wait_for(&format!("a word about {name}"), MINUTE, || {
            Some(machine.check(name)["last"]["observation"].clone()).filter(|seen| !seen.is_null())
        });
        assert_has(&seen.to_string(), &["\"failing\"", reason]);
    }
    // Postfix complains of whoever leaves a session without a word, or breaks off a handshake.
    let log =
        machine.sh_ok(&format!("journalctl --since @{began} --no-pager SYSLOG_IDENTIFIER=postfix/smtpd"));
    assert_has(&log, &["ehlo=1 starttls=1 quit=1 commands=3", "ehlo=1 quit=1 commands=2"]);
    for word in [
        "lost connection after STARTTLS",
        "lost connection after EHLO",
        "SSL_accept error",
        "TLS library problem",
    ] {
        assert!(!log.contains(word), "{word}:\n{log}");
    }
}
