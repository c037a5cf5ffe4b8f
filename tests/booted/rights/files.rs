//! What the daemon's user may do to files, to have root read or write in its place: root's code runs at every start and
//! reload (`ExecStartPre=+`), and systemd and the package's scripts handle what belongs to that user.

use super::*;
use crate::lab::MINUTE;

/// Everything that only root may change, and a secret that only root may read.
const ROOTS: &str = "/etc/shadow /etc/precious /etc/precious/secret /run/stealthcheck.authorized /run/stealthcheck.probes \
                     /run/stealthcheck.probes/cmd /etc/stealthcheck/stealthcheck.yaml \
                     /etc/polkit-1/rules.d/49-stealthcheck-permitted.rules";

fn state_of(machine: &Machine) -> String {
    // Of what is written anew at a start: owner, mode and content.
    machine.sh_ok(&format!(
        "stat -c '%n %U:%G %a %F' {ROOTS} && find {ROOTS} -maxdepth 0 -type f -exec sha256sum {{}} +"
    ))
}

#[test]
fn the_daemons_user_cannot_lead_root_astray() {
    let machine = Machine::boot("rights-files");
    machine.victim("web", 9001);
    machine.sh_ok("install -d -m 700 /etc/precious && install -m 600 /dev/null /etc/precious/secret && echo r00ts-own >/etc/precious/secret");
    machine.install_deb();
    machine.configure(&format!(
        "checks:\n{}  cmd: {{ command: [echo, --token=t0psecret], interval: 1h }}\n",
        check("web", "web.service", 9001, "")
    ));
    machine.start_stealthcheck();
    assert_eq!(
        machine.sh_ok("stat -c '%n %U %a' /run/stealthcheck.authorized /run/stealthcheck.probes /run/stealthcheck.probes/cmd /var/lib/stealthcheck"),
        "/run/stealthcheck.authorized root 644\n/run/stealthcheck.probes root 700\n\
         /run/stealthcheck.probes/cmd root 600\n/var/lib/stealthcheck stealthcheck 700"
    );
    assert_eq!(
        machine.sh_ok("stat -c '%U:%G %a' /var/lib/stealthcheck.configuration"),
        "root:stealthcheck 640"
    );
    // All that the user owns, and where it may write: nothing that root's code opens is below one of these.
    let own = machine.sh_ok(
        "find / -xdev \\( -path /proc -o -path /sys \\) -prune -o -user stealthcheck ! -path '/var/lib/stealthcheck/*' -print;
         find /run -user stealthcheck ! -path '/run/credentials/*' -print; test ! -w /run/credentials || find /run/credentials -user stealthcheck -perm /222",
    );
    assert_eq!(own, "/var/lib/stealthcheck");
    let hidden =
        "systemd-run --wait --pipe -q -p InaccessiblePaths=/var/lib/stealthcheck stealthctl authorize";
    machine.sh_ok(&format!(
        "rm /run/stealthcheck.authorized && {hidden} && test -s /run/stealthcheck.authorized"
    ));
    let before = state_of(&machine);

    for attempt in [
        // In the place of what root writes, or of what it writes first.
        "ln -sf /etc/precious/secret /run/stealthcheck.authorized",
        "mv /run/stealthcheck.authorized /var/lib/stealthcheck/",
        "ln -s /etc/precious /run/.stealthcheck.authorized.1",
        // In the place of what the daemon runs.
        "echo >>/var/lib/stealthcheck.configuration",
        "mv /var/lib/stealthcheck.configuration /var/lib/stealthcheck/",
        "rm -f /var/lib/stealthcheck.configuration",
        "ln -s /etc/precious/secret /var/lib/.stealthcheck.configuration.1",
        "stealthctl authorize --output /var/lib/stealthcheck/list --probes /var/lib/stealthcheck/probes",
        "mkdir /run/stealthcheck",
        "mv /run/stealthcheck.probes /var/lib/stealthcheck/",
        "ln -sf /etc/precious/secret /run/stealthcheck.probes/cmd",
        "cat /run/stealthcheck.probes/cmd",
        "ls /run/stealthcheck.probes",
        "mv /var/lib/stealthcheck /var/lib/moved",
        "echo x >>/etc/stealthcheck/conf.d/mine.yaml",
        "echo >>/etc/polkit-1/rules.d/49-stealthcheck-permitted.rules",
        "ln -s /etc/precious/secret /etc/polkit-1/rules.d/.49-stealthcheck-permitted.rules.1",
        "ln /etc/shadow /var/lib/stealthcheck/hard",
        // Root's own command, and its own options.
        "stealthctl authorize --output /var/lib/stealthcheck/list",
        "cat /etc/precious/secret",
    ] {
        let output = machine.sh(&format!("runuser -u stealthcheck -- sh -c '{attempt}'"));
        assert!(!output.success(), "{attempt}: {output}");
    }

    // What it may do: plant links in its own directory, under every name that the daemon uses there.
    machine.sh_ok(
        "systemctl stop stealthcheck
         runuser -u stealthcheck -- sh -c 'cd /var/lib/stealthcheck && rm -rf * .[a-z]* &&
             ln -s /etc/precious/secret state.json && ln -s /etc/precious spool && ln -s /etc/shadow .state.json.tmp &&
             ln -s /etc/shadow state.json.tmp && ln -s /etc/shadow state.json.new'",
    );
    machine.start_stealthcheck();
    machine.wait_for("web to pass", MINUTE, || machine.sh("stealthctl check web").success().then_some(()));
    machine.sh_ok("systemctl reload stealthcheck && systemctl restart stealthcheck && stealthctl authorize");
    assert_eq!(state_of(&machine), before);
    let told = machine.sh_ok(
        "journalctl --no-pager -o cat -u stealthcheck.service; stealthctl status; stealthctl status --json",
    );
    assert!(!told.contains("r00ts-own"), "{told}");
    // The package's own scripts: what it takes with it is its own.
    let purged = machine.sh("DEBIAN_FRONTEND=noninteractive apt-get purge -y stealthcheck 2>&1");
    assert!(purged.success(), "{purged}");
    assert!(!machine.sh("ls -d /var/lib/stealthcheck /run/stealthcheck*").success());
    assert_eq!(machine.sh_ok("cat /etc/precious/secret; stat -c %U /etc/precious"), "r00ts-own\nroot");
}
