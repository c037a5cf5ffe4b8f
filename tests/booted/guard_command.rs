//! Commands as probes: run by systemd, in a sandbox, under a deadline; what they say, and whom they may hurt.

use std::time::Duration;

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread};
use crate::lab::{MINUTE, Machine, Output};

/// A command that says what a file says: a status and a line.
const SAYS: &str =
    "#!/bin/sh\nread -r status line <\"$1\"\necho \"checked $1\"\necho \"$line\"\nexit \"$status\"\n";

impl Machine {
    /// What the check saw last.
    fn saw(&self, name: &str) -> String {
        let seen = self.check(name)["last"]["observation"].clone();
        let text = seen["detail"].as_str().or(seen["reason"].as_str()).unwrap_or_default();
        format!("{}: {text}", seen["verdict"].as_str().unwrap_or_default())
    }

    /// Has the check look until it sees this.
    fn sees(&self, name: &str, what: &str) {
        self.wait_for(&format!("{name} to see '{what}'"), MINUTE, || {
            self.sh(&format!("stealthctl check {name}"));
            self.saw(name).contains(what).then_some(())
        });
    }

    /// What the check's command has said in its last run, the journal says.
    fn output_of(&self, name: &str) -> String {
        let run = self.unit(&probe(name), "InvocationID");
        self.sh_ok(&format!("journalctl --sync; journalctl --no-pager -o cat _SYSTEMD_INVOCATION_ID={run}"))
    }

    /// The processes in the unit of the check's command.
    fn processes_of(&self, name: &str) -> Vec<u32> {
        let group = self.unit(&probe(name), "ControlGroup");
        if group.is_empty() {
            return Vec::new();
        }
        let list = self.sh(&format!("cat /sys/fs/cgroup'{group}'/cgroup.procs"));
        list.stdout.lines().filter_map(|line| line.parse().ok()).collect()
    }

    fn lives(&self, process: u32) -> bool {
        self.sh(&format!("test -d /proc/{process}")).success()
    }

    /// Calls a method of systemd's manager as the daemon's user does.
    fn daemon_calls(&self, method_and_arguments: &str) -> Output {
        self.sh(&format!(
            "runuser -u stealthcheck -- busctl call --allow-interactive-authorization=no org.freedesktop.systemd1 \
             /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager {method_and_arguments}"
        ))
    }

    /// A program of the administrator's.
    fn program(&self, name: &str, text: &str) {
        self.write(&format!("/usr/local/bin/{name}"), text);
        self.sh_ok(&format!("chmod 755 /usr/local/bin/{name}"));
    }
}

fn probe(name: &str) -> String {
    format!("stealthcheck-probe@{name}.service")
}

