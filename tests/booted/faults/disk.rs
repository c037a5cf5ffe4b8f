//! The disk with the state directory: full, read-only, hung, with rubbish on it.

use std::time::{Duration, Instant};

use stealthcheck::journal::ids;

use super::story::assert_all_told;
use crate::guarding::{assert_has, assert_thread, quick};
use crate::lab::{MINUTE, Machine};

const STATE: &str = "/var/lib/stealthcheck";

fn checks() -> String {
    format!(
        "  web: {{ unit: web.service, {}, backoff: {{ initial: 1s, max: 2s }} }}\n  quiet: {{ unit: quiet.service, {} }}\n",
        quick(9001),
        quick(9002)
    )
}

/// Waits until `stealthctl status` says this on its first lines.
fn says(machine: &Machine, words: &str) {
    machine.wait_for(&format!("stealthctl status to say {words}"), MINUTE, || {
        machine.run(&["stealthctl", "status"]).stdout.contains(words).then_some(())
    });
}

fn no_alerts(machine: &Machine) {
    machine.wait_for("no alerts, and no mail that waits", MINUTE, || {
        let status = machine.status_json();
        let mail = &status["mail"];
        let well = status["alerts"].as_array().is_some_and(Vec::is_empty);
        (well && mail["queued"] == 0 && mail["last_error"].is_null()).then_some(())
    });
}

fn journal_has(machine: &Machine, words: &str) {
    machine.wait_for(&format!("the journal to say {words}"), MINUTE, || {
        machine.sh_ok("journalctl --no-pager -o cat -u stealthcheck.service").contains(words).then_some(())
    });
}

/// A real restart of a unit that hangs, told by two mails; the `nth` of its kind.
fn guards(machine: &Machine, nth: usize) {
    machine.becomes("web", "passing");
    let run = machine.unit("web.service", "InvocationID");
    machine.sh_ok("kill -STOP $(systemctl show -P MainPID web)");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", nth);
    assert_ne!(machine.unit("web.service", "InvocationID"), run, "it was not restarted");
    let mails = machine.wait_mails("web", 2 * nth);
    assert_thread(&mails[2 * (nth - 1)..], &["DOWN", "RECOVERED"]);
}

fn in_its_own_file_system(name: &str) -> Machine {
    let machine = Machine::ready(name);
    machine.victim("web", 9001);
    machine.victim("quiet", 9002);
    machine.sh_ok(&format!("mkdir -p {STATE} && mount -t tmpfs -o size=256k,mode=700 state {STATE}"));
    machine
}

/// Promise: with a full disk it starts, says so, guards and mails; with room again, all is kept as if nothing had been.
#[test]
fn a_full_disk_stops_neither_guarding_nor_mail_and_is_over_when_there_is_room() {
    let machine = in_its_own_file_system("faults-full");
    machine.guard(&checks());
    guards(&machine, 1);
    let full = |machine: &Machine| {
        assert!(!machine.sh(&format!("cat /dev/zero >{STATE}/ballast")).success(), "it is not full");
    };
    full(&machine);
    guards(&machine, 2);
    let no_room = "the state cannot be written: No space left on device";
    says(&machine, no_room);
    journal_has(&machine, no_room);
    journal_has(&machine, "the mail spool cannot be written: No space left on device");
    // Without an end of the daemon's, and with one.
    machine.start_stealthcheck();
    guards(&machine, 3);
    says(&machine, no_room);

    machine.sh_ok("stealthctl pause quiet --for 2h");
    machine.sh_ok(&format!("rm {STATE}/ballast"));
    no_alerts(&machine);
    journal_has(&machine, "the state can be written again");
    // Also what was decided meanwhile is kept, though nothing has happened since.
    let before = machine.daemon();
    machine.sh_ok("systemctl kill -s KILL stealthcheck");
    machine.daemon_after(before);
    machine.becomes("quiet", "paused");
    guards(&machine, 4);
    let (_, twice) = assert_all_told(&machine);
    println!("{twice} mails twice");
}

