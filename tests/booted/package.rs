//! The package on a fresh Debian: installed, configured, reloaded, upgraded, removed.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::guarding::shown;
use crate::lab::{MAIL_YAML, MINUTE, Machine, Output, Victim, deb};

/// A check that looks often, on a victim of that name.
fn check(name: &str, port: u16, more: &str) -> String {
    format!(
        "  {name}: {{ unit: {name}.service, http: {{ url: \"http://127.0.0.1:{port}/\" }}, interval: 500ms, \
         timeout: 200ms, retry_interval: 100ms{more} }}\n"
    )
}

fn status_of(machine: &Machine, name: &str) -> Value {
    let status = machine.status_json();
    let found = status["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check {name} in {status:#}")).clone()
}

fn is(machine: &Machine, name: &str, health: &str) -> Option<Value> {
    let check = status_of(machine, name);
    let has = shown(&check) == health;
    has.then_some(check)
}

/// What the daemon itself has said since the unit's present (or last) start, a message each.
fn said(machine: &Machine) -> Vec<String> {
    let invocation = machine.unit("stealthcheck.service", "InvocationID");
    let entries = machine.journal_entries(&[&format!("_SYSTEMD_INVOCATION_ID={invocation}")]);
    entries.iter().map(|entry| entry["MESSAGE"].as_str().unwrap_or_default().to_owned()).collect()
}

fn fails_with(output: &Output, code: i32) -> String {
    assert_eq!(output.code, code, "{output}");
    format!("{}{}", output.stdout, output.stderr)
}

#[test]
fn a_fresh_installation_says_what_to_write() {
    let machine = Machine::boot("package-fresh");
    machine.install_deb();
    assert_eq!(machine.sh("systemctl is-enabled stealthcheck.service").stdout, "disabled\n");
    assert_eq!(machine.unit("stealthcheck.service", "ActiveState"), "inactive");
    assert_eq!(machine.sh_ok("systemctl --failed --no-legend --plain; dpkg --audit"), "");
    assert_eq!(
        machine.sh_ok("dpkg-query -W -f '${Conffiles}' stealthcheck | cut -d' ' -f2"),
        "/etc/stealthcheck/stealthcheck.yaml"
    );
    for page in
        ["man1/stealthctl.1", "man5/stealthcheck.yaml.5", "man7/stealthcheck-import.7", "man8/stealthcheck.8"]
    {
        machine.sh_ok(&format!("zcat /usr/share/man/{page}.gz | grep -q '^\\.SH NAME'"));
    }
    assert_eq!(
        machine.sh_ok("stat -c %a:%U /etc/stealthcheck/credentials /etc/stealthcheck/conf.d"),
        "700:root\n755:root"
    );
    let text = fails_with(&machine.sh("stealthctl status"), 4);
    assert!(text.contains("systemctl enable --now stealthcheck"), "{text}");

    machine.sh_ok("systemctl enable --now stealthcheck");
    assert_eq!(machine.sh_ok("systemctl is-enabled stealthcheck.service"), "enabled");
    let journal = machine.sh_ok("journalctl -u stealthcheck -o cat");
    assert!(journal.contains("nothing is monitored yet: add checks"), "{journal}");
    assert!(journal.contains("/etc/stealthcheck/stealthcheck.yaml"), "{journal}");
    let loud = machine.journal_entries(&["-u", "stealthcheck.service", "-p", "warning"]);
    assert!(loud.is_empty(), "{loud:#?}");
    let status = machine.sh_ok("stealthctl status");
    assert!(status.starts_with("No check is configured"), "{status}");
    assert!(status.contains("Add checks to /etc/stealthcheck/stealthcheck.yaml"), "{status}");
    assert!(machine.sh_ok("stealthctl validate").starts_with("OK: 0 checks"));
    assert_eq!(machine.unit("stealthcheck.service", "StatusText"), "no checks configured");
    assert_eq!(machine.sh_ok("cat /run/stealthcheck.authorized"), "");

    it_has_no_privileges(&machine);
    units_are_what_systemd_expects(&machine);
}

