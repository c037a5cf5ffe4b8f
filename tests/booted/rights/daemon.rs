//! What the daemon's user may ask systemd for: polkit's rules and the list of `stealthctl authorize`.

use std::collections::BTreeSet;

use super::*;
use crate::lab::MINUTE;

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
        "RestartUnit ss ssh.service replace",
        "StopUnit ss sshd.service replace",
        "RestartUnit ss sshd.service replace",
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
    refused("logind's PowerOff", || call_as(&machine, "stealthcheck", login, "PowerOff b false"));
    whatever_systemd_can_do_beside_that_is_refused(&machine);
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

    // A reload takes the list along; a refused one leaves it. What is new is permitted at once, by the list; what is
    // withdrawn until polkitd has read the changed rule.
    machine.configure(&format!("checks:\n{}", check("other", "other.service", 9002, "")));
    machine.sh_ok("systemctl reload stealthcheck");
    allowed(&daemon_asks(&machine, "RestartUnit ss other.service replace"));
    machine.wait_for("what was configured to be refused", AT_ONCE, || {
        (!daemon_asks(&machine, "RestartUnit ss web.service replace").success()).then_some(())
    });
    rule_and_list_each_permit_alone(&machine);
    machine.configure("checks:\n  web: { unit: web.service, nonsense: 1 }\n");
    assert!(!machine.sh("systemctl reload stealthcheck").success());
    allowed(&daemon_asks(&machine, "RestartUnit ss other.service replace"));
    refused("what a refused file says", || daemon_asks(&machine, "RestartUnit ss web.service replace"));
    names_are_compared_as_they_are(&machine);
    machine.configure(&first);
    machine.sh_ok("systemctl reload stealthcheck");

    an_alias_is_recovered(&machine);
    without_polkit_it_tells_and_goes_on(&machine, &web);
}

const RULES: &str = "/etc/polkit-1/rules.d";

