//! A gru worker: the renegade child, the crash loop that systemd tells nobody of, and the node that is beyond help.

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread};
use crate::lab::{MINUTE, Machine};

fn worker(name: &str) -> Machine {
    let machine = Machine::ready(name);
    machine.stand_in("node", "/usr/bin/node");
    machine.stand_in("gru.py", "/opt/gru/index.js");
    machine.sample_units(&["gru.service", "gru-terminate.service"]);
    machine.sh_ok("systemctl enable --now gru");
    machine.guard_by(
        "gru-worker.yaml",
        &[
            ("interval: 10s", "interval: 1s"),
            ("over: 30m }", "over: 6s }\n    interval: 1s\n    backoff: { initial: 1s }"),
        ],
    );
    machine.becomes("gru", "passing");
    machine
}

/// The processes of gru's cgroup.
fn processes(machine: &Machine) -> usize {
    machine.sh_ok("cat /sys/fs/cgroup/system.slice/gru.service/cgroup.procs | wc -l").parse().unwrap()
}

#[test]
fn a_renegade_child_is_ended_by_a_restart_and_a_node_that_has_it_again_is_powered_off() {
    let machine = worker("gru-cpu");
    machine.sh_ok("curl -sf -m 5 http://127.0.0.1:9001/renegade");
    assert!(processes(&machine) > 1);
    let mails = machine.wait_mails("gru-cpu", 2);
    assert_thread(&mails, &["DOWN", "RECOVERED"]);
    assert_has(&mails[0].body, &["of one CPU", "restart: done"]);
    assert_eq!(processes(&machine), 1, "the renegade outlived the restart");
    machine.becomes("gru-cpu", "passing");
    machine.becomes("gru", "passing");
    assert!(machine.mails_about("gru").is_empty(), "{:#?}", machine.mails_about("gru"));
    assert_eq!(machine.asked("gru-cpu"), 1);

    // From now on it has one whenever it starts: the restart does not help, and the next step is the last.
    machine.write("/opt/gru/fault", "cursed");
    machine.sh_ok("systemctl restart gru");
    machine.wait_for("the node's power off", 2 * MINUTE, || machine.powered_off().then_some(()));
}

#[test]
fn a_worker_that_crashes_every_second_is_told_of_and_its_node_is_replaced() {
    let machine = worker("gru-crash");
    machine.write("/opt/gru/fault", "crash");
    machine.sh_ok("systemctl kill --signal=KILL gru");
    let mails = machine.wait_mails("gru", 1);
    assert_has(&mails[0].body, &["Cannot find module './data'"]);
    machine.wait_for("a crash loop in the status", MINUTE, || {
        machine.run(&["stealthctl", "status", "gru"]).stdout.contains("crash-looping").then_some(())
    });
    let jobs = machine.told(ids::RECOVERY_REQUESTED, "gru");
    let restarts = jobs.iter().filter(|job| job["STEALTHCHECK_UNIT"] == "gru.service").count();
    assert!(restarts <= 1, "systemd restarts it already, every second: {jobs:#?}");
    machine.wait_for("the node's power off", 2 * MINUTE, || machine.powered_off().then_some(()));
}
