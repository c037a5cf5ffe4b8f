//! stealthcheck without root: gru and Mosaic as units of an unprivileged user's manager, as at PE, guarded by that user's
//! own instance. The samples are installed as they say themselves; gru and Mosaic are played by the lab's web server.

use stealthcheck::journal::ids;

use crate::guarding::{assert_has, assert_thread};
use crate::iobio::blocks;
use crate::lab::{MINUTE, Machine, SMTP_PASSWORD, checkout};
use crate::users::{NAME, User};

/// What gru answers on `/`.
const GRU: &str = r#"{"service_description":"iobio backend","version":"1.11.0","data_version":"1.10.0"}"#;

/// A program in the user's `bin` that serves `body` on `port`, for as long as it has no fault.
fn program(user: &User<'_>, name: &str, port: u16, body: &str) {
    user.write(
        &format!("bin/{name}"),
        &format!("#!/bin/sh\nexec python3 $HOME/lib/victim.py {port} $HOME/faults/{name}\n"),
    );
    user.sh_ok(&format!("chmod 700 bin/{name}"));
    user.write(&format!("faults/{name}/body"), body);
}

/// The sample, with a look every second instead of every ten.
fn quick_sample() -> String {
    let sample = std::fs::read_to_string(checkout().join("config/iobio/pe.yaml")).unwrap();
    let quick = "\n    interval: 1s\n    timeout: 900ms\n    retry_interval: 500ms\n    failure_threshold: 2";
    let quicker = sample.replace("\n    interval: 10s", quick);
    assert_ne!(sample, quicker);
    quicker
}

#[test]
fn a_user_without_root_has_units_guarded_through_logout_and_reboot() {
    let machine = Machine::boot("pe");
    machine.smtp();
    machine.install_deb();
    assert_eq!(
        machine.sh("ls /etc/systemd/user/*.wants 2>/dev/null").stdout,
        "",
        "it is enabled for somebody"
    );

    let user = User::lingering(&machine);
    user.install("tests/lab/victim.py", "lib/victim.py");
    program(&user, "gru", 9001, GRU);
    program(&user, "mosaic", 9003, "Mosaic");
    user.install("units/user/gru.service", ".config/systemd/user/gru.service");
    user.install("units/user/mosaic.service", ".config/systemd/user/mosaic.service");
    user.configure(&quick_sample());
    assert_has(&user.sh_ok("stealthctl --user validate"), &["OK: 2 checks in 1 file"]);
    let verified = user
        .sh("systemd-analyze --user verify --man=no gru.service mosaic.service stealthcheck.service 2>&1");
    assert_eq!((verified.code, verified.stdout.as_str()), (0, ""), "systemd-analyze verify");
    user.sh_ok("systemctl --user daemon-reload && systemctl --user enable --now gru mosaic stealthcheck");
    user.becomes("gru", "passing");
    user.becomes("mosaic", "passing");

    it_is_the_users_and_nobody_elses(&machine, &user);
    a_service_that_hangs_is_restarted_and_told(&machine, &user);
    a_reload_is_the_users(&user);
    it_goes_on_without_a_login(&machine, &user);
    it_goes_on_after_a_reboot(&machine, &user);
}

fn it_is_the_users_and_nobody_elses(machine: &Machine, user: &User<'_>) {
    let pid = user.unit("stealthcheck.service", "MainPID");
    let status = machine.read(&format!("/proc/{pid}/status"));
    let uids = format!("Uid:\t{0}\t{0}\t{0}\t{0}", user.uid());
    assert_has(&status, &[&uids, "NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"]);
    assert_eq!(machine.unit("stealthcheck.service", "ActiveState"), "inactive", "the machine's own runs");
    // What it keeps is where the XDG directories say, and for nobody else to read.
    let state = format!("/home/{NAME}/.local/state/stealthcheck");
    assert_eq!(
        machine.sh_ok(&format!("stat -c %a:%U {state} {state}/state.json")),
        format!("700:{NAME}\n600:{NAME}")
    );
    // Neither the machine's bus nor another user's has it; root's stealthctl finds nobody.
    assert!(!machine.sh_ok("busctl list --no-legend").contains("io.iobio.Stealthcheck1"));
    assert_eq!(machine.sh("stealthctl status").code, 4);
    // The table, the page and the unit's own line are the user's.
    assert_has(&user.sh("stealthctl --user status").stdout, &["gru", "mosaic.service"]);
    assert_has(&machine.sh_ok("curl -sf http://127.0.0.1:8486/"), &["mosaic.service", "200 OK"]);
    assert_has(&user.unit("stealthcheck.service", "StatusText"), &["2 checks"]);
}