/// The rule answers without the list, so that no process is needed; where it cannot be written the list does without it.
fn rule_and_list_each_permit_alone(machine: &Machine) {
    let permitted = || daemon_asks(machine, "RestartUnit ss other.service replace");
    machine.sh_ok("rm /run/stealthcheck.authorized");
    allowed(&permitted());
    refused("without the list", || daemon_asks(machine, "RestartUnit ss web.service replace"));
    let told = || machine.sh_ok("journalctl --no-pager -o cat -u stealthcheck.service");
    let read_again = || {
        machine.sh_ok("journalctl --no-pager -o cat -u polkit.service | grep -c 'Reloading rules' || true")
    };
    let before = read_again();
    machine.sh_ok("stealthctl authorize && systemctl restart stealthcheck");
    assert_eq!(read_again(), before, "polkitd reads its rules again though nothing has changed");
    assert!(!told().contains("cannot be written"), "{}", told());

    machine.sh_ok(&format!("mount -t tmpfs -o ro none {RULES} && systemctl restart polkit"));
    machine.sh_ok("systemctl reload stealthcheck");
    allowed(&permitted());
    refused("without the rule", || daemon_asks(machine, "RestartUnit ss web.service replace"));
    let said = told();
    assert_eq!(
        said.matches(&format!("{RULES}/49-stealthcheck-permitted.rules cannot be written")).count(),
        1,
        "{said}"
    );
    machine.sh_ok(&format!("umount {RULES} && systemctl restart polkit"));
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
            message.contains("does not let").then(|| message.to_owned())
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

/// Methods of systemd's manager that everybody may call: they tell, or are about the caller's own connection.
const OPEN: &[&str] = &[
    "Dump",
    "DumpByFileDescriptor",
    "DumpUnitsMatchingPatterns",
    "DumpUnitsMatchingPatternsByFileDescriptor",
    "GetDefaultTarget",
    "GetDynamicUsers",
    "GetJob",
    "GetJobAfter",
    "GetJobBefore",
    "GetUnit",
    "GetUnitByControlGroup",
    "GetUnitByInvocationID",
    "GetUnitByPID",
    "GetUnitFileLinks",
    "GetUnitFileState",
    "GetUnitProcesses",
    "ListJobs",
    "ListUnitFiles",
    "ListUnitFilesByPatterns",
    "ListUnits",
    "ListUnitsByNames",
    "ListUnitsByPatterns",
    "ListUnitsFiltered",
    "LoadUnit",
    "LookupDynamicUserByName",
    "LookupDynamicUserByUID",
    "Subscribe",
    "UnrefUnit",
    "Unsubscribe",
];

/// All others, each with arguments that would do something: to the unit that the configuration names, where it is a verb
/// that the configuration does not lead to. JOB is a job that the daemon has asked for, of its own unit.
const ACTING: &[&str] = &[
    "AbandonScope s init.scope",
    "AddDependencyUnitFiles asssbb 1 other.service web.service Wants true true",
    "BindMountUnit sssbb web.service /tmp /mnt false false",
    "CancelJob u JOB",
    "CleanUnit sas web.service 1 all",
    "ClearJobs",
    "DisableUnitFiles asb 1 aliased.service true",
    "DisableUnitFilesWithFlags ast 1 aliased.service 1",
    "EnableUnitFiles asbb 1 other.service true true",
    "EnableUnitFilesWithFlags ast 1 other.service 1",
    "EnqueueMarkedJobs",
    "EnqueueUnitJob sss web.service stop replace",
    "Exit",
    "FreezeUnit s web.service",
    "Halt",
    "KExec",
    "KillUnit ssi web.service all 9",
    "LinkUnitFiles asbb 1 /var/lib/stealthcheck/own.service true true",
    "MaskUnitFiles asbb 1 other.service true true",
    "MountImageUnit sssbba(ss) web.service /tmp/image /mnt false false 0",
    "PowerOff",
    "PresetAllUnitFiles sbb full true true",
    "PresetUnitFiles asbb 1 other.service true true",
    "PresetUnitFilesWithMode assbb 1 other.service full true true",
    "Reboot",
    "ReenableUnitFiles asbb 1 aliased.service true true",
    "Reexecute",
    "RefUnit s web.service",
    "Reload",
    "ReloadOrRestartUnit ss web.service replace",
    "ReloadOrTryRestartUnit ss web.service replace",
    "ReloadUnit ss web.service replace",
    "ResetFailed",
    "ResetFailedUnit s other.service",
    "RestartUnit ss other.service replace",
    "RevertUnitFiles as 1 aliased.service",
    "SetDefaultTarget sb rescue.target true",
    "SetEnvironment as 1 LD_PRELOAD=/var/lib/stealthcheck/own.so",
    "SetExitCode y 1",
    "SetShowStatus s no",
    "SetUnitProperties sba(sv) web.service true 1 CPUWeight t 1",
    "StartTransientUnit ssa(sv)a(sa(sv)) own.service replace 0 0",
    "StartUnit ss other.service replace",
    "StartUnitReplace sss slow.service other.service replace",
    "StartUnitWithFlags sst other.service replace 0",
    "StopUnit ss web.service replace",
    "SwitchRoot ss /mnt /sbin/init",
    "ThawUnit s web.service",
    "TryRestartUnit ss web.service replace",
    "UnmaskUnitFiles asb 1 other.service true",
    "UnsetAndSetEnvironment asas 1 PATH 1 LD_PRELOAD=/var/lib/stealthcheck/own.so",
    "UnsetEnvironment as 1 PATH",
];

/// One that polkit is not asked about: systemd lets nobody move processes into a unit but its own user, and only where
/// the unit was made for it (`Delegate=`).
const NEVER: &str = "AttachProcessesToUnit ssau web.service / 0";

/// Not a sample of methods but all that this systemd has: one that a later systemd adds is to be looked at here first.
fn whatever_systemd_can_do_beside_that_is_refused(machine: &Machine) {
    machine.service("slow.service", "[Service]\nType=oneshot\nExecStart=sleep infinity\n");
    machine.sh_ok("systemctl start --no-block slow.service");
    let job = machine.sh_ok("systemctl list-jobs --no-legend --plain slow.service | cut -d' ' -f1");
    let methods = machine.sh_ok(
        "busctl introspect org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager |
         sed -n 's/^\\.\\([A-Za-z]*\\) *method .*/\\1/p'",
    );
    let there: BTreeSet<&str> = methods.lines().collect();
    let acting = ACTING.iter().chain([&NEVER]).map(|call| call.split(' ').next().unwrap());
    let known: BTreeSet<&str> = OPEN.iter().copied().chain(acting).collect();
    let unknown: Vec<_> = there.symmetric_difference(&known).collect();
    assert!(
        unknown.is_empty(),
        "methods of systemd that this test or this systemd does not know: {unknown:?}"
    );

    // One script for all of them, as each run in the guest has its price.
    let calls: String = ACTING.iter().map(|call| call.replace("JOB", &job) + "\n").collect();
    machine.write("/root/calls", &calls);
    let units = || {
        machine.sh_ok(
            "systemctl show -P ActiveState -P InvocationID -P MainPID web.service other.service slow.service;
             systemctl is-enabled aliased.service other.service; systemctl get-default; systemctl show-environment",
        )
    };
    let before = units();
    let answers = machine.sh_ok(
        "while read -r call; do
             answer=$(runuser -u stealthcheck -- busctl --timeout=20 call org.freedesktop.systemd1 \
                 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager $call 2>&1 </dev/null)
             echo \"$? $answer <- $call\"
         done </root/calls",
    );
    let done: Vec<&str> =
        answers.lines().filter(|line| !line.starts_with("1 Call failed: Access denied")).collect();
    assert!(done.is_empty(), "{done:#?}");
    assert_eq!(answers.lines().count(), ACTING.len(), "{answers}");
    let moved = daemon_asks(machine, NEVER);
    assert!(!moved.success(), "{moved}");
    assert_eq!(units(), before);
    // The same by the unit's own object.
    for (unit, call, may) in [
        ("web_2eservice", "Restart s replace", true),
        ("web_2eservice", "Stop s replace", false),
        ("web_2eservice", "Kill si all 9", false),
        ("web_2eservice", "SetProperties ba(sv) true 1 CPUWeight t 1", false),
        ("other_2eservice", "Restart s replace", false),
        ("other_2eservice", "ResetFailed", false),
        ("slow_2eservice", "Stop s replace", false),
    ] {
        let object = format!("org.freedesktop.systemd1 /org/freedesktop/systemd1/unit/{unit}");
        let asked =
            || call_as(machine, "stealthcheck", &format!("{object} org.freedesktop.systemd1.Unit"), call);
        if may { allowed(&asked()) } else { refused(call, asked) }
    }
    let job =
        format!("org.freedesktop.systemd1 /org/freedesktop/systemd1/job/{job} org.freedesktop.systemd1.Job");
    refused("Cancel of a job", || call_as(machine, "stealthcheck", &job, "Cancel"));
    machine.sh_ok("systemctl stop slow.service");
}

/// Instances, escaped names, parts of names and names that a pattern would match.
fn names_are_compared_as_they_are(machine: &Machine) {
    let sleeps = "[Service]\nExecStart=sleep infinity\n";
    for name in ["web@.service", r"odd\x2dname.service", "odd-name.service", "eb.service", "my-web.service"] {
        machine.service(name, sleeps);
    }
    for name in ["web.service.service", "webXservice.service", "oddx2dname.service", "-rf.service"] {
        machine.service(name, sleeps);
    }
    // (As YAML in single quotes has it, where a backslash is a backslash.)
    machine.configure(&format!(
        "checks:\n{}  one: {{ unit: 'web@one.service' }}\n  odd: {{ unit: 'odd\\x2dname.service' }}\n",
        check("web", "web.service", 9001, "")
    ));
    machine.sh_ok("systemctl reload stealthcheck");
    let restart = |name: &str| {
        let manager =
            ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];
        let user = ["runuser", "-u", "stealthcheck", "--", "busctl", "call"];
        machine.run(&[&user[..], &manager, &["--", "RestartUnit", "ss", name, "replace"]].concat())
    };
    for name in ["web.service", "web@one.service", r"odd\x2dname.service"] {
        allowed(&restart(name));
    }
    for name in [
        "eb.service",
        "my-web.service",
        "web.service.service",
        "webXservice.service",
        "web@two.service",
        "web@on.service",
        "web@one.service.service",
        r"web@one\x2eservice.service",
        "odd-name.service",
        "oddx2dname.service",
        r"odd\x2dnamex.service",
        "-rf.service",
    ] {
        refused(name, || restart(name));
    }
    // What is no unit's name, systemd itself refuses: a template, a pattern, two lines.
    for name in
        ["web@.service", "web*.service", "we?.service", "web.service\nrestart other.service", "", "web"]
    {
        let output = restart(name);
        assert!(!output.success(), "{name:?}: {output}");
    }
    assert_eq!(machine.unit("other.service", "NRestarts"), "0");
}