/// Promise: with a read-only disk it starts, says so, guards and mails.
#[test]
fn a_read_only_state_directory_stops_neither_guarding_nor_mail() {
    let machine = in_its_own_file_system("faults-readonly");
    machine.guard(&checks());
    guards(&machine, 1);
    machine.sh_ok(&format!("mount -o remount,ro {STATE}"));
    guards(&machine, 2);
    let read_only = "the state cannot be written: Read-only file system";
    says(&machine, read_only);
    machine.sh_ok(&format!("mount -o remount,rw {STATE}"));
    no_alerts(&machine);

    machine.sh_ok(&format!("mount -o remount,ro {STATE}"));
    machine.start_stealthcheck();
    guards(&machine, 3);
    says(&machine, read_only);
    journal_has(&machine, read_only);
    // Its sandbox is a copy of the mounts as they were when it was started, so that it must be started again.
    machine.sh_ok(&format!("mount -o remount,rw {STATE}"));
    machine.start_stealthcheck();
    no_alerts(&machine);
    guards(&machine, 4);
    assert_all_told(&machine);
}

/// Promise: while the disk hangs it guards, and sends the mails a minute later; when the disk answers again nothing is lost,
/// and nothing is sent twice.
#[test]
fn a_state_directory_that_hangs_stops_neither_guarding_nor_mail() {
    let machine = Machine::ready("faults-hung-disk");
    machine.victim("web", 9001);
    machine.victim("quiet", 9002);
    // A tmpfs cannot be frozen. The loop device ends with the mount.
    machine.sh_ok(&format!(
        "test -e /dev/loop-control || mknod /dev/loop-control c 10 237
         loop=$(losetup -f | cut -d ' ' -f 1); test -e $loop || mknod $loop b 7 ${{loop#/dev/loop}}
         truncate -s 8M /root/state && mkfs.ext4 -q /root/state && losetup $loop /root/state
         mkdir -p {STATE} && mount $loop {STATE} && losetup -d $loop"
    ));
    machine.guard(&checks());
    guards(&machine, 1);
    // (A test that fails must not leave processes that nothing can end.)
    machine.sh_ok(&format!("systemd-run -q --on-active=400 fsfreeze -u {STATE}"));
    let daemon = machine.daemon();
    machine.sh_ok(&format!("fsfreeze -f {STATE}"));
    let frozen = Instant::now();
    guards(&machine, 2);
    assert!(frozen.elapsed() > Duration::from_secs(60), "{:?}: is it frozen?", frozen.elapsed());
    let late = frozen.elapsed();
    let hangs = "the mail spool cannot be written: the disk has not answered for 1m";
    says(&machine, "the state cannot be written: the disk has not answered");
    journal_has(&machine, hangs);
    // What follows does not wait.
    let start = Instant::now();
    machine.sh_ok("systemctl kill -s KILL quiet");
    machine.wait_mails("quiet", 1);
    let next = start.elapsed();
    assert!(next < Duration::from_secs(60), "{next:?}");
    println!("the first mails came after {late:?}, the next after {next:?}");

    machine.sh_ok(&format!("fsfreeze -u {STATE}"));
    no_alerts(&machine);
    machine.wait_for("an empty spool", MINUTE, || {
        machine.sh(&format!("test -z \"$(ls {STATE}/spool/*.json)\"")).success().then_some(())
    });
    assert_thread(&machine.wait_mails("quiet", 2), &["DOWN", "RECOVERED"]);
    assert_eq!(machine.daemon(), daemon);
    machine.start_stealthcheck();
    guards(&machine, 3);
    assert_eq!(assert_all_told(&machine), (4, 0));
    let journal = machine.sh_ok("journalctl --no-pager -o cat -u stealthcheck.service");
    assert_eq!(journal.matches(hangs).count(), 1, "{journal}");
}

/// Promise: a state that cannot be read is kept, named and told of, and never a reason not to start.
#[test]
fn a_state_file_of_any_rubbish_is_kept_and_told_of_and_guarding_goes_on() {
    let machine = Machine::ready("faults-state");
    machine.victim("web", 9001);
    machine.victim("quiet", 9002);
    machine.guard(&checks());
    guards(&machine, 1);
    let file = &format!("{STATE}/state.json");
    let rubbish = [
        ("empty", format!(": >{file}")),
        ("truncated", format!("truncate -s 40 {file}")),
        ("binary", format!("head -c 5000 /dev/urandom >{file}")),
        ("of a future version", format!("sed -i 's/\"version\":2,/\"version\":99,/' {file}")),
        ("somebody else's", format!("chown root:root {file}; chmod 600 {file}")),
        ("a directory", format!("rm {file}; mkdir {file}; touch {file}/x")),
        ("a pipe", format!("rm {file}; mkfifo {file}")),
        ("without an end", format!("truncate -s 100G {file}")),
    ];
    let kept = || machine.sh_ok(&format!("ls {STATE} | grep -c '^state.json.unusable-' || true"));
    for (n, (name, spoil)) in rubbish.iter().enumerate() {
        machine.sh_ok(&format!("systemctl stop stealthcheck; {spoil}"));
        machine.start_stealthcheck();
        assert_eq!(kept(), (n + 1).to_string(), "a state that is {name}");
        let newest = machine.sh_ok(&format!("ls -dt {STATE}/state.json.unusable-* | sort | tail -n 1"));
        says(&machine, &format!("it is kept as {newest}"));
        journal_has(&machine, &newest);
        machine.becomes("web", "passing");
        machine.wait_for("a new state", MINUTE, || {
            machine.sh(&format!("test -f {file}")).success().then_some(())
        });
    }
    guards(&machine, 2);
    // The next start finds a good one.
    machine.start_stealthcheck();
    assert_eq!(kept(), rubbish.len().to_string());
    no_alerts(&machine);
}

/// Promise: what is no mail is kept apart and told of; the mails between it are delivered; no spool at all is no trouble.
#[test]
fn spool_files_of_any_rubbish_are_kept_apart_and_the_mails_between_them_delivered() {
    let machine = Machine::ready("faults-spool");
    machine.victim("web", 9001);
    machine.victim("quiet", 9002);
    machine.guard(&checks());
    machine.becomes("web", "passing");
    machine.sh_ok("systemctl stop postfix; systemctl kill -s KILL web");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    let spool = &format!("{STATE}/spool");
    machine.wait_for("two mails in the spool", MINUTE, || {
        (machine.sh_ok(&format!("ls {spool} | grep -c '\\.json$'")) == "2").then_some(())
    });
    machine.sh_ok("systemctl stop stealthcheck");
    machine.sh_ok(&format!(
        "cd {spool}; set -- *.json; cp -p $1 /root/good; \
         head -c 200 /root/good >000000000000-torn.json; : >000000000000-empty.json; \
         head -c 5000 /dev/urandom >000000000000-noise.json; truncate -s 100M 000000000000-huge.json; \
         sed 's/\"version\": 1,/\"version\": 2,/' /root/good >000000000000-future.json; \
         mkfifo 000000000000-pipe.json; ln -s /dev/zero 000000000000-link.json; cp /root/good nonumber.json; \
         chown stealthcheck:stealthcheck 0* nonumber.json; \
         install -m 600 /root/good 999999999999-roots.json"
    ));
    machine.start_stealthcheck();
    machine.smtp();
    assert_thread(&machine.wait_mails("web", 2), &["DOWN", "RECOVERED"]);
    let aside = ["torn", "empty", "noise", "huge", "future", "pipe", "link"]
        .map(|name| format!("000000000000-{name}.json"));
    for name in aside.iter().map(String::as_str).chain(["nonumber.json"]) {
        assert!(
            machine
                .sh(&format!("test -e {spool}/quarantine/{name} -o -L {spool}/quarantine/{name}"))
                .success(),
            "{name}"
        );
        journal_has(&machine, &format!("the spooled mail {name} cannot be used"));
    }
    // One that may be good, were it ours to read, stays where it is.
    journal_has(&machine, "the spooled mail 999999999999-roots.json cannot be read: Permission denied");
    assert!(machine.sh(&format!("test -f {spool}/999999999999-roots.json")).success());
    let status = machine.run(&["stealthctl", "status"]).stdout;
    assert_has(&status, &["cannot be used", "more unusable mails in the spool: see the journal"]);
    guards(&machine, 2);

    // Gone altogether, while it runs and while it does not.
    machine.sh_ok(&format!("rm -rf {spool}"));
    guards(&machine, 3);
    machine.sh_ok(&format!("systemctl stop stealthcheck; rm -rf {spool}"));
    machine.start_stealthcheck();
    guards(&machine, 4);
    no_alerts(&machine);
    assert_eq!(assert_all_told(&machine), (4, 0));
}
