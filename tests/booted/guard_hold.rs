//! `stealthctl hold`: a command has a unit and its port to itself, and however that ends the unit is up again.

use stealthcheck::journal::ids;

use crate::guarding::{SECOND, assert_has, assert_thread, at, shown};
use crate::lab::{MINUTE, Machine, Victim};

/// The check's interval, in seconds: within that the unit is back. Failures are noticed much faster, if they count.
const EVERY: u64 = 10;

/// A web server on the port of the unit that is held, as certbot's is. It ends with 7 when it is told to.
const BORROWER: &str = r#"#!/usr/bin/python3
import http.server, os, pathlib, threading, time

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"borrowed\n")
    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 9001), Answer)
pathlib.Path("/run/borrower").write_text(f"{os.getpid()} {' '.join(sorted(os.listdir('/proc/self/fd')))}")
threading.Thread(target=server.serve_forever, daemon=True).start()
while not os.path.exists("/run/borrower.end"):
    time.sleep(0.02)
os._exit(7)
"#;

/// A machine on which `web` is guarded, and passes.
fn guarded(name: &str) -> Machine {
    let machine = Machine::ready(name);
    machine.victim("web", 9001);
    // More starts within ten seconds than systemd suffers by default.
    machine.write("/etc/systemd/system/web.service.d/often.conf", "[Unit]\nStartLimitIntervalSec=0\n");
    machine.sh_ok("systemctl daemon-reload");
    machine.write("/usr/local/bin/borrower", BORROWER);
    machine.sh_ok("chmod 755 /usr/local/bin/borrower; systemctl enable -q web stealthcheck");
    machine.guard(&format!(
        "  web: {{ unit: web.service, http: {{ url: \"http://127.0.0.1:9001/\" }}, interval: {EVERY}s, timeout: 900ms, \
         retry_interval: 500ms, failure_threshold: 2, grace: 10s }}\n  remote: {{ tcp: \"127.0.0.1:587\" }}\n"
    ));
    machine.becomes("web", "passing");
    machine
}

/// A hold that is under way, in a unit of its own.
struct Holder<'a> {
    machine: &'a Machine,
    unit: String,
}

impl<'a> Holder<'a> {
    /// Runs a shell command in the background. What it leaves behind when it ends is left alone.
    fn run(machine: &'a Machine, unit: &str, command: &str) -> Self {
        let _ = machine.sh("rm -f /run/borrower /run/borrower.end");
        machine.write(&format!("/run/{unit}.sh"), &format!("exec {command}\n"));
        machine.sh_ok(&format!(
            "systemd-run -q --unit={unit} -p KillMode=process -p RemainAfterExit=yes sh /run/{unit}.sh"
        ));
        Self { machine, unit: format!("{unit}.service") }
    }

    /// The port is borrowed: the unit is stopped and something else answers.
    fn borrows(machine: &'a Machine, unit: &str) -> Self {
        let holder = Self::run(machine, unit, "stealthctl hold web --stop -- borrower");
        holder.has_the_port();
        holder
    }

    fn has_the_port(&self) {
        self.machine.wait_for("the port to be borrowed", MINUTE, || {
            (self.machine.sh("curl -sm 1 http://127.0.0.1:9001/").stdout == "borrowed\n").then_some(())
        });
        assert_eq!(self.machine.unit("web.service", "ActiveState"), "inactive");
        self.machine.becomes("web", "held");
    }

    /// `stealthctl`, that has the hold.
    fn pid(&self) -> u32 {
        self.machine.unit(&self.unit, "ExecMainPID").parse().expect("a process")
    }

    /// What it ended with, once it has: an exit status, or 128 and the signal.
    fn status(&self) -> i64 {
        let ended = |name: &str| self.machine.unit(&self.unit, name).parse::<i64>().unwrap_or(0);
        self.machine.wait_for("the holder's end", MINUTE, || {
            (ended("ExecMainExitTimestampMonotonic") != 0).then_some(())
        });
        // CLD_EXITED is 1.
        if ended("ExecMainCode") == 1 { ended("ExecMainStatus") } else { 128 + ended("ExecMainStatus") }
    }

