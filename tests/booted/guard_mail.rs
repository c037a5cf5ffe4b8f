//! Mail whose server is away, or says no.

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread, quick};
use crate::lab::{MAIL_YAML, MINUTE, Machine};

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

#[test]
fn mail_that_waits_goes_to_the_recipient_of_the_reloaded_configuration() {
    let machine = Machine::ready("guard-mail-to");
    let web = machine.victim("web", 9001);
    let checks =
        |to: &str| format!("  web: {{ unit: web.service, {}, alert: {{ to: {to} }} }}\n", quick(9001));
    machine.guard(&checks("old@example.org"));
    machine.becomes("web", "passing");
    machine.sh_ok("systemctl stop postfix");
    web.signal("KILL");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    let queued = |number: u64| {
        machine.wait_for(&format!("{number} mails in the queue"), MINUTE, || {
            (machine.status_json()["mail"]["queued"] == number).then_some(())
        });
    };
    queued(2);
    machine.configure(&format!("{MAIL_YAML}checks:\n{}", checks("new@example.org")));
    machine.sh_ok("systemctl reload stealthcheck");
    // The files follow: what a crash leaves goes to the new one as well.
    let addressed = |to: &str| machine.sh_ok(&format!("grep -rl {to} /var/lib/stealthcheck/spool | wc -l"));
    machine.wait_for("the files to follow", MINUTE, || (addressed("new@example.org") == "2").then_some(()));
    assert_eq!(addressed("old@example.org"), "0");
    machine.smtp();
    let mails = machine.wait_mails("web", 2);
    assert_eq!(mails.iter().map(|mail| mail.header("To")).collect::<Vec<_>>(), ["new@example.org"; 2]);
    queued(0);

    // Who was sent the beginning gets the end, also where the configuration names another by then.
    web.fault("500");
    let mails = machine.wait_mails("web", 3);
    assert_eq!(mails[2].header("To"), "new@example.org");
    machine.configure(&format!("{MAIL_YAML}checks:\n{}", checks("third@example.org")));
    machine.sh_ok("systemctl reload stealthcheck");
    web.heal();
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 2);
    let to: Vec<String> = machine.wait_for("the end, to both", MINUTE, || {
        let ends =
            machine.mails_about("web").into_iter().filter(|mail| mail.subject().starts_with("[RECOVERED]"));
        let to: Vec<String> = ends.skip(1).map(|mail| mail.header("Delivered-To").to_owned()).collect();
        (to.len() >= 2).then_some(to)
    });
    assert_eq!(
        to.iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
        ["new@example.org", "third@example.org"].into()
    );
}
