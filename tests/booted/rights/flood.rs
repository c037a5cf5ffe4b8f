//! What user nobody can do by calling without end: nothing. (The figures are printed; what is asserted holds on a slow machine
//! as well.)

use super::*;
use crate::guarding::quick;
use crate::lab::MINUTE;

const FLOOD: &str = include_str!("flood.py");

/// What is called, over how many connections, and how many calls of each are under way.
const FLOODS: &[(&str, u32, u32)] = &[
    ("rows", 64, 100),
    ("page", 64, 100),
    ("page", 64, 0),
    ("why", 8, 100),
    ("pause", 64, 100),
    ("tree", 16, 100),
];

/// More than this the daemon never uses; a flood costs nothing.
const MOST_MEMORY_KB: usize = 30_000;

#[test]
fn floods_of_nobody_cost_nothing_and_delay_nobody() {
    let machine = Machine::ready("rights-flood");
    let web = machine.victim("web", 9001);
    let mut checks = format!(
        "  web: {{ unit: web.service, {}, recover: restart, backoff: {{ initial: 1s, max: 1s }} }}\n",
        quick(9001)
    );
    for n in 0..300 {
        let runbook = "x".repeat(2000);
        checks += &format!(
            "  c{n:03}: {{ tcp: \"127.0.0.1:9001\", interval: 1m, runbook: {runbook}, alert: {{ off: true }} }}\n"
        );
    }
    machine.guard(&checks);
    machine.becomes("web", "passing");
    machine.write("/usr/local/bin/flood.py", FLOOD);
    machine.sh_ok("chmod 755 /usr/local/bin/flood.py");
    let daemon = machine.daemon();
    let memory = || {
        let status = machine.sh_ok(&format!("grep VmRSS /proc/{daemon}/status"));
        status.split_whitespace().nth(1).and_then(|kb| kb.parse::<usize>().ok()).unwrap()
    };
    println!("before the floods: {} kB", memory());
    for (n, (what, connections, window)) in FLOODS.iter().enumerate() {
        machine.sh_ok(&format!(
            "rm -f /tmp/flood.begun; systemctl reset-failed;
             systemd-run -q --uid=nobody --unit=flood{n} -p RuntimeMaxSec=120 \
             python3 /usr/local/bin/flood.py {what} {connections} {window} 100"
        ));
        machine
            .wait_for("the flood", MINUTE, || machine.sh("test -e /tmp/flood.begun").success().then_some(()));
        let start = Instant::now();
        let status = machine.run(&["stealthctl", "status"]);
        let took = start.elapsed();
        // (Calls whose answers nobody reads flood the bus itself: everybody's answers take their time there.)
        assert!(*window == 0 || status.stdout.contains("301 checks"), "{what}: {status}");
        let run = machine.unit("web.service", "InvocationID");
        let start = Instant::now();
        machine.sh_ok(&format!("systemctl kill -s KILL {}", web.unit()));
        machine.wait_for("another run", MINUTE, || {
            let state = machine.sh("systemctl show -P InvocationID -P ActiveState web.service").stdout;
            (state.contains("active") && !state.contains(&run)).then_some(())
        });
        let mended = start.elapsed();
        let memory = memory();
        assert!(
            machine.sh(&format!("systemctl is-active flood{n}")).success(),
            "the flood {what} ended too early"
        );
        println!("{what}, {connections} × {window}: status {took:?}, mended {mended:?}, {memory} kB");
        assert!(memory < MOST_MEMORY_KB, "{what}: {memory} kB");
        machine.sh_ok(&format!("systemctl stop flood{n}"));
        let status = machine.run(&["stealthctl", "status"]);
        assert!(status.stdout.contains("301 checks"), "after {what}: {status}");
    }
    assert_eq!(machine.daemon(), daemon);
    assert!(machine.asked("web") >= FLOODS.len());
}
