//! A gru worker: renegades, the crash loop that systemd reports to nobody, and the node that is replaced.

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread};
use crate::lab::{MINUTE, Machine};

const ENDLESS: &str = "http://127.0.0.1:9001/alignmentHeader?url=endless";

/// gru with its data, up to where its unit is installed.
pub fn program(machine: &Machine) {
    machine.repository("gru", "iobio-gru-backend");
    let blocks = super::blocks("A gru worker");
    machine.type_block(&blocks[0]);
    machine.write("/opt/gru/data/VERSION", "1.12.0\n");
}

/// A worker by the runbook, with shorter times.
fn worker(name: &str) -> Machine {
    let machine = Machine::bare(name);
    program(&machine);
    machine.type_block(&super::blocks("A gru worker")[1]);
    machine.verify_units();
    machine.becomes("gru", "passing");
    machine.shorten(
        "gru-worker.yaml",
        &[
            ("interval: 10s", "interval: 1s"),
            ("over: 30m }", "over: 6s }\n    interval: 1s\n    backoff: { initial: 1s }"),
        ],
    );
    // The tool makes its namespaces within the unit's sandbox.
    let answer =
        machine.sh_ok("curl -sf -m 20 'http://127.0.0.1:9001/alignmentHeader?url=https://example.org/a.bam'");
    assert_eq!(answer, "@SQ\tSN:17\tLN:81195210");
    machine
}

/// The processes of gru's cgroup that are the renegade's.
fn renegades(machine: &Machine) -> String {
    machine.sh("pgrep -f '^samtools-endles[s]'").stdout
}

/// Sends the request that leaves a renegade. It is over when gru has killed the script.
fn endless(machine: &Machine) {
    assert!(!machine.sh(&format!("curl -sf -m 30 '{ENDLESS}'")).success());
    assert_ne!(renegades(machine), "", "the tool ended with its script");
}

#[test]
fn a_worker_with_a_renegade_is_restarted_and_then_replaced() {
    let machine = worker("gru-worker");
    machine.killed_is_restarted_by_systemd("gru.service", "gru");
    machine.hung_is_restarted_by_stealthcheck("gru.service", "gru");
    machine.wait_mails("gru", 2);

    // Two, for a test on a busy host: each is to have more than a tenth of the CPUs.
    endless(&machine);
    endless(&machine);
    let mails = machine.wait_mails("gru-cpu", 2);
    assert_thread(&mails, &["DOWN", "RECOVERED"]);
    assert_has(&mails[0].body, &["of all CPUs", "restart: done"]);
    assert_eq!(renegades(&machine), "", "the renegade outlived the restart");
    assert_thread(&machine.mails_about("gru"), &["DOWN", "RECOVERED"]);
    assert_eq!(machine.asked("gru-cpu"), 1);

    // Somebody sends that request again and again: the restart does not help, and the last step follows.
    machine.sh_ok(&format!(
        "systemd-run -q sh -c 'while :; do pgrep -f \"^samtools-endles[s]\" >/dev/null || curl -s -m 30 \"{ENDLESS}\"; sleep 0.2; done'"
    ));
    machine.wait_for("the node's power off", 2 * MINUTE, || machine.powered_off().then_some(()));
}

#[test]
fn a_worker_in_a_crash_loop_is_replaced() {
    let machine = worker("gru-crash");
    machine.sh_ok("mv /opt/gru/data/VERSION /opt/gru/data/gone && systemctl kill --signal=KILL gru");
    let mails = machine.wait_mails("gru", 1);
    assert_has(&mails[0].body, &["ENOENT", "/opt/gru/data/VERSION", "powers itself off"]);
    machine.wait_for("a crash loop in the status", MINUTE, || {
        machine.run(&["stealthctl", "status", "gru"]).stdout.contains("crash-looping").then_some(())
    });
    let jobs = machine.told(ids::RECOVERY_REQUESTED, "gru");
    let restarts = jobs.iter().filter(|job| job["STEALTHCHECK_UNIT"] == "gru.service").count();
    assert!(restarts <= 1, "systemd restarts it already, every second: {jobs:#?}");
    machine.wait_for("the node's power off", 2 * MINUTE, || machine.powered_off().then_some(()));
}
