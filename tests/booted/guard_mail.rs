//! Mail whose server is away, or says no.

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread, quick};
use crate::lab::{MINUTE, Machine};

#[test]
fn mail_waits_for_its_server_and_arrives_once_and_in_order() {
    let machine = Machine::ready("guard-mail");
    let web = machine.victim("web", 9001);
    machine.guard(&format!("  web: {{ unit: web.service, {} }}\n", quick(9001)));
    machine.becomes("web", "passing");

    let test = machine.run(&["stealthctl", "test-mail"]);
    assert!(test.success(), "{test}");
    assert_has(&test.stdout, &["ops@example.org", "250 2.0.0 Ok: queued"]);
    let mails = machine.mails(1);
    assert_has(mails[0].subject(), &["[stealthcheck] guard-mail: test mail"]);
    let test = machine.run(&["stealthctl", "test-mail", "someone@example.org"]);
    assert!(test.success(), "{test}");
    assert_eq!(machine.mails(2)[1].header("To"), "someone@example.org");

    // The server is away for a whole incident, and the daemon is killed meanwhile.
    machine.sh_ok("systemctl stop postfix");
    web.signal("KILL");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    let queue = |queued: u64| {
        machine.wait_for(&format!("{queued} mails in the queue"), MINUTE, || {
            let mail = machine.status_json()["mail"].clone();
            (mail["queued"] == queued && mail["last_error"].is_string()).then_some(mail)
        })
    };
    let before = queue(2);
    assert_has(before["last_error"].as_str().unwrap(), &["refused"]);
    assert!(before["oldest"].as_i64().is_some());
    let status = machine.run(&["stealthctl", "status"]);
    assert_eq!(status.code, 0, "{status}");
    assert_has(&status.stdout, &["! 2 mails queued, the oldest for "]);
    let test = machine.run(&["stealthctl", "test-mail"]);
    assert_eq!(test.code, 1, "{test}");
    assert_has(&test.stderr, &["smtp.example.org:587", "refused"]);
    let daemon = machine.daemon();
    machine.sh_ok("systemctl kill -s KILL stealthcheck");
    machine.daemon_after(daemon);
    assert_eq!(queue(2)["oldest"], before["oldest"]);
    assert_eq!(machine.told(ids::MAIL_DELIVERED, "web").len(), 0);

    machine.smtp();
    assert_thread(&machine.wait_mails("web", 2), &["DOWN", "RECOVERED"]);
    machine.wait_for("an empty queue", MINUTE, || {
        let mail = machine.status_json()["mail"].clone();
        (mail["queued"] == 0 && mail["last_error"].is_null()).then_some(())
    });
    assert_eq!(machine.told(ids::MAIL_DELIVERED, "web").len(), 2);

    // A wrong password: in the server's words, to who asks; the notification waits until it is put right.
    machine
        .sh_ok("printf wrong >/etc/stealthcheck/credentials/smtp-password; systemctl restart stealthcheck");
    let test = machine.run(&["stealthctl", "test-mail"]);
    assert_eq!(test.code, 1, "{test}");
    assert_has(&test.stderr, &["535 5.7.8 Error: authentication failed"]);
    assert!(!test.stderr.contains("wrong"), "it tells the password: {test}");
    web.fault("500-once");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 2);
    assert_has(queue(2)["last_error"].as_str().unwrap(), &["535 5.7.8"]);
    machine.smtp();
    machine.sh_ok("systemctl restart stealthcheck");
    assert_thread(&machine.wait_mails("web", 4)[2..], &["DOWN", "RECOVERED"]);
    assert_eq!(machine.mailbox().len(), 6);
    assert!(!machine.journal().contains("lab-password"), "the journal has the password");
}
