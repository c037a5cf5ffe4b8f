//! What people and programs at the machine do, and what breaks.

use std::time::Duration;

use stealthcheck::check::CheckName;
use stealthcheck::engine::hold::HowEnded;
use stealthcheck::unit::UnitName;
use stealthcheck::verdict::Observation;

use super::driver::Input;
use super::systemd::{By, Exit, JobType, UnitFile};
use super::{Coming, Machine, unit_name};

fn check_name(name: &str) -> CheckName {
    CheckName::new(name).unwrap()
}

impl Machine {
    /// `systemctl VERB UNIT…`, as one command: all jobs are queued before any of them runs.
    pub fn systemctl(&mut self, verb: &str, units: &[&str]) {
        let kind = match verb {
            "start" => JobType::Start,
            "stop" => JobType::Stop,
            "restart" => JobType::Restart,
            "reload" => JobType::Reload,
            _ => panic!("systemctl {verb}"),
        };
        self.note(format!("# systemctl {verb} {}", units.join(" ")));
        for unit in units {
            if let Err(refusal) = self.systemd.request(&unit_name(unit), kind, By::Operator) {
                self.note(format!("# {refusal}"));
            }
        }
        self.systemd.run();
    }

    pub fn stop(&mut self, unit: &str) {
        self.systemctl("stop", &[unit]);
    }

    pub fn start(&mut self, unit: &str) {
        self.systemctl("start", &[unit]);
    }

    pub fn restart(&mut self, unit: &str) {
        self.systemctl("restart", &[unit]);
    }

    /// `kill -9` of the main process.
    pub fn kill(&mut self, unit: &str) {
        self.exit(unit, Exit::Signal(9));
    }

    /// The main process ends like this.
    pub fn exit(&mut self, unit: &str, exit: Exit) {
        self.note(format!("# the process of {unit} ends: {exit:?}"));
        self.systemd.kill(&unit_name(unit), exit);
    }

    /// The service answers nothing until it is started again.
    pub fn hang(&mut self, unit: &str) {
        self.note(format!("# {unit} hangs"));
        self.systemd.program(&unit_name(unit)).hung = true;
    }

    /// The service answers nothing, however often it is started.
    pub fn break_service(&mut self, unit: &str) {
        self.note(format!("# {unit} is broken"));
        self.systemd.program(&unit_name(unit)).broken = true;
    }

    /// Every start of the service fails.
    pub fn fail_to_start(&mut self, unit: &str) {
        self.note(format!("# {unit} cannot start"));
        self.systemd.program(&unit_name(unit)).fails_to_start = true;
    }

    /// Nothing is wrong with the service any more, from its next start on where it does not run.
    pub fn mend(&mut self, unit: &str) {
        self.note(format!("# {unit} is mended"));
        let program = self.systemd.program(&unit_name(unit));
        (program.broken, program.hung, program.fails_to_start) = (false, false, false);
        (program.hangs_after, program.exits_after) = (None, None);
    }

    pub fn freeze(&mut self, unit: &str) {
        self.systemd.freeze(&unit_name(unit), true);
    }

    pub fn thaw(&mut self, unit: &str) {
        self.systemd.freeze(&unit_name(unit), false);
    }

    /// The unit's file is changed, and systemd reads it.
    pub fn edit(&mut self, unit: &str, change: impl FnOnce(&mut UnitFile)) {
        self.systemd.edit(&unit_name(unit), change);
    }

    /// `systemctl disable --now`.
    pub fn disable_now(&mut self, unit: &str) {
        self.edit(unit, |file| file.enabled = false);
        self.stop(unit);
    }

    pub fn enable_now(&mut self, unit: &str) {
        self.edit(unit, |file| file.enabled = true);
        self.start(unit);
    }

    pub fn mask(&mut self, unit: &str) {
        self.edit(unit, |file| file.masked = true);
    }

    /// The unit's condition, assertion or `ExecCondition=` is met from now on, or is not.
    pub fn set_condition(&mut self, unit: &str, met: bool) {
        self.edit(unit, |file| {
            let lines = [&mut file.condition, &mut file.assertion, &mut file.exec_condition];
            lines.into_iter().flatten().for_each(|line| line.met = met);
        });
    }

    /// The probes of the check see this from now on.
    pub fn sees(&mut self, check: &str, observation: Observation) {
        self.note(format!("# {check} sees: {}", observation.text()));
        self.seen_instead.insert(check_name(check), observation);
    }

    /// The check's probes fail, whatever its service does.
    pub fn fail(&mut self, check: &str) {
        self.sees(check, Observation::Failing { reason: "the body lacks `ok`".into() });
    }

    /// The check's probes fail in a way that a restart cannot change: an expired certificate.
    pub fn fail_for_good(&mut self, check: &str) {
        self.sees(check, Observation::NotRestartable { reason: "valid for no more than 3 days".into() });
    }

    /// The check's probes cannot measure.
    pub fn cannot_measure(&mut self, check: &str) {
        self.sees(check, Observation::Unknown { reason: "the resolver does not answer".into() });
    }

    /// The check's probes see what its service answers.
    pub fn sees_service(&mut self, check: &str) {
        self.note(format!("# {check} sees its service again"));
        self.seen_instead.remove(&check_name(check));
    }

