//! Where the mail password and what probes are entrusted with are never found: in no status, journal, state, error, core
//! dump, nor below /proc.

use super::*;
use crate::guarding::assert_has;
use crate::lab::{MINUTE, SMTP_USER};

const PASSWORD: &str = "Zauberwort-7f3a9c";
/// What a probe is entrusted with by the configuration, which the administrator keeps from others' eyes.
const TOKEN: &str = "t0ken-51b2e8";

/// A mail server that repeats in its answers whatever it is sent, as it came and decoded.
const PARROT: &str = r#"#!/usr/bin/python3
import base64, socketserver

class Parrot(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode(errors="replace") + b"\r\n")
    def handle(self):
        self.say("220 parrot")
        for line in self.rfile:
            line = line.decode(errors="replace").strip()
            try:
                decoded = base64.b64decode(line.split()[-1]).decode(errors="replace")
            except Exception:
                decoded = ""
            if line.startswith("EHLO"):
                self.say("250-parrot\r\n250 AUTH PLAIN")
            elif line.startswith("QUIT"):
                return self.say("221 bye")
            else:
                self.say(f"535 5.7.8 I do not like {line}, which is {decoded}, {decoded.split(chr(0))[-1]}")

socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", 2525), Parrot).serve_forever()
"#;

fn mail(smtp: &str) -> String {
    format!(
        "mail:\n  from: alerts@example.org\n  to: [ops@example.org]\n  smtp: {{ {smtp}, username: alerts@example.org }}\n"
    )
}

#[test]
fn the_password_is_nowhere_but_where_it_was_put() {
    let machine = Machine::boot("rights-secrets");
    let web = machine.victim("web", 9001);
    machine.smtp();
    machine.install_deb();
    machine.write("/root/parrot", PARROT);
    machine.sh_ok(&format!(
        "for realm in smtp.example.org example.org; do echo {PASSWORD} | saslpasswd2 -p -c -u $realm {SMTP_USER}; done
         printf %s {PASSWORD} >/etc/stealthcheck/credentials/smtp-password
         echo 127.0.0.1 other.example.org >>/etc/hosts
         chmod 700 /root/parrot && systemd-run -q --unit=parrot /root/parrot
         useradd somebody; chown root:stealthcheck /etc/stealthcheck/stealthcheck.yaml; chmod 640 /etc/stealthcheck/stealthcheck.yaml"
    ));
    let checks = format!(
        "listen: 8484\nchecks:\n  web: {{ unit: web.service, http: {{ url: \"http://127.0.0.1:9001/\", headers: {{ Authorization: \"Bearer {TOKEN}\" }}, \
         body_contains: well }}, interval: 1s, timeout: 900ms, retry_interval: 500ms }}\n  gone: {{ http: {{ url: \"http://127.0.0.1:1/\", headers: {{ X-Token: {TOKEN} }} }}, interval: 1s }}\n"
    );
    let starttls = mail("host: smtp.example.org, port: 587");
    machine.configure(&format!("{starttls}{checks}"));
    machine.start_stealthcheck();
    machine.sh_ok("stealthctl test-mail");
    // A mail about a failure, with all that is told of it.
    machine.wait_mails("gone", 1);

    // Everything that goes wrong when one logs in, each with the error that a person is shown.
    let mut said = String::new();
    for (smtp, expected) in [
        ("host: other.example.org, port: 587", "certificate"),
        ("host: other.example.org, port: 465, tls: implicit", "certificate"),
        ("host: 127.0.0.1, port: 25, tls: starttls", ""),
        ("host: 127.0.0.1, port: 9, tls: starttls", "refused"),
        ("host: 127.0.0.1, port: 25, tls: none", "it offers no login"),
        ("host: 127.0.0.1, port: 2525, tls: none", "535 5.7.8 I do not like"),
    ] {
        machine.configure(&format!("{}{checks}", mail(smtp)));
        machine.sh_ok("systemctl reload stealthcheck");
        let output = machine.sh("stealthctl test-mail; stealthctl status; stealthctl status --json; curl -s http://127.0.0.1:8484/");
        assert!(output.to_string().contains(expected), "{smtp}: {output}");
        said += &output.to_string();
    }
    // The right server, and the wrong password: half of it, so that what is looked for would be found in it.
    machine.configure(&format!("{starttls}{checks}"));
    machine.sh_ok(&format!(
        "for realm in smtp.example.org example.org; do echo another | saslpasswd2 -p -c -u $realm {SMTP_USER}; done
         systemctl restart stealthcheck"
    ));
    let output = machine.sh("stealthctl test-mail");
    assert_has(&output.to_string(), &["login as alerts@example.org failed: 535"]);
    said += &output.to_string();
    // Undelivered mail in the spool, and an incident in the state.
    web.fault("500");
    machine.wait_for("a mail in the spool", MINUTE, || {
        (machine.status_json()["mail"]["queued"].as_u64() > Some(0)).then_some(())
    });
    for look in [
        "stealthctl status",
        "stealthctl status web gone",
        "stealthctl status --json web gone",
        "stealthctl why web gone",
        "stealthctl why --json web gone",
        "stealthctl check web gone",
        "stealthctl validate",
        "systemctl status --no-pager -l stealthcheck",
        "systemctl show stealthcheck",
        "systemctl cat stealthcheck",
        "curl -s http://127.0.0.1:8484/",
        "curl -s http://127.0.0.1:8484/status.json",
        "curl -s http://127.0.0.1:8484/metrics",
        "cat /proc/*/cmdline /proc/*/environ 2>/dev/null",
        "journalctl --no-pager --all -o export",
    ] {
        said += &machine.sh(&format!("{look} | tr -d '\\000'")).to_string();
    }
    it_leaves_no_core(&machine);
    others_cannot_look(&machine);
    it_is_on_no_disk(&machine, &said);
}

