//! A user without any privilege on a machine, and the stealthcheck in that user's own service manager.

use serde_json::Value;

use crate::guarding::shown;
use crate::lab::{MINUTE, Machine, Output, SMTP_PASSWORD, checkout};

/// The user that runs gru and Mosaic at PE.
pub const NAME: &str = "ucgd-peanalysis";

/// A user that nobody is logged in as.
pub struct User<'m> {
    machine: &'m Machine,
    uid: String,
}

impl<'m> User<'m> {
    /// Makes the user, whose manager runs from now on without a login: all that root does for them.
    pub fn lingering(machine: &'m Machine) -> Self {
        let user = Self::new(machine);
        machine.sh_ok(&format!("loginctl enable-linger {NAME}"));
        user.wait_for_manager();
        user
    }

    /// Makes the user, who has no manager yet.
    pub fn new(machine: &'m Machine) -> Self {
        machine.sh_ok(&format!("useradd -m -s /bin/bash {NAME}"));
        Self { machine, uid: machine.sh_ok(&format!("id -u {NAME}")) }
    }

    /// Runs a script as somebody who has come by `sudo su - NAME`: in a session that is another's (here root's), as
    /// pam_systemd opens none within one.
    pub fn su(&self, script: &str) -> Output {
        self.machine.run(&["su", "-", "-c", &self.by_su(script)])
    }

    /// The same, with something to type; it must succeed.
    pub fn su_typing(&self, script: &str, input: &str) -> String {
        self.machine.sh_typing(&format!("su - -c \"{}\"", self.by_su(script)), input)
    }

    fn by_su(&self, script: &str) -> String {
        self.machine.write("/tmp/script", script);
        format!("su - {NAME} -c 'bash -eu /tmp/script'")
    }

    /// Waits until the user's manager runs and has its bus.
    pub fn wait_for_manager(&self) {
        self.machine.wait_for("the user's manager", MINUTE, || {
            self.sh("systemctl --user is-system-running").stdout.starts_with("running").then_some(())
        });
    }

    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Runs a shell script as the user, with what a login would have set of the environment.
    pub fn sh(&self, script: &str) -> Output {
        let runtime = format!("XDG_RUNTIME_DIR=/run/user/{}", self.uid);
        let home = format!("HOME=/home/{NAME}");
        let script = format!("cd && PATH=$HOME/.local/bin:$PATH && {script}");
        self.machine.run(&["runuser", "-u", NAME, "--", "env", &runtime, &home, "sh", "-c", &script])
    }

    /// Runs a shell script that must succeed, and returns its standard output without the last newline.
    pub fn sh_ok(&self, script: &str) -> String {
        let output = self.sh(script);
        assert!(output.success(), "as {NAME}: {script}\n{output}");
        output.stdout.trim_end_matches('\n').to_owned()
    }

    /// Writes a file below the user's home, as the user: only for them to read.
    pub fn write(&self, path: &str, text: &str) {
        let literal = text.replace('\'', r"'\''");
        self.sh_ok(&format!("mkdir -p \"$(dirname {path})\" && umask 077 && printf %s '{literal}' >{path}"));
    }

    /// Installs a file of the checkout into the user's home.
    pub fn install(&self, file: &str, path: &str) {
        self.write(path, &std::fs::read_to_string(checkout().join(file)).expect("a file of the checkout"));
    }

    /// Writes the configuration and the mail password, where stealthcheck --user looks for them.
    pub fn configure(&self, yaml: &str) {
        self.write(".config/stealthcheck/stealthcheck.yaml", yaml);
        self.write(".config/stealthcheck/credentials/smtp-password", SMTP_PASSWORD);
    }

    /// A property of a unit of the user's.
    pub fn unit(&self, name: &str, property: &str) -> String {
        self.sh_ok(&format!("systemctl --user show -P {property} {name}"))
    }

    /// What `stealthctl --user status --json` says of one check.
    pub fn check(&self, name: &str) -> Value {
        let output = self.sh("stealthctl --user status --json");
        let status: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
        let checks = status["checks"].as_array().into_iter().flatten();
        checks.into_iter().find(|check| check["name"] == name).cloned().unwrap_or_default()
    }

    /// Waits until a check's health is this word.
    pub fn becomes(&self, name: &str, health: &str) -> Value {
        self.machine.wait_for(&format!("{NAME}'s {name} to be {health}"), MINUTE, || {
            Some(self.check(name)).filter(|check| shown(check) == health)
        })
    }

    /// The entries of the user's own journal with this MESSAGE_ID about this check, as the user sees them.
    pub fn told(&self, id: &str, check: &str) -> usize {
        let script = format!(
            "journalctl --user --no-pager -o json MESSAGE_ID={id} STEALTHCHECK_CHECK={check} | wc -l"
        );
        self.sh_ok(&script).parse().expect("a number")
    }
}
