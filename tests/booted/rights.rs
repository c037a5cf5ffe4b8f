//! Who may do what: the daemon to systemd (polkit's rule and the list of `stealthctl authorize`), and everybody to the
//! daemon (the bus policy and our polkit action).

use std::time::{Duration, Instant};

use crate::lab::{MINUTE, Machine, Output};

/// Refused by rule, not after a prompt's or a service's deadline.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Calls a method of systemd's manager as the daemon's user does.
fn daemon_asks(machine: &Machine, method_and_arguments: &str) -> Output {
    const SYSTEMD: &str =
        "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager";
    call(machine, "stealthcheck", SYSTEMD, method_and_arguments)
}

/// Calls a method of the daemon as `user` does.
fn user_asks(machine: &Machine, user: &str, interface: &str, method_and_arguments: &str) -> Output {
    let object = format!("io.iobio.Stealthcheck1 /io/iobio/Stealthcheck1 {interface}");
    call(machine, user, &object, method_and_arguments)
}

fn call(machine: &Machine, user: &str, object: &str, method_and_arguments: &str) -> Output {
    let words = object.split(' ').chain(method_and_arguments.split(' '));
    machine.run(&["runuser", "-u", user, "--", "busctl", "call"].into_iter().chain(words).collect::<Vec<_>>())
}

const OURS: &str = "io.iobio.Stealthcheck1.Manager";

fn allowed(output: &Output) {
    assert!(output.success(), "{output}");
}

fn refused(what: &str, call: impl FnOnce() -> Output) {
    let start = Instant::now();
    let output = call();
    let denied = ["Access denied", "Permission denied", "Interactive authentication required"];
    assert!(
        !output.success() && denied.iter().any(|word| output.stderr.contains(word)),
        "{what} is not refused: {output}"
    );
    assert!(start.elapsed() < AT_ONCE, "{what} was refused after {:?}", start.elapsed());
}

/// A check on `unit` that only its port's owner can make fail.
fn check(name: &str, unit: &str, port: u16, more: &str) -> String {
    format!(
        "  {name}: {{ unit: {unit}, http: {{ url: \"http://127.0.0.1:{port}/\" }}, every: 500ms, timeout: 200ms, \
         retry: 100ms, grace: 1s, backoff: {{ initial: 1s, max: 2s }}{more} }}\n"
    )
}

#[test]
fn the_daemon_may_ask_for_what_is_configured_and_nothing_else() {
    let machine = Machine::boot("rights-daemon");
    let web = machine.victim_with("web", 9001, "ExecReload=true");
    machine.victim("other", 9002);
    machine.service("helper.service", "[Service]\nType=oneshot\nExecStart=true\n");
    machine.service(
        "aliased.service",
        "[Service]\nExecStart=sleep infinity\n[Install]\nAlias=known-as.service\n",
    );
    machine.sh_ok("systemctl enable --now aliased");
    machine.install_deb();
    let first = format!(
        "checks:\n{}  alias: {{ unit: known-as.service }}\n  watched: {{ unit: dbus.service, recover: none }}\n",
        check("web", "web.service", 9001, ", recover: [restart, { start: helper.service }]")
    );
    machine.configure(&first);
    machine.start_stealthcheck();

    for call in [
        "RestartUnit ss web.service replace",
        "ResetFailedUnit s web.service",
        // What a hold may owe it.
        "StartUnit ss web.service replace",
        "StartUnit ss helper.service replace",
        // By whatever name, it is the unit that is configured.
        "RestartUnit ss known-as.service replace",
        "RestartUnit ss aliased.service replace",
        "Subscribe",
    ] {
        allowed(&daemon_asks(&machine, call));
    }
    for call in [
        // Another verb, another unit.
        "StopUnit ss web.service replace",
        "ReloadUnit ss web.service replace",
        "KillUnit ssi web.service all 9",
        "RestartUnit ss helper.service replace",
        "RestartUnit ss other.service replace",
        "RestartUnit ss dbus.service replace",
        "RestartUnit ss stealthcheck.service replace",
        "StartUnit ss rescue.target isolate",
        "ResetFailedUnit s other.service",
        // Names that mean something to grep.
        "RestartUnit ss we..service replace",
        "SetUnitProperties sba(sv) web.service true 1 CPUWeight t 1",
        "StartTransientUnit ssa(sv)a(sa(sv)) own.service replace 0 0",
        // The whole machine.
        "Reload",
        "Reexecute",
        "ResetFailed",
        "EnableUnitFiles asbb 1 other.service false true",
        "DisableUnitFiles asb 1 web.service false",
        "MaskUnitFiles asbb 1 web.service false true",
        "LinkUnitFiles asbb 1 /var/lib/stealthcheck/own.service false true",
        "SetDefaultTarget sb rescue.target true",
        "SetEnvironment as 1 LD_PRELOAD=/var/lib/stealthcheck/own.so",
        "PowerOff",
        "Reboot",
    ] {
        refused(call, || daemon_asks(&machine, call));
    }
    let login = "org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager";
    refused("logind's PowerOff", || call(&machine, "stealthcheck", login, "PowerOff b false"));
    // The list is root's, and so is where it is.
    assert_eq!(machine.sh_ok("stat -c %U:%a /run/stealthcheck.authorized"), "root:644");
    for attempt in [
        "echo 'restart other.service' >>/run/stealthcheck.authorized",
        "rm /run/stealthcheck.authorized",
        "echo >>/etc/stealthcheck/stealthcheck.yaml",
        "stealthctl authorize",
    ] {
        assert!(
            !machine.sh(&format!("runuser -u stealthcheck -- sh -c \"{attempt}\"")).success(),
            "{attempt}"
        );
    }

    // A reload takes the list along; a refused one leaves it.
    machine.configure(&format!("checks:\n{}", check("other", "other.service", 9002, "")));
    machine.sh_ok("systemctl reload stealthcheck");
    allowed(&daemon_asks(&machine, "RestartUnit ss other.service replace"));
    refused("what was configured", || daemon_asks(&machine, "RestartUnit ss web.service replace"));
    machine.configure("checks:\n  web: { unit: web.service, nonsense: 1 }\n");
    assert!(!machine.sh("systemctl reload stealthcheck").success());
    allowed(&daemon_asks(&machine, "RestartUnit ss other.service replace"));
    refused("what a refused file says", || daemon_asks(&machine, "RestartUnit ss web.service replace"));
    machine.configure(&first);
    machine.sh_ok("systemctl reload stealthcheck");

    an_alias_is_recovered(&machine);
    without_polkit_it_tells_and_goes_on(&machine, &web);
}