    /// What it said.
    fn said(&self) -> String {
        self.machine.sh_ok(&format!("journalctl -o cat --no-pager -u {}", self.unit))
    }
}

/// The borrower's process.
fn borrower(machine: &Machine) -> u32 {
    machine.read("/run/borrower").split(' ').next().and_then(|pid| pid.parse().ok()).expect("a process")
}

/// Waits until the unit is up again, which must be within the check's interval after `ended`, and until it passes.
fn is_back(machine: &Machine, ended: u64) {
    let up = machine.wait_for("the unit to be up again", MINUTE, || {
        let up = machine.moment("web.service", "ActiveEnterTimestamp");
        (up > ended && machine.unit("web.service", "ActiveState") == "active").then_some(up)
    });
    assert!(up - ended < EVERY * SECOND, "back after {} µs", up - ended);
    machine.becomes("web", "passing");
    assert!(machine.sh("curl -sm 1 http://127.0.0.1:9001/").stdout.contains("well"));
}

/// That nothing has happened which anybody would be told of.
fn in_silence(machine: &Machine) {
    assert_eq!(machine.asked("web"), 0, "a recovery");
    assert!(machine.told(ids::INCIDENT_OPENED, "web").is_empty(), "an incident");
    assert!(machine.mailbox().is_empty(), "a mail");
}

