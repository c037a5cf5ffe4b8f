//! What everybody may ask the daemon for: the bus policy, our polkit action, and the HTTP listener.

use super::*;
use crate::lab::MINUTE;

/// All methods of our interface: those that everybody may call, and those that take root or polkit's word.
const READING: &[&str] = &[
    "GetCheck s web",
    "ListChecks",
    "Describe",
    "DescribeChecks su  0",
    "DescribeCheck s web",
    "ExplainCheck s web",
];
const ACTING: &[&str] = &[
    "ProbeCheck s web",
    "PauseCheck st web 60",
    "ResumeCheck s web",
    "Reload",
    "SendTestMail as 0",
    "HoldUnit ssst web me why 60",
    "ReleaseUnit s web",
];

#[test]
fn everybody_may_look_and_only_root_may_direct() {
    let machine = Machine::boot("rights-users");
    machine.victim("web", 9001);
    machine.install_deb();
    machine.configure(&format!(
        "listen: [8484, '192.0.2.1:8485']\nchecks:\n{}",
        check("web", "web.service", 9001, "")
    ));
    machine.start_stealthcheck();
    machine.sh_ok("useradd --create-home somebody");
    the_interface_has_no_method_that_is_not_tried(&machine);

    let somebody = |call: &str| user_asks(&machine, "somebody", OURS, call);
    allowed(
        &machine
            .sh("runuser -u somebody -- busctl introspect io.iobio.Stealthcheck1 /io/iobio/Stealthcheck1"),
    );
    let version = machine.sh_ok(&format!(
        "runuser -u somebody -- busctl get-property io.iobio.Stealthcheck1 /io/iobio/Stealthcheck1 {OURS} Version"
    ));
    assert!(version.starts_with("s \""), "{version}");
    let status = machine.sh("runuser -u somebody -- stealthctl status");
    assert!(status.stdout.contains("web.service"), "{status}");

    for call in READING {
        allowed(&somebody(call));
    }
    for call in ACTING {
        refused(call, || somebody(call));
    }
    // Nor may it be told apart by what was refused: to whom it is refused, a check that there is not is no other.
    refused("Pause of no check", || somebody("PauseCheck st nosuch 60"));
    for command in [
        "check web",
        "pause web",
        "resume web",
        "reload",
        "reload --direct",
        "test-mail",
        "hold web -- true",
        "release web",
    ] {
        let start = Instant::now();
        let output = machine.sh(&format!("runuser -u somebody -- stealthctl {command}"));
        assert_eq!(output.code, 77, "stealthctl {command}: {output}");
        assert!(output.stderr.contains("try it with sudo"), "stealthctl {command}: {output}");
        assert!(start.elapsed() < AT_ONCE, "stealthctl {command} took {:?}", start.elapsed());
    }
    // A pause by nobody is no pause; by root it is one.
    assert!(machine.sh_ok("stealthctl status").contains("passing"));
    allowed(&user_asks(&machine, "root", OURS, "PauseCheck st web 60"));
    assert!(machine.sh_ok("stealthctl status").contains("paused"));

    // What is not allowed by name does not reach the daemon, not even root's.
    for user in ["somebody", "root"] {
        for (interface, call) in [
            ("org.freedesktop.DBus.ObjectManager", "GetManagedObjects"),
            ("org.freedesktop.DBus.Monitoring", "BecomeMonitor asu 0 0"),
            ("io.iobio.Stealthcheck1.Other", "Anything"),
        ] {
            refused(interface, || user_asks(&machine, user, interface, call));
        }
    }

    the_listener_can_only_be_read(&machine);
    slow_clients_starve_nobody(&machine);

    // Nobody else can take its place, not even while it is empty.
    machine.sh_ok("systemctl stop stealthcheck");
    let bus = "org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus";
    let takes = |user: &str| call_as(&machine, user, bus, "RequestName su io.iobio.Stealthcheck1 0");
    for user in ["somebody", "nobody", "root"] {
        refused(user, || takes(user));
    }
    allowed(&takes("stealthcheck"));
}

