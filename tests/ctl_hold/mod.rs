//! `stealthctl hold` with a made-up daemon and a real command: whose exit status it has, what the command is told, and
//! when the lease closes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::ctl_bus::{Daemon, FakeBus};
use super::{NOWHERE, ends, stealthctl};

const RUNNING: Daemon = Daemon::Holding { job: "done" };

fn hold(bus: &FakeBus, arguments: &[&str]) -> (i32, String) {
    let output = stealthctl(bus.address(), &[&["hold", "mosaic"], arguments].concat());
    let code = output.status.code().unwrap();
    (code, ends(&output, code).1)
}

/// Starts a hold in the background, and waits until its command says `ready`.
fn begin(bus: &FakeBus, command: &str) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stealthctl"))
        .args(["hold", "mosaic", "--", "sh", "-c", command])
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    child
}

/// Waits until the made-up daemon has been told this.
fn told(bus: &FakeBus, what: &str) {
    let start = Instant::now();
    while !bus.told().iter().any(|line| line == what) {
        assert!(start.elapsed() < Duration::from_secs(60), "no \"{what}\" in {:?}", bus.told());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn its_exit_status_is_the_commands_and_the_lease_is_given_back() {
    let bus = FakeBus::start(RUNNING);
    let (code, err) = hold(&bus, &["--stop", "--", "sh", "-c", "exit 7"]);
    let says = "stealthctl: mosaic.service is stopped, and held for 1h at most\n\
                stealthctl: mosaic.service is active again\n";
    assert_eq!((code, err.as_str()), (7, says));
    told(&bus, "closed: Done");
    assert_eq!(bus.told(), ["held mosaic for 3600s: sh -c exit 7", "stop mosaic.service", "closed: Done"]);

    let (code, err) = hold(&bus, &["--for", "10m", "--", "true"]);
    assert_eq!((code, err.as_str()), (0, "stealthctl: mosaic.service is held for 10m at most\n"));
    assert_eq!(hold(&bus, &["--", "sh", "-c", "kill -9 $$"]).0, 137);
    let (code, err) = hold(&bus, &["--", "no-such-command-here"]);
    assert_eq!(code, 127);
    assert!(err.contains("stealthctl: no-such-command-here: No such file"), "{err}");
    assert_eq!(hold(&bus, &["--", "/etc/passwd"]).0, 126);
}

#[test]
fn the_command_is_not_run_where_there_is_no_hold_or_no_stop() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("ran");
    let command = ["--stop", "--", "touch", mark.to_str().unwrap()];
    let run = |address: &str| stealthctl(address, &[&["hold", "mosaic"], command.as_slice()].concat());
    ends(&run(NOWHERE), 69);
    ends(&run(FakeBus::start(Daemon::Absent).address()), 4);
    let bus = FakeBus::start(Daemon::Holding { job: "canceled" });
    let (_, err) = ends(&run(bus.address()), 1);
    let says = "stealthctl: the stop job of mosaic.service ended as `canceled`; the command was not run\n";
    assert_eq!(err, says);
    told(&bus, "closed: Silently");
    let (_, err) = ends(&stealthctl(bus.address(), &["hold", "wrong", "--", "true"]), 1);
    assert_eq!(err, "stealthctl: no check is named `wrong`\n");
    for wrong in [vec!["hold", "mosaic"], vec!["hold", "mosaic", "--for", "2d", "--", "true"]] {
        ends(&stealthctl(bus.address(), &wrong), 64);
    }
    assert!(!mark.exists());
}

#[test]
fn sigterm_is_passed_on_and_sigint_is_the_terminals() {
    let bus = FakeBus::start(RUNNING);
    // The command gets no SIGINT that was sent to stealthctl alone, and SIGTERM after it.
    let mut child =
        begin(&bus, "trap 'exit 9' INT; trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done");
    send(&child, Signal::INT);
    send(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(5));
    told(&bus, "closed: Done");
}

#[test]
fn when_stealthctl_is_killed_the_lease_closes_and_the_command_ends() {
    let bus = FakeBus::start(RUNNING);
    let mut child = begin(&bus, "echo ready; exec sleep 1000");
    send(&child, Signal::KILL);
    child.wait().unwrap();
    told(&bus, "closed: Silently");
    // The command has the other end of this: it is at its end when the command is.
    let mut rest = String::new();
    child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
}

#[test]
fn a_hold_that_is_taken_away_is_told_and_the_command_goes_on() {
    let bus = FakeBus::start(RUNNING);
    let mut child = begin(&bus, "echo ready; read line; exit 3 # revoke this");
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().contains("is held for 1h at most"));
    let over = "stealthctl: the hold on mosaic.service has ended; the command continues without it";
    assert_eq!(said.next().unwrap().unwrap(), over);
    assert!(child.try_wait().unwrap().is_none());
    child.stdin.take().unwrap().write_all(b"on\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn release_says_what_is_free() {
    let bus = FakeBus::start(RUNNING);
    let (out, _) = ends(&stealthctl(bus.address(), &["release", "mosaic"]), 0);
    assert_eq!(out, "The hold on mosaic.service is released.\n");
    let (_, err) = ends(&stealthctl(bus.address(), &["release", "gru"]), 1);
    assert_eq!(err, "stealthctl: nobody holds gru.service\n");
}
