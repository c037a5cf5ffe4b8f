//! Which configuration runs: what root accepts, with its rights, whatever becomes of the files afterwards.

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread, quick};
use crate::lab::{MAIL_YAML, MINUTE, Machine, Victim};

const RECORD: &str = "/var/lib/stealthcheck.configuration";
const LIST: &str = "/run/stealthcheck.authorized";
/// An error that only the checker finds, and a unit whose restart must not be permitted by it.
const INVALID: &str = "checks:\n  web: { unit: postfix.service, evry: 1s }\n";

fn check(name: &str, port: u16) -> String {
    format!("  {name}: {{ unit: {name}.service, {}, backoff: {{ initial: 1s, max: 2s }} }}\n", quick(port))
}

/// Kills the service, and waits until it is restarted and both mails are there, for the `nth` time.
fn recovers(machine: &Machine, victim: &Victim<'_>, name: &str, nth: usize) {
    machine.becomes(name, "passing");
    victim.signal("KILL");
    machine.wait_told(ids::INCIDENT_CLOSED, name, nth);
    let mails = machine.wait_mails(name, 2 * nth);
    assert_thread(&mails[2 * (nth - 1)..], &["DOWN", "RECOVERED"]);
    assert_eq!(victim.status(), 200);
}

fn rejection_mails(machine: &Machine) -> usize {
    machine.mailbox().iter().filter(|mail| mail.subject().contains("the configuration was rejected")).count()
}

/// What the status and the journal say while the files are not valid.
fn is_reported(machine: &Machine) {
    let problem = "/etc/stealthcheck/stealthcheck.yaml:2: checks.web.evry: ";
    assert_has(&machine.sh("stealthctl status").stdout, &["The configuration was rejected", problem]);
    let id = format!("MESSAGE_ID={}", ids::CONFIGURATION_REFUSED);
    let entries = machine.journal_entries(&["-u", "stealthcheck.service", &id]);
    let last = entries.last().expect("an entry about the rejected configuration");
    assert_eq!(last["PRIORITY"], "3", "{last}");
}

/// The files are for root alone, and the daemon runs what they say; an edit with an error changes neither what runs nor
/// what is permitted.
#[test]
fn what_root_accepted_is_what_runs_and_what_is_permitted() {
    let machine = Machine::ready("guard-accepted");
    let web = machine.victim("web", 9001);
    let other = machine.victim("other", 9002);
    let configure = |yaml: &str| {
        machine.configure(yaml);
        machine.sh_ok("chmod 600 /etc/stealthcheck/stealthcheck.yaml && chown root:root /etc/stealthcheck/stealthcheck.yaml");
    };
    let first = format!("{MAIL_YAML}checks:\n{}", check("web", 9001));
    let both = format!("{first}{}", check("other", 9002));
    configure(&first);
    assert_has(&machine.sh_ok("stealthctl validate"), &["OK: 1 check"]);
    machine.start_stealthcheck();
    recovers(&machine, &web, "web", 1);
    configure(&both);
    machine.sh_ok("systemctl reload stealthcheck");
    recovers(&machine, &other, "other", 1);
    assert_eq!(machine.sh_ok(&format!("stat -c '%U:%G %a' {RECORD}")), "root:stealthcheck 640");

    let list = machine.read(LIST);
    configure(INVALID);
    let output = machine.sh("stealthctl reload");
    assert_eq!(output.code, 78, "{output}");
    assert_has(
        &output.stderr,
        &["the configuration was rejected, the running configuration is kept", "evry"],
    );
    assert_eq!(machine.read(LIST), list);
    is_reported(&machine);
    recovers(&machine, &web, "web", 2);
    recovers(&machine, &other, "other", 2);

    // It cannot be written: nothing changes, and it is said, and not what was wrong before.
    machine.sh_ok(&format!("mount --bind {RECORD} {RECORD}"));
    configure(&first);
    let failed = machine.sh("systemctl reload stealthcheck");
    assert!(!failed.success(), "{failed}");
    assert_eq!(machine.read(LIST), list);
    machine.start_stealthcheck();
    let status = machine.sh("stealthctl status").stdout;
    assert_has(&status, &["`stealthctl authorize` could not write the configuration", "2 checks"]);
    assert!(!status.contains("evry"), "{status}");
    recovers(&machine, &other, "other", 3);
    machine.sh_ok(&format!("umount {RECORD} && systemctl reload stealthcheck"));
    let status = machine.sh("stealthctl status").stdout;
    assert!(status.contains("1 check") && !status.contains("rejected"), "{status}");
    assert!(!machine.read(LIST).contains("restart other.service"));

    // What only root can read, and the daemon reads itself.
    machine.write("/etc/stealthcheck/ca.pem", "");
    machine.sh_ok("chmod 600 /etc/stealthcheck/ca.pem");
    configure(&format!(
        "{first}  tls: {{ tls: {{ address: \"127.0.0.1:465\", ca_file: /etc/stealthcheck/ca.pem }}, recover: none }}\n"
    ));
    for command in ["stealthctl validate", "stealthctl reload"] {
        machine.sh_ok("chmod 600 /etc/stealthcheck/ca.pem");
        let warned = machine.sh(command);
        assert_eq!(warned.code, 0, "{warned}");
        assert_has(
            &warned.stderr,
            &[
                "warning: checks.tls.tls.ca_file: /etc/stealthcheck/ca.pem cannot be read by the user stealthcheck",
            ],
        );
        machine.sh_ok("chmod 644 /etc/stealthcheck/ca.pem");
        let silent = machine.sh(command);
        assert!(!silent.stderr.contains("warning"), "{silent}");
    }
}

