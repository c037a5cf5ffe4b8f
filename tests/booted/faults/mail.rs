//! A real mail server that refuses, swallows, puts off, rejects an address for good, or has a full disk: nothing is lost,
//! nobody waits for another, and everything is told.

use serde_json::Value;
use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread, quick};
use crate::lab::{MINUTE, Machine, Victim};

/// Two checks on one service: one tells the usual person, the other an address of its own besides.
const OTHER: &str = "owner@example.org";

impl Machine {
    /// What the status says of mail, when it is as `is_it` wants it.
    fn mail_status(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.wait_for(what, 2 * MINUTE, || {
            Some(self.status_json()["mail"].clone()).filter(|mail| is_it(mail))
        })
    }

    /// Has the service fail once, and waits until it is up again and all is in the spool.
    fn incident(&self, web: &Victim<'_>, nth: usize) {
        web.fault("500-once");
        self.wait_told(ids::INCIDENT_CLOSED, "web", nth);
        self.becomes("web", "passing");
    }

    /// The mails about the check to this address.
    fn to(&self, address: &str) -> Vec<crate::lab::Mail> {
        self.mails_about("web").into_iter().filter(|mail| mail.header("Delivered-To") == address).collect()
    }

    fn postconf(&self, setting: &str) {
        self.sh_ok(&format!("postconf -e '{setting}' && postfix reload"));
    }
}

#[test]
fn mail_outlives_a_server_that_refuses_swallows_puts_off_or_rejects() {
    let machine = Machine::ready("faults-mail");
    let web = machine.victim("web", 9001);
    machine.guard(&format!(
        "  web: {{ unit: web.service, {}, backoff: {{ initial: 1s, max: 2s }}, alert: {{ to: [ops@example.org, {OTHER}] }} }}\n",
        quick(9001)
    ));
    machine.sh_ok(
        "printf 'listen: \"127.0.0.1:8484\"\n' >>/etc/stealthcheck/stealthcheck.yaml && systemctl reload stealthcheck",
    );
    machine.becomes("web", "passing");

    // Stopped, then silence (packets dropped, no RST), then refusal by a firewall: an incident during each.
    machine.sh_ok("systemctl stop postfix");
    machine.incident(&web, 1);
    machine.mail_status("two mails, refused", |mail| {
        mail["queued"] == 2 && mail["last_error"].as_str().is_some_and(|error| error.contains("refused"))
    });
    machine.smtp();
    machine.sh_ok("iptables -I INPUT -p tcp --dport 587 -j DROP");
    let drained = |mail: &Value| mail["queued"] == 0 && mail["last_error"].is_null();
    machine.incident(&web, 2);
    machine.sh_ok("iptables -R INPUT 1 -p tcp --dport 587 -j REJECT");
    machine.incident(&web, 3);
    let waiting = machine.mail_status("mails that wait", |mail| mail["queued"].as_u64() >= Some(4));
    assert!(waiting["oldest"].as_i64().is_some(), "{waiting}");
    let status = machine.run(&["stealthctl", "status"]);
    assert_has(&status.stdout, &["mails queued, the oldest for "]);
    let metrics = machine.sh_ok("curl -s http://127.0.0.1:8484/metrics");
    let metric = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(&format!("stealthcheck_{name} ")));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()).unwrap_or(-1.0)
    };
    assert!(metric("mail_queue_size") >= 4.0 && metric("mail_queue_oldest_age_seconds") > 0.0, "{metrics}");
    machine.sh_ok("iptables -D INPUT 1");
    machine.mail_status("an empty queue", drained);
    for address in ["ops@example.org", OTHER] {
        let mails = machine
            .wait_for("six mails", MINUTE, || Some(machine.to(address)).filter(|mails| mails.len() == 6));
        for incident in mails.chunks(2) {
            assert_thread_to(incident);
        }
    }

    // One address is put off, then refused for good; the other gets its mails meanwhile.
    machine.write("/etc/postfix/who", &format!("{OTHER} 450 4.2.2 mailbox full\n"));
    machine.sh_ok("postmap /etc/postfix/who");
    machine.sh_ok("postconf -P '587/inet/smtpd_recipient_restrictions=check_recipient_access,hash:/etc/postfix/who' && postfix reload");
    machine.incident(&web, 4);
    machine
        .wait_for("the other's mails", MINUTE, || (machine.to("ops@example.org").len() == 8).then_some(()));
    machine.mail_status("two mails that wait", |mail| mail["queued"] == 2);
    machine.write("/etc/postfix/who", &format!("{OTHER} 550 5.1.1 no such user\n"));
    // The next try is due within seconds, and a reload of ours would forget who was refused before it.
    machine.sh_ok("postmap /etc/postfix/who && postfix reload");
    let refused = machine.mail_status("an empty queue, and who is refused", |mail| {
        mail["queued"] == 0 && mail["refused"][0][0] == OTHER
    });
    assert_has(refused["refused"][0][1].as_str().unwrap_or_default(), &["550 5.1.1", "no such user"]);
    let status = machine.run(&["stealthctl", "status"]);
    assert_has(&status.stdout, &["The mail server rejects mail for owner@example.org"]);
    assert_has(&machine.journal(), &["was rejected for owner@example.org and is not sent there again"]);
    machine.wait_for("the mail about the address", MINUTE, || {
        let subject = "[stealthcheck] faults-mail: mail to owner@example.org is rejected";
        machine.mailbox().iter().any(|mail| mail.subject() == subject).then_some(())
    });

    // A full disk is put off, with 452 4.3.1 at MAIL; then all is well again.
    machine.sh_ok("rm /etc/postfix/who*; postconf -PX 587/inet/smtpd_recipient_restrictions");
    machine.postconf("queue_minfree = 900000000000000");
    machine.incident(&web, 5);
    machine.mail_status("two mails, no room", |mail| {
        mail["queued"] == 2 && mail["last_error"].as_str().is_some_and(|error| error.contains("452 4.3.1"))
    });
    machine.postconf("queue_minfree = 0");
    machine.mail_status("an empty queue", |mail| drained(mail) && mail["refused"].is_null());
    assert_eq!((machine.to("ops@example.org").len(), machine.to(OTHER).len()), (10, 8));
    assert_thread_to(&machine.to(OTHER)[6..]);
}