/// The reasons of the ends of holds, oldest first.
fn ends(machine: &Machine) -> Vec<String> {
    let over = format!("MESSAGE_ID={}", ids::HOLD_OVER);
    let entries = machine.journal_entries(&[&over, "STEALTHCHECK_UNIT=web.service"]);
    entries.iter().map(|entry| entry["STEALTHCHECK_REASON"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_unit_is_back_however_the_command_ends() {
    let machine = guarded("hold-ends");

    // It ends by itself, after longer than it takes to be down, if failures counted.
    let holder = Holder::borrows(&machine, "happy");
    let descriptors = machine.read("/run/borrower");
    assert_eq!(descriptors.split(' ').skip(1).count(), 5, "it has inherited something: {descriptors}");
    let shown = machine.run(&["stealthctl", "status"]);
    assert_eq!(shown.code, 0, "{shown}");
    assert_has(&shown.stdout, &["1 held", "held by root (pid "]);
    assert_has(&machine.run(&["stealthctl", "status", "web"]).stdout, &["Command: borrower"]);
    machine.wait_until(machine.monotonic() + 12 * SECOND, "a probe of the borrower");
    assert_eq!(machine.unit("web.service", "ActiveState"), "inactive");
    let ended = machine.monotonic();
    machine.sh_ok("touch /run/borrower.end");
    is_back(&machine, ended);
    assert_eq!(holder.status(), 7);
    assert_has(
        &holder.said(),
        &["web.service is stopped, and held for 1h at most", "web.service is active again"],
    );
    in_silence(&machine);

    // `kill -9` of stealthctl: the command goes with it, so that the port is free.
    let holder = Holder::borrows(&machine, "killed");
    let command = borrower(&machine);
    let ended = machine.monotonic();
    machine.sh_ok(&format!("kill -9 {}", holder.pid()));
    is_back(&machine, ended);
    assert!(!machine.sh(&format!("kill -0 {command}")).success(), "the command goes on");
    in_silence(&machine);

    // `kill -9` of the command; Ctrl-C; SIGTERM to stealthctl alone.
    for (unit, strike, status) in [
        ("orphaned", "kill -9 $(cut -d' ' -f1 /run/borrower)".to_owned(), 137),
        ("interrupted", "bash -c 'kill -INT -- -PID'".to_owned(), 130),
        ("terminated", "kill -TERM PID".to_owned(), 143),
    ] {
        let holder = Holder::borrows(&machine, unit);
        let ended = machine.monotonic();
        machine.sh_ok(&strike.replace("PID", &holder.pid().to_string()));
        is_back(&machine, ended);
        assert_eq!(holder.status(), status, "{unit}: {}", holder.said());
        in_silence(&machine);
    }

    // The terminal goes away.
    let on_a_terminal = "script -qec 'stealthctl hold web --stop -- borrower' /dev/null";
    let holder = Holder::run(&machine, "hung-up", on_a_terminal);
    holder.has_the_port();
    let ended = machine.monotonic();
    machine.sh_ok(&format!("kill -9 {}", holder.pid()));
    is_back(&machine, ended);
    in_silence(&machine);

    let done = "the command has ended";
    assert_eq!(ends(&machine), [done, "the holder exited without releasing it", done, done, done, done]);
    // Each hold stopped it once and started it once; nothing else did.
    let starts = machine.sh_ok("journalctl -u web.service | grep -c ' Started web.service'");
    assert_eq!(starts, "7");

    // A start that fails is an incident like any other.
    let web = Victim::of(&machine, "web", 9001);
    let _holder = Holder::borrows(&machine, "broken");
    web.fault("fail-start-once");
    machine.sh_ok("touch /run/borrower.end");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    assert_thread(&machine.wait_mails("web", 2), &["DOWN", "RECOVERED"]);
    assert_eq!(machine.asked("web"), 1);
}

#[test]
fn a_hold_outlives_the_daemon_and_ends_in_its_absence() {
    let machine = guarded("hold-daemon");
    let stored = || machine.unit("stealthcheck.service", "NFileDescriptorStore");

    // Killed and restarted in the middle: it goes on, for longer than a stop or a failure is suffered otherwise.
    let holder = Holder::borrows(&machine, "kept");
    for end in ["systemctl kill -s KILL stealthcheck", "systemctl restart stealthcheck"] {
        assert_eq!(stored(), "1");
        let before = machine.daemon();
        machine.sh_ok(end);
        machine.daemon_after(before);
        let held = machine.becomes("web", "held");
        assert_eq!(held["suppressed_by"]["why"], "borrower");
        machine.wait_until(machine.monotonic() + 12 * SECOND, "a probe");
        assert_eq!(shown(&machine.check("web")), "held");
        assert_eq!(machine.unit("web.service", "ActiveState"), "inactive");
    }
    let ended = machine.monotonic();
    machine.sh_ok("touch /run/borrower.end");
    is_back(&machine, ended);
    assert_eq!(holder.status(), 7);
    in_silence(&machine);
    machine.wait_for("the store to be empty", MINUTE, || (stored() == "0").then_some(()));

    // The holder dies while the daemon is dead.
    let holder = Holder::borrows(&machine, "missed");
    let (before, ended) = (machine.daemon(), machine.monotonic());
    machine.sh_ok(&format!("systemctl kill -s KILL stealthcheck; kill -9 {}", holder.pid()));
    machine.daemon_after(before);
    is_back(&machine, ended);
    in_silence(&machine);
    let lost = "its lease did not come through a restart of stealthcheck";
    assert_eq!(ends(&machine), ["the command has ended", lost]);

    // Its time is over, and the command does not care. After a restart, so that no copy of the lease was forgotten.
    let long =
        "stealthctl hold web --stop --for 8s -- sh -c 'until test -e /run/borrower.end; do sleep 0.1; done'";
    let holder = Holder::run(&machine, "expired", long);
    machine.becomes("web", "held");
    machine.wait_for("the stop", MINUTE, || {
        (machine.unit("web.service", "ActiveState") == "inactive").then_some(())
    });
    let before = machine.daemon();
    machine.sh_ok("systemctl restart stealthcheck");
    machine.daemon_after(before);
    let over = machine.wait_for("the end of the hold", MINUTE, || {
        let entries = machine.journal_entries(&[&format!("MESSAGE_ID={}", ids::HOLD_OVER)]);
        entries.get(2).map(at)
    });
    is_back(&machine, over);
    machine.wait_for("the holder to be told", MINUTE, || {
        holder
            .said()
            .contains("the hold on web.service has ended; the command continues without it")
            .then_some(())
    });
    machine.sh_ok("touch /run/borrower.end");
    assert_eq!(holder.status(), 0);
    in_silence(&machine);

    // The daemon is stopped for good, and its store with it. Then whoever has stopped the unit starts it.
    let holder = Holder::borrows(&machine, "alone");
    machine.sh_ok("systemctl stop stealthcheck; touch /run/borrower.end");
    assert_eq!(holder.status(), 7);
    assert_has(&holder.said(), &["stealthcheck does not answer, so stealthctl started web.service"]);
    assert_eq!(machine.unit("web.service", "ActiveState"), "active");
    machine.sh_ok("systemctl start stealthcheck");
    machine.becomes("web", "passing");
    let said = machine.sh_ok("stealthctl hold web --stop --no-wait -- systemctl stop stealthcheck 2>&1");
    assert_has(&said, &["stealthcheck does not answer, so stealthctl started web.service"]);
    assert_eq!(machine.unit("web.service", "ActiveState"), "active");
    machine.sh_ok("systemctl start stealthcheck");
    machine.becomes("web", "passing");
    in_silence(&machine);

    // A reboot ends everything, holds too: in good order, and by a power cut.
    let _holder = Holder::borrows(&machine, "rebooted");
    machine.reboot();
    machine.becomes("web", "passing");
    let before = ends(&machine);
    let _holder = Holder::borrows(&machine, "cut-off");
    machine.crash();
    machine.becomes("web", "passing");
    assert_eq!(ends(&machine)[before.len()..], [lost]);
    in_silence(&machine);
}

#[test]
fn who_may_not_hold_stops_nothing_and_runs_nothing() {
    let machine = guarded("hold-rights");
    machine.sh_ok("useradd -m visitor; useradd -m helper");
    let run = machine.unit("web.service", "InvocationID");
    let hold = |user: &str, arguments: &str| {
        let command = format!("stealthctl hold {arguments} -- sh -c 'touch /tmp/ran-by-{user}; exit 5'");
        machine.run(&["runuser", "-u", user, "--", "sh", "-c", &command])
    };
    let untouched = |user: &str| {
        assert_eq!(machine.unit("web.service", "InvocationID"), run);
        assert!(!machine.sh(&format!("test -e /tmp/ran-by-{user}")).success(), "the command was run");
        machine.becomes("web", "passing");
    };

    for arguments in ["web", "web --stop"] {
        let refused = hold("visitor", arguments);
        assert_eq!(refused.code, 77, "{refused}");
        assert_has(&refused.stderr, &["stealthctl: access denied: "]);
        untouched("visitor");
    }
    // Whoever may direct stealthcheck may not thereby stop units.
    machine.write(
        "/etc/polkit-1/rules.d/40-helper.rules",
        "polkit.addRule(function(action, subject) {\n\
         \x20   if (action.id.indexOf(\"io.iobio.Stealthcheck1.\") == 0 && subject.user == \"helper\")\n\
         \x20       return polkit.Result.YES;\n});\n",
    );
    machine.wait_for("the rule to count", MINUTE, || {
        machine.run(&["runuser", "-u", "helper", "--", "stealthctl", "check", "web"]).success().then_some(())
    });
    let refused = hold("helper", "web --stop");
    assert_eq!(refused.code, 77, "{refused}");
    assert_has(&refused.stderr, &["systemd does not let you stop web.service", "the command was not run"]);
    untouched("helper");
    let held = hold("helper", "web");
    assert_eq!(held.code, 5, "{held}");
    assert_has(&held.stderr, &["web.service is held for 1h at most"]);

    // What makes no sense.
    for (arguments, code, says) in [
        ("wep", 1, "no check is named `wep`: did you mean `web`?"),
        ("remote", 64, "remote has no `unit`, so there is nothing to hold; use `stealthctl pause remote`"),
        ("web --for 2d", 64, "a hold lasts a day at most"),
    ] {
        let refused = hold("root", arguments);
        assert_eq!(refused.code, code, "{refused}");
        assert_has(&refused.stderr, &[says]);
    }
    for (command, code) in [("no-such-command", 127), ("/etc/passwd", 126)] {
        let ended = machine.run(&["stealthctl", "hold", "web.service", "--", command]);
        assert_eq!(ended.code, code, "{ended}");
    }
    untouched("root");

    // One at a time; and an operator who finds a stale one ends it.
    let first = Holder::run(&machine, "stale", "stealthctl hold web --stop -- sleep 3600");
    machine.becomes("web", "held");
    machine.wait_for("the stop", MINUTE, || {
        (machine.unit("web.service", "ActiveState") == "inactive").then_some(())
    });
    let second = hold("root", "web");
    assert_eq!(second.code, 1, "{second}");
    assert_has(&second.stderr, &["web.service is held already, by root (pid ", "(sleep 3600)"]);
    let visitor = machine.run(&["runuser", "-u", "visitor", "--", "stealthctl", "release", "web"]);
    assert_eq!(visitor.code, 77, "{visitor}");
    let ended = machine.monotonic();
    assert_has(&machine.sh_ok("stealthctl release web"), &["The hold on web.service is released"]);
    is_back(&machine, ended);
    machine.wait_for("the holder to be told", MINUTE, || {
        first.said().contains("the command continues without it").then_some(())
    });
    assert_eq!(machine.run(&["stealthctl", "release", "web"]).code, 1);
    machine.sh_ok("systemctl stop stale");

    // Without the daemon there is no hold, and so nothing is stopped.
    machine.sh_ok("systemctl stop stealthcheck");
    let run = machine.unit("web.service", "InvocationID");
    let refused = hold("root", "web --stop");
    assert_eq!(refused.code, 4, "{refused}");
    assert_eq!(machine.unit("web.service", "InvocationID"), run);
    machine.sh_ok("systemctl start stealthcheck");
    in_silence(&machine);
}

/// The check is given another unit while its unit is held: nobody is left to start that, so `stealthctl` does.
#[test]
fn unit_that_is_no_longer_monitored_is_started_by_the_holder() {
    let machine = guarded("hold-other-unit");
    machine.victim("other", 9002);
    machine.sh_ok("systemctl start other");
    let holder = Holder::borrows(&machine, "renewal");
    let configuration = machine.read("/etc/stealthcheck/stealthcheck.yaml");
    machine.configure(&configuration.replace("unit: web.service", "unit: other.service"));
    machine.sh_ok("stealthctl reload");
    machine.write("/run/borrower.end", "");
    assert_eq!(holder.status(), 7);
    assert_eq!(machine.unit("web.service", "ActiveState"), "active");
    let said = holder.said();
    assert_has(&said, &["no check monitors it any more, so stealthctl started web.service"]);
}

/// The check is removed and restored while its unit is held: the hold is gone with it, and its holder still keeps its word.
#[test]
fn unit_whose_check_was_away_in_the_hold_is_started_by_the_holder() {
    let machine = guarded("hold-restored");
    let holder = Holder::borrows(&machine, "renewal");
    let configuration = machine.read("/etc/stealthcheck/stealthcheck.yaml");
    let without: String = configuration
        .lines()
        .filter(|line| !line.starts_with("  web:"))
        .map(|line| format!("{line}\n"))
        .collect();
    for text in [&without, &configuration] {
        machine.configure(text);
        machine.sh_ok("stealthctl reload");
    }
    machine.write("/run/borrower.end", "");
    assert_eq!(holder.status(), 7);
    assert_eq!(machine.unit("web.service", "ActiveState"), "active");
    assert_has(&holder.said(), &["the hold ended before the command, so stealthctl started web.service"]);
}
