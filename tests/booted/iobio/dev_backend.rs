//! dev.backend: quarantest, of which only its owner hears, and the instance on the other machine.

use crate::guarding::{assert_has, assert_thread};
use crate::lab::{MINUTE, Machine};

const CREDENTIALS: &str = "/etc/quarantest/github_credentials.json";

#[test]
fn quarantest_by_the_runbook_is_alive_when_it_answers_400() {
    let machine = Machine::bare("dev-backend");
    machine.stand_in("quarantest.py", "/usr/local/bin/quarantest");
    machine.follow("dev.backend");
    machine.verify_units();
    let shown = machine.becomes("quarantest", "passing");
    assert_has(&shown.to_string(), &["400"]);
    machine.shorten(
        "dev.backend.yaml",
        &[(
            "    alert: { to: [owner@example.org], after: 15m, repeat_interval: 24h }",
            "    interval: 1s\n    alert: { to: [owner@example.org], after: 3s }",
        )],
    );
    machine.becomes("quarantest", "passing");

    // A webhook finds its credentials, and docker's group is the process's; a demo is served.
    machine.sh_ok("curl -sf -m 5 -d '{}' http://127.0.0.1:9001/webhook");
    let pid = machine.unit("quarantest.service", "MainPID");
    let groups = machine.sh_ok(&format!("grep ^Groups: /proc/{pid}/status"));
    let docker = machine.sh_ok("getent group docker | cut -d: -f3");
    assert!(groups.split_whitespace().any(|group| group == docker), "{groups}, docker is {docker}");
    machine.write("/var/lib/quarantest/commits/0123abcd/build/index.html", "a demo");
    assert_eq!(machine.sh_ok("curl -sf -m 5 -H 'Host: 0123.example.org' http://127.0.0.1:9001/"), "a demo");

    machine.killed_is_restarted_by_systemd("quarantest.service", "quarantest");
    machine.hung_is_restarted_by_stealthcheck("quarantest.service", "quarantest");
    // Its directory is gone: 500 to everything, and a restart makes it again.
    let before = machine.unit("quarantest.service", "InvocationID");
    machine.sh_ok("rm -r /var/lib/quarantest/commits");
    machine.restarted("quarantest.service", &before);
    machine.becomes("quarantest", "passing");

    // Not fixable by a restart: its owner hears of it, and nobody else.
    machine.sh_ok(&format!("mv {CREDENTIALS} {CREDENTIALS}.gone && systemctl kill --signal=KILL quarantest"));
    machine.wait_for("the owner's mail", MINUTE, || {
        machine
            .mails_about("quarantest")
            .iter()
            .any(|mail| mail.body.contains("github_credentials.json"))
            .then_some(())
    });
    machine.sh_ok(&format!("mv {CREDENTIALS}.gone {CREDENTIALS}"));
    // (After a crash loop an incident closes when the check has passed for two minutes.)
    machine.wait_for("the answer 400", MINUTE, || {
        (machine.check("quarantest")["last"]["observation"]["detail"] == "400 Bad Request").then_some(())
    });
    for mail in machine.mails_about("quarantest") {
        assert_eq!(mail.header("To"), "owner@example.org", "{mail:#?}");
    }
}

#[test]
fn two_instances_by_the_runbook_monitor_each_other() {
    let machine = Machine::bare("two-instances");
    machine.sh_ok("echo 192.0.2.2 lf-proxy.example.org >>/etc/hosts");
    // The other instance: what it answers, and no more.
    let other = || {
        let serve = "import http.server as h
class A(h.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == '/healthz' else 404)
        self.end_headers()
h.ThreadingHTTPServer(('192.0.2.2', 8484), A).serve_forever()";
        machine.start_outside(&["python3", "-c", serve])
    };
    let running = other();
    machine.follow("Two instances that monitor each other");
    machine.shorten("mutual.yaml", &[("interval: 10s", "interval: 1s")]);
    machine.becomes("other-stealthcheck", "passing");
    assert_eq!(machine.outside("curl -sf -m 5 http://192.0.2.1:8484/healthz").stdout, "ok\n");
    // Hung, and gone.
    running.signal("STOP");
    assert_has(
        &machine.wait_mails("other-stealthcheck", 1)[0].body,
        &["no answer", "systemctl status stealthcheck"],
    );
    drop(running);
    machine.becomes("other-stealthcheck", "down");
    let _running = other();
    assert_thread(&machine.wait_mails("other-stealthcheck", 2), &["DOWN", "RECOVERED"]);

    // What guards the backup, in which another test has a repository.
    machine.sh_ok(
        "cd /usr/share/doc/stealthcheck/examples && install -m 644 stealthcheck-config-backup.* /etc/systemd/system/ &&
         systemctl daemon-reload && systemctl start stealthcheck-config-backup.path stealthcheck-config-backup.timer",
    );
    machine.follow("The backup of the configuration");
    for check in ["config-backup-path", "config-backup-timer"] {
        machine.becomes(check, "passing");
    }
}
