//! The daemon stopped, out of memory, out of file descriptors.

use stealthcheck::journal::ids;

use super::story::{assert_all_told, drop_in, wait_until_all_is_told};
use crate::guarding::{SECOND, assert_has, assert_thread, at, quick};
use crate::lab::{MINUTE, Machine};

/// Promise: stopped past its watchdog, or dead for want of memory, it is started again by systemd and goes on where it was.
#[test]
fn stopped_past_its_watchdog_or_out_of_memory_it_goes_on_in_mid_incident() {
    let machine = Machine::ready("faults-watchdog");
    let web = machine.victim("web", 9001);
    drop_in(&machine, "watchdog", "WatchdogSec=2s");
    let (quick, backoff) = (quick(9001), "grace: 1s, backoff: { initial: 1s, max: 4s }");
    machine.guard(&format!("  web: {{ unit: web.service, {quick}, {backoff} }}\n"));
    machine.becomes("web", "passing");
    web.fault("500");
    let incident = machine.becomes("web", "down")["incident"].clone();
    let same = || {
        let now = machine.becomes("web", "down")["incident"].clone();
        for key in ["id", "since", "cause"] {
            assert_eq!(now[key], incident[key], "{now}");
        }
        let attempts = now["attempts"].as_u64();
        machine.wait_for("another attempt", MINUTE, || {
            (machine.check("web")["incident"]["attempts"].as_u64() > attempts).then_some(())
        });
    };

    let before = machine.daemon();
    machine.sh_ok(&format!("kill -STOP {before}"));
    machine.daemon_after(before);
    journal_says(&machine, "Watchdog timeout");
    same();

    // No more memory than it has: the next that it needs is not there. (A thread's stack is memory, too.)
    let before = machine.daemon();
    machine.sh_ok(&format!("prlimit --pid {before} --as=1:1"));
    machine.wait_for("the daemon to end for want of memory", MINUTE, || {
        machine.run(&["timeout", "2", "stealthctl", "status", "--json"]);
        (machine.daemon() != before).then_some(())
    });
    machine.daemon_after(before);
    same();

    let asked: Vec<u64> = machine.told(ids::RECOVERY_REQUESTED, "web").iter().map(at).collect();
    for (two, least) in asked.windows(2).zip([1, 2, 4, 4, 4, 4]) {
        assert!(two[1] - two[0] > least * SECOND - SECOND / 5, "sooner than its backoff: {asked:?} µs");
    }
    web.heal();
    wait_until_all_is_told(&machine);
    assert_eq!(assert_all_told(&machine).0, 1);
}

fn journal_says(machine: &Machine, words: &str) {
    assert_has(&machine.sh_ok("journalctl --no-pager -o cat _PID=1 UNIT=stealthcheck.service"), &[words]);
}

/// Promise: out of file descriptors it could not measure, and restarts nobody for that; its watchdog is fed all the while,
/// and afterwards all is as before.
#[test]
fn out_of_file_descriptors_it_restarts_nobody() {
    let machine = Machine::ready("faults-descriptors");
    machine.victim("web", 9001);
    machine.victim("hanging", 9002).fault("hang");
    drop_in(&machine, "few", "LimitNOFILE=36\nWatchdogSec=4s");
    let web =
        format!("  web: {{ unit: web.service, {}, backoff: {{ initial: 1s, max: 2s }} }}\n", quick(9001));
    machine.guard(&web);
    machine.becomes("web", "passing");
    let (daemon, run) = (machine.daemon(), machine.unit("web.service", "InvocationID"));
    let open = || machine.sh_ok(&format!("ls /proc/{daemon}/fd | wc -l")).parse::<u32>().unwrap();
    println!("{} descriptors at rest", open());

    // Each holds a socket for nearly all of the time.
    let crowd: String = (0..60)
        .map(|n| format!("  hangs{n}: {{ http: {{ url: \"http://127.0.0.1:9002/\" }}, interval: 2s, timeout: 1900ms, alert: {{ off: true }} }}\n"))
        .collect();
    machine.configure(&format!("{}checks:\n{web}{crowd}", crate::lab::MAIL_YAML));
    machine.sh_ok("systemctl reload stealthcheck");
    let mut most = 0;
    let unknown = machine.wait_for("web not to be measured", MINUTE, || {
        most = most.max(open());
        let seen = machine.sh("stealthctl why web 2>&1").stdout;
        seen.contains("no file descriptor left").then_some(seen)
    });
    println!("{most} descriptors at most\n{unknown}");
    // For longer than its watchdog.
    let until = machine.monotonic() + 8 * SECOND;
    machine.wait_until(until, "a while without descriptors");
    assert_eq!(machine.daemon(), daemon, "its watchdog was not fed");
    assert_eq!((machine.asked("web"), machine.unit("web.service", "InvocationID")), (0, run));
    assert!(machine.told(ids::INCIDENT_OPENED, "web").is_empty());

    machine.configure(&format!("{}checks:\n{web}", crate::lab::MAIL_YAML));
    machine
        .wait_for("a reload", MINUTE, || machine.sh("systemctl reload stealthcheck").success().then_some(()));
    machine.becomes("web", "passing");
    machine.sh_ok("systemctl kill -s KILL web");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    let mails: Vec<_> = machine.wait_mails("web", 2);
    assert_thread(&mails[mails.len() - 2..], &["DOWN", "RECOVERED"]);
    assert_eq!(machine.daemon(), daemon);
}