/// A method that is added later has to be put into one of the two lists, and so is tried.
fn the_interface_has_no_method_that_is_not_tried(machine: &Machine) {
    let there = machine.sh_ok(&format!(
        "busctl introspect io.iobio.Stealthcheck1 /io/iobio/Stealthcheck1 {OURS} |
         sed -n 's/^\\.\\([A-Za-z]*\\) *method .*/\\1/p' | sort"
    ));
    let mut tried: Vec<&str> =
        READING.iter().chain(ACTING).map(|call| call.split(' ').next().unwrap()).collect();
    tried.sort_unstable();
    assert_eq!(there.lines().collect::<Vec<_>>(), tried);
    // There is an object for the daemon and one for each check, and nothing of them can be set.
    let tree = machine.sh_ok("busctl tree --list io.iobio.Stealthcheck1 | grep Stealthcheck1");
    let ours = "/io/iobio/Stealthcheck1";
    assert_eq!(tree, format!("{ours}\n{ours}/check\n{ours}/check/web"));
    let state = machine.sh_ok(&format!(
        "runuser -u somebody -- busctl get-property io.iobio.Stealthcheck1 {ours}/check/web \
         io.iobio.Stealthcheck1.Check State"
    ));
    assert!(["s \"passing\"", "s \"starting\""].contains(&state.as_str()), "{state}");
    let written = machine.sh(
        "busctl introspect io.iobio.Stealthcheck1 /io/iobio/Stealthcheck1 | grep writable;
         busctl introspect io.iobio.Stealthcheck1 /io/iobio/Stealthcheck1 | grep interface | cut -d' ' -f1 | sort"
    );
    assert_eq!(
        written.stdout.lines().collect::<Vec<_>>(),
        [
            OURS,
            "org.freedesktop.DBus.Introspectable",
            "org.freedesktop.DBus.Peer",
            "org.freedesktop.DBus.Properties"
        ]
    );
}

/// `listen: [8484, 192.0.2.1:8485]`: loopback by default, the network where it says so; GET and HEAD and no files.
fn the_listener_can_only_be_read(machine: &Machine) {
    assert!(
        !machine.outside("curl -s -m 5 http://192.0.2.1:8484/healthz").success(),
        "loopback only, it said"
    );
    let code = |arguments: &str| {
        machine
            .sh(&format!("curl -s -m 10 -o /dev/null -w '%{{http_code}}' {arguments} http://127.0.0.1:8484"))
            .stdout
    };
    let there = "--request-target";
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"] {
        for path in ["/", "/healthz", "/status.json"] {
            assert_eq!(code(&format!("-X {method} {there} {path}")), "405", "{method} {path}");
        }
    }
    // What a page of the web could have a browser here ask for.
    for (host, expected) in [("evil.example.com", "421"), ("localhost:8484", "200"), ("rights-users", "200")]
    {
        assert_eq!(code(&format!("-H 'Host: {host}' {there} /status.json")), expected, "{host}");
    }
    assert_eq!(code(&format!("-H 'Host: evil.example.com' {there} /healthz")), "200");
    let outside = "curl -s -m 10 -o /dev/null -w '%{http_code}' -H 'Host: lf-proxy.example.org' http://192.0.2.1:8485/metrics";
    assert_eq!(machine.outside(outside).stdout, "200");
    // There are four pages and no files.
    for path in [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/etc/passwd%00",
        "/status.json/../../etc/passwd",
    ] {
        let page = machine.sh(&format!("curl -s -m 10 --path-as-is 'http://127.0.0.1:8484{path}'"));
        assert_eq!(page.stdout, "ok\n", "{path}");
    }
}

/// 500 that never finish their request, each of which sends another byte now and then.
const SLOW: &str = r#"#!/usr/bin/python3
import socket, time
slow = []
while True:
    for n in range(500 - len(slow)):
        try:
            one = socket.create_connection(("127.0.0.1", 8484), timeout=5)
            one.sendall(b"GET / HTTP/1.1\r\nX: ")
            slow.append(one)
        except OSError:
            pass
    alive = []
    for one in slow:
        try:
            one.sendall(b"x")
            alive.append(one)
        except OSError:
            one.close()
    slow = alive
    open("/run/slow", "a").write("round\n")
    time.sleep(0.05)
"#;

fn slow_clients_starve_nobody(machine: &Machine) {
    machine.write("/usr/local/bin/slow", SLOW);
    machine.sh_ok(
        "chmod 755 /usr/local/bin/slow; systemd-run -q --unit=slow -p LimitNOFILE=4096 /usr/local/bin/slow",
    );
    machine.wait_for("the slow ones", MINUTE, || {
        machine.sh("test $(wc -l </run/slow) -ge 3").success().then_some(())
    });
    let daemon = machine.unit("stealthcheck.service", "MainPID");
    let answers = machine.sh_ok(
        "for n in $(seq 40); do curl -s -m 5 -o /dev/null -w '%{http_code} %{time_total}\\n' http://127.0.0.1:8484/healthz; done",
    );
    let well = answers.lines().filter(|line| line.starts_with("200 ")).count();
    println!(
        "beside 500 slow clients, the slowest answer: {:?}",
        answers.lines().map(|line| &line[4..]).max()
    );
    assert_eq!(well, 40, "{answers}");
    // It holds no more of them than it has room for, and does its work besides.
    let open = machine.sh_ok(&format!("ls /proc/{daemon}/fd | wc -l")).parse::<usize>().unwrap();
    assert!(open < 64 + 40, "{open} file descriptors");
    machine.sh_ok("stealthctl check web");
    machine.sh_ok("systemctl stop slow");
    assert_eq!(machine.unit("stealthcheck.service", "MainPID"), daemon);
}
