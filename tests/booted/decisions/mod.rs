//! Decisions where systemd's own order of events matters: which jobs are requested, which are not, and what is notified.
//!
//! Each test boots one machine and plays several scenarios on it at once, each on units of its own. A scenario that ends
//! otherwise than expected does not end the others: all of them are reported at the end.

mod boot;
mod crash;
mod ladders;
mod operator;
mod rest;
mod start_limit;

use std::thread;
use std::time::{Duration, Instant};

use stealthcheck::journal::ids;

use crate::guarding::shown;
use crate::lab::{MINUTE, Machine};

/// A unit that only waits.
const SLEEPS: &str = "[Service]\nExecStart=/usr/bin/sleep infinity\n";

/// The expectations of a test that did not hold, with the journal that explains them.
struct Findings<'a> {
    machine: &'a Machine,
    failed: Vec<String>,
}

impl<'a> Findings<'a> {
    fn on(machine: &'a Machine) -> Self {
        Self { machine, failed: Vec::new() }
    }

    /// Records that `expectation` holds or not; `about`: the unit or check whose journal explains it.
    fn expect(&mut self, about: &str, expectation: &str, holds: bool) -> bool {
        if !holds {
            let journal = self.machine.decisions(about);
            self.failed.push(format!("{about}: NOT: {expectation}\n{journal}"));
        }
        holds
    }

    /// The same for a state that must be reached within a minute.
    fn reaches(&mut self, about: &str, expectation: &str, reached: impl FnMut() -> bool) -> bool {
        self.reaches_within(MINUTE, about, expectation, reached)
    }

    fn reaches_within(
        &mut self,
        deadline: Duration,
        about: &str,
        expectation: &str,
        reached: impl FnMut() -> bool,
    ) -> bool {
        let holds = eventually(deadline, reached);
        self.expect(about, &format!("{expectation} within {} s", deadline.as_secs()), holds)
    }

    /// No recovery was requested, no incident opened and no mail sent for the check.
    fn calm(&mut self, check: &str) {
        let (asked, opened) =
            (self.machine.asked(check), self.machine.told(ids::INCIDENT_OPENED, check).len());
        let mails = self.machine.mails_about(check).len();
        let seen = format!("no job, no incident, no mail ({asked} jobs, {opened} incidents, {mails} mails)");
        self.expect(check, &seen, (asked, opened, mails) == (0, 0, 0));
    }

    fn end(self) {
        assert!(
            self.failed.is_empty(),
            "{} of the expectations failed:\n\n{}",
            self.failed.len(),
            self.failed.join("\n\n")
        );
    }
}

/// Whether something becomes true before the deadline.
fn eventually(deadline: Duration, mut reached: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !reached() {
        if start.elapsed() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
    true
}

impl Machine {
    /// A machine with the mail server and the package, of this Debian suite.
    fn ready_on(name: &str, suite: &str) -> Self {
        let machine = Self::boot_suite(name, suite);
        machine.smtp();
        machine.install_deb();
        machine
    }

    /// What systemd and the daemon logged about a unit or a check, oldest first.
    fn decisions(&self, about: &str) -> String {
        let unit = if about.contains('.') { about.to_owned() } else { format!("{about}.service") };
        let fields = [
            format!("UNIT={unit}"),
            "+".to_owned(),
            format!("STEALTHCHECK_CHECK={about}"),
            "+".to_owned(),
            format!("STEALTHCHECK_UNIT={unit}"),
        ];
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        self.run(
            &[&["journalctl", "--no-pager", "-o", "short-precise", "-n", "40"], fields.as_slice()].concat(),
        )
        .stdout
    }

    /// Waits until all of these checks pass.
    fn all_pass(&self, checks: &[&str]) {
        self.wait_for(&format!("{checks:?} to pass"), MINUTE, || {
            let status = self.status_json();
            let all = status["checks"].as_array()?;
            let passes =
                |name: &&str| all.iter().any(|check| check["name"] == **name && shown(check) == "passing");
            checks.iter().all(passes).then_some(())
        });
    }

    fn passes(&self, check: &str) -> bool {
        shown(&self.check(check)) == "passing"
    }

    fn is(&self, unit: &str, active: &str) -> bool {
        self.unit(unit, "ActiveState") == active
    }

    /// Waits until a unit's `ActiveState` is this.
    fn unit_becomes(&self, unit: &str, active: &str) {
        self.wait_for(&format!("{unit} to be {active}"), MINUTE, || self.is(unit, active).then_some(()));
    }

    /// Units of which one is not down; empty where all are.
    fn not_down(&self, units: &[&str]) -> Vec<String> {
        let shown = self.sh(&format!("systemctl is-active {}", units.join(" "))).stdout;
        let up = |state: &str| !matches!(state, "inactive" | "failed");
        units
            .iter()
            .zip(shown.lines())
            .filter(|(_, state)| up(state))
            .map(|(unit, _)| (*unit).to_owned())
            .collect()
    }

    /// Watches units that must stay down for this long; each that does not is named once.
    fn come_up(&self, units: &[&str], lasting: Duration) -> Vec<String> {
        let start = Instant::now();
        let mut found: Vec<String> = Vec::new();
        while start.elapsed() < lasting {
            for unit in self.not_down(units) {
                if !found.contains(&unit) {
                    found.push(unit);
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
        found
    }

    /// A gate that is closed: a command that waits, as a line of a unit file, until `open` opens it.
    fn open(&self, gate: &str) {
        self.write(&format!("/run/open-{gate}"), "");
    }

    /// Closes a gate again.
    fn close(&self, gate: &str) {
        self.sh_ok(&format!("rm -f /run/open-{gate}"));
    }

    /// How often systemd has started a unit in this boot.
    fn starts(&self, unit: &str) -> usize {
        // SD_MESSAGE_UNIT_STARTED
        let started = "MESSAGE_ID=39f53479d3a045ac8e11786248231fbf";
        self.journal_entries(&["-b", started, &format!("UNIT={unit}"), "JOB_RESULT=done"]).len()
    }

    /// The reasons for which recoveries of a check were withheld.
    fn withheld(&self, check: &str) -> Vec<String> {
        let entries = self.told(ids::RECOVERY_WITHHELD, check);
        entries.iter().filter_map(|entry| entry["STEALTHCHECK_REASON"].as_str().map(str::to_owned)).collect()
    }

    /// What `stealthctl why` prints about a check.
    fn why(&self, check: &str) -> String {
        self.run(&["stealthctl", "why", check]).stdout
    }
}

/// The command that waits at a gate.
fn at_gate(gate: &str) -> String {
    format!("/bin/sh -c 'until test -e /run/open-{gate}; do sleep 0.05; done'")
}