#[test]
fn an_invalid_edit_never_ends_the_monitoring() {
    let machine = Machine::ready("guard-invalid");
    let web = machine.victim("web", 9001);
    machine.sh_ok("systemctl enable web stealthcheck");
    let good = format!("{MAIL_YAML}checks:\n{}", check("web", 9001));

    // Where there never was a valid one there is nothing to run.
    machine.configure(INVALID);
    assert!(!machine.sh("systemctl start stealthcheck").success());
    let unit = |property: &str| machine.unit("stealthcheck.service", property);
    assert_eq!((unit("ExecMainStatus"), unit("NRestarts")), ("78".to_owned(), "0".to_owned()));
    assert!(!machine.sh(&format!("test -e {LIST}")).success());

    machine.configure(&good);
    machine.start_stealthcheck();
    recovers(&machine, &web, "web", 1);
    let list = machine.read(LIST);
    machine.configure(INVALID);

    machine.sh_ok("systemctl restart stealthcheck");
    is_reported(&machine);
    recovers(&machine, &web, "web", 2);
    let mails = machine.mailbox();
    let mail = mails.iter().find(|mail| mail.subject().contains("the configuration was rejected")).unwrap();
    assert_has(
        &mail.body,
        &["The last valid configuration, accepted", "checks.web.evry", "stealthctl validate"],
    );

    let before = machine.daemon();
    machine.sh_ok("systemctl kill -s KILL stealthcheck");
    machine.daemon_after(before);
    is_reported(&machine);
    recovers(&machine, &web, "web", 3);

    machine.reboot();
    machine.smtp();
    is_reported(&machine);
    assert_eq!(machine.read(LIST), list);
    recovers(&machine, &web, "web", 4);
    // The same errors are one piece of news.
    assert!(!machine.sh("systemctl reload stealthcheck").success());
    assert_eq!(rejection_mails(&machine), 1);

    machine.configure(&good);
    machine.sh_ok("systemctl reload stealthcheck");
    assert!(!machine.sh("stealthctl status").stdout.contains("rejected"));
    machine.configure(INVALID);
    machine.sh_ok("systemctl restart stealthcheck");
    machine.wait_for("a mail about the new edit", MINUTE, || (rejection_mails(&machine) == 2).then_some(()));
}