/// Configured by its alias, killed: the real daemon's real job.
fn an_alias_is_recovered(machine: &Machine) {
    let run = || machine.unit("aliased.service", "InvocationID");
    let before = run();
    machine.sh_ok("systemctl kill -s TERM aliased");
    machine.wait_for("aliased.service to come back", MINUTE, || {
        let now = run();
        (!now.is_empty() && now != before).then_some(())
    });
}

fn without_polkit_it_tells_and_goes_on(machine: &Machine, web: &crate::lab::Victim<'_>) {
    machine.configure(&format!("checks:\n{}", check("web", "web.service", 9001, "")));
    machine.sh_ok("systemctl reload stealthcheck");
    machine.wait_for("web to pass", MINUTE, || machine.sh("stealthctl check web").success().then_some(()));
    machine.sh_ok("systemctl mask --runtime --now polkit");
    let daemon = machine.unit("stealthcheck.service", "MainPID");
    web.fault("hang-once");
    let ended = "MESSAGE_ID=7ed29b6c2f25424395b1a1680245c8f7";
    let told = machine.wait_for("the refusal in the journal", MINUTE, || {
        let entries = machine.journal_entries(&[ended, "STEALTHCHECK_CHECK=web"]);
        entries.into_iter().find_map(|entry| {
            let message = entry["MESSAGE"].as_str().unwrap_or_default();
            message.contains("refused").then(|| message.to_owned())
        })
    });
    assert!(told.contains("systemd does not let stealthcheck restart web.service"), "{told}");
    assert!(told.contains("systemctl status polkit"), "{told}");
    assert_eq!(web.status(), 0, "who has restarted it?");
    let shown = machine.run(&["stealthctl", "status", "web"]);
    assert!(shown.stdout.contains("does not let stealthcheck restart web.service"), "{shown}");
    // polkit is back, and so is web: by the same daemon's next attempt.
    machine.sh_ok("systemctl unmask --runtime polkit && systemctl start polkit");
    machine.wait_for("web to be recovered", MINUTE, || (web.status() == 200).then_some(()));
    assert_eq!(machine.unit("stealthcheck.service", "MainPID"), daemon);
}

#[test]
fn everybody_may_look_and_only_root_may_direct() {
    let machine = Machine::boot("rights-users");
    machine.victim("web", 9001);
    machine.install_deb();
    machine.configure(&format!("checks:\n{}", check("web", "web.service", 9001, "")));
    machine.start_stealthcheck();
    machine.sh_ok("useradd --create-home somebody");

    let somebody = |call: &str| user_asks(&machine, "somebody", OURS, call);
    allowed(&somebody("GetStatus asb 0 true"));
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

    for call in [
        "Check s web",
        "Pause st web 60",
        "Resume s web",
        "Reload",
        "SendTestMail as 0",
        "Hold ssst web me why 60",
        "Release s web",
    ] {
        refused(call, || somebody(call));
    }
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
    allowed(&user_asks(&machine, "root", OURS, "Pause st web 60"));
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

    // Nobody else can take its place, not even while it is empty.
    machine.sh_ok("systemctl stop stealthcheck");
    let bus = "org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus";
    let takes = |user: &str| call(&machine, user, bus, "RequestName su io.iobio.Stealthcheck1 0");
    for user in ["somebody", "nobody", "root"] {
        refused(user, || takes(user));
    }
    allowed(&takes("stealthcheck"));
}
