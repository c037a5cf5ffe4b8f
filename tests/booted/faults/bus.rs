//! The bus: restarted, killed, and full of the lies of an ordinary user.

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread, kinds, quick};
use crate::lab::{MINUTE, Machine};

/// `stealthctl status` has an answer again, and that from the same process as before.
fn answers_again(machine: &Machine, daemon: u32) {
    machine.wait_for("stealthctl status to work again", MINUTE, || {
        let shown = machine.run(&["stealthctl", "status", "--json"]);
        serde_json::from_str::<serde_json::Value>(&shown.stdout).ok().map(|_| ())
    });
    assert_eq!(machine.daemon(), daemon, "it was restarted for it");
}

/// How often the daemon said this.
fn said(machine: &Machine, words: &str) -> usize {
    let entries = machine.journal_entries(&["-u", "stealthcheck.service"]);
    entries.iter().filter(|entry| entry["MESSAGE"].as_str().unwrap_or_default().contains(words)).count()
}

/// Waits until it has said this once more than before.
fn says(machine: &Machine, words: &str, before: usize) {
    machine.wait_for(words, MINUTE, || (said(machine, words) > before).then_some(()));
}

const LOST: &str = "the connection to the system bus was lost";
const BACK: [&str; 2] = ["systemd can be reached again", "the bus can be reached again"];

#[test]
fn a_bus_that_is_restarted_or_killed_costs_no_incident_and_no_mail() {
    let machine = Machine::ready("faults-bus");
    let web = machine.victim("web", 9001);
    let gap = machine.victim("gap", 9002);
    machine.guard(&format!(
        "  web: {{ unit: web.service, {}, grace: 1s, backoff: {{ initial: 1s, max: 2s }} }}\n\
         \x20 gap: {{ unit: gap.service, interval: 1s }}\n",
        quick(9001)
    ));
    machine.becomes("web", "passing");
    machine.becomes("gap", "passing");
    let daemon = machine.daemon();
    let struck = |strike: &str| {
        let before = BACK.map(|words| said(&machine, words));
        let lost = said(&machine, LOST);
        machine.sh_ok(strike);
        says(&machine, LOST, lost);
        for (words, before) in BACK.iter().zip(before) {
            says(&machine, words, before);
        }
        answers_again(&machine, daemon);
    };

    // At rest: it comes back by itself, and nothing was wrong with anything.
    struck("systemctl restart dbus");
    struck("kill -9 $(systemctl show -P MainPID dbus)");
    for name in ["web", "gap"] {
        machine.becomes(name, "passing");
        assert!(machine.told(ids::INCIDENT_OPENED, name).is_empty(), "{name}");
    }

    // In mid-incident, whatever is under way then.
    web.fault("500");
    let incident = machine.wait_told(ids::INCIDENT_OPENED, "web", 1)[0]["STEALTHCHECK_INCIDENT"].clone();
    for strike in ["systemctl restart dbus", "kill -9 $(systemctl show -P MainPID dbus)"] {
        let asked = machine.asked("web");
        struck(strike);
        let check = machine.becomes("web", "down");
        assert_eq!(check["incident"]["id"], incident, "{check}");
        machine.wait_told(ids::RECOVERY_REQUESTED, "web", asked + 1);
    }
    web.heal();
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    machine.becomes("web", "passing");
    let mails = machine.wait_for("the mail about its end", MINUTE, || {
        let mails = machine.mails_about("web");
        kinds(&mails).contains(&"RECOVERED").then_some(mails)
    });
    let between =
        if mails.len() == 3 { &["DOWN", "ACTION REQUIRED", "RECOVERED"][..] } else { &["DOWN", "RECOVERED"] };
    assert_thread(&mails, between);
    assert_eq!(machine.told(ids::INCIDENT_OPENED, "web").len(), 1);

    // A unit that fails while there is no bus for some seconds.
    machine.service("dbus.service.d/slow.conf", "[Service]\nExecStartPre=/bin/sleep 5\n");
    let run = machine.unit(&gap.unit(), "InvocationID");
    let back = said(&machine, BACK[0]);
    machine.sh_ok("kill -9 $(systemctl show -P MainPID dbus)");
    gap.signal("KILL");
    machine.wait_for("gap to fail", MINUTE, || {
        (machine.unit(&gap.unit(), "ActiveState") == "failed").then_some(())
    });
    assert_eq!(said(&machine, BACK[0]), back, "there was no gap");
    says(&machine, BACK[0], back);
    machine.wait_told(ids::INCIDENT_CLOSED, "gap", 1);
    assert_ne!(machine.unit(&gap.unit(), "InvocationID"), run);
    assert_eq!(machine.asked("gap"), 1);
    let mails = machine.wait_mails("gap", 2);
    assert_thread(&mails, &["DOWN", "RECOVERED"]);
    assert_has(&mails[0].body, &["killed by signal 9 (KILL)"]);
    answers_again(&machine, daemon);
    assert_eq!(machine.run(&["stealthctl", "status"]).code, 0);
}

/// Sends signals straight to a connection, as any local user may: `forge.py DESTINATION HOW_OFTEN`. Written out byte by
/// byte, for busctl makes one connection a signal, and this is a flood.
const FORGE: &str = r#"
import os, socket, struct, sys

def text(s): return struct.pack("<I", len(s)) + s.encode() + b"\0"
def sig(s): return bytes([len(s)]) + s.encode() + b"\0"
def pad(b, n): return b + b"\0" * (-len(b) % n)

