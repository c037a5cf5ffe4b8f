//! systemd's start limit, and what a unit makes systemd do when it is hit or when the unit fails (rule 7).

use std::time::Duration;

use super::{Findings, eventually};
use crate::guarding::quick;
use crate::lab::{Machine, Victim};

/// The third start after the first is one too many.
const LIMIT: &str = "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=3";

#[test]
fn recovery_never_hits_the_start_limit_and_never_reboots_the_machine() {
    let machine = Machine::ready("decide-start-limit");
    let boot = machine.read("/proc/sys/kernel/random/boot_id");
    let sensor = machine.victim_with("sensor", 9001, LIMIT);
    let vital = machine.victim_with("vital", 9002, &format!("{LIMIT}\nStartLimitAction=reboot"));
    let upgraded = machine.victim_with("upgraded", 9003, LIMIT);
    let fatal = machine.victim_with("fatal", 9004, "[Unit]\nFailureAction=reboot");
    machine.sh_ok("systemctl enable -q sensor vital upgraded fatal stealthcheck");
    let check = |name: &str, port: u16| {
        format!(
            "  {name}: {{ unit: {name}.service, {}, grace: 4s, backoff: {{ initial: 1s, max: 2s }} }}\n",
            quick(port)
        )
    };
    machine.guard(&format!(
        "{}{}{}{}",
        check("sensor", 9001),
        check("vital", 9002),
        check("upgraded", 9003),
        check("fatal", 9004)
    ));
    machine.all_pass(&["sensor", "vital", "upgraded", "fatal"]);
    let mut findings = Findings::on(&machine);

    // Two restarts, and one that would be too many, some seconds apart.
    for round in 1..=4 {
        let units = [("sensor", &sensor), ("upgraded", &upgraded)];
        hang_once(&machine, &mut findings, round, &units);
        if round == 2 {
            machine.start_stealthcheck();
        }
    }
    for name in ["sensor", "upgraded"] {
        let hit = machine.sh(&format!("journalctl -u {name} | grep -q 'Start request repeated too quickly'"));
        findings.expect(name, "the start limit was not hit", !hit.success());
    }
    for round in 1..=4 {
        if !hang_once(&machine, &mut findings, round, &[("vital", &vital)]) {
            break;
        }
    }
    rebooted(&machine, &mut findings, &boot, "vital");

    // A restart that fails would reboot the machine; an answer of 500 is better than that.
    let boot = machine.read("/proc/sys/kernel/random/boot_id");
    fatal.fault("fail-start");
    fatal.fault("500");
    // It was restarted as soon as it was down, after 1.5 s.
    eventually(Duration::from_secs(8), || machine.sh("cat /proc/sys/kernel/random/boot_id").stdout != boot);
    if !rebooted(&machine, &mut findings, &boot, "fatal") {
        findings.expect("fatal", "no restart", machine.asked("fatal") == 0);
        let named = machine.withheld("fatal").iter().any(|reason| reason.contains("FailureAction="));
        findings.expect("fatal", "the restart is withheld, which names FailureAction=", named);
    }
    findings.end();
}

/// Each of the units hangs until it is restarted. Returns whether all were.
fn hang_once(
    machine: &Machine,
    findings: &mut Findings<'_>,
    round: u32,
    units: &[(&str, &Victim<'_>)],
) -> bool {
    let run = |name: &str| machine.sh(&format!("systemctl show -P InvocationID {name}.service")).stdout;
    let before: Vec<String> = units.iter().map(|(name, _)| run(name)).collect();
    for (_, victim) in units {
        victim.fault("500-once");
    }
    let mut all = true;
    for ((name, victim), before) in units.iter().zip(&before) {
        let back = eventually(Duration::from_secs(20), || run(name) != *before && victim.status() == 200);
        all &= findings.expect(name, &format!("restart {round} brings it back"), back);
    }
    all
}

/// Whether the machine has rebooted; if so, waits until it is up again.
fn rebooted(machine: &Machine, findings: &mut Findings<'_>, boot: &str, about: &str) -> bool {
    let mut now = machine.sh("cat /proc/sys/kernel/random/boot_id");
    eventually(Duration::from_secs(60), || {
        now = machine.sh("systemctl is-system-running -q; cat /proc/sys/kernel/random/boot_id");
        now.success()
    });
    let same = now.stdout == boot;
    findings.expect(about, "the machine was not rebooted", same);
    !same
}