/// The password as it is, and as it travels.
fn forms(machine: &Machine) -> Vec<String> {
    let base64 = |text: &str| machine.sh_ok(&format!("printf '{text}' | base64 -w0"));
    vec![
        PASSWORD.to_owned(),
        base64(PASSWORD),
        base64(&format!("\\000alerts@example.org\\000{PASSWORD}")),
        TOKEN.to_owned(),
    ]
}

fn it_is_on_no_disk(machine: &Machine, said: &str) {
    let forms = forms(machine);
    for form in &forms {
        assert!(!said.contains(form.as_str()), "{form} in:\n{said}");
    }
    machine.write("/root/forms", &(forms.join("\n") + "\n"));
    // (A file system of its own is what systemd has the credentials in; to others it is closed, see below.)
    let found = machine.sh_ok(
        "journalctl --sync; sync
         grep -rlaF -f /root/forms --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev / 2>/dev/null | sort",
    );
    let found: Vec<&str> =
        found.lines().filter(|file| !file.starts_with("/run/credentials/stealthcheck.service/")).collect();
    assert_eq!(
        found,
        [
            "/etc/stealthcheck/credentials/smtp-password",
            "/etc/stealthcheck/stealthcheck.yaml",
            "/root/forms",
            "/var/lib/stealthcheck.configuration",
        ]
    );
}

