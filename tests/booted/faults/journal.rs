//! journald restarted, hanging, gone; and a PID 1 that hangs.

use stealthcheck::journal::ids;

use super::story::{assert_all_told, drop_in, incidents_told, wait_until_all_is_told};
use crate::guarding::SECOND;
use crate::lab::{MINUTE, Machine};

/// Adds and removes an address, again and again. Without it the machine does not permit a connection there, so that the
/// checks of it are unknown; incidents would become flapping, and change no more.
const FLAP: &str = "ip route add prohibit 198.51.100.1
while :; do
    ip addr add 198.51.100.1/32 dev lo; sleep 0.7
    ip addr del 198.51.100.1/32 dev lo; sleep 0.7
done
";

/// A service, and a crowd whose checks are unknown and pass all the time: each change is an entry, and changes the status
/// line.
fn crowd(machine: &Machine, many: usize) {
    drop_in(machine, "watchdog", "WatchdogSec=4s");
    machine.write("/usr/local/lib/flap.sh", FLAP);
    machine.service("flap.service", "[Service]\nExecStart=/bin/sh /usr/local/lib/flap.sh\n");
    machine.service("mute.service", &format!("[Service]\nExecStart=/usr/bin/python3 -c \"{LISTENS}\"\n"));
    machine.sh_ok("systemctl start mute flap");
    let many: String = (0..many)
        .map(|n| format!("  c{n}: {{ tcp: {{ address: \"198.51.100.1:9100\" }}, interval: 500ms, timeout: 400ms, retry_interval: 200ms, alert: {{ off: true }} }}\n"))
        .collect();
    machine.guard(&format!(
        "  web: {{ unit: web.service, interval: 1s, backoff: {{ initial: 1s, max: 2s }} }}\n{many}"
    ));
    machine.becomes("web", "passing");
}

/// Has web killed, and sees it restarted, without a word of journald's or PID 1's tools where they hang.
fn restarts_web(machine: &Machine) {
    let pid =
        || machine.sh("cat /sys/fs/cgroup/system.slice/web.service/cgroup.procs").stdout.trim().to_owned();
    let before = pid();
    machine.sh_ok(&format!("kill -KILL {before}"));
    machine.wait_for("web to be restarted", MINUTE, || {
        let now = pid();
        (!now.is_empty() && now != before).then_some(())
    });
}

/// Has a port open on every address.
const LISTENS: &str =
    "import socket, time; port = socket.create_server(('', 9100), backlog=4096); time.sleep(1e6)";

const SLEEPER: &str = "[Service]\nExecStart=/usr/bin/sleep infinity\n";

/// Promise: a journald that hangs holds up nothing, and when it goes on it gets all that it may be owed, or their number.
#[test]
fn a_journald_that_hangs_holds_up_neither_probes_nor_restarts_nor_mail() {
    let machine = Machine::ready("faults-journald");
    machine.service("web.service", SLEEPER);
    machine.sh_ok("systemctl start web");
    // Not so many that the daemon cannot keep what they have to say while journald hangs: 1024 entries.
    crowd(&machine, 10);
    let daemon = machine.daemon();
    let journald = machine.unit("systemd-journald.service", "MainPID");
    machine.sh_ok(&format!("kill -STOP {journald}"));
    let began = machine.monotonic();
    // Past the watchdog, and past what the socket holds.
    for n in 1..=4 {
        machine.wait_until(began + n * 4 * SECOND, "journald to hang for a while");
        restarts_web(&machine);
        assert!(machine.run(&["timeout", "5", "stealthctl", "status"]).code != 124, "it does not answer");
        machine.wait_mails("web", 2 * usize::try_from(n).unwrap());
    }
    machine.sh_ok(&format!("kill -CONT {journald}; systemctl stop flap"));
    assert_eq!(machine.daemon(), daemon, "it was restarted");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 4);
    // So much came late that it was worth the test, and it is said.
    let entries = machine.journal_entries(&["-u", "stealthcheck.service", "--since", "-5min"]);
    let says = |entry: &&serde_json::Value| {
        entry["MESSAGE"].as_str().unwrap_or_default().contains("journald took no")
    };
    let late =
        entries.iter().position(|entry| says(&entry)).expect("that journald took no entry is not said");
    println!("{} entries came late or after", entries.len() - late);
    assert!(entries.len() - late > 50, "journald was not missed: {}", entries.len() - late);
    assert_eq!(assert_all_told_of_web(&machine), 4);
}