#[test]
fn a_command_is_a_probe_like_any_other() {
    let machine = Machine::ready("guard-command");
    machine.victim("web", 9001);
    machine.victim("other", 9002);
    machine.program("check_says", SAYS);
    machine.write("/srv/web", "0 THING OK - all 7 are there\n");
    machine.guard(
        "  web: { unit: web.service, command: check_says /srv/web, interval: 10s, retry_interval: 500ms, failure_threshold: 2, timeout: 10s }\n  \
         other: { unit: other.service, command: [check_nosuch, -w, '5'], interval: 10s, failure_threshold: 1, timeout: 10s }\n  \
         odd.name@x:y_z-0: { command: [printf, '%s\\033[1m \\134 %s', it is, \"'42'\"] }\n",
    );
    machine.becomes("web", "passing");
    assert_eq!(machine.saw("web"), "passing: THING OK - all 7 are there");
    machine.sees("odd.name@x:y_z-0", "passing: it is\\u{1b}[1m \\ '42'");
    let checked = machine.sh("stealthctl check web");
    assert!(checked.success(), "{checked}");
    assert_has(&checked.stdout, &["web: THING OK - all 7 are there in "]);
    assert_has(&machine.sh("stealthctl status web").stdout, &["web: command check_says\n"]);

    // Not well: the unit is restarted, somebody is told what the command said, and nothing else is called failed for it.
    let before = machine.unit("web.service", "InvocationID");
    machine.write("/srv/web", "2 THING CRITICAL - 3 of 7\n");
    machine.sees("web", "failing: exited with status 2: THING CRITICAL - 3 of 7");
    let mail = machine.wait_mails("web", 1).remove(0);
    assert_has(&mail.body, &["exited with status 2: THING CRITICAL - 3 of 7", "Probe: command check_says"]);
    machine.wait_told(ids::RECOVERY_ENDED, "web", 1);
    assert_ne!(machine.unit("web.service", "InvocationID"), before);
    // Between two runs.
    machine.wait_for("a whole run in the journal", MINUTE, || {
        let output = machine.output_of("web");
        let status = machine.unit(&probe("web"), "ExecMainStatus");
        (output == "checked /srv/web\nTHING CRITICAL - 3 of 7" && status == "2").then_some(())
    });
    machine.write("/srv/web", "0 THING OK again\n");
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    assert_thread(&machine.wait_mails("web", 2), &["DOWN", "RECOVERED"]);
    assert_eq!(machine.sh_ok("systemctl --failed --no-legend --plain"), "");

    // Its runs do not fill the journal: each is what it says, and nothing of systemd's own.
    let of_manager = machine.journal_entries(&["_PID=1", &format!("UNIT={}", probe("web"))]);
    let loud: Vec<&str> = of_manager.iter().filter_map(|entry| entry["MESSAGE"].as_str()).collect();
    assert!(loud.is_empty(), "{loud:#?}");

    // What cannot be run is no word about the unit.
    machine.sees("other", "unknown: check_nosuch is not found in PATH (/");
    assert!(!machine.sh("stealthctl check other").success());
    assert_eq!(machine.asked("other"), 0);
    assert!(machine.told(ids::INCIDENT_OPENED, "other").is_empty());
    // Neither is a unit that is not there, nor one whose command line is gone, nor one that systemd must not start.
    machine.sh_ok("mv /run/stealthcheck.probes/other /run/other");
    machine.sees("other", "was not given its command line: `systemctl reload stealthcheck` writes it");
    machine.sh_ok(&format!("systemctl mask --runtime {}", probe("other")));
    machine.sees("other", "`systemctl unmask stealthcheck-probe@other.service` permits it again");
    machine.sh_ok(&format!("systemctl unmask --runtime {}", probe("other")));
    machine.sh_ok("mv /usr/lib/systemd/system/stealthcheck-probe@.service /root/ && systemctl daemon-reload");
    machine.sees("other", "systemd knows no stealthcheck-probe@other.service");
    machine.sh_ok("mv /root/stealthcheck-probe@.service /usr/lib/systemd/system/ && systemctl daemon-reload");
    machine.program("check_nosuch", "#!/bin/sh\necho there now\n");
    machine.sh_ok("systemctl reload stealthcheck");
    machine.becomes("other", "passing");
    assert_eq!((machine.asked("other"), machine.mails_about("other").len()), (0, 0));
}

#[test]
fn the_deadline_kills_all_of_a_command_and_no_run_outlives_its_successor() {
    let machine = Machine::ready("guard-command-end");
    let tree = "[sh, -c, 'setsid sleep 1000 & trap \"\" TERM; sleep 1000 & wait; sleep 1000']";
    let background = "[sh, -c, 'sleep 2000 & echo $!']";
    machine.guard(&format!(
        "  tree: {{ command: {tree}, interval: 1h, timeout: 5s, retry_interval: 1h, failure_threshold: 1 }}\n  \
         left: {{ command: {background}, interval: 10s, timeout: 10s }}\n  \
         long: {{ command: [sleep, '3000'], interval: 50s, timeout: 45s }}\n"
    ));
    let said = machine.sh("stealthctl check tree");
    assert_has(&said.stdout, &["tree: no result within 5s, the command was killed"]);
    machine.wait_for("an end to the whole tree", Duration::from_secs(20), || {
        (machine.processes_of("tree").is_empty() && !machine.sh("pgrep -fx 'sleep 1000'").success())
            .then_some(())
    });
    assert_thread(&machine.wait_mails("tree", 1), &["DOWN"]);

    // What a command leaves in the background does not hold up the verdict, and lives until the next run at most.
    machine.becomes("left", "passing");
    let left = machine.processes_of("left");
    assert!(!left.is_empty());
    machine.sh_ok("stealthctl check left");
    assert!(left.iter().all(|process| !machine.lives(*process)), "{left:?}");

    // The daemon dies in the middle of a run: the next run ends that one.
    let check = || machine.sh_ok("systemd-run --collect -q stealthctl check long");
    let running = |what: &str, not: u32| {
        machine.wait_for(what, MINUTE, || {
            let process = machine.unit(&probe("long"), "MainPID").parse().unwrap_or(0);
            (process != 0 && process != not).then_some(process)
        })
    };
    check();
    let first = running("a run of long", 0);
    let daemon = machine.daemon();
    machine.sh_ok("systemctl kill -s KILL stealthcheck");
    machine.daemon_after(daemon);
    check();
    let second = running("another run of long", first);
    assert!(!machine.lives(first));
    assert_eq!(machine.sh_ok("pgrep -fxc 'sleep 3000'"), "1");
    // One that is not configured any more is ended with its check.
    machine.configure("checks:\n  left: { command: \"true\" }\n");
    machine.sh_ok("systemctl reload stealthcheck");
    machine.wait_for("the end of long", MINUTE, || (!machine.lives(second)).then_some(()));
    assert_eq!(machine.sh_ok("ls /run/stealthcheck.probes"), "left");
    // And all of them with the service, if it is stopped.
    machine.configure("checks:\n  long: { command: [sleep, '3000'], interval: 50s, timeout: 45s }\n");
    machine.sh_ok("systemctl reload stealthcheck");
    check();
    let third = running("a third run of long", 0);
    machine.sh_ok("systemctl stop stealthcheck");
    machine.wait_for("the end of long", MINUTE, || (!machine.lives(third)).then_some(()));
}

