//! Moving over from the old tool: the examples of its documentation, on a machine with its files, its user and an SSH server.
//! The report's own commands install what was imported, and then everything behaves as it did before.

use serde_json::json;
use stealthcheck::journal::ids;

use crate::guarding::{SECOND, assert_has, assert_thread};
use crate::lab::{MINUTE, Machine, SMTP_PASSWORD};

/// Stands for the programs that the old tool started: a web server that says where it runs and what it was given. Its port is
/// in its arguments, or goes by its name. It answers 500 while there is a file `fault` in its directory.
const SERVER: &str = r#"#!/usr/bin/python3
import http.server, os, sys
name = os.path.basename(sys.argv[0])
ports = [word for word in sys.argv[1:] if word.isdigit()] or [{"service1": "9002", "service2": "9003"}[name]]
print(name, "runs in", os.getcwd(), "as", os.getuid(), "with", sys.argv[1:], flush=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if os.path.exists("fault") else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *arguments):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(ports[0])), Handler).serve_forever()
"#;

/// In the old tool's directory, and written to: as no sandbox would let it.
const CHECKER: &str = "#!/bin/sh\npwd >>checked.txt\nexec curl -sf localhost:9003\n";

const OLD: &str = "/home/ubuntu/stealth1";

/// A machine with an old tool's user, programs and files, and no old tool that runs.
fn machine(name: &str, checks: &serde_json::Value) -> Machine {
    let machine = Machine::ready(name);
    machine.sh_ok(
        "useradd -m -s /bin/bash ubuntu && mkdir -p /home/ubuntu/stealth1 /home/ubuntu/stealth2 &&
         systemctl start ssh.service &&
         su ubuntu -c 'mkdir -m 700 ~/.ssh && ssh-keygen -q -N \"\" -t ed25519 -f ~/.ssh/id_ed25519 &&
             cp ~/.ssh/id_ed25519.pub ~/.ssh/authorized_keys && ssh-keyscan -t ed25519 localhost >~/.ssh/known_hosts'",
    );
    for program in ["stealthcheck", "service1", "service2", "stealth1/web"] {
        machine.write(&format!("/home/ubuntu/{program}"), SERVER);
    }
    machine.write(&format!("{OLD}/custom_checker_script.sh"), CHECKER);
    let config = json!({ "alert_emails": ["ops@example.org"], "smtp": {
        "server": "smtp.example.org", "port": 587, "username": "alerts@example.org", "password": SMTP_PASSWORD,
        "sender": "alerts@example.org" } });
    machine.write(&format!("{OLD}/config.json"), &config.to_string());
    machine.write(&format!("{OLD}/checks.json"), &checks.to_string());
    machine.sh_ok(
        "cd /home/ubuntu && chmod 755 . stealthcheck service? stealth1/web stealth1/*.sh && chown -R ubuntu: . &&
         rm -rf /etc/stealthcheck/credentials/*",
    );
    machine
}

/// The commands of the report's steps from `first` to `last`, as an administrator copies them. (Root needs no sudo.)
fn steps(report: &str, first: usize, last: usize) -> String {
    let from = report.find(&format!("\n{first}. ")).expect("the first step");
    let to = report.find(&format!("\n{}. ", last + 1)).expect("the step behind");
    let commands = report[from..to].lines().filter_map(|line| line.strip_prefix("       "));
    commands.map(|command| command.replace("sudo ", "")).collect::<Vec<_>>().join("\n")
}

/// Imports the old tool's files, and does what the report says, but for the end.
fn import_and_install(machine: &Machine, steps_to: usize) -> String {
    let output = machine.run(&["stealthctl", "import", "--dir", OLD, "--out", "/root/new"]);
    assert!(output.success(), "{output}");
    let report = machine.read("/root/new/REPORT.txt");
    let output = machine.sh(&format!("set -ex\n{}", steps(&report, 2, steps_to)));
    assert!(output.success(), "{output}\n{report}");
    verify(machine);
    report
}

/// That systemd finds nothing wrong with the units, those with a drop-in included.
fn verify(machine: &Machine) {
    let output = machine.sh(
        "cd /root/new/units && systemd-analyze verify --man=no \
         $(for unit in *; do [ -e /etc/systemd/system/$unit ] && echo ${unit%.d} || echo ./$unit; done) 2>&1",
    );
    assert!(output.success() && output.stdout.is_empty(), "{output}");
}

impl Machine {
    /// The processes whose command line matches.
    fn running(&self, line: &str) -> Vec<u32> {
        // Not the one that looks for it, and what that runs under.
        let output = self.sh(&format!("pgrep -f '[{}]{}'", &line[..1], &line[1..]));
        output.stdout.lines().map(|pid| pid.parse().expect("a number")).collect()
    }
}

#[test]
fn the_examples_of_the_old_documentation_behave_as_before() {
    let machine = machine(
        "import",
        &json!({ "checks": [
            { "interval_ms": 1000, "check_command": "curl localhost:8486",
              "fail_command": "../stealthcheck -port 8486 -dir ../stealth2 >> ../stealth2/log.txt 2>&1 &",
              "alert_emails": ["someone@example.org"] },
            { "interval_ms": 1000, "check_command": "curl localhost:9002", "fail_command": "ssh ubuntu@localhost ./service1" },
            { "interval_ms": 1000, "check_command": "./custom_checker_script.sh",
              "fail_command": "ssh ubuntu@localhost ./service2" },
            { "interval_ms": 1000, "check_command": "curl localhost:9001", "fail_command": "./web 9001 >> log.txt 2>&1 &" },
        ]}),
    );
    let report = import_and_install(&machine, 4);
    for name in ["service1", "service2", "web"] {
        machine.becomes(name, "passing");
    }

    // Its own process, where, as whom and with the log that it had before.
    let log = machine.read(&format!("{OLD}/log.txt"));
    let uid = machine.sh_ok("id -u ubuntu");
    assert_eq!(log, format!("web runs in {OLD} as {uid} with ['9001']\n"));
    assert_eq!(machine.sh_ok(&format!("stat -c %U {OLD}/log.txt")), "ubuntu");
    assert_eq!(machine.unit("web.service", "ActiveState"), "active");
    assert_eq!(machine.sh_ok("systemctl is-enabled web.service"), "enabled");

    // curl without -f: a server that answers 500 is a server that answers.
    machine.sh_ok(&format!("touch {OLD}/fault"));
    let answer = machine.run(&["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "localhost:9001"]);
    assert_eq!(answer.stdout, "500");
    let check = machine.run(&["stealthctl", "check", "web"]);
    assert!(check.success() && check.stdout.contains("500"), "{check}");
    machine.sh_ok(&format!("rm {OLD}/fault"));

    // It is killed, comes back and is told of, through the imported mail settings.
    let [pid] = machine.running("web 9001")[..] else { panic!("{:?}", machine.running("web 9001")) };
    machine.sh_ok(&format!("kill -9 {pid}"));
    machine.wait_told(ids::INCIDENT_CLOSED, "web", 1);
    let mails = machine.wait_mails("web", 2);
    assert_thread(&mails, &["DOWN", "RECOVERED"]);
    assert_has(mails[0].header("From"), &["stealthcheck automated alerts", "<alerts@example.org>"]);
    assert_eq!(machine.running("web 9001").len(), 1);
    assert_eq!(machine.read(&format!("{OLD}/log.txt")).lines().count(), 2, "it is appended to");

    // Through ssh: started because it was not there, and once only, however long it runs.
    for service in ["service1", "service2"] {
        assert_eq!(machine.asked(service), 1, "{service}");
        assert_eq!(machine.running(&format!("python3 ./{service}")).len(), 1, "{service}");
        let by = format!("ssh ubuntu@localhost ./{service}");
        assert_eq!(machine.running(&by).len(), 1, "its session is left alone");
        let unit = format!("{service}.service");
        assert_eq!(machine.unit(&unit, "ActiveState"), "inactive", "it is not waited for");
        let told = machine.sh_ok(&format!("journalctl -u {unit}"));
        assert!(told.contains(&format!("{service} runs in /home/ubuntu as {uid}")), "{told}");
    }
    let [pid] = machine.running("python3 ./service1")[..] else { panic!("one service1") };
    machine.sh_ok(&format!("kill -9 {pid}"));
    machine.wait_told(ids::INCIDENT_CLOSED, "service1", 2);
    assert_eq!(machine.running("python3 ./service1").len(), 1);

    // The checker ran in the old directory as the old user, and was let write there.
    let checked = machine.read(&format!("{OLD}/checked.txt"));
    assert!(checked.lines().all(|line| line == OLD), "{checked}");
    assert_eq!(machine.sh_ok(&format!("stat -c %U {OLD}/checked.txt")), "ubuntu");

    // The other instance of the old tool is not started; the check tells that it is away.
    assert_has(&report, &["another instance of the old tool"]);
    machine.becomes("localhost-8486", "down");
    assert_eq!(machine.running("stealthcheck -port").len(), 0);
    let mails = machine.wait_mails("localhost-8486", 1);
    assert_eq!(mails[0].header("To"), "someone@example.org");
    assert!(!machine.journal().contains(SMTP_PASSWORD));
}

#[test]
fn a_target_that_comes_back_by_itself_is_not_started_a_second_time() {
    let machine = machine(
        "import-ssh",
        &json!({ "checks": [
            { "interval_ms": 1000, "check_command": "curl localhost:9002", "fail_command": "ssh ubuntu@localhost ./service1" },
        ]}),
    );
    machine.sh_ok("systemctl stop ssh.service ssh.socket");
    import_and_install(&machine, 4);
    machine.becomes("service1", "down");
    machine.wait_told(ids::ATTEMPT_CONCLUDED, "service1", 1);
    let told = machine.wait_for("ssh's own words", MINUTE, || {
        let told = machine.sh_ok("journalctl -u service1.service");
        told.contains("Connection refused").then_some(told)
    });
    assert!(!told.contains("Failed with result"), "the unit does not fail by what it launches: {told}");
    machine.sh_ok("systemd-run --uid=ubuntu --working-directory=/home/ubuntu /home/ubuntu/service1");
    machine.becomes("service1", "passing");
    machine.sh_ok("systemctl start ssh.service");
    // No attempt is left to be made, at whatever moment the backoff would have had it.
    let asked = machine.asked("service1");
    machine.wait_until(machine.monotonic() + 15 * SECOND, "the end of the backoff");
    assert_eq!((machine.asked("service1"), machine.running("python3 .*/service1").len()), (asked, 1));
    assert_eq!(machine.run(&["stealthctl", "status"]).code, 0);
}

/// Each writes what its program was given into the file `out`.
const NASTY: &[&str] = &[
    r#"./args "a  b" '$HOME' "\$x" 100% %n %% ';' \; é "tab	x" "back\\slash" 'it'"'"'s' """#,
    r#"X='1 "2" %h' Y=\\ ./args env "$X" "#,
    r#"X='1 "2" %h' Y=\\ ./args env 'x  $y' 2>&1"#,
    r#"./args $((1+2)) "$(printf 'a\nb %%')" `echo c` ${HOME}/x ~ {d,e} "$#" | sed s/[0-9][0-9]*/N/g > piped; cat piped >> out"#,
    "./args 'line\n$one' \"%i\" \\\n  continued",
    r#"for word in "a b" '$c'; do ./args "$word"; done"#,
    r#"cd "di r%" && ../args "$PWD" 'x$y'"#,
    r#"cd 'di r%' && ../args x 100% '$y' "\\""#,
    r#"./args 'only' > 'o ut%' 2>&1; cat 'o ut%' >> out"#,
    "./args $'\\x41' \u{a0} '\u{2028}' \"!\" # and a comment",
];

#[test]
fn lines_that_bash_ran_are_given_to_programs_letter_by_letter() {
    let checks: Vec<_> = NASTY
        .iter()
        .map(|line| json!({ "interval_ms": 60_000, "check_command": "curl localhost:1", "fail_command": line }))
        .collect();
    let machine = machine("import-words", &json!({ "checks": checks }));
    let program = format!(
        "#!/usr/bin/python3\nimport json, os, sys\n\
         with open('{OLD}/out', 'a') as out:\n    \
         print(json.dumps([os.getcwd(), os.environ.get('X'), os.environ.get('Y'), sys.argv[1:]]), file=out)\n\
         print('printed', sys.argv[1:])\n"
    );
    machine.write(&format!("{OLD}/args"), &program);
    machine.sh_ok(&format!("cd {OLD} && mkdir 'di r%' && chmod 755 args && chown -R ubuntu: ."));
    let output = machine.run(&["stealthctl", "import", "--dir", OLD, "--out", "/root/new"]);
    assert!(output.success(), "{output}");
    machine.sh_ok("cp /root/new/units/*.service /etc/systemd/system/ && systemctl daemon-reload");
    verify(&machine);
    let units = machine.sh_ok("cd /root/new/units && ls -v *.service");
    let units: Vec<&str> = units.lines().collect();
    assert_eq!(units.len(), NASTY.len(), "{units:?}");
    let number = |unit: &str| -> usize {
        let text = machine.read(&format!("/root/new/units/{unit}"));
        let (_, rest) = text.split_once("from check ").expect("its origin");
        rest.split_once(' ').expect("a number").0.parse().expect("a number")
    };
    let out = format!("{OLD}/out");
    for unit in units {
        let line = NASTY[number(unit) - 1];
        // As the old tool ran it.
        machine.write("/root/line", line);
        let by_bash = machine.sh_ok(&format!(
            "rm -f {out}; cd {OLD} && python3 -c 'import subprocess; subprocess.run([\"setpriv\", \"--reuid=ubuntu\", \
             \"--regid=ubuntu\", \"--clear-groups\", \"bash\", \"-c\", open(\"/root/line\", newline=\"\").read()], \
             env={{\"HOME\": \"/home/ubuntu\", \"PATH\": \"/usr/bin:/bin\"}}, stdout=subprocess.DEVNULL)'; cat {out}"
        ));
        machine.sh_ok(&format!("rm -f {out}; systemctl start {unit}"));
        let by_unit = machine.wait_for(&format!("what {unit} writes"), MINUTE, || {
            Some(machine.sh(&format!("cat {out}")).stdout)
                .filter(|text| text.lines().count() == by_bash.lines().count())
        });
        assert_eq!(by_unit.trim_end(), by_bash.trim_end(), "{unit}: {line}");
    }
}