/// However it ends, and with every limit lifted. Where a dump would go is the host's (kernel.core_pattern), so what shows
/// it in any case is the mark itself: what cannot be dumped belongs to root below /proc (proc(5)).
fn it_leaves_no_core(machine: &Machine) {
    assert_eq!(machine.unit("stealthcheck.service", "LimitCORE"), "0");
    let loose = "LimitCORE=infinity\nWorkingDirectory=/var/lib/stealthcheck\n";
    machine.service("stealthcheck.service.d/core.conf", &format!("[Service]\n{loose}"));
    machine.sh_ok("systemctl restart stealthcheck");
    for signal in ["ABRT", "SEGV"] {
        machine.sh("stealthctl test-mail");
        let pid = machine.daemon();
        let daemon = machine.sh_ok("id -u stealthcheck");
        assert_eq!(machine.sh_ok(&format!("stat -c %u /proc/{pid}/environ /proc/{pid}/mem")), "0\n0");
        assert_eq!(machine.sh_ok(&format!("awk '/^Uid:/ {{ print $2 }}' /proc/{pid}/status")), daemon);
        // (Rust's runtime takes the first SIGSEGV for a stack's end, and lets the next one have its way.)
        machine.sh_ok(&format!("while kill -{signal} {pid} 2>/dev/null; do sleep 0.1; done"));
        machine.daemon_after(pid);
        let code = |unit: &str| {
            machine.sh_ok(&format!(
                "journalctl --sync; journalctl --no-pager -o cat -u {unit} | grep 'Main process exited' | tail -n 1"
            ))
        };
        assert_has(&code("stealthcheck.service"), &["code=killed"]);
        // What would have been: another process of the same user, in the same place, with the same limit.
        machine.sh_ok(&format!(
            "systemd-run -q --unit=control-{signal} -p User=stealthcheck -p LimitCORE=infinity \
             -p WorkingDirectory=/var/lib/stealthcheck sleep infinity; systemctl kill -s {signal} control-{signal}"
        ));
        machine.wait_for("the end of the control", MINUTE, || {
            (machine.unit(&format!("control-{signal}"), "ActiveState") == "failed").then_some(())
        });
        println!("without the mark: {}", code(&format!("control-{signal}.service")));
        let cores = machine.sh_ok("find /var/lib/stealthcheck -name '*core*' -exec file {} + 2>/dev/null || find /var/lib/stealthcheck -name '*core*'");
        assert!(!cores.contains("/stealthcheck'"), "{cores}");
        machine.sh_ok("find /var/lib/stealthcheck -name '*core*' -delete");
    }
}

fn others_cannot_look(machine: &Machine) {
    let pid = machine.daemon();
    let credentials = "/run/credentials/stealthcheck.service";
    machine.sh_ok(&format!("test -s {credentials}/stealthcheck_smtp-password"));
    for user in ["somebody", "stealthcheck"] {
        for file in ["environ", "mem", "maps", "fd/0", "root/etc/passwd", "cwd/."] {
            let output = machine.sh(&format!("runuser -u {user} -- head -c 1 /proc/{pid}/{file}"));
            assert!(!output.success(), "{user} reads {file}: {output}");
        }
    }
    for file in [
        &format!("{credentials}/stealthcheck_smtp-password"),
        "/etc/stealthcheck/credentials/smtp-password",
        "/var/lib/stealthcheck/state.json",
        "/etc/stealthcheck/stealthcheck.yaml",
    ] {
        let output = machine.sh(&format!("runuser -u somebody -- cat {file}"));
        assert!(!output.success(), "{file}: {output}");
    }
}

/// A web server that answers with what it was asked, and redirects to it.
const ECHO: &str = r#"#!/usr/bin/python3
import http.server

class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open("/root/asked", "a").write(f"{self.path}\n{self.headers}\n")
        body = f"{self.path} {self.headers}".encode()
        self.send_response(302)
        self.send_header("Location", self.path)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("127.0.0.1", 9100), Echo).serve_forever()
"#;

/// Tokens in a query, in the path of a URL and in a header from credentials.
const ENTRUSTED: [&str; 3] = ["qu3ry-51b2e8", "p4th-77aa01", "h3ader-9c9c9c"];