/// Looks at everything that is not its own.
const SPY: &str = r#"#!/bin/sh
try() { "$@" >/dev/null 2>&1 && echo "can: $*" || echo "cannot: $*"; }
echo "user: $(id -u)"
echo "can: look"
try touch /etc/spy
try touch /root/spy
try cat /etc/of-adm
try touch /var/lib/spy
try cat /root/secret
try ls /run/stealthcheck.probes
try cat /run/stealthcheck.probes/victim
try ls /run/credentials/stealthcheck-probe@victim.service
for process in $(pgrep -fx 'sleep 4000'); do
    echo "found: the victim"
    for file in root/etc environ fd/0 cwd/etc; do
        cat /proc/$process/$file >/dev/null 2>&1 || ls /proc/$process/$file/ >/dev/null 2>&1 && echo "can: $file of the victim"
    done
done
grep -q 'CapEff:.*0000000000000000' /proc/self/status && echo "no capabilities"
exit 0
"#;

#[test]
fn a_command_is_in_a_sandbox_which_a_drop_in_loosens() {
    let machine = Machine::ready("guard-command-box");
    machine.sh_ok("useradd -m somebody; echo secret >/root/secret; install -m 640 -g adm /root/secret /etc/of-adm; mkdir -p /etc/tokens; echo t0ken >/etc/tokens/a; chmod 600 /etc/tokens/a");
    machine.program("spy", SPY);
    machine.program("check_secret", "#!/bin/sh\necho \"$# argument\"\n");
    machine.program("check_token", "#!/bin/sh\ncat \"$CREDENTIALS_DIRECTORY/token\" || exit 1\n");
    let checks = "  victim: { command: [sleep, '4000'], interval: 200s, timeout: 190s }\n  \
                    spy: { command: spy, interval: 1h, timeout: 1m }\n  \
                    token: { command: check_token, timeout: 20s, failure_threshold: 1000 }\n  \
                    secret: { command: [check_secret, --password=s3cret-argument], timeout: 20s }\n";
    // The daemon must be able to read the file, and nobody else.
    machine.sh_ok("chown root:stealthcheck /etc/stealthcheck/stealthcheck.yaml; chmod 640 /etc/stealthcheck/stealthcheck.yaml");
    machine.guard(checks);
    machine.service(
        "stealthcheck-probe@victim.service.d/token.conf",
        "[Service]\nLoadCredential=token:/etc/tokens/a\n",
    );
    machine.sh_ok("systemd-run --collect -q stealthctl check victim");
    machine.wait_for("the victim to run", MINUTE, || {
        machine.sh("pgrep -fx 'sleep 4000'").success().then_some(())
    });
    machine.sh_ok("stealthctl check spy");
    let found = machine.output_of("spy");
    let user: u32 = found.lines().find_map(|line| line.strip_prefix("user: ")).unwrap().parse().unwrap();
    assert!((61184..=65519).contains(&user), "no dynamic user (systemd.exec(5)): {user}");
    assert_has(&found, &["found: the victim", "no capabilities"]);
    let can: Vec<&str> = found.lines().filter(|line| line.starts_with("can:")).collect();
    assert_eq!(can, ["can: look"], "{found}");

    // Root's list is the daemon's leash: this unit and no other, these two verbs and no other.
    for call in [
        "RestartUnit ss stealthcheck-probe@spy.service replace",
        "StopUnit ss stealthcheck-probe@spy.service replace",
    ] {
        let output = machine.daemon_calls(call);
        assert!(output.success(), "{call}: {output}");
    }
    for call in [
        "RestartUnit ss stealthcheck-probe@other.service replace",
        "StopUnit ss stealthcheck-probe@other.service replace",
        "StartUnit ss stealthcheck-probe@spy.service replace",
        "KillUnit ssi stealthcheck-probe@spy.service all 9",
        "SetUnitProperties sba(sv) stealthcheck-probe@spy.service true 1 CPUWeight t 1",
    ] {
        let output = machine.daemon_calls(call);
        assert!(!output.success(), "{call}: {output}");
    }

    // A drop-in gives it what it needs: a password, or everything.
    machine.sees("token", "exited with status 1");
    let drop_in = |name: &str, text: &str| {
        machine.service(
            &format!("stealthcheck-probe@{name}.service.d/loose.conf"),
            &format!("[Service]\n{text}\n"),
        );
    };
    drop_in("token", "LoadCredential=token:/etc/tokens/a");
    machine.sees("token", "passing: t0ken");
    drop_in("spy", "SupplementaryGroups=adm");
    machine.sh_ok("stealthctl check spy");
    let found = machine.output_of("spy");
    assert_has(&found, &["can: cat /etc/of-adm\n", "cannot: cat /root/secret\n"]);
    // As the manual has it for a command that is to be root.
    let manual = include_str!("../../packaging/man/stealthcheck.yaml.5");
    let as_root = manual.split("\n    [Service]\n").find(|text| text.contains("User=root")).unwrap();
    drop_in("spy", as_root.split(".EE").next().unwrap());
    machine.sh_ok("stealthctl check spy");
    let found = machine.output_of("spy");
    assert_has(
        &found,
        &["user: 0\n", "can: touch /etc/spy\n", "can: touch /root/spy\n", "can: cat /root/secret\n"],
    );

    // An argument is shown nowhere that outlasts the process.
    machine.sees("secret", "passing: 1 argument");
    for look in [
        "stealthctl status",
        "stealthctl status secret",
        "stealthctl status --json secret",
        "systemctl status stealthcheck-probe@secret.service",
        "systemctl show stealthcheck-probe@secret.service stealthcheck.service",
        "systemctl cat stealthcheck-probe@secret.service",
        "cat /run/stealthcheck.authorized /run/stealthcheck.probes/secret /etc/stealthcheck/stealthcheck.yaml",
    ] {
        let shown = machine.sh(&format!("runuser -u somebody -- {look}"));
        assert!(!shown.to_string().contains("s3cret"), "{look}: {shown}");
    }
    assert!(!machine.sh("journalctl --sync; journalctl -o json | grep -q s3cret-argument").success());
    assert!(!machine.sh("grep -rq s3cret-argument /var/lib/stealthcheck").success());

    let verified = machine.sh("systemd-analyze verify --man=no stealthcheck-probe@secret.service 2>&1");
    assert_eq!((verified.code, verified.stdout.as_str()), (0, ""), "systemd-analyze verify");
    let text = machine.sh_ok("systemd-analyze security --no-pager stealthcheck-probe@secret.service");
    let exposure = text.lines().last().unwrap_or_default();
    println!("{exposure}");
    let number = exposure.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    assert!(number.is_some_and(|number| number <= 2.5), "{text}");
}