fn a_service_that_hangs_is_restarted_and_told(machine: &Machine, user: &User<'_>) {
    let run = user.unit("gru.service", "InvocationID");
    user.sh_ok("systemctl --user kill -s STOP gru");
    let mails = machine.wait_mails("gru", 2);
    assert_thread(&mails, &["DOWN", "RECOVERED"]);
    assert_ne!(user.unit("gru.service", "InvocationID"), run);
    assert_eq!(user.unit("gru.service", "NRestarts"), "0", "systemd itself restarted it");
    assert_has(
        &mails[0].body,
        &["no answer", "restart: done", "stealthctl --user status gru\n", "journalctl --user -u gru.service"],
    );
    // The user's own journal is all that a user may read, and what gru wrote is in it.
    let (_, quoted) = mails[0].body.split_once("JOURNAL OF gru.service\n").unwrap_or_default();
    assert!(quoted.contains("\"GET / HTTP/1.1\" 200"), "not what gru wrote:\n{}", mails[0].body);
    user.becomes("gru", "passing");
    assert_eq!(user.told(ids::RECOVERY_REQUESTED, "gru"), 1);

    // Killed, it is systemd that restarts it, as its unit says; nobody is woken for that.
    let before = user.unit("mosaic.service", "InvocationID");
    user.sh_ok("systemctl --user kill -s KILL mosaic");
    machine.wait_for("systemd's own restart of mosaic", MINUTE, || {
        (user.unit("mosaic.service", "InvocationID") != before).then_some(())
    });
    user.becomes("mosaic", "passing");
    assert_eq!(user.told(ids::RECOVERY_REQUESTED, "mosaic"), 0);
    // An answer that is none of gru's is as good as none.
    user.sh_ok("mv faults/gru/body faults/gru/.body");
    let mails = machine.wait_mails("gru", 3);
    assert_has(&mails[2].body, &["service_description"]);
    user.sh_ok("mv faults/gru/.body faults/gru/body");
    assert_thread(&machine.wait_mails("gru", 4)[2..], &["DOWN", "RECOVERED"]);
}

fn a_reload_is_the_users(user: &User<'_>) {
    assert_has(&user.sh_ok("stealthctl --user reload"), &["Reloaded: 2 checks in 1 file."]);
    user.write(
        ".config/stealthcheck/conf.d/10-more.yaml",
        "checks: { gru2: { unit: gru.service, evry: 1s } }\n",
    );
    let refused = user.sh("systemctl --user reload stealthcheck");
    assert!(!refused.success(), "{refused}");
    assert_has(&user.sh("stealthctl --user status").stdout, &["conf.d/10-more.yaml:1: checks.gru2.evry"]);
    user.write(".config/stealthcheck/conf.d/10-more.yaml", "checks: { gru2: { unit: gru.service } }\n");
    user.sh_ok("systemctl --user reload stealthcheck");
    user.becomes("gru2", "passing");
    user.sh_ok("rm .config/stealthcheck/conf.d/10-more.yaml && systemctl --user reload stealthcheck");
}

fn it_goes_on_without_a_login(machine: &Machine, user: &User<'_>) {
    let pid = user.unit("stealthcheck.service", "MainPID");
    let sessions = || machine.sh_ok("loginctl list-sessions --no-legend");
    assert_eq!(sessions(), "", "somebody is logged in");
    let inside = machine.sh_ok(&format!("su - {NAME} -c 'loginctl list-sessions --no-legend'"));
    assert!(inside.contains(NAME), "su has made no session: {inside}");
    machine.wait_for("the end of the session", MINUTE, || sessions().is_empty().then_some(()));
    assert_eq!(user.unit("stealthcheck.service", "MainPID"), pid, "it ended with the login");
    user.becomes("gru", "passing");
}

