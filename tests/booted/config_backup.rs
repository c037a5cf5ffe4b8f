//! The backup of the configuration: the sample units, with a real git, a real SSH server and a real bare repository.

use crate::guarding::{assert_has, assert_thread};
use crate::lab::{MAIL_YAML, MINUTE, Machine, SMTP_PASSWORD, checkout};

const UNIT: &str = "stealthcheck-config-backup.service";
const REPOSITORY: &str = "/srv/config.git";

/// The remote: a bare repository of the user git, reached by SSH.
fn repository(machine: &Machine) {
    machine.sh_ok(&format!(
        "useradd -m -s /usr/bin/git-shell git && install -d -o git -g git {REPOSITORY} /srv/hold &&
         runuser -u git -- git init --quiet --bare {REPOSITORY} && systemctl start ssh"
    ));
    // A push can be held up: it waits for as long as the file says.
    machine.write(
        &format!("{REPOSITORY}/hooks/pre-receive"),
        "#!/bin/sh\n[ -e /srv/hold/on ] || exit 0\ntouch /srv/hold/waiting\n\
         while [ -e /srv/hold/on ]; do sleep 0.05; done\n",
    );
    machine.sh_ok(&format!("chmod 755 {REPOSITORY}/hooks/pre-receive"));
}

/// What the head of the unit file says.
fn set_up(machine: &Machine) {
    for kind in ["service", "path", "timer"] {
        let name = format!("stealthcheck-config-backup.{kind}");
        machine.push(&checkout().join("units").join(&name), "/etc/systemd/system/");
    }
    machine.sh_ok(
        "install -d -m 0700 /etc/stealthcheck-config-backup && cd /etc/stealthcheck-config-backup &&
         ssh-keygen -q -t ed25519 -N '' -f key && ssh-keyscan localhost >known-hosts 2>/dev/null &&
         install -d -m 0700 -o git -g git ~git/.ssh && install -m 0600 -o git -g git key.pub ~git/.ssh/authorized_keys",
    );
    machine.write(
        &format!("/etc/systemd/system/{UNIT}.d/override.conf"),
        &format!(
            "[Service]\nEnvironment=REMOTE=git@localhost:{REPOSITORY}\n\
             LoadCredential=key:/etc/stealthcheck-config-backup/key\n\
             LoadCredential=known-hosts:/etc/stealthcheck-config-backup/known-hosts\n"
        ),
    );
    machine.sh_ok(
        "systemctl daemon-reload &&
         systemctl enable --now stealthcheck-config-backup.path stealthcheck-config-backup.timer",
    );
}

/// A command of git's on the bare repository.
fn git(machine: &Machine, arguments: &str) -> String {
    machine.sh_ok(&format!("runuser -u git -- git -C {REPOSITORY} {arguments}"))
}

/// The file as it is in the repository; nothing where it is not there.
fn backed_up(machine: &Machine, file: &str) -> Option<String> {
    let command = format!("runuser -u git -- git -C {REPOSITORY} show config-backup:{file}");
    let output = machine.sh(&command);
    output.success().then_some(output.stdout)
}

fn wait_backed_up(machine: &Machine, file: &str, text: Option<&str>) {
    machine.wait_for(&format!("{file} to be {text:?} in the repository"), MINUTE, || {
        (backed_up(machine, file).as_deref() == text).then_some(())
    });
}

#[test]
fn every_change_of_the_configuration_is_committed_and_pushed() {
    let machine = Machine::boot("config-backup");
    machine.smtp();
    machine.install_deb();
    repository(&machine);

    // Without a remote it says what is missing.
    machine.push(&checkout().join("units").join(UNIT), "/etc/systemd/system/");
    assert!(!machine.sh(&format!("systemctl daemon-reload; systemctl start {UNIT}")).success());
    assert_has(&machine.sh_ok(&format!("journalctl -u {UNIT} -o cat")), &["REMOTE= is not set"]);

    let sample = std::fs::read_to_string(checkout().join("config/iobio/config-backup.yaml")).unwrap();
    let quicker =
        sample.replace("    recover: start\n", "    recover: start\n    backoff: { initial: 1s }\n");
    assert_ne!(sample, quicker);
    machine.configure(MAIL_YAML);
    machine.write("/etc/stealthcheck/conf.d/config-backup.yaml", &quicker);
    // What is none of the configuration, and must not leave the machine.
    machine.write("/etc/stealthcheck/smtp-password.cred", "secret-one");
    machine.write("/etc/stealthcheck/conf.d/notes.txt", "secret-two");
    set_up(&machine);
    machine.sh_ok(&format!("systemctl start {UNIT}"));
    assert_eq!(backed_up(&machine, "stealthcheck.yaml").as_deref(), Some(MAIL_YAML));
    assert_eq!(backed_up(&machine, "conf.d/config-backup.yaml"), Some(quicker));
    machine.start_stealthcheck();
    for check in ["config-backup", "config-backup-path", "config-backup-timer"] {
        machine.becomes(check, "passing");
    }

    changes_in_a_row_are_all_there(&machine);
    files_that_change_while_git_reads_them_are_no_failure(&machine);
    a_change_during_a_push_is_pushed_too(&machine);
    a_failure_is_told_and_made_up_for(&machine);
    nothing_else_has_left_the_machine(&machine);
}