#[test]
fn a_users_commands_are_run_by_the_users_own_manager() {
    let machine = Machine::boot("guard-command-user");
    machine.install_deb();
    machine.sh_ok("useradd -m pe && loginctl enable-linger pe");
    let as_pe = |script: &str| {
        machine.sh(&format!(
            "runtime=/run/user/$(id -u pe); exec runuser -u pe -- env XDG_RUNTIME_DIR=$runtime \
             DBUS_SESSION_BUS_ADDRESS=unix:path=$runtime/bus HOME=/home/pe sh -c '{script}'"
        ))
    };
    machine.wait_for("the manager of pe", MINUTE, || {
        as_pe("systemctl --user is-system-running --wait").stdout.contains("running").then_some(())
    });
    machine.write(
        "/home/pe/.config/stealthcheck/stealthcheck.yaml",
        "checks:\n  mine: { command: [sh, -c, \"echo I am $(id -un) && exit 4\"], timeout: 20s, failure_threshold: 1000 }\n  \
         tree: { command: [sh, -c, \"sleep 1000 & sleep 1000\"], interval: 1h, timeout: 5s, retry_interval: 1h }\n",
    );
    machine.sh_ok("chown -R pe: /home/pe");
    let ok = |script: &str| {
        let output = as_pe(script);
        assert!(output.success(), "{script}: {output}");
        output.stdout
    };
    ok("systemctl --user start stealthcheck");
    assert_eq!(
        ok("stat -c %a:%U $XDG_RUNTIME_DIR/stealthcheck.probes $XDG_RUNTIME_DIR/stealthcheck.probes/mine"),
        "700:pe\n600:pe\n"
    );
    assert!(
        !machine.sh("test -e /run/stealthcheck.probes || test -e /run/stealthcheck.authorized").success()
    );
    let saw = |name: &str, what: &str| {
        machine.wait_for(what, MINUTE, || {
            as_pe(&format!("stealthctl --user status {name}")).stdout.contains(what).then_some(())
        });
    };
    saw("mine", "exited with status 4: I am pe");
    saw("tree", "no result within 5s, the command was killed");
    machine
        .wait_for("an end to the tree", MINUTE, || (!machine.sh("pgrep -x sleep").success()).then_some(()));
    let verified = ok("systemd-analyze --user verify --man=no stealthcheck-probe@mine.service 2>&1");
    assert_eq!(verified, "", "systemd-analyze verify");
}
