//! Nothing grows: descriptors, threads and memory after thousands of probes, hundreds of reconnects and all their faults.

use std::collections::BTreeMap;

use crate::guarding::SECOND;
use crate::lab::{MAIL_YAML, MINUTE, Machine};

/// What the daemon holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    descriptors: u64,
    threads: u64,
    /// In KB.
    memory: u64,
}

fn held(machine: &Machine) -> Held {
    let pid = machine.daemon();
    let text = machine.sh_ok(&format!(
        "ls /proc/{pid}/fd | wc -l | sed 's/^/Descriptors: /'; grep -E '^(Threads|VmRSS):' /proc/{pid}/status"
    ));
    let numbers: BTreeMap<&str, u64> = text
        .lines()
        .filter_map(|line| {
            let (key, rest) = line.split_once(':')?;
            Some((key, rest.split_whitespace().next()?.parse().ok()?))
        })
        .collect();
    Held { descriptors: numbers["Descriptors"], threads: numbers["Threads"], memory: numbers["VmRSS"] }
}

/// How many requests the target has got.
fn probes(machine: &Machine) -> u64 {
    machine.sh_ok("wc -l </run/requests").trim().parse().unwrap()
}

const TARGET: &str = "import http.server, os, socketserver, time
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open('/run/requests', 'a') as file: file.write('x\\n')
        if self.path == '/hang': time.sleep(1.8)
        if self.path == '/refuse': return
        self.send_response(200); self.send_header('Content-Length', '0'); self.end_headers()
    def log_message(self, *args): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True; allow_reuse_address = True; request_queue_size = 500
Server(('127.0.0.1', 9001), Answer).serve_forever()
";

/// Promise: it lasts for years: nothing that it holds grows with what it has done.
#[test]
fn after_thousands_of_probes_and_all_kinds_of_reconnects_it_holds_what_it_held() {
    let machine = Machine::ready("faults-leaks");
    machine.write("/usr/local/lib/target.py", TARGET);
    machine.service("target.service", "[Service]\nExecStart=/usr/bin/python3 /usr/local/lib/target.py\n");
    machine.service("web.service", "[Service]\nExecStart=/usr/bin/sleep infinity\n");
    machine.sh_ok("touch /run/requests; systemctl start target web");
    let check = |name: &str, path: &str, interval: &str, timeout: &str| {
        format!(
            "  {name}: {{ http: {{ url: \"http://127.0.0.1:9001/{path}\" }}, interval: {interval}, timeout: {timeout}, alert: {{ off: true }} }}\n"
        )
    };
    let mut checks =
        "  web: { unit: web.service, interval: 1s, backoff: { initial: 1s, max: 1s } }\n".to_owned();
    for n in 0..20 {
        checks += &check(&format!("well{n}"), "", "250ms", "200ms");
        checks += &check(&format!("refused{n}"), "refuse", "500ms", "400ms");
    }
    let hanging: String = (0..60).map(|n| check(&format!("hangs{n}"), "hang", "2s", "1900ms")).collect();
    let configure = |checks: &str| {
        machine.configure(&format!("{MAIL_YAML}checks:\n{checks}"));
        machine.sh_ok("systemctl reload stealthcheck");
    };
    machine.guard(&checks);
    // One round of everything: what is loaded, cached and connected once is there.
    let round = |n: usize| {
        machine.sh_ok("systemctl kill -s KILL web");
        machine.wait_mails("web", 2 * n);
        machine.becomes("web", "passing");
        machine
            .sh_ok("systemctl daemon-reexec; systemctl restart systemd-journald; systemctl restart postfix");
        machine.sh_ok(
            "for i in $(seq 20); do stealthctl status >/dev/null; stealthctl check well1 >/dev/null; done",
        );
        machine.sh_ok("stealthctl pause well2 --for 1h; stealthctl resume well2");
        machine.sh_ok("stealthctl hold web -- true; systemctl reload stealthcheck");
    };
    let settled = || {
        // Threads of the blocking pool end after ten idle seconds, and so do connections.
        let until = machine.monotonic() + 3 * SECOND;
        machine.wait_until(until, "it to settle");
        held(&machine)
    };
    round(1);
    round(2);
    configure(&(checks.clone() + &hanging));
    let (mut most, pid) = (0, machine.daemon());
    machine.wait_for("the hanging ones to hold a descriptor each", MINUTE, || {
        most = most.max(held(&machine).descriptors);
        (most > 60).then_some(())
    });
    configure(&checks);
    let (before, probed) = (settled(), probes(&machine));
    assert!(most > before.descriptors + 40, "what is held is not seen: {most}, and {before:?} at rest");

    for n in 3..6 {
        round(n);
    }
    machine.wait_for("three thousand probes", 2 * MINUTE, || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        (probes(&machine) > probed + 3_000).then_some(())
    });
    let after = settled();
    println!("{} probes: {before:?}, then {after:?}; {most} descriptors at most", probes(&machine) - probed);
    assert_eq!(machine.daemon(), pid);
    // Probes in flight come and go.
    assert!(after.descriptors <= before.descriptors + 6, "{before:?}, then {after:?}");
    assert!(after.threads <= before.threads + 3, "{before:?}, then {after:?}");
    assert!(after.memory <= before.memory + 1_500, "{before:?}, then {after:?}");
}
