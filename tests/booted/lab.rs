//! Tests of the lab itself: a test that passes on a broken lab proves nothing.

use crate::lab::{MINUTE, Machine, SMTP_PASSWORD, SMTP_USER};
use std::process::Command;

#[test]
fn boots_a_real_systemd() {
    let machine = Machine::boot("lab-boots");
    assert_eq!(machine.sh_ok("cat /proc/1/comm"), "systemd");
    assert_eq!(machine.sh_ok("systemctl is-system-running"), "running");
    assert_eq!(machine.sh_ok("hostname"), "lab-boots");
    assert_eq!(machine.sh_ok("echo $HOME; id -u"), "/root\n0");
    // What stealthcheck needs of the machine it is on.
    assert!(!machine.sh_ok("systemctl show -P CPUUsageNSec dbus.service").starts_with('['));
    assert_eq!(machine.sh_ok("systemd-run -q --wait --pipe -p DynamicUser=yes id -nu").len(), "run-u0".len());
}

#[test]
fn passes_on_what_a_command_comes_to() {
    let machine = Machine::boot("lab-commands");
    let output = machine.sh("echo out; echo err >&2; exit 7");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (7, "out\n", "err\n"));
    machine.write("/etc/new/file", "one\ntwo");
    assert_eq!(machine.read("/etc/new/file"), "one\ntwo");
    machine.sh_ok("chmod 640 /etc/new/file; chown daemon /etc/new/file");
    machine.write("/etc/new/file", "three");
    assert_eq!(machine.sh_ok("stat -c %a:%U /etc/new/file; cat /etc/new/file"), "640:daemon\nthree");
}

#[test]
fn reboot_and_power_cut_keep_the_files() {
    let machine = Machine::boot("lab-reboots");
    let id = machine.read("/etc/machine-id");
    machine.sh_ok("echo kept >/etc/kept; echo lost >/run/lost; iptables -A INPUT -p sctp -j DROP");
    let mut boots = vec![machine.read("/proc/sys/kernel/random/boot_id")];
    let mut again = |how: &dyn Fn(&Machine)| {
        let first = machine.sh_ok("systemctl show -P InvocationID dbus.service");
        how(&machine);
        assert_ne!(machine.sh_ok("systemctl show -P InvocationID dbus.service"), first);
        assert_eq!(machine.read("/etc/kept"), "kept\n");
        assert_eq!(machine.read("/etc/machine-id"), id);
        assert!(!machine.sh("test -e /run/lost").success(), "/run outlived a reboot");
        assert!(!machine.sh_ok("iptables-save").contains("sctp"), "a packet filter rule outlived a reboot");
        boots.push(machine.sh_ok("journalctl --list-boots --no-pager | grep -c '^ *-\\?[0-9]' "));
    };
    again(&Machine::reboot);
    again(&Machine::crash);
    // The journal has the boots that were.
    assert_eq!(boots[1..], ["2", "3"]);
}

#[test]
fn a_port_redirected_in_the_guest_is_seen_outside() {
    let machine = Machine::boot("lab-outside");
    machine.sh_ok("mkdir /srv/web; echo from the guest >/srv/web/page");
    machine.sh_ok("systemd-run -q --working-directory=/srv/web python3 -m http.server 9001");
    machine.wait_for("the web server", MINUTE, || machine.sh("nc -z 127.0.0.1 9001").success().then_some(()));
    let get = "curl -s -m 5 http://192.0.2.1:80/page";
    assert!(!machine.outside(get).success(), "port 80 is open before its redirection");
    machine.sh_ok("iptables -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 9001");
    assert_eq!(machine.outside(get).stdout, "from the guest\n");
    // It ends there: neither side has a way to anywhere else, and both are told so at once.
    assert!(!machine.outside("curl -s -m 5 http://198.51.100.1/").success());
    assert_eq!(machine.sh("curl -s -m 5 http://198.51.100.1/").code, 7, "not refused at once");
}