/// That these are one incident's mails, in order and each once.
fn assert_thread_to(mails: &[crate::lab::Mail]) {
    let mut alone = mails.to_vec();
    for mail in &mut alone {
        mail.headers
            .iter_mut()
            .filter(|(name, _)| name == "To")
            .for_each(|(_, to)| *to = "ops@example.org".to_owned());
    }
    assert_thread(&alone, &["DOWN", "RECOVERED"]);
}

/// Writes a thousand and two hundred more of the reminder that waits in the spool, all of them older.
const REMINDERS: &str = r#"
import glob, json, os, shutil
spool = "/var/lib/stealthcheck/spool"
[path] = [path for path in glob.glob(spool + "/*.json") if json.load(open(path))["email"]["role"] == "reminder"]
entry = json.load(open(path))
for n in range(1200):
    entry["email"]["id"]["number"] = 1000 + n
    entry["email"]["message_id"] = "<reminder-%d@faults>" % n
    entry["email"]["date"] -= 1000
    name = "%s/%012d-%s.%d.json" % (spool, 1000 + n, entry["email"]["id"]["incident"], 1000 + n)
    json.dump(entry, open(name, "w"))
    shutil.chown(name, "stealthcheck", "stealthcheck")
    os.chmod(name, 0o600)
"#;

/// The queue is bounded on the disk as well; what had to go is told, and the beginning of the incident is not among it.
#[test]
fn a_queue_that_is_full_loses_reminders_and_says_so() {
    let machine = Machine::ready("faults-mail-full");
    machine.service("web.service", "[Service]\nExecStart=sleep infinity\n");
    machine.sh_ok("systemctl start web; systemctl stop postfix");
    machine.guard("  web: { unit: web.service, recover: none, alert: { repeat_interval: 1m } }\n");
    machine.sh_ok(
        "printf 'listen: \"127.0.0.1:8484\"\n' >>/etc/stealthcheck/stealthcheck.yaml && systemctl reload stealthcheck",
    );
    machine.becomes("web", "passing");
    machine.sh_ok("systemctl kill -s KILL web");
    machine.mail_status("the mail and a reminder", |mail| mail["queued"] == 2);
    machine.sh_ok("systemctl stop stealthcheck");
    machine.write("/root/reminders.py", REMINDERS);
    machine.sh_ok("python3 /root/reminders.py; systemctl start stealthcheck");
    machine.mail_status("a queue of the bound", |mail| mail["queued"].as_u64() <= Some(1000));
    let kept = machine.sh_ok("ls /var/lib/stealthcheck/spool | wc -l").parse::<usize>().unwrap();
    assert!((990..=1000).contains(&kept), "{kept} files");
    assert_has(&machine.run(&["stealthctl", "status"]).stdout, &["mails removed from the queue"]);
    let metrics = machine.sh_ok("curl -s http://127.0.0.1:8484/metrics");
    let lost = metrics.lines().find_map(|line| line.strip_prefix("stealthcheck_mails_removed_total "));
    assert!(lost.is_some_and(|lost| lost.parse::<f64>().unwrap() > 200.0), "{metrics}");
    machine.smtp();
    let first = machine
        .wait_for("the beginning of the incident", MINUTE, || machine.mails_about("web").into_iter().next());
    assert_has(first.subject(), &["[DOWN] web on faults-mail-full"]);
    assert_has(&first.body, &["NOT SENT", "earlier mails to you", "of them reminders"]);
}
