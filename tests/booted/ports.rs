//! The samples of guarded units, installed as they say themselves: fibridge, and the redirects of ports 80 and 443
//! that must be there before it, also after a reboot. fibridge is played by a script at the place of its program.

use crate::guarding::shown;
use crate::lab::{MINUTE, Machine, checkout};

/// Answers "fibridge" by HTTP on 9001, and on 9002 says "fibridge's TLS port" to who connects.
const STAND_IN: &str = r#"#!/usr/bin/python3
import http.server, socketserver, sys, threading

assert sys.argv[1:] == ["--ip-address", "0.0.0.0", "--port", "9001"], sys.argv

class Raw(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"fibridge's TLS port\n")

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "9")
        self.end_headers()
        self.wfile.write(b"fibridge\n")
    def log_message(self, *_):
        pass

socketserver.ThreadingTCPServer.allow_reuse_address = True
raw = socketserver.ThreadingTCPServer(("0.0.0.0", 9002), Raw)
threading.Thread(target=raw.serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer(("0.0.0.0", 9001), Page).serve_forever()
"#;

const HTTP: &str = "curl -s -m 2 http://192.0.2.1/";
/// (Whoever asks a browser's port for nothing gets what the stand-in says on 9002.)
const TLS: &str = "timeout 2 bash -c 'exec 3<>/dev/tcp/192.0.2.1/443 && head -n 1 <&3'";

fn install_samples(machine: &Machine) {
    let push = |file: &str, dest: &str| machine.push(&checkout().join(file), dest);
    push("units/fibridge.service", "/etc/systemd/system/");
    push("units/fibridge-ports.service", "/etc/systemd/system/");
    push("config/rules.v4", "/etc/iptables/rules.v4");
    machine.write("/usr/local/bin/fibridge-proxy-rs", STAND_IN);
    machine.sh_ok(
        "chmod 755 /usr/local/bin/fibridge-proxy-rs; systemctl daemon-reload
         systemctl enable fibridge fibridge-ports",
    );
}

fn served_outside(machine: &Machine) {
    machine.wait_for("fibridge on port 80, outside", MINUTE, || {
        (machine.outside(HTTP).stdout == "fibridge\n").then_some(())
    });
    assert_eq!(machine.outside(TLS).stdout, "fibridge's TLS port\n");
}

fn health(machine: &Machine, name: &str) -> String {
    let status = machine.status_json();
    let found = status["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
    let health = &found.unwrap_or_else(|| panic!("no check {name}"));
    shown(health)
}

fn wait_for_health(machine: &Machine, name: &str, wanted: &str) {
    machine.wait_for(&format!("{name} to be {wanted}"), MINUTE, || {
        (health(machine, name) == wanted).then_some(())
    });
}

#[test]
fn redirects_are_back_after_a_reboot_and_fibridge_is_guarded() {
    let machine = Machine::boot("ports");
    assert!(!machine.outside(HTTP).success(), "port 80 is open on a fresh machine");
    machine.install_deb();
    install_samples(&machine);
    let sample = std::fs::read_to_string(checkout().join("config/iobio/lf-proxy.yaml")).unwrap();
    // But for the time between two attempts: the test has more than one.
    let unit = "    unit: fibridge-ports.service\n";
    let quicker = sample.replace(unit, &format!("{unit}    backoff: {{ initial: 1s }}\n"));
    assert_ne!(sample, quicker);
    machine.write("/etc/stealthcheck/conf.d/fibridge.yaml", &quicker);
    // What the sample leaves to the defaults, quicker than a person wants it; but three failures take longer than
    // systemd's own restart (RestartSec=1s).
    machine.configure("defaults: { timeout: 500ms, retry_interval: 1s, grace: 3s }\n");
    machine.sh_ok("systemctl enable stealthcheck");
    machine.reboot();

    served_outside(&machine);
    assert!(!machine.sh("nc -z -w 2 127.0.0.1 80").success(), "something else listens on port 80");
    let moment = |unit: &str, property: &str| -> u64 { machine.unit(unit, property).parse().unwrap() };
    let restored = moment("fibridge-ports.service", "ExecMainExitTimestampMonotonic");
    let started = moment("fibridge.service", "ExecMainStartTimestampMonotonic");
    assert!(0 < restored && restored <= started, "rules at {restored} µs, fibridge at {started} µs");
    let before_network = moment("network-pre.target", "ActiveEnterTimestampMonotonic");
    assert!(restored <= before_network, "rules at {restored} µs, network-pre.target at {before_network} µs");
    println!("rules restored {} ms before fibridge's start", (started - restored) / 1000);
    assert_eq!(machine.sh_ok("systemctl --failed --no-legend --plain"), "");

    // Guarded: the daemon came up at boot, and both checks see what they should.
    wait_for_health(&machine, "fibridge", "passing");
    wait_for_health(&machine, "fibridge-ports", "passing");

    it_comes_back(&machine);
    rules_that_cannot_be_restored_are_told(&machine);
    rules_that_nobody_restored_are_missed(&machine);
}

fn it_comes_back(machine: &Machine) {
    let run = || machine.unit("fibridge.service", "InvocationID");
    let jobs =
        || machine.journal_entries(&["STEALTHCHECK_UNIT=fibridge.service", "STEALTHCHECK_VERB=restart"]);
    // Killed: that is for systemd, which the unit tells to restart it.
    let before = run();
    machine.sh_ok("systemctl kill -s KILL fibridge");
    machine.wait_for("another run of fibridge", MINUTE, || (run() != before).then_some(()));
    served_outside(machine);
    assert!(jobs().is_empty(), "stealthcheck interfered with systemd's own restart: {:#?}", jobs());
    // Hung: systemd sees nothing wrong, and it is for stealthcheck. (Asked to look now, it need not wait its 10 s.)
    wait_for_health(machine, "fibridge", "passing");
    let before = run();
    machine.sh_ok("systemctl kill -s STOP fibridge");
    assert_eq!(machine.sh("stealthctl check fibridge").code, 3);
    machine.wait_for("another run of fibridge", MINUTE, || (run() != before).then_some(()));
    served_outside(machine);
    wait_for_health(machine, "fibridge", "passing");
    assert!(!jobs().is_empty());
}

fn rules_that_cannot_be_restored_are_told(machine: &Machine) {
    let rules = machine.read("/etc/iptables/rules.v4");
    machine.write("/etc/iptables/rules.v4", &rules.replace("REDIRECT", "REDIRCT"));
    assert!(!machine.sh("systemctl restart fibridge-ports").success());
    wait_for_health(machine, "fibridge-ports", "down");
    // All or nothing: what was in force still is.
    served_outside(machine);
    // Mended, it is systemd whom stealthcheck asks to start it again. (What is in force goes first: it may be started the
    // moment the rules are right.)
    machine.sh_ok("iptables -t nat -F PREROUTING");
    machine.write("/etc/iptables/rules.v4", &rules);
    wait_for_health(machine, "fibridge-ports", "passing");
    served_outside(machine);
}

/// A oneshot that remains is up once it has run; one that nobody has run is down, and not at rest.
fn rules_that_nobody_restored_are_missed(machine: &Machine) {
    machine.sh_ok("systemctl disable fibridge-ports");
    machine.reboot();
    wait_for_health(machine, "fibridge-ports", "passing");
    let opened = ["MESSAGE_ID=37b1109219714d0397f2fe951e243f4f", "STEALTHCHECK_CHECK=fibridge-ports", "-b"];
    let entries = machine.journal_entries(&opened);
    assert_eq!(entries.len(), 1, "{entries:#?}");
    served_outside(machine);
}