    /// `stealthctl check`.
    pub fn probe_now(&mut self, check: &str) {
        self.tell(Input::Probe(check_name(check)));
    }

    pub fn pause(&mut self, check: &str, secs: u64) {
        self.tell(Input::Pause(check_name(check), Duration::from_secs(secs)));
    }

    pub fn resume(&mut self, check: &str) {
        self.tell(Input::Resume(check_name(check)));
    }

    /// `stealthctl hold UNIT --for …`: the unit is held, and nothing else happens. Returns the hold's id.
    pub fn hold(&mut self, unit: &str, secs: u64) -> String {
        self.sequence += 1;
        let id = self.sequence.to_string();
        let unit = unit_name(unit);
        self.note(format!("# stealthctl hold {unit}"));
        self.wanted_leases.insert(id.clone(), unit.clone());
        self.tell(Input::Hold { id: id.clone(), unit, lasting: Duration::from_secs(secs) });
        id
    }

    /// Whether the hold is in force.
    pub fn is_held(&self, id: &str) -> bool {
        self.leases.contains_key(id)
    }

    /// The hold's holder has ended.
    pub fn release(&mut self, id: &str, how: HowEnded) {
        if self.leases.remove(id).is_some() {
            self.note(format!("# hold {id} ends: {how:?}"));
            self.tell(Input::HoldEnds { id: id.to_owned(), how });
        }
    }

    /// The holder ends while the daemon does not see it.
    pub fn lose_lease(&mut self, id: &str) {
        self.leases.remove(id);
    }

    /// `stealthctl hold UNIT --stop -- sleep SECS`: the unit is stopped, and when it is, the hold ends so much later.
    pub fn hold_and_stop(&mut self, unit: &str, secs: u64) -> String {
        let id = self.hold(unit, 3600);
        self.stop(unit);
        let name = unit_name(unit);
        while !self.systemd.is_down(&name) {
            self.run_for_millis(1);
        }
        let ends = id.clone();
        self.at(secs, move |machine| machine.release(&ends, HowEnded::Done));
        id
    }

    /// The machine shuts down in good order and boots again. The daemon is stopped with it.
    pub fn reboot(&mut self) {
        self.note("# reboot");
        self.systemd.shut_down();
        self.run_for_millis(200);
        self.stop_daemon();
        self.run_for(1);
        self.boots();
    }

    /// The machine begins to shut down, and does not come to its end.
    pub fn shut_down(&mut self) {
        self.note("# shutdown");
        self.systemd.shut_down();
    }

    /// `systemctl soft-reboot`: the kernel, its boot id and its clocks go on.
    pub fn soft_reboot(&mut self) {
        self.note("# soft reboot");
        self.systemd.shut_down();
        self.run_for_millis(200);
        self.stop_daemon();
        self.run_for(1);
        self.user_space_starts();
    }

    /// The power fails, and the machine boots. The daemon's state is on the disk as it was.
    pub fn power_fails(&mut self) {
        self.stop_daemon();
        self.boots();
    }

    pub(super) fn boots(&mut self) {
        self.boot += 1;
        self.user_space_starts();
    }

    fn user_space_starts(&mut self) {
        self.switch_off();
        self.time += Duration::from_secs(20);
        let now = self.now();
        self.systemd.boot(now);
        if self.inputs.is_none() {
            self.later(self.daemon_starts_after, Coming::DaemonStarts);
        }
    }

    fn switch_off(&mut self) {
        self.systemd.power_off();
        self.coming.retain(|_, coming| matches!(coming, Coming::Script(_)));
        self.leases.clear();
        self.wanted_leases.clear();
    }

    /// The wall clock is set by so many seconds.
    pub fn set_clock(&mut self, secs: i64) {
        self.note(format!("# the clock is set by {secs} s"));
        self.wall_shift += secs * 1000;
        self.systemd.set_time(self.now());
    }

    /// The machine sleeps: its clocks go on, and nothing happens meanwhile.
    pub fn sleep(&mut self, secs: u64) {
        self.note(format!("# the machine sleeps for {secs} s"));
        self.advance_to(self.time + Duration::from_secs(secs));
    }

    /// A client connects to the socket of this service: systemd starts the service.
    pub fn connect(&mut self, service: &str) {
        let unit = unit_name(service);
        let socket = unit_name(&format!("{service}.socket"));
        let has_socket = self.systemd.read(&unit).settings.triggered_by.contains(&socket);
        if has_socket && self.systemd.is_up(&socket) && !self.systemd.is_up(&unit) {
            let _ = self.systemd.request(&unit, JobType::Start, By::Systemd);
            self.systemd.run();
        }
    }

    /// The machine shuts down in good order, is off for so many seconds, and boots.
    pub fn off_for(&mut self, secs: u64) {
        self.systemd.shut_down();
        self.run_for_millis(200);
        self.stop_daemon();
        self.time += Duration::from_secs(secs);
        self.boots();
    }

    /// The primary name of a unit.
    pub fn unit_name(&self, unit: &str) -> UnitName {
        self.systemd.id(&unit_name(unit))
    }
}