fn assert_all_told_of_web(machine: &Machine) -> usize {
    let opened = incidents_told(machine, ids::INCIDENT_OPENED);
    let web: Vec<&String> = opened.iter().filter(|id| id.starts_with("web-")).collect();
    for incident in &web {
        let mails = machine.mails_about("web");
        let of: Vec<&str> = mails
            .iter()
            .filter(|mail| mail.header("X-Stealthcheck-Incident") == incident.as_str())
            .map(crate::guarding::kind)
            .collect();
        assert_eq!(of, ["DOWN", "RECOVERED"], "incident {incident}");
    }
    web.len()
}

/// Promise: a journald that is restarted, or stopped with its sockets, is no trouble, and misses nothing.
#[test]
fn a_journald_that_is_restarted_or_stopped_misses_nothing() {
    let machine = Machine::ready("faults-journald-restart");
    // It writes nothing: a service whose output has nowhere to go may have troubles of its own.
    machine.service("web.service", SLEEPER);
    machine.sh_ok("systemctl start web");
    machine.guard("  web: { unit: web.service, interval: 1s, backoff: { initial: 1s, max: 2s } }\n");
    machine.becomes("web", "passing");
    let daemon = machine.daemon();
    machine.sh_ok("systemctl kill -s KILL web; systemctl restart systemd-journald");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    machine.becomes("web", "passing");

    let sockets = "systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket";
    machine.sh_ok(&format!("systemctl stop {sockets} systemd-journald.service"));
    let connect = "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect('/run/systemd/journal/socket')";
    assert!(!machine.run(&["python3", "-c", connect]).success(), "somebody listens there still");
    machine.sh_ok("systemctl kill -s KILL web");
    machine.wait_mails("web", 4);
    machine.sh_ok(&format!("systemctl start {sockets} systemd-journald.service"));
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 2);
    assert_eq!(machine.daemon(), daemon);
    wait_until_all_is_told(&machine);
    assert_eq!(assert_all_told(&machine), (2, 0));
    assert_eq!(incidents_told(&machine, ids::INCIDENT_OPENED).len(), 2);
}

/// Promise: a PID 1 that hangs (one that has crashed freezes, and does so for ever) holds up neither probes nor answers.
/// (Who has to look up a user, as mail servers and polkit do, waits for PID 1 by way of nss-systemd.)
#[test]
fn a_pid_1_that_hangs_holds_up_neither_probes_nor_answers() {
    let machine = Machine::ready("faults-init");
    machine.service("web.service", SLEEPER);
    machine.sh_ok("systemctl start web");
    crowd(&machine, 25);
    machine.signal_init("STOP");
    let began = machine.monotonic();
    // Past what its socket holds: each change of the status line is a word to it, some dozens a second.
    machine.wait_until(began + 25 * SECOND, "PID 1 to hang for a while");
    let probed = || machine.check("c7")["last"]["last"].as_i64().unwrap();
    let before = probed();
    machine.wait_for("probes to go on", MINUTE, || (probed() > before).then_some(()));
    machine.signal_init("CONT");
    // Whatever its watchdog made of that: it guards.
    machine.wait_for("the daemon", MINUTE, || {
        (machine.unit("stealthcheck.service", "ActiveState") == "active").then_some(())
    });
    println!("{} lives more by the watchdog", machine.unit("stealthcheck.service", "NRestarts"));
    machine.sh_ok("systemctl stop flap");
    restarts_web(&machine);
    machine.wait_mails("web", 2);
}