def message(serial, destination, path, interface, member, signature, body):
    fields = b""
    for code, kind, value in [(1, "o", path), (2, "s", interface), (3, "s", member), (6, "s", destination)]:
        fields = pad(fields, 8) + bytes([code]) + sig(kind)
        fields = pad(fields, 4) + text(value)
    fields = pad(fields, 8) + bytes([8]) + sig("g") + sig(signature)
    head = struct.pack("<cBBBII", b"l", 4, 1, 1, len(body), serial) + struct.pack("<I", len(fields)) + fields
    return pad(head, 8) + body

def hello():
    fields = b""
    for code, kind, value in [(1, "o", "/org/freedesktop/DBus"), (2, "s", "org.freedesktop.DBus"),
                              (3, "s", "Hello"), (6, "s", "org.freedesktop.DBus")]:
        fields = pad(fields, 8) + bytes([code]) + sig(kind)
        fields = pad(fields, 4) + text(value)
    head = struct.pack("<cBBBII", b"l", 1, 0, 1, 0, 1) + struct.pack("<I", len(fields)) + fields
    return pad(head, 8)

def changed(**states):
    entries = b""
    for name, value in states.items():
        entries = pad(entries, 8) + text(name)
        entries += sig("s")
        entries = pad(entries, 4) + text(value)
    body = text("org.freedesktop.systemd1.Unit")
    body = pad(body, 4) + struct.pack("<I", len(entries))
    body = pad(body, 8)
    body += entries
    return pad(body, 4) + struct.pack("<I", 0)

def removed(job, unit, result):
    body = struct.pack("<I", job) + text("/org/freedesktop/systemd1/job/%d" % job)
    return pad(pad(body, 4) + text(unit), 4) + text(result)

def three(a, b, c): return pad(pad(text(a), 4) + text(b), 4) + text(c)

MANAGER = ("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
LIES = [
    ("/org/freedesktop/systemd1/unit/web_2eservice", "org.freedesktop.DBus.Properties", "PropertiesChanged",
     "sa{sv}as", changed(ActiveState="failed", SubState="failed")),
    (*MANAGER, "JobNew", "uos", struct.pack("<I", 7) + pad(text("/org/freedesktop/systemd1/job/7"), 4)
     + text("shutdown.target")),
    (*MANAGER, "JobRemoved", "uoss", removed(7, "web.service", "done")),
    (*MANAGER, "Reloading", "b", struct.pack("<I", 0)),
    ("/org/freedesktop/login1", "org.freedesktop.login1.Manager", "PrepareForShutdown", "b", struct.pack("<I", 1)),
    ("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged", "sss",
     three("org.freedesktop.systemd1", ":1.1", "")),
    ("/io/iobio/Stealthcheck1", "io.iobio.Stealthcheck1.Manager", "IncidentOpened", "sss", three("web", "web-1", "x")),
]

bus = socket.socket(socket.AF_UNIX)
bus.connect("/run/dbus/system_bus_socket")
bus.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
assert bus.recv(1000).startswith(b"OK"), "not let in"
bus.sendall(b"BEGIN\r\n" + hello())
bus.recv(1000)
serial = 1
for _ in range(int(sys.argv[2])):
    lies = b""
    for path, interface, member, signature, body in LIES:
        serial += 1
        lies += message(serial, sys.argv[1], path, interface, member, signature, body)
    bus.sendall(lies)
# The bus has taken them all when it has answered what comes after them.
bus.sendall(hello())
print(serial - 1, "sent;", "the bus answers" if bus.recv(1000) else "the bus has hung up")
"#;

#[test]
fn signals_that_an_ordinary_user_forges_change_nothing() {
    let machine = Machine::ready("faults-forged");
    let web = machine.victim("web", 9001);
    machine.guard(&format!(
        "  web: {{ unit: web.service, {} }}\n  still: {{ unit: web.service, interval: 1s }}\n",
        quick(9001)
    ));
    machine.becomes("web", "passing");
    machine.becomes("still", "passing");
    machine.sh_ok("useradd --create-home somebody");
    machine.write("/usr/local/lib/forge.py", FORGE);
    let daemon = machine.daemon();
    let listed = machine.sh_ok("busctl list --unique --no-legend");
    let ours: Vec<&str> = listed
        .lines()
        .filter(|line| line.split_whitespace().nth(1) == Some(daemon.to_string().as_str()))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(ours.len(), 3, "one to systemd, one of our own name, one for questions: {listed}");
    let entries = || machine.journal_entries(&["-u", "stealthcheck.service"]).len();
    let resident = || -> u64 {
        machine.sh_ok(&format!("awk '/^VmRSS/ {{ print $2 }}' /proc/{daemon}/status")).parse().unwrap()
    };

    // One of each, and then some ten thousand.
    let (before, memory) = (entries(), resident());
    for how_often in [1, 1500] {
        for connection in &ours {
            let told = machine.sh_ok(&format!(
                "runuser -u somebody -- python3 /usr/local/lib/forge.py {connection} {how_often}"
            ));
            assert_has(&told, &[&format!("{} sent; the bus answers", how_often * 7)]);
        }
        machine.sh_ok("stealthctl check web");
        machine.becomes("web", "passing");
        machine.becomes("still", "passing");
    }
    assert_eq!(entries(), before, "it had something to say of them");
    assert!(resident() < memory + 8 * 1024, "{memory} kB before, {} kB after", resident());
    assert_eq!(machine.daemon(), daemon);
    assert_eq!(machine.asked("web") + machine.asked("still"), 0);
    assert!(machine.mailbox().is_empty());

    // systemd's own are believed as before.
    web.signal("KILL");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    assert_eq!(machine.asked("web") + machine.asked("still"), 1);
}