fn it_goes_on_after_a_reboot(machine: &Machine, user: &User<'_>) {
    user.sh_ok("stealthctl --user pause mosaic --for 2h");
    machine.reboot();
    user.wait_for_manager();
    machine.sh_ok("systemctl start postfix");
    assert_eq!(machine.sh_ok("loginctl list-sessions --no-legend"), "", "somebody is logged in");
    user.becomes("gru", "passing");
    user.becomes("mosaic", "paused");
    user.sh_ok("stealthctl --user resume mosaic");
    user.becomes("mosaic", "passing");
    user.sh_ok("systemctl --user kill -s STOP mosaic");
    assert_thread(&machine.wait_mails("mosaic", 2), &["DOWN", "RECOVERED"]);
    user.becomes("mosaic", "passing");
}

/// Typed as the runbook has it, by somebody who came by `sudo su -`: the package is nowhere on the host.
#[test]
fn pe_by_the_runbook_needs_neither_root_nor_a_package_manager() {
    let machine = Machine::boot("pe-tarball");
    machine.smtp();
    let user = User::new(&machine);
    let tarball = tarball();
    let name = tarball.file_name().unwrap().to_string_lossy();
    machine.push(&tarball, &format!("/home/{NAME}/{name}"));
    user.install("tests/lab/victim.py", "lib/victim.py");
    program(&user, "gru", 9001, GRU);
    program(&user, "mosaic", 9003, "Mosaic");
    let blocks = blocks("PE");
    let [login, linger, install, password, start] = &blocks[..] else { panic!("other blocks: {blocks:#?}") };
    let typed = |block: &str| user.su_typing(&format!("{login}{block}"), &format!("{SMTP_PASSWORD}\n"));

    // The administrator of the host may have forbidden it: then there is no manager, and the command says what to do.
    let rule = "/etc/polkit-1/rules.d/10-linger.rules";
    machine.write(
        rule,
        "polkit.addRule(function (action) { if (/set-(self|user)-linger$/.test(action.id)) return polkit.Result.NO; });",
    );
    machine
        .wait_for("linger to be denied", MINUTE, || user.su(linger).stderr.contains("denied").then_some(()));
    assert_has(&typed(install), &[&format!("loginctl enable-linger {NAME}"), "XDG_RUNTIME_DIR=/run/user/"]);
    let unreachable = user.su(".local/bin/stealthctl --user status");
    assert_eq!(unreachable.code, 69, "{unreachable}");
    assert_has(&unreachable.stderr, &["enable-linger NAME", "XDG_RUNTIME_DIR=/run/user/"]);
    machine.sh_ok(&format!("rm {rule}"));
    machine.wait_for("linger to be allowed", MINUTE, || user.su(linger).success().then_some(()));
    user.wait_for_manager();

    typed(password);
    assert_has(&typed(start), &["gru", "mosaic.service"]);
    user.becomes("gru", "passing");
    user.becomes("mosaic", "passing");
    machine.mails(1);
    assert!(!machine.sh("ls /usr/bin/stealth* /usr/lib/systemd/*/stealth* 2>/dev/null").success());
    let pid = user.unit("stealthcheck.service", "MainPID");
    let program = machine.sh_ok(&format!("readlink /proc/{pid}/exe"));
    assert_eq!(program, format!("/home/{NAME}/.local/bin/stealthcheck"));

    // Hung, and a command that systemd runs from there.
    let more = "checks: { data: { command: [test, -d, lib], interval: 1s, recover: none } }\n";
    user.configure(&quick_sample());
    user.write(".config/stealthcheck/conf.d/10-more.yaml", more);
    assert_has(&user.sh_ok("stealthctl --user reload"), &["Reloaded: 3 checks in 2 files."]);
    user.becomes("data", "passing");
    user.sh_ok("systemctl --user kill -s STOP gru");
    assert_thread(&machine.wait_mails("gru", 2), &["DOWN", "RECOVERED"]);
    user.becomes("gru", "passing");

    // A later version replaces it while it runs.
    typed(
        "./stealthcheck-*-amd64/install\nsystemctl --user daemon-reload\nsystemctl --user restart stealthcheck\n",
    );
    user.becomes("gru", "passing");
    assert_ne!(user.unit("stealthcheck.service", "MainPID"), pid);
}

/// The tarball of the package that is tested.
fn tarball() -> std::path::PathBuf {
    let directory = checkout().join("target/tarball");
    std::fs::create_dir_all(&directory).unwrap();
    let made = std::process::Command::new(checkout().join("packaging/tarball"))
        .args([crate::lab::deb(), directory])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().into()
}
