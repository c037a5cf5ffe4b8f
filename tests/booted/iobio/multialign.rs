//! services.backend: Multialign, which is asked for scores, and its certificate, which certbot's timer renews beside it.

use super::acme::Acme;
use crate::guarding::{assert_has, kinds};
use crate::lab::{MINUTE, Machine};

const HOST: &str = "multialign.example.org";
const SCORES: &str = "/opt/multialign/hg19/100way/hg19.phyloP100way.bw";

#[test]
fn multialign_by_the_runbook_is_monitored_by_a_query_that_works() {
    let machine = Machine::bare("multialign");
    let _acme = Acme::outside(&machine);
    machine.repository("multialign", "multialign");
    machine.follow("Multialign");
    machine.write(SCORES, "chr17\t17584787\t17584788\t0.061\n");
    machine.verify_units();
    machine.follow("Both monitored");
    machine.becomes("multialign", "passing");
    machine.becomes("multialign-certificate", "passing");
    machine.remove_checks(
        "services.backend.yaml",
        "  # The Node.js server answers 200",
        "  # `/` is 200 even",
    );
    machine
        .shorten("services.backend.yaml", &[("    timeout: 10s\n", "    timeout: 2s\n    interval: 2s\n")]);
    machine.becomes("multialign", "passing");
    // Its key is served to nobody, and its certificate is the one that certbot got.
    for path in ["certs/privkey.pem", "../certs/privkey.pem"] {
        let status = machine.outside(&format!(
            "curl -s -m 5 --path-as-is -o /dev/null -w '%{{http_code}}' http://192.0.2.1/{path}"
        ));
        assert_eq!(status.stdout, "404", "{path}");
    }
    assert_eq!(machine.served_certificate(443, HOST), machine.certificate_on_disk(HOST));
    assert!(machine.read("/var/lib/multialign/persist_cache/last-start").contains('T'));

    machine.killed_is_restarted_by_systemd("multialign.service", "multialign");
    // (A handshake shows a hang as well.)
    machine.sh_ok("stealthctl pause multialign-certificate");
    machine.hung_is_restarted_by_stealthcheck("multialign.service", "multialign");
    let mails = machine.wait_mails("multialign", 2);
    assert_eq!(kinds(&mails), ["DOWN", "RECOVERED"]);

    it_answers_and_does_not_work(&machine);
    its_certificate_is_renewed_by_the_timer(&machine);
    for mail in machine.mailbox().iter().skip(1) {
        assert_eq!(mail.header("To"), "owner@example.org", "{mail:#?}");
    }
}

/// Without its data `/` is still 200, and so is the query: with nothing in it.
fn it_answers_and_does_not_work(machine: &Machine) {
    machine.sh_ok(&format!("mv {SCORES} {SCORES}.gone"));
    machine.becomes("multialign", "down");
    machine.wait_for("the page", MINUTE, || {
        (machine.sh("curl -sf -m 5 http://127.0.0.1/").stdout == "<p>multialign</p>\n").then_some(())
    });
    machine.sh_ok(&format!("mv {SCORES}.gone {SCORES}"));
    machine.becomes("multialign", "passing");
}

fn its_certificate_is_renewed_by_the_timer(machine: &Machine) {
    machine.sh_ok("stealthctl resume multialign-certificate");
    machine.shorten("services.backend.yaml", &[("interval: 1h", "interval: 1s")]);
    machine.certificate_with_days_left(HOST, 20);
    let due = machine.certificate_on_disk(HOST);
    let served = || machine.served_certificate(443, HOST);
    machine.wait_for("the new certificate", MINUTE, || (served() == due).then_some(()));
    // What certbot.timer starts, while Multialign serves certbot's answers.
    assert_eq!(machine.unit("certbot.timer", "Triggers"), "certbot.service");
    machine.sh_ok("systemctl start certbot.service");
    let renewed = machine.certificate_on_disk(HOST);
    assert_ne!(renewed, due, "certbot renewed nothing");
    machine.wait_for("the renewed certificate", MINUTE, || (served() == renewed).then_some(()));
    machine.becomes("multialign-certificate", "passing");
    let mails = machine.wait_mails("multialign-certificate", 1);
    assert_has(&mails[0].body, &["renewed", "restart"]);
}
