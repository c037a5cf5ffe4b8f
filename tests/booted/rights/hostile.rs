//! Text from outside, written by an enemy: what probes hear, what a unit writes into its journal, what stands in files
//! and their names. It comes out as text: in mails that a real server takes, on terminals, in the journal, over HTTP.

use serde_json::Value;

use super::*;
use crate::guarding::assert_has;
use crate::lab::{MAIL_YAML, MINUTE, Mail};

/// A header of its own, a line of its own, terminal sequences in both spellings, text that runs backwards, and what ends
/// a mail in SMTP.
const EVIL: &str = "ok\r\nBcc: victim@example.org\r\n\r\n.\r\nMAIL FROM:<x@example.org>\r\n\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}txt\u{2066}\u{2028}\u{85}\u{0}";

/// Servers of every kind that a probe talks to, and a unit that says EVIL in its journal and fails.
const ENEMY: &str = r#"#!/usr/bin/python3
import os, socketserver, sys, threading

EVIL = open("/root/evil", "rb").read()
LINE = EVIL.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")

def serve(port, answer, greet=False):
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                if not greet:
                    self.request.recv(4096)
                self.request.sendall(answer)
                if greet:
                    self.request.recv(4096)
            except OSError:
                pass
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    threading.Thread(target=socketserver.ThreadingTCPServer(("127.0.0.1", port), Handler).serve_forever).start()