fn changes_in_a_row_are_all_there(machine: &Machine) {
    let yaml = format!("{MAIL_YAML}# changed\n");
    machine.configure(&yaml);
    machine.write("/etc/stealthcheck/conf.d/20-two.yaml", "checks: {}\n");
    wait_backed_up(machine, "stealthcheck.yaml", Some(&yaml));
    wait_backed_up(machine, "conf.d/20-two.yaml", Some("checks: {}\n"));
    // As editors save: by a rename.
    machine.sh_ok("cd /etc/stealthcheck/conf.d && echo 'checks: { }' >.20.swp && mv .20.swp 20-two.yaml");
    wait_backed_up(machine, "conf.d/20-two.yaml", Some("checks: { }\n"));
    machine.sh_ok("rm /etc/stealthcheck/conf.d/20-two.yaml");
    wait_backed_up(machine, "conf.d/20-two.yaml", None);
    let subject = git(machine, "log -1 --format=%an:%s config-backup");
    assert_eq!(subject.trim(), "stealthcheck:config-backup: conf.d/20-two.yaml");
}

fn files_that_change_while_git_reads_them_are_no_failure(machine: &Machine) {
    machine.sh_ok(
        "cd /etc/stealthcheck/conf.d && end=$(($(date +%s) + 15)) && while [ $(date +%s) -lt $end ]; do
             for i in $(seq 50); do echo '# busy' >25-busy.yaml; rm 25-busy.yaml; done
         done; echo 'checks: {}' >25-busy.yaml",
    );
    wait_backed_up(machine, "conf.d/25-busy.yaml", Some("checks: {}\n"));
    let journal = machine.sh_ok(&format!("journalctl -u {UNIT} -o cat -b"));
    // Once it has failed, for want of a remote.
    assert_eq!(journal.matches("Failed with result").count(), 1, "{journal}");
}

fn a_change_during_a_push_is_pushed_too(machine: &Machine) {
    machine.sh_ok("runuser -u git -- true; touch /srv/hold/on; chmod 666 /srv/hold/on");
    machine.write("/etc/stealthcheck/conf.d/30-first.yaml", "checks: {}\n");
    machine.wait_for("the push", MINUTE, || machine.sh("test -e /srv/hold/waiting").success().then_some(()));
    assert_eq!(machine.unit(UNIT, "ActiveState"), "activating");
    machine.write("/etc/stealthcheck/conf.d/40-second.yaml", "checks: {}\n");
    machine.sh_ok("rm /srv/hold/*");
    wait_backed_up(machine, "conf.d/30-first.yaml", Some("checks: {}\n"));
    wait_backed_up(machine, "conf.d/40-second.yaml", Some("checks: {}\n"));
    let files = git(machine, "log -2 --format= --name-only config-backup");
    assert_eq!(
        files, "conf.d/40-second.yaml\nconf.d/30-first.yaml",
        "not by the same run, one after the other"
    );
}

fn a_failure_is_told_and_made_up_for(machine: &Machine) {
    assert_eq!(machine.mails_about("config-backup").len(), 0, "{:#?}", machine.mails_about("config-backup"));
    machine.sh_ok("systemctl stop ssh");
    machine.write("/etc/stealthcheck/conf.d/50-third.yaml", "checks: {}\n");
    let mails = machine.wait_mails("config-backup", 1);
    assert_has(&mails[0].body, &["config-backup on config-backup is down", "Connection refused", UNIT]);
    assert_eq!(backed_up(machine, "conf.d/50-third.yaml"), None);
    machine.sh_ok("systemctl start ssh");
    wait_backed_up(machine, "conf.d/50-third.yaml", Some("checks: {}\n"));
    machine.becomes("config-backup", "passing");
    let mails = machine.wait_for("the mail that it is well again", MINUTE, || {
        let mails = machine.mails_about("config-backup");
        mails.last().is_some_and(|mail| mail.subject().contains("[RECOVERED]")).then_some(mails)
    });
    let ends = [mails[0].clone(), mails[mails.len() - 1].clone()];
    assert_thread(&ends, &["DOWN", "RECOVERED"]);
}

fn nothing_else_has_left_the_machine(machine: &Machine) {
    let files = git(machine, "log --all --format= --name-only");
    for file in files.lines() {
        let sound = file == "stealthcheck.yaml" || (file.starts_with("conf.d/") && file.ends_with(".yaml"));
        assert!(sound, "{file} is in the repository");
    }
    let everything = git(machine, "log --all --patch");
    for secret in [SMTP_PASSWORD, "secret-one", "secret-two"] {
        assert!(!everything.contains(secret), "{secret} is in the repository");
    }
    // It could not even read them, and what it keeps is its own.
    let looked = machine.sh_ok(&format!(
        "systemctl show -P InaccessiblePaths {UNIT}; systemctl show -P DynamicUser {UNIT};
         stat -Lc %a /var/lib/stealthcheck-config-backup"
    ));
    assert_eq!(looked, "-/etc/stealthcheck/credentials\nyes\n700");
}