fn it_has_no_privileges(machine: &Machine) {
    let pid = machine.unit("stealthcheck.service", "MainPID");
    let process = machine.read(&format!("/proc/{pid}/status"));
    let field = |name: &str| {
        let line = process.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches(':').split_whitespace().next().unwrap_or_default().to_owned()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Seccomp"), "2");
    let uid = machine.sh_ok("id -u stealthcheck");
    assert_ne!(uid, "0");
    assert_eq!(field("Uid"), uid);
    assert_eq!(machine.sh_ok("id -nG stealthcheck"), "stealthcheck", "the account itself is in no group");
}

fn units_are_what_systemd_expects(machine: &Machine) {
    // The samples from where the package has them, to where they say they belong.
    machine.sh_ok(
        "cd /usr/share/doc/stealthcheck/examples && cp *.service *.path *.timer /etc/systemd/system/
         for program in /usr/local/bin/fibridge-proxy-rs /usr/local/bin/quarantest /usr/bin/node /usr/bin/certbot; do
             [ -e $program ] || ln -s /bin/true $program
         done",
    );
    // (There are no manual pages in the guest but ours, and no man.)
    let output = machine.sh(
        "cd /etc/systemd/system && samples=$(cd /usr/share/doc/stealthcheck/examples && ls *.service *.path *.timer) &&
         systemd-analyze verify --man=no stealthcheck.service $samples 2>&1",
    );
    assert_eq!((output.code, output.stdout.as_str()), (0, ""), "systemd-analyze verify");
    // A word that systemd does not know is told where the unit is loaded.
    let told = machine.journal_entries(&[
        "_PID=1",
        "--grep",
        "Unknown (key|section|lvalue)|Failed to parse|Invalid",
    ]);
    assert!(told.is_empty(), "{told:#?}");
    let text = machine.sh_ok("systemd-analyze security --no-pager stealthcheck.service");
    let exposure =
        text.lines().find_map(|line| line.split_once("Overall exposure level for stealthcheck.service:"));
    let number = exposure.and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or_default();
    println!("systemd-analyze security: {number}");
    let number: f64 = number.parse().unwrap_or_else(|_| panic!("no number:\n{text}"));
    assert!(number <= 1.5, "{text}");
}

#[test]
fn a_reload_is_all_or_nothing() {
    let machine = Machine::boot("package-reload");
    machine.smtp();
    machine.victim("web", 9001);
    machine.victim("other", 9002);
    machine.install_deb();
    machine.configure(&format!("{MAIL_YAML}checks:\n{}", check("web", 9001, "")));
    machine.start_stealthcheck();
    let before = machine.wait_for("web to pass", MINUTE, || is(&machine, "web", "passing"));
    machine.sh_ok("stealthctl pause web --for 2h");
    let paused = status_of(&machine, "web");

    // A good file: what is new appears, and what is as it was has its state.
    let good = format!("{MAIL_YAML}checks:\n{}{}", check("web", 9001, ""), check("other", 9002, ""));
    machine.configure(&good);
    machine.sh_ok("systemctl reload stealthcheck");
    machine.wait_for("the new check to pass", MINUTE, || is(&machine, "other", "passing"));
    let web = status_of(&machine, "web");
    assert_eq!(web["suppressed_by"], paused["suppressed_by"]);
    assert_eq!(web["since"], paused["since"]);
    let first = |check: &Value| check["history"][0]["first"].as_i64();
    assert!(first(&before).is_some());
    assert_eq!(first(&web), first(&before), "it has forgotten what it saw");
    machine.sh_ok("stealthctl resume web");

    // A bad one: refused as a whole, everywhere, and what was in force stays.
    machine.configure(&format!(
        "{MAIL_YAML}checks:\n  web: {{ unit: web.service, http: {{ url: \"http://127.0.0.1:9001/\" }}, intervall: 1s }}\n  \
         third: {{ unit: nonsense }}\n  fourth: {{ interval: 30 }}\n"
    ));
    let list = machine.read("/run/stealthcheck.authorized");
    let problems = fails_with(&machine.sh("stealthctl validate"), 78);
    let problems: Vec<&str> =
        problems.lines().filter(|line| line.starts_with("/etc/stealthcheck/stealthcheck.yaml:")).collect();
    assert!(problems.len() >= 3, "{problems:?}");
    // Twice, for the second time is no news to anybody's mailbox.
    for _ in 0..2 {
        assert!(!machine.sh("systemctl reload stealthcheck").success());
    }
    let text = fails_with(&machine.sh("stealthctl reload"), 78);
    let journal = said(&machine);
    let status = machine.status_json();
    for problem in &problems {
        assert!(text.contains(problem), "stealthctl reload does not tell {problem}");
        assert!(
            journal.iter().any(|line| line == problem),
            "the journal does not tell {problem}: {journal:#?}"
        );
        let refused = status["configuration"]["refused"][1].as_array().unwrap();
        assert!(refused.iter().any(|line| line == problem), "{refused:?}");
    }
    assert_eq!(status["checks"].as_array().unwrap().len(), 2);
    assert_eq!(machine.read("/run/stealthcheck.authorized"), list);
    let shown = machine.sh_ok("stealthctl status");
    assert!(
        shown.contains("The configuration was rejected") && shown.contains("the running configuration"),
        "{shown}"
    );
    machine.sh_ok("stealthctl check web other");
    let mail = machine.mails(1).remove(0);
    assert!(mail.subject().contains("the configuration was rejected"), "{}", mail.subject());
    assert!(problems.iter().all(|problem| mail.body.contains(problem)), "{}", mail.body);

    // A good one again: forgotten.
    machine.configure(&good);
    machine.sh_ok("systemctl reload stealthcheck");
    let status = machine.status_json();
    assert_eq!(status["configuration"]["refused"], Value::Null);
    assert!(!machine.sh_ok("stealthctl status").contains("rejected"));
    assert_eq!(status["mail"]["queued"], 0);
    machine.sh_ok("stealthctl test-mail");
    let subjects: Vec<String> = machine.mails(2).iter().map(|mail| mail.subject().to_owned()).collect();
    assert_eq!(subjects.len(), 2, "{subjects:?}");

    a_new_password_wants_a_restart(&machine);
    a_bad_file_at_the_start(&machine, &good);
}

fn a_new_password_wants_a_restart(machine: &Machine) {
    machine.sh_ok(
        "for realm in smtp.example.org example.org; do
             echo another | saslpasswd2 -p -c -u $realm alerts
         done
         printf another >/etc/stealthcheck/credentials/smtp-password
         systemctl reload stealthcheck",
    );
    let output = machine.sh("stealthctl test-mail");
    assert_eq!(output.code, 1, "{output}");
    machine.sh_ok("systemctl restart stealthcheck && stealthctl test-mail");
}

fn a_bad_file_at_the_start(machine: &Machine, good: &str) {
    machine.configure("checks:\n  web: { unit: web.service, evry: 1s }\n");
    // As on a machine that never had a valid one.
    machine.sh_ok("rm /var/lib/stealthcheck.configuration");
    assert!(!machine.sh("systemctl restart stealthcheck").success());
    // At rest, and not waiting for the next of many restarts.
    let unit = |property: &str| machine.unit("stealthcheck.service", property);
    assert_eq!((unit("ActiveState"), unit("SubState")), ("failed".to_owned(), "failed".to_owned()));
    assert_eq!((unit("ExecMainStatus"), unit("NRestarts")), ("78".to_owned(), "0".to_owned()));
    // (Of a process that has ended, a busy journald does not know the run any more.)
    let journal = machine.journal_entries(&["-t", "stealthcheck"]);
    let told = |text: &str| {
        journal.iter().any(|entry| entry["MESSAGE"].as_str().is_some_and(|line| line.contains(text)))
    };
    assert!(told("/etc/stealthcheck/stealthcheck.yaml:2: checks.web.evry: "), "{journal:#?}");
    assert!(told("did you mean `interval`"), "{journal:#?}");
    assert!(told("nothing is monitored until they are corrected"), "{journal:#?}");
    machine.configure(good);
    machine.sh_ok("systemctl start stealthcheck");
    machine.wait_for("web to pass", MINUTE, || is(machine, "web", "passing"));
}

/// The package again with a higher version and another default configuration, as a new release has it.
fn released_anew(directory: &Path, version: &str) -> PathBuf {
    let (tree, file) = (directory.join(version), directory.join(format!("{version}.deb")));
    let script = r##"
        dpkg-deb -R "$1" "$2"
        sed -i "s/^Version: .*/Version: $4/" "$2/DEBIAN/control"
        echo "# $4 has this line" >>"$2/etc/stealthcheck/stealthcheck.yaml"
        dpkg-deb --root-owner-group -Zgzip -z1 -b "$2" "$3"
    "##;
    let output = Command::new("sh")
        .args(["-euc", script, "sh"])
        .args([deb().as_path(), &tree, &file])
        .arg(version)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file
}

/// Until the same moment; counting on the monotonic clock may cost it a millisecond.
fn still_paused(now: &Value, before: &Value) {
    let until = |check: &Value| {
        check["suppressed_by"]["until"].as_i64().unwrap_or_else(|| panic!("not paused: {check}"))
    };
    assert!((until(now) - until(before)).abs() < 1000, "{now} {before}");
}

fn upgrade(machine: &Machine, file: &Path, version: &str) -> String {
    machine.push(file, "/root/new.deb");
    let output = machine.sh_ok(
        "DEBIAN_FRONTEND=noninteractive apt-get install -y -o Dpkg::Options::=--force-confold /root/new.deb 2>&1",
    );
    assert_eq!(
        machine.sh_ok("dpkg-query -W -f '${Version} ${db:Status-Status}' stealthcheck"),
        format!("{version} installed")
    );
    assert_eq!(machine.sh_ok("systemctl --failed --no-legend --plain"), "");
    output
}

#[test]
fn an_upgrade_goes_on_where_the_old_version_was() {
    let machine = Machine::boot("package-upgrade");
    let directory = tempfile::tempdir().unwrap();
    machine.smtp();
    let web = machine.victim("web", 9001);
    machine.victim("other", 9002);
    machine.install_deb();
    let edited =
        format!("{MAIL_YAML}checks:\n{}{}", check("web", 9001, ", recover: none"), check("other", 9002, ""));
    machine.configure(&edited);
    machine.sh_ok("systemctl enable --now stealthcheck");
    web.fault("500");
    machine.sh_ok("stealthctl pause other --for 3h");
    let down = machine.wait_for("web to be down", MINUTE, || is(&machine, "web", "down"));
    let paused = status_of(&machine, "other");
    machine.mails(1);
    let pid = machine.unit("stealthcheck.service", "MainPID");

    upgrade(&machine, &released_anew(directory.path(), "9.1"), "9.1");
    assert_eq!(machine.unit("stealthcheck.service", "ActiveState"), "active");
    assert_ne!(machine.unit("stealthcheck.service", "MainPID"), pid, "the old program still runs");
    assert_eq!(machine.sh_ok("systemctl is-enabled stealthcheck"), "enabled");
    assert_eq!(machine.read("/etc/stealthcheck/stealthcheck.yaml"), edited);
    let now = machine.wait_for("web to be down", MINUTE, || is(&machine, "web", "down"));
    assert_eq!(now["incident"]["id"], down["incident"]["id"]);
    assert_eq!(now["incident"]["since"], down["incident"]["since"]);
    still_paused(&status_of(&machine, "other"), &paused);
    web.heal();
    machine.wait_for("web to pass", MINUTE, || is(&machine, "web", "passing"));
    let mails = machine.mails(2);
    let subjects: Vec<&str> = mails.iter().map(|mail| mail.subject()).collect();
    assert_eq!(subjects.len(), 2, "{subjects:?}");
    assert_eq!(mails[1].header("In-Reply-To"), mails[0].header("Message-ID"), "{subjects:?}");

    an_upgrade_with_an_invalid_configuration_goes_on_too(&machine, &web, directory.path(), &edited);

    let paused_again = status_of(&machine, "other");

    // One that somebody has stopped stays so, and so does what it will do at boot.
    machine.sh_ok("systemctl stop stealthcheck");
    upgrade(&machine, &released_anew(directory.path(), "9.2"), "9.2");
    assert_eq!(machine.unit("stealthcheck.service", "ActiveState"), "inactive");
    assert_eq!(machine.sh_ok("systemctl is-enabled stealthcheck"), "enabled");
    machine.sh_ok("systemctl disable stealthcheck");
    upgrade(&machine, &released_anew(directory.path(), "9.3"), "9.3");
    assert_eq!(machine.sh("systemctl is-enabled stealthcheck").stdout, "disabled\n");
    assert_eq!(machine.read("/etc/stealthcheck/stealthcheck.yaml"), edited);
    machine.sh_ok("systemctl start stealthcheck");
    still_paused(&status_of(&machine, "other"), &paused_again);
}

fn an_upgrade_with_an_invalid_configuration_goes_on_too(
    machine: &Machine,
    web: &Victim<'_>,
    directory: &Path,
    good: &str,
) {
    machine.configure("checks:\n  web: { unit: web.service, evry: 1s }\n");
    let output = upgrade(machine, &released_anew(directory, "9.1.1"), "9.1.1");
    for text in [
        "stealthcheck: the configuration has errors; the service runs the last valid one",
        "/etc/stealthcheck/stealthcheck.yaml:2: checks.web.evry: ",
        "systemctl reload stealthcheck",
    ] {
        assert!(output.contains(text), "{output}");
    }
    machine.wait_for("web to pass", MINUTE, || is(machine, "web", "passing"));
    assert!(machine.sh("stealthctl status").stdout.contains("The configuration was rejected"));
    let (run, mails) = (machine.unit("web.service", "InvocationID"), machine.mailbox().len());
    machine.sh_ok("stealthctl resume other");
    let other = Victim::of(machine, "other", 9002);
    machine.wait_for("other to pass", MINUTE, || is(machine, "other", "passing"));
    other.signal("KILL");
    machine.wait_for("other to be restarted", MINUTE, || (other.status() == 200).then_some(()));
    machine.mails(mails + 2);
    assert_eq!(
        machine.unit("web.service", "InvocationID"),
        run,
        "of the invalid file: web.service is not to be touched"
    );
    assert_eq!(web.status(), 200);
    machine.configure(good);
    machine.sh_ok("systemctl reload stealthcheck && stealthctl pause other --for 3h");
}

/// All that is on the machine's disk, but for logs and what dpkg and apt keep.
fn files(machine: &Machine) -> Vec<String> {
    let list = machine.sh_ok(
        "find / -xdev \\( -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log \
         -o -path /root -o -path /proc -o -path /sys \\) -prune -o -print | sort",
    );
    list.lines().map(str::to_owned).collect()
}

#[test]
fn removed_it_keeps_what_is_the_administrators_and_purged_nothing() {
    let machine = Machine::boot("package-remove");
    let before = files(&machine);
    let others = machine.sh_ok("cut -d: -f1 /etc/passwd /etc/group | sort");
    machine.victim("web", 9001);
    machine.install_deb();
    machine.configure(&format!("checks:\n{}", check("web", 9001, "")));
    machine.write("/etc/stealthcheck/conf.d/mine.yaml", "checks: { disk: { command: \"true\" } }\n");
    machine.write("/etc/stealthcheck/credentials/smtp-password", "secret");
    machine.sh_ok(
        "systemctl enable --now stealthcheck && stealthctl pause web --for 2h && stealthctl check disk",
    );

    let apt = |what: &str| {
        machine.sh_ok(&format!("DEBIAN_FRONTEND=noninteractive apt-get {what} -y stealthcheck 2>&1"))
    };
    let gone = |how: &str| {
        assert!(!machine.sh("pgrep -u stealthcheck").success(), "{how}: it still runs");
        assert!(
            !machine.sh_ok("busctl list --no-legend").contains("io.iobio"),
            "{how}: the name is still owned"
        );
        // (In the directory left out systemd forgets the LogExtraFields= of units that it unloads in a reload.)
        let run = machine.sh_ok("find /run -path /run/systemd/units -prune -o -name '*stealthcheck*' -print");
        assert_eq!(run, "", "{how}");
        assert_eq!(machine.sh_ok("systemctl --failed --no-legend --plain"), "", "{how}");
        let unit = machine.unit("stealthcheck.service", "LoadState");
        assert!(unit == "not-found" || unit == "masked", "{how}: {unit}");
    };
    apt("remove");
    gone("removed");
    let left: Vec<String> = files(&machine)
        .into_iter()
        .filter(|path| path.contains("stealth") && !path.starts_with("/var/lib/systemd/deb-systemd-helper"))
        .collect();
    let (state, others_left): (Vec<_>, Vec<_>) =
        left.into_iter().partition(|path| path.starts_with("/var/lib/stealthcheck"));
    assert!(state.iter().any(|path| path == "/var/lib/stealthcheck/state.json"), "{state:?}");
    let units = |path: &&String| path.starts_with("/etc/systemd/system/");
    let kept: Vec<&String> = others_left.iter().filter(|path| !units(path)).collect();
    assert_eq!(
        kept,
        [
            "/etc/stealthcheck",
            "/etc/stealthcheck/conf.d",
            "/etc/stealthcheck/conf.d/mine.yaml",
            "/etc/stealthcheck/credentials",
            "/etc/stealthcheck/credentials/smtp-password",
            "/etc/stealthcheck/stealthcheck.yaml",
        ]
    );

    // Back again, it is as it was.
    machine.install_deb();
    assert_eq!(machine.sh_ok("systemctl is-enabled stealthcheck"), "enabled");
    machine.sh_ok("systemctl start stealthcheck");
    assert!(is(&machine, "web", "paused").is_some());

    apt("purge");
    gone("purged");
    machine.sh_ok("systemctl disable --now web; rm /etc/systemd/system/web.service /usr/local/lib/victim.py");
    let after = files(&machine);
    let new: Vec<&String> = after.iter().filter(|path| before.binary_search(path).is_err()).collect();
    let missing: Vec<&String> = before.iter().filter(|path| after.binary_search(path).is_err()).collect();
    assert!(new.is_empty() && missing.is_empty(), "new: {new:#?}\nmissing: {missing:#?}");
    let accounts = machine.sh_ok("cut -d: -f1 /etc/passwd /etc/group | grep -vx stealthcheck | sort");
    assert_eq!(accounts, others);
    machine.sh_ok("id stealthcheck");
}
