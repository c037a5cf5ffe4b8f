//! gru from outside: its name, its certificate, its load balancer (a real nginx). Nothing is restarted; mails are sent.

use super::gru;
use crate::guarding::{assert_has, kinds};
use crate::lab::{MINUTE, Machine, checkout};

/// A name server that knows gru's name, and for the certificate's sake the lab's authority signs it.
const ZONE: &str = r#"server:
  interface: 127.0.0.1
  access-control: 127.0.0.0/8 allow
  local-zone: "example.org." static
  local-data: "gru.example.org. 60 IN A 127.0.0.1"
"#;

const BALANCER: &str = "server {
  listen 127.0.0.1:443 ssl;
  ssl_certificate /etc/lab/gru.crt;
  ssl_certificate_key /etc/lab/gru.key;
  location / { proxy_pass http://127.0.0.1:9001; }
}
";

fn certificate(machine: &Machine, days: u32) {
    machine.sh_ok(&format!(
        "cd /etc/lab; printf 'subjectAltName=DNS:gru.example.org\\n' >gru.ext
         openssl req -newkey rsa:2048 -nodes -subj /CN=gru.example.org -keyout gru.key -out gru.csr 2>/dev/null
         openssl x509 -req -in gru.csr -CA ca.crt -CAkey ca.key -set_serial $(date +%s) -days {days} \
             -extfile gru.ext -out gru.crt 2>/dev/null"
    ));
}

#[test]
fn gru_from_outside_by_the_runbook_is_mailed() {
    let machine = Machine::bare("gru-fleet");
    gru::program(&machine);
    machine.push(&checkout().join("units/gru.service"), "/etc/systemd/system/");
    machine.write("/etc/unbound/unbound.conf.d/lab.conf", ZONE);
    certificate(&machine, 90);
    machine.write("/etc/nginx/sites-enabled/default", BALANCER);
    // Without a network there is no key of the root to validate with.
    machine.sh_ok("rm /etc/unbound/unbound.conf.d/root-auto-trust-anchor-file.conf");
    machine.sh_ok("systemctl daemon-reload && systemctl start gru unbound nginx");
    machine.follow("gru from outside");
    machine.shorten(
        "gru-fleet.yaml",
        &[
            ("interval: 5m", "interval: 1s"),
            ("interval: 12h\n    retry_interval: 1m", "interval: 1s"),
            ("interval: 1m", "interval: 1s"),
            ("after: 3m", "after: 1s"),
            ("max_response_time: 3s", "max_response_time: 800ms"),
        ],
    );
    let all = ["gru-dns", "gru-certificate", "gru-load-balancer"];
    for check in all {
        machine.becomes(check, "passing");
    }

    machine.sh_ok("systemctl stop gru");
    let mails = machine.wait_mails("gru-load-balancer", 1);
    assert_has(&mails[0].body, &["502", "target group"]);
    machine.sh_ok("systemctl start gru");
    machine.becomes("gru-load-balancer", "passing");

    certificate(&machine, 10);
    machine.sh_ok("systemctl reload nginx");
    let mails = machine.wait_mails("gru-certificate", 1);
    assert_has(
        &mails[0].body,
        &["valid for", "days", "No action is taken: no recovery is configured for this check."],
    );
    certificate(&machine, 90);
    machine.sh_ok("systemctl reload nginx");
    machine.becomes("gru-certificate", "passing");

    machine.write(
        "/etc/unbound/unbound.conf.d/lab.conf",
        &ZONE.replace("gru.example.org. 60", "other.example.org. 60"),
    );
    machine.sh_ok("systemctl restart unbound");
    let mails = machine.wait_mails("gru-dns", 1);
    assert_has(&mails[0].body, &["Route 53"]);
    machine.write("/etc/unbound/unbound.conf.d/lab.conf", ZONE);
    machine.sh_ok("systemctl restart unbound");
    for check in all {
        machine.becomes(check, "passing");
        machine.wait_for("the end of the thread", MINUTE, || {
            (kinds(&machine.mails_about(check)).last() == Some(&"RECOVERED")).then_some(())
        });
    }
}