head = b"HTTP/1.1 200 " + LINE + b"\r\nX-Evil: " + LINE.replace(b"\x1b", b"").replace(b"\x07", b"")
long = EVIL * 1000 + b"x" * (1 << 20)
serve(9101, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(long) + long)
serve(9102, b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9102/\xc2\x9b31m\xe2\x80\xaetxt/" + b"y" * 9000 + b"\r\n\r\n")
serve(9103, head + b"\r\n\r\n")
serve(9104, EVIL, greet=True)
serve(9105, b"220 " + LINE + b"\r\n", greet=True)
"#;

/// Writes what EVIL is, in lines of every length, and fails.
const VICTIM: &str = r#"#!/usr/bin/python3
import os, sys
evil = open("/root/evil", "rb").read()
for line in [evil * 3000, b"<0>" + evil, b"z" * (1 << 20), evil]:
    os.write(1, line + b"\n")
sys.exit(7)
"#;

/// Which headers a mail has, and no others: ours, and those of the server that delivered it.
const HEADERS: &[&str] = &[
    "Return-Path",
    "Delivered-To",
    "X-Original-To",
    "Received",
    "Date",
    "From",
    "Subject",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Auto-Submitted",
    "To",
    "In-Reply-To",
    "References",
    "X-Stealthcheck-Check",
    "X-Stealthcheck-Incident",
    "X-Stealthcheck-Unit",
    "Content-Transfer-Encoding",
];

/// Whether a terminal, a mail reader or a log would act on it. (Said again here, and not asked of the product.)
fn acts(c: char) -> bool {
    let code = u32::from(c);
    code < 0x20 && c != '\n' && c != '\t'
        || (0x7f..=0x9f).contains(&code)
        || matches!(code, 0x200b..=0x200f | 0x2028..=0x202e | 0x2066..=0x2069 | 0x061c | 0xfeff)
}

fn assert_inert(what: &str, text: &str) {
    if let Some(at) = text.find(acts) {
        let from = text[..at].char_indices().rev().nth(80).map_or(0, |(from, _)| from);
        let around: String = text[from..].chars().take(160).collect();
        panic!("{what} is not inert: {around:?}");
    }
}

#[test]
fn hostile_text_is_text_wherever_it_comes_out() {
    let machine = enemy();
    machine.start_stealthcheck();
    for name in
        ["body", "circle", "reason", "garbage", "banner", "starttls", "certificate", "command", "unit"]
    {
        // So many that fail together are a storm.
        machine.wait_for(&format!("{name} to be down"), MINUTE, || {
            (machine.check(name)["state"] == "down").then_some(())
        });
    }
    // (So many that begin to fail together are one mail; what systemd calls failed has one of its own all the same.)
    let mails = machine.wait_for("the mails about it", MINUTE, || {
        let mails = machine.mailbox();
        let told = |what: &str| mails.iter().any(|mail| mail.body.contains(what));
        (told("JOURNAL OF unit.service") && told("FAILING")).then_some(mails)
    });
    every_mail_is_text(&mails);
    // What was said is there to be read: nothing is kept from who must act, or else the test has met no enemy.
    let of = |what: &str| &mails.iter().find(|mail| mail.body.contains(what)).unwrap().body;
    let told = ["body: down", "]0;owned", "Bcc: victim@example.org", "circle: down", "%C2%9B31m"];
    assert_has(of("FAILING"), &told);
    assert_has(of("JOURNAL OF unit.service"), &["Bcc: victim@example.org", "zzzzzzzz", "RUNBOOK"]);

    everything_it_says(&machine);
    files_and_their_names(&machine);
    a_hostile_mail_server(&machine);
}

/// As a real server has taken and delivered them: ours alone, to whom they were meant for, with the headers that we write.
fn every_mail_is_text(mails: &[Mail]) {
    for mail in mails {
        let head = mail.raw.split("\n\n").next().unwrap();
        for line in head.lines().filter(|line| !line.starts_with([' ', '\t'])) {
            let name = line.split(':').next().unwrap();
            assert!(HEADERS.contains(&name), "{line:?} in\n{head}");
        }
        let plain = |b: u8| b == b'\n' || b == b'\t' || (0x20..0x7f).contains(&b);
        assert!(mail.raw.bytes().all(plain), "{}", mail.raw);
        let longest = mail.raw.lines().map(str::len).max().unwrap_or_default();
        assert!(mail.raw.len() < 64 * 1024 && longest <= 998, "{} bytes, lines of {longest}", mail.raw.len());
        assert_inert("a mail", &mail.body);
        assert_inert("a subject", mail.subject());
        assert_eq!(mail.header("Delivered-To"), "ops@example.org", "{}", mail.raw);
        assert!(mail.header("Message-ID").ends_with("@rights-hostile>"), "a mail of another's: {}", mail.raw);
    }
}

fn enemy() -> Machine {
    let machine = Machine::boot("rights-hostile");
    machine.smtp();
    machine.install_deb();
    machine.write("/root/evil", EVIL);
    machine.write("/root/enemy", ENEMY);
    machine.write("/root/victim", VICTIM);
    machine.write("/usr/local/bin/check_evil", "#!/bin/sh\nprintf 'first\\n'; tr -d '\\r\\n' </srv/evil; head -c 1048576 /dev/zero | tr '\\000' z; echo; exit 2\n");
    machine.sh_ok(
        "cp /root/evil /srv/evil; chmod 644 /srv/evil; chmod 755 /root/enemy /root/victim /usr/local/bin/check_evil
         systemd-run -q --unit=enemy /root/enemy
         name=$(printf 'evil\\033[2J\\302\\23331m\\342\\200\\256txt\\r')
         openssl req -x509 -newkey rsa:2048 -nodes -days 9 -utf8 -subj \"/CN=$name/O=$name\" -addext \"subjectAltName=DNS:a b\" \
             -keyout /root/evil.key -out /root/evil.crt 2>/dev/null
         systemd-run -q --unit=evil-tls openssl s_server -accept 9106 -cert /root/evil.crt -key /root/evil.key -www",
    );
    // A description may be whatever UTF-8 can be.
    let description: String = EVIL.chars().filter(|c| !matches!(c, '\n' | '\r' | '\0')).collect();
    machine.service(
        "unit.service",
        &format!("[Unit]\nDescription={description}\n[Service]\nExecStart=/root/victim\n"),
    );
    machine.wait_for("the enemy", MINUTE, || {
        machine
            .sh("for port in 9101 9102 9103 9104 9105 9106; do nc -z 127.0.0.1 $port || exit 1; done")
            .success()
            .then_some(())
    });
    machine.sh_ok("systemctl start unit.service");
    machine.wait_for("the unit to fail", MINUTE, || {
        (machine.unit("unit.service", "ActiveState") == "failed").then_some(())
    });
    // What it said to the end, before the daemon quotes it.
    machine.wait_for("journald to have it all", MINUTE, || {
        machine.sh("journalctl -u unit.service -o cat | grep -q zzzzzzzz").success().then_some(())
    });
    let soon = "interval: 1h, retry_interval: 200ms, timeout: 3s, failure_threshold: 1";
    machine.configure(&format!(
        "listen: 8484\n{MAIL_YAML}checks:\n\
         \x20 body: {{ http: {{ url: \"http://127.0.0.1:9101/\", body_contains: \"nothing of that\" }}, {soon} }}\n\
         \x20 circle: {{ http: {{ url: \"http://127.0.0.1:9102/\", follow_redirects: true }}, {soon} }}\n\
         \x20 reason: {{ http: {{ url: \"http://127.0.0.1:9103/\", status: [201] }}, {soon} }}\n\
         \x20 garbage: {{ tcp: {{ address: \"127.0.0.1:9104\", expect: \"220 \" }}, {soon} }}\n\
         \x20 banner: {{ tcp: {{ address: \"127.0.0.1:9105\", expect: \"221 \" }}, {soon} }}\n\
         \x20 starttls: {{ tls: {{ address: \"127.0.0.1:9105\", starttls: smtp, server_name: localhost }}, {soon} }}\n\
         \x20 certificate: {{ tls: {{ address: \"127.0.0.1:9106\", server_name: localhost }}, {soon} }}\n\
         \x20 command: {{ command: check_evil, {soon} }}\n\
         \x20 unit: {{ unit: unit.service, recover: [restart], max_attempts: 1, runbook: {} }}\n",
        r#""see \u001b[2J\u202ethe\u009b31m page\nBcc: victim@example.org""#
    ));
    machine
}

/// Whatever a person or a program is shown.
fn everything_it_says(machine: &Machine) {
    let names = "body circle reason garbage banner starttls certificate command unit";
    // Somebody whose command is a sequence, and who holds a unit with it.
    machine.sh_ok("systemd-run -q --unit=holder -- stealthctl hold unit.service -- sh -c 'sleep 1000' \"$(printf '\\033[2J\\302\\23331m\\nBcc: x')\"");
    machine.wait_for("the hold", MINUTE, || {
        machine.sh("stealthctl status unit").stdout.contains("held").then_some(())
    });
    for (look, most) in [
        ("stealthctl status".to_owned(), 16 << 10),
        (format!("stealthctl status {names}"), 64 << 10),
        ("stealthctl status --json".to_owned(), 64 << 10),
        (format!("stealthctl status --json {names}"), 128 << 10),
        (format!("stealthctl why {names}"), 64 << 10),
        (format!("stealthctl why --json {names}"), 128 << 10),
        (format!("stealthctl check {names}"), 64 << 10),
        ("stealthctl validate".to_owned(), 4 << 10),
        ("stealthctl pause \"$(printf 'a\\033[2J\\302\\23331m\\nBcc: x')\"".to_owned(), 4 << 10),
        ("stealthctl release \"$(printf 'a\\033[2J\\302\\23331m')\"".to_owned(), 4 << 10),
        ("stealthctl test-mail \"$(printf 'a\\033[2J\\nBcc: x@example.org')\"".to_owned(), 4 << 10),
        ("stealthctl hold unit.service -- \"$(printf '/a\\033[2J\\302\\23331m')\"".to_owned(), 4 << 10),
        ("stealthctl authorize --output \"$(printf '/nowhere/\\033[2J\\302\\23331m')\"".to_owned(), 4 << 10),
        ("curl -s http://127.0.0.1:8484/".to_owned(), 16 << 10),
        ("curl -s http://127.0.0.1:8484/status.json".to_owned(), 64 << 10),
        ("curl -s http://127.0.0.1:8484/metrics".to_owned(), 64 << 10),
    ] {
        let shown = machine.sh(&format!("{look} 2>&1"));
        assert_inert(&look, &shown.stdout);
        assert!(shown.stdout.len() > 20 && shown.stdout.len() < most, "{look}: {} bytes", shown.stdout.len());
        if look.contains("json") {
            serde_json::from_str::<Value>(&shown.stdout).unwrap_or_else(|error| panic!("{look}: {error}"));
        }
    }
    // Not even a header of it, of any kind.
    let head = machine.sh_ok("curl -sI http://127.0.0.1:8484/");
    let fields: Vec<&str> = head.lines().skip(1).filter_map(|line| line.split(':').next()).collect();
    assert_eq!(
        fields,
        [
            "Date",
            "Content-Type",
            "Content-Length",
            "Cache-Control",
            "X-Content-Type-Options",
            "Connection",
            "\r"
        ]
    );
    machine.sh_ok("systemctl stop holder");
    the_journal_is_inert(machine);
}

/// The daemon's own entries: every field is text (journalctl makes a list of numbers of what is none), and of one line.
fn the_journal_is_inert(machine: &Machine) {
    let entries = machine.journal_entries(&["SYSLOG_IDENTIFIER=stealthcheck"]);
    assert!(entries.len() > 20, "{entries:#?}");
    for entry in &entries {
        for (field, value) in entry.as_object().unwrap() {
            let text = value.as_str().unwrap_or_else(|| panic!("{field} is no text: {entry:#}"));
            assert_inert(field, text);
            assert!(!text.contains('\n') && text.len() < 8192, "{field} of {entry:#}");
        }
    }
    let known = |entry: &Value| entry["_COMM"].as_str().is_some_and(|comm| comm == "stealthcheck");
    assert!(entries.iter().any(known), "{:#}", entries[0]);
}

/// A configuration that quotes the enemy, in a file named by the enemy.
fn files_and_their_names(machine: &Machine) {
    let name = "$(printf '/etc/stealthcheck/conf.d/\\033[2J\\302\\23331m\\342\\200\\256\\nBcc: x.yaml')";
    let text = EVIL.replace(['\u{0}', '\r', '\n'], " ");
    // YAML wants them written out, in double quotes, and then they are there all the same.
    let key: String = text
        .chars()
        .map(|c| if acts(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() })
        .collect();
    let key = format!("\"{key}\"");
    machine.write("/root/evil.yaml", &format!("checks:\n  {key}: {{ {key}: {key} }}\n  z: {{ unit: {key}, interval: {key}, http: {{ url: {key} }} }}\n"));
    machine.sh_ok(&format!("cp /root/evil.yaml \"{name}\""));
    for look in [
        "stealthctl validate",
        "stealthctl reload",
        "stealthctl status",
        "stealthctl status --json",
        "systemctl reload stealthcheck",
        "stealthctl authorize",
        "stealthctl validate \"$(printf '/nowhere/\\033[2J\\302\\23331m\\nBcc: x')\"",
        "curl -s http://127.0.0.1:8484/",
        "curl -s http://127.0.0.1:8484/status.json",
    ] {
        let shown = machine.sh(&format!("{look} 2>&1"));
        assert_inert(look, &shown.stdout);
        assert!(!shown.stdout.is_empty() && shown.stdout.len() < 64 << 10, "{look}: {shown}");
    }
    assert_has(&machine.sh("stealthctl status").stdout, &["The configuration was rejected"]);
    // By itself, or where many mails are due in the digest of that minute.
    let mails = machine.wait_for("a mail about it", Duration::from_secs(120), || {
        let mails = machine.mailbox();
        mails.iter().any(|mail| mail.raw.contains("configuration was rejected")).then_some(mails)
    });
    every_mail_is_text(&mails);
    the_journal_is_inert(machine);
    machine.sh_ok(&format!("rm \"{name}\""));
}

/// A mail server that greets with EVIL is quoted to whoever wonders where the mails are.
fn a_hostile_mail_server(machine: &Machine) {
    let config = machine.read("/etc/stealthcheck/stealthcheck.yaml");
    let smtp = config.lines().find(|line| line.starts_with("  smtp:")).unwrap();
    for port in [9104, 9105] {
        let other = format!("  smtp: {{ host: 127.0.0.1, port: {port}, tls: none }}");
        machine.configure(&config.replace(smtp, &other));
        machine.sh_ok("systemctl reload stealthcheck");
        let shown = machine.sh("stealthctl test-mail 2>&1; stealthctl status; stealthctl status --json");
        assert_has(&shown.stdout, &[&format!("mail server 127.0.0.1:{port}: ")]);
        assert_inert("what is told of the mail server", &shown.stdout);
    }
    the_journal_is_inert(machine);
}
