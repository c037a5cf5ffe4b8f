//! A thousand targets that hang, all at once: who is well is probed on time, and who fails is restarted.

use stealthcheck::journal::ids;

use crate::guarding::{SECOND, assert_thread, at, kinds, quick};
use crate::lab::{MINUTE, Machine};

/// Takes every connection on 127.0.0.1:9100, and never says anything.
const MUTE: &str = "
import asyncio, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
async def silence(reader, writer):
    print('taken', flush=True)
    try:
        while await reader.read(4096):
            pass
    finally:
        writer.close()
async def main():
    server = await asyncio.start_server(silence, '127.0.0.1', 9100, backlog=4096)
    await server.serve_forever()
asyncio.run(main())
";

const HUNG: usize = 1000;
const WELL: usize = 20;

#[test]
fn a_thousand_hung_targets_delay_nobody_who_is_well_and_no_restart() {
    let machine = Machine::ready("faults-crowd");
    machine.write("/usr/local/lib/mute.py", MUTE);
    machine.service(
        "mute.service",
        "[Service]\nExecStart=/usr/bin/python3 /usr/local/lib/mute.py\nLimitNOFILE=20000\n",
    );
    machine.service("well@.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    machine.victim("web", 9001);
    let struck = machine.victim("struck", 9002);
    machine.sh_ok(&format!("systemctl start mute.service $(seq -f 'well@%g.service' {WELL})"));
    let mut checks = format!("  struck: {{ unit: struck.service, {} }}\n", quick(9002));
    for n in 1..=WELL {
        checks += &format!(
            "  well{n}: {{ unit: well@{n}.service, http: {{ url: \"http://127.0.0.1:9001/well{n}\" }}, interval: 1s, timeout: 900ms }}\n"
        );
    }
    for n in 1..=HUNG {
        checks += &format!(
            "  hung{n}: {{ http: {{ url: \"http://127.0.0.1:9100/\" }}, interval: 10s, timeout: 9s, retry_interval: 10s }}\n"
        );
    }
    machine.guard(&checks);
    let daemon = machine.daemon();
    machine.wait_for("all of the thousand to hang", 3 * MINUTE, || {
        let status = machine.status_json();
        let hang = status["checks"].as_array()?.iter().filter(|check| {
            check["last"]["observation"]["reason"]
                .as_str()
                .unwrap_or_default()
                .contains("no answer within 9s")
        });
        (hang.count() == HUNG).then_some(())
    });

    // Who is well is probed as if there were nobody else.
    let seen = |n: usize| -> u64 {
        let grep = format!("journalctl -u web.service --no-pager | grep -c 'GET /well{n} '");
        machine.sh_ok(&grep).parse().expect("a number")
    };
    let (begun, before) = (machine.monotonic(), (1..=WELL).map(seen).collect::<Vec<_>>());
    machine.wait_until(begun + 15 * SECOND, "fifteen seconds of it");
    // A unit that fails meanwhile is nobody's storm.
    let struck_at = machine.monotonic();
    struck.signal("KILL");
    machine.wait_told(ids::INCIDENT_CLOSED, "struck", 1);
    let asked = machine.told(ids::RECOVERY_REQUESTED, "struck");
    assert_eq!(asked.len(), 1);
    let after = at(&asked[0]).saturating_sub(struck_at);
    let passed = (machine.monotonic() - begun) / SECOND;
    let counts: Vec<u64> = (1..=WELL).map(|n| seen(n) - before[n - 1]).collect();
    let status = machine.read(&format!("/proc/{daemon}/status"));
    let resident = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    let descriptors: usize =
        machine.sh_ok(&format!("ls /proc/{daemon}/fd | wc -l")).parse().expect("a number");
    println!("asked {} ms after the kill; in {passed} s each was probed {counts:?} times", after / 1000);
    println!("{resident}, {descriptors} descriptors");
    assert!(after < 10 * SECOND, "restarted {} s after it failed", after / SECOND);
    for (n, count) in counts.iter().enumerate() {
        // (On a machine that is busy with others a probe may well be late; without their own turn these had none.)
        assert!(*count >= passed / 4, "well{} was probed {count} times in {passed} s", n + 1);
    }
    let kilobytes: u64 = resident.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("VmRSS");
    assert!(kilobytes < 64 * 1024, "{resident}");
    assert!(descriptors < HUNG + 300, "{descriptors} descriptors");
    for n in 1..=WELL {
        let name = format!("well{n}");
        // (One probe may be late on a machine that is busy with others.)
        machine.becomes(&name, "passing");
        assert!(machine.told(ids::INCIDENT_OPENED, &name).is_empty(), "{name}");
    }
    assert_thread(&machine.wait_mails("struck", 2), &["DOWN", "RECOVERED"]);
    // The thousand are one storm, and one mail.
    let mails = machine.mailbox();
    assert!(mails.len() <= 4, "{:?}", kinds(&mails));
    assert_eq!(machine.daemon(), daemon);
}

/// A probe whose unit begins anew meanwhile is given up, and ends: no check overlaps itself, however it is answered.
#[test]
fn a_probe_that_is_given_up_leaves_nothing_behind() {
    let machine = Machine::ready("faults-given-up");
    machine.write("/usr/local/lib/mute.py", MUTE);
    machine.service("mute.service", "[Service]\nExecStart=/usr/bin/python3 /usr/local/lib/mute.py\n");
    machine.service("web.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    machine.sh_ok("systemctl start mute.service web.service");
    machine.guard(
        "  web: { unit: web.service, http: { url: \"http://127.0.0.1:9100/\" }, interval: 1h, timeout: 10m }\n",
    );
    let taken = || {
        machine.sh_ok("journalctl -o cat -u mute.service | grep -c taken || true").trim().parse().unwrap_or(0)
    };
    let open = || machine.sh_ok("ss -Htn state established dst 127.0.0.1:9100 | wc -l").trim().to_owned();
    machine.sh_ok("systemd-run -q --no-block stealthctl check web");
    machine.wait_for("the probe to hang", MINUTE, || (taken() == 1).then_some(()));
    for before in 1..=3 {
        // When a hold is over its unit is looked at anew.
        machine.sh_ok("stealthctl hold web.service -- true");
        machine.wait_for("the next probe", MINUTE, || (taken() > before).then_some(()));
        machine.wait_for("the one before to end", MINUTE, || (open() == "1").then_some(()));
    }
}
