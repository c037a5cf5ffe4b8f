//! The fleet: each machine is set up by the commands of `config/iobio/README.md` as they stand there, with the real runtimes
//! (Node.js, certbot, nginx, git), and then its services are killed and hung, and their certificates renewed. Programs that are
//! not in Debian are played by those in `tests/booted/iobio/`; each says in its head what it does not do.

mod acme;
mod dev_backend;
mod fibridge;
mod fleet;
mod gru;
mod multialign;
mod phenolyzer;

use std::fmt::Write as _;
use std::path::Path;

use crate::lab::{MINUTE, Machine, SMTP_PASSWORD, checkout, deb};

/// The blocks of shell commands of a section of the runbook, without those of its subsections.
pub fn blocks(section: &str) -> Vec<String> {
    let page = std::fs::read_to_string(checkout().join("config/iobio/README.md")).unwrap();
    let is_heading = |line: &&str| line.starts_with("## ") || line.starts_with("### ");
    let (mut blocks, mut inside, mut found) = (Vec::new(), false, false);
    for line in page.lines().skip_while(|line| line.trim_start_matches('#') != format!(" {section}")) {
        if !inside && found && is_heading(&line) {
            break;
        }
        found = true;
        match line {
            "```sh" => (inside, blocks) = (true, [blocks, vec![String::new()]].concat()),
            "```" => inside = false,
            _ if inside => writeln!(blocks.last_mut().unwrap(), "{line}").unwrap(),
            _ => {}
        }
    }
    assert!(!blocks.is_empty(), "the runbook has no commands under \"{section}\"");
    blocks
}

/// The sections of the runbook that tests type.
const TYPED: [&str; 13] = [
    "Every machine",
    "lf-proxy",
    "The first certificate",
    "Renewal",
    "dev.backend",
    "Phenolyzer",
    "Multialign",
    "Both monitored",
    "A gru worker",
    "gru from outside",
    "Two instances that monitor each other",
    "The backup of the configuration",
    "PE",
];

#[test]
fn every_block_of_the_runbook_is_typed() {
    let page = std::fs::read_to_string(checkout().join("config/iobio/README.md")).unwrap();
    let typed: usize = TYPED.iter().map(|section| blocks(section).len()).sum();
    assert_eq!(page.lines().filter(|line| *line == "```sh").count(), typed);
}

impl Machine {
    /// A bare host with a mail server somewhere, and the package in /root; then what every machine gets.
    fn bare(name: &str) -> Self {
        let machine = Self::boot(name);
        machine.smtp();
        machine.sh_ok(
            "rm /etc/stealthcheck/credentials/smtp-password; rmdir -p /etc/stealthcheck/credentials || true",
        );
        machine.push(&deb(), "/root/stealthcheck_0.1.0_amd64.deb");
        machine.follow("Every machine");
        machine.mails(1);
        machine
    }

    /// Types the commands of a section of the runbook, block by block.
    fn follow(&self, section: &str) {
        assert!(TYPED.contains(&section), "{section} is not in the list");
        for block in blocks(section) {
            self.type_block(&block);
        }
    }

    /// The only thing that is typed besides is the mail password.
    fn type_block(&self, block: &str) {
        self.sh_typing(block, &format!("{SMTP_PASSWORD}\n"));
    }

    /// Puts a stand-in at the place of the program that it plays.
    fn stand_in(&self, script: &str, program: &str) {
        self.push(&checkout().join("tests/booted/iobio").join(script), program);
        self.sh_ok(&format!("chmod 755 {program}"));
    }

    /// Makes a directory of stand-ins the repository https://github.com/iobio/NAME, for git on this machine.
    fn repository(&self, directory: &str, name: &str) {
        let from = checkout().join("tests/booted/iobio").join(directory);
        let work = format!("/srv/{name}");
        for file in files(&from) {
            let below = file.strip_prefix(&from).unwrap().to_str().unwrap();
            self.push(&file, &format!("{work}/{below}"));
        }
        self.sh_ok(&format!(
            "git config --system url./srv/.insteadOf https://github.com/iobio/ && cd {work} && git init -q && git add . &&
             git -c user.name=lab -c user.email=lab@example.org commit -q -m 1.11.0 && git tag 1.11.0 2>&1"
        ));
    }

    /// Every unit that the runbook has installed is one that systemd finds nothing wrong with.
    fn verify_units(&self) {
        let verified =
            self.sh("systemd-analyze verify --man=no $(find /etc/systemd/system -maxdepth 1 -type f) 2>&1");
        assert_eq!((verified.code, verified.stdout.as_str()), (0, ""), "systemd-analyze verify");
    }

    /// Shortens the times in what the runbook has installed: pairs of what stands there and what shall. What the samples leave
    /// to the defaults is shorter too; but three failures take longer than systemd's own restart (RestartSec=1).
    fn shorten(&self, file: &str, pairs: &[(&str, &str)]) {
        let path = format!("/etc/stealthcheck/conf.d/{file}");
        let mut yaml = self.read(&path);
        for (from, to) in pairs {
            assert!(yaml.contains(from), "{file} has no \"{from}\"");
            yaml = yaml.replace(from, to);
        }
        self.write(&path, &yaml);
        let main = self.read("/etc/stealthcheck/stealthcheck.yaml");
        if !main.contains("defaults:") {
            self.configure(&format!(
                "{main}defaults: {{ timeout: 900ms, retry_interval: 700ms, grace: 5s }}\n"
            ));
        }
        self.sh_ok("stealthctl reload");
    }

    /// Takes checks out of an installed configuration: from one comment to another, or to the end. They are another test's.
    fn remove_checks(&self, file: &str, from: &str, to: &str) {
        let path = format!("/etc/stealthcheck/conf.d/{file}");
        let yaml = self.read(&path);
        let (kept, rest) = yaml.split_once(from).unwrap_or_else(|| panic!("{file} has no \"{from}\""));
        let rest = if to.is_empty() { "" } else { &rest[rest.find(to).unwrap()..] };
        self.write(&path, &format!("{kept}{rest}"));
    }

    /// Waits for another run of a unit than this.
    fn restarted(&self, unit: &str, before: &str) {
        self.wait_for(&format!("another run of {unit}"), MINUTE, || {
            let run = self.unit(unit, "InvocationID");
            (run != before && !run.is_empty()).then_some(())
        });
    }

    /// Kills the unit's main process: systemd restarts it, stealthcheck only watches, and nobody gets a mail.
    fn killed_is_restarted_by_systemd(&self, unit: &str, check: &str) {
        let (before, asked) = (self.unit(unit, "InvocationID"), self.asked(check));
        let mails = self.mails_about(check).len();
        self.sh_ok(&format!("systemctl kill --signal=KILL --kill-who=main {unit}"));
        self.restarted(unit, &before);
        self.becomes(check, "passing");
        assert_eq!((self.asked(check), self.mails_about(check).len()), (asked, mails));
        assert_eq!(self.unit(unit, "NRestarts"), "1");
    }

    /// Hangs the unit's processes: systemd sees nothing, and stealthcheck restarts it.
    fn hung_is_restarted_by_stealthcheck(&self, unit: &str, check: &str) {
        let before = self.unit(unit, "InvocationID");
        self.sh_ok(&format!("systemctl kill --signal=STOP {unit}"));
        assert_eq!(self.unit(unit, "ActiveState"), "active");
        self.restarted(unit, &before);
        self.becomes(check, "passing");
    }
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