#[test]
fn tokens_of_urls_and_credentials_are_nowhere_that_another_user_can_read() {
    let [query, path, header] = ENTRUSTED;
    let machine = Machine::boot("rights-tokens");
    machine.install_deb();
    machine.write("/root/echo", ECHO);
    machine.sh_ok(&format!(
        "useradd --create-home somebody; chmod 700 /root/echo; systemd-run -q --unit=echo -p StandardError=null /root/echo
         printf http://127.0.0.1:9100/hooks/{path} >/etc/stealthcheck/credentials/hook-url
         printf 'Bearer {header}\n' >/etc/stealthcheck/credentials/api-key
         chown root:stealthcheck /etc/stealthcheck/stealthcheck.yaml; chmod 640 /etc/stealthcheck/stealthcheck.yaml"
    ));
    let every = "interval: 500ms, timeout: 400ms, failure_threshold: 1, alert: { unknown_after: 1s }";
    machine.configure(&format!(
        "listen: 8484\nchecks:
  query: {{ http: \"http://127.0.0.1:9100/health?token={query}\", {every} }}
  circle: {{ http: {{ url: \"http://127.0.0.1:9100/health?token={query}\", follow_redirects: true }}, {every} }}
  hook: {{ http: {{ url_credential: hook-url, headers: {{ Authorization: {{ credential: api-key }} }} }}, {every} }}
  body: {{ http: {{ url_credential: hook-url, headers: {{ X-Api-Key: {{ credential: api-key }} }}, status: 302, body_contains: no-such }}, {every} }}
  nowhere: {{ http: {{ url: \"http://127.0.0.1:9100/\", headers: {{ X-Api-Key: {{ credential: not-there }} }} }}, {every} }}\n"
    ));
    // As root it sees also what is meant for others; the signals reach everybody.
    machine.sh_ok(
        "systemd-run -q --unit=monitor sh -c 'exec busctl monitor io.iobio.Stealthcheck1 >/root/monitor'",
    );
    machine.start_stealthcheck();
    // (Five that fail together are a storm, which is the word that `status` shows.)
    for name in ["query", "circle", "hook", "body"] {
        machine.wait_for(&format!("{name} to be down"), MINUTE, || {
            (machine.check(name)["state"] == "down").then_some(())
        });
    }
    machine.becomes("nowhere", "unknown");
    assert_has(&machine.sh("stealthctl status nowhere").stdout, &["/etc/stealthcheck/credentials/not-there"]);
    assert_has(&machine.sh("stealthctl status hook").stdout, &["(credential hook-url)"]);
    assert_has(&machine.sh("stealthctl status query").stdout, &["http://127.0.0.1:9100/health?…"]);
    let asked = machine.read("/root/asked");
    assert_has(&asked, &[&format!("?token={query}"), &format!("/hooks/{path}"), &format!("Bearer {header}")]);
    // What is missing, and what cannot be used, is said at once.
    machine.sh_ok("stealthctl reload");
    let output = machine.sh("stealthctl status");
    assert_has(&output.to_string(), &["nowhere: there is no credential `not-there`"]);
    machine
        .sh_ok(&format!("sed -i 's/token={query}/token={query}\\$(x)/' /etc/stealthcheck/stealthcheck.yaml"));
    let rejected = machine.sh("stealthctl validate; stealthctl reload").to_string();
    assert_has(&rejected, &["`$(…)` is not replaced by anything", "url_credential"]);

    let as_somebody =
        |script: &str| machine.sh(&format!("runuser -u somebody -- sh -c '{script}' 2>&1 | tr -d '\\000'"));
    let mut said = rejected;
    for look in [
        "for object in $(busctl tree --list io.iobio.Stealthcheck1); do busctl introspect --full io.iobio.Stealthcheck1 $object; done",
        "for name in query circle hook body nowhere; do stealthctl status $name; stealthctl why $name; stealthctl why --json $name; done",
        "stealthctl status --json query circle hook body nowhere",
        "timeout 3 busctl monitor io.iobio.Stealthcheck1",
        "timeout 3 dbus-monitor --system",
        "curl -s http://127.0.0.1:8484/",
        "curl -s http://127.0.0.1:8484/status.json",
        "curl -s http://127.0.0.1:8484/metrics",
        "systemctl status --no-pager -l stealthcheck",
        "systemctl show stealthcheck",
        "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ",
    ] {
        said += &as_somebody(look).to_string();
    }
    machine.sh_ok("systemctl stop monitor");
    said += &machine.read("/root/monitor");
    said += &machine.sh("journalctl --no-pager --all -o export | tr -d '\\000'").to_string();
    said += &machine.sh("stealthctl status --json query circle hook body nowhere").to_string();
    machine.write("/root/forms", &(ENTRUSTED.join("\n") + "\n"));
    for form in ENTRUSTED {
        let at =
            said.find(form).map(|at| said[at.saturating_sub(300)..].chars().take(600).collect::<String>());
        assert_eq!(at, None, "{form} is shown");
    }
    assert_has(&said, &["health?…", "(credential hook-url)"]);
    let readable = machine.sh(
        "cat /root/forms | runuser -u somebody -- grep -rlaF -f - /run /var /etc /tmp /home /usr/share /usr/lib/systemd 2>/dev/null",
    );
    assert_eq!(readable.stdout, "", "others can read them");
    let state = machine.sh_ok("grep -rlaF -f /root/forms /var/lib/stealthcheck /var/log || true");
    assert_eq!(state, "", "they are saved");
}