#[test]
fn the_mail_server_takes_mail_only_with_tls_and_password() {
    let machine = Machine::boot("lab-mail");
    machine.smtp();
    machine
        .write("/root/mail", "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nTo: ops@example.org\r\n\r\nhello\r\n");
    let send = |url: &str, password: &str, more: &str| {
        machine.sh(&format!(
            "curl -sS -m 20 {more} --url {url} -u {SMTP_USER}:{password} -T /root/mail \
             --mail-from alerts@example.org --mail-rcpt ops@example.org"
        ))
    };
    let submission = "smtp://smtp.example.org:587";
    let output = send(submission, SMTP_PASSWORD, "--ssl-reqd");
    assert!(output.success(), "{output}");
    let output = send("smtps://smtp.example.org:465", SMTP_PASSWORD, "--login-options AUTH=LOGIN");
    assert!(output.success(), "{output}");
    assert!(!send(submission, "wrong", "--ssl-reqd").success(), "took a wrong password");
    assert!(!send(submission, SMTP_PASSWORD, "").success(), "took a password in the clear");

    let mails = machine.mails(2);
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].subject(), "grüße");
    assert_eq!(mails[0].body.trim_end(), "hello");
    assert!(mails[0].header("received").contains("TLS"), "{}", mails[0].raw);
    assert!(mails[0].arrived <= mails[1].arrived);
}

#[test]
fn the_victim_fails_on_command() {
    let machine = Machine::boot("lab-victim");
    let web = machine.victim("web", 9001);
    let becomes = |status: u16| {
        machine.wait_for(&format!("status {status}"), MINUTE, || (web.status() == status).then_some(()));
    };
    // This many restarts hit the start limit, which is not what is tested here.
    let restart = || machine.sh("systemctl reset-failed web.service; systemctl restart web.service");
    assert_eq!(web.status(), 200);
    for (fault, status) in [("500", 500), ("hang", 0), ("close-port", 0)] {
        web.fault(fault);
        becomes(status);
        assert!(restart().success());
        becomes(status);
        web.heal();
        becomes(200);
        web.fault(&format!("{fault}-once"));
        becomes(status);
        web.heal();
        assert_eq!(web.status(), status, "{fault}-once ended without a restart");
        assert!(restart().success());
        assert_eq!(web.status(), 200, "a restart did not heal {fault}-once");
    }
    web.fault_with("500", "418");
    becomes(418);
    web.heal();

    web.fault("fail-start-once");
    assert_eq!(web.status(), 200);
    assert!(!restart().success());
    assert_eq!(machine.unit("web.service", "ActiveState"), "failed");
    assert!(restart().success());

    let before = web.pid();
    web.signal("STOP");
    assert_eq!(web.status(), 0);
    assert!(restart().success(), "a stopped process could not be restarted");
    assert_ne!(web.pid(), before);
    web.signal("TERM");
    machine.wait_for("the end", MINUTE, || {
        (machine.unit("web.service", "ActiveState") == "inactive").then_some(())
    });
    assert_eq!(web.pid(), 0);
}

#[test]
fn nothing_is_left_of_a_machine() {
    let machine = Machine::boot("lab-leaves-nothing");
    machine.victim("web", 9001);
    assert!(Machine::leftovers("lab-leaves-nothing").contains("mount "));
    drop(machine);
    assert_eq!(Machine::leftovers("lab-leaves-nothing"), "");
}

#[test]
fn nothing_is_left_of_a_machine_whose_owner_was_killed() {
    // Beside the count of machines that run, for a moment; they are small.
    let script = "\"$0\" start lab-orphan --owner $$ && exec sleep 1000";
    let tool = crate::lab::checkout().join("tests/lab/machine");
    let mut owner = Command::new("sh").arg("-c").arg(script).arg(tool).spawn().unwrap();
    let host = Machine::boot("lab-orphans-sister");
    host.wait_for("the orphan's boot", MINUTE, || {
        Machine::leftovers("lab-orphan").contains("mount ").then_some(())
    });
    owner.kill().unwrap();
    owner.wait().unwrap();
    host.wait_for("the orphan's end", MINUTE, || Machine::leftovers("lab-orphan").is_empty().then_some(()));
    assert_eq!(host.sh_ok("systemctl is-system-running"), "running", "the other machine was hit");
}
