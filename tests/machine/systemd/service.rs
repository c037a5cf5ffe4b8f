//! A service's states, and the processes in it (src/core/service.c).

use std::time::Duration;

use stealthcheck::unit::UnitName;

use super::job::{By, JobType};
use super::unit::Sub;
use super::unit_file::{Exit, Kind, Restart};
use super::{Answer, Happened, Systemd, Timer};

/// How long a program takes to find that it cannot run.
const FAILS_WITHIN: Duration = Duration::from_millis(10);
/// The same where its port is taken.
const PORT_TAKEN_WITHIN: Duration = Duration::from_millis(80);

impl Exit {
    /// systemd's word for it. `daemon`: SIGTERM and its like are a clean end.
    fn result(self, daemon: bool) -> &'static str {
        match self {
            Self::Status(0) => "success",
            Self::Status(_) => "exit-code",
            Self::Signal(1 | 2 | 13 | 15) if daemon => "success",
            Self::Signal(3 | 4 | 6 | 7 | 8 | 11) => "core-dump",
            Self::Signal(_) => "signal",
        }
    }
}

impl Systemd {
    /// `ExecStartPre=` is done: the main process is started.
    pub(super) fn start_main(&mut self, unit: usize) {
        self.next_invocation += 1;
        let this = &mut self.units[unit];
        this.main_pid = 1000 + u32::try_from(self.next_invocation % 30_000).unwrap_or(0);
        let (serial, takes) = (this.run_serial, this.file.start_takes.saturating_add(self.slowness));
        let (fails, kind) = (this.file.program.fails_to_start, this.file.kind.clone());
        match kind {
            Kind::Simple => {
                self.main_runs(unit, Sub::Running);
                if fails {
                    self.later(FAILS_WITHIN, Timer::Exit { unit, serial, exit: Exit::Status(1) });
                }
            }
            _ => {
                self.set_state(unit, Sub::Start, false);
                if fails {
                    let after = takes.min(FAILS_WITHIN);
                    self.later(after, Timer::Exit { unit, serial, exit: Exit::Status(1) });
                } else if takes < Duration::from_secs(100 * 365 * 86_400) {
                    self.state_timer(unit, takes);
                }
            }
        }
    }

    /// The main process is ready.
    fn main_runs(&mut self, unit: usize, sub: Sub) {
        let now = self.now;
        let this = &mut self.units[unit];
        this.started = now;
        this.listens_from = now.after(this.file.program.listens_after);
        let (serial, exits) = (this.run_serial, this.file.program.exits_after);
        let left_over = this.left_over;
        self.set_state(unit, sub, false);
        if let Some((after, exit)) = exits {
            self.later(after, Timer::Exit { unit, serial, exit });
        }
        if left_over {
            self.later(PORT_TAKEN_WITHIN, Timer::Exit { unit, serial, exit: Exit::Status(1) });
        }
    }

    /// What the unit's state waited for is over.
    pub(super) fn state_is_over(&mut self, unit: usize) {
        let usec = self.usec;
        let this = &self.units[unit];
        match this.sub {
            Sub::Condition => {
                let line = this.file.exec_condition.as_ref().map(|line| line.line.clone());
                self.units[unit].unmet = line;
                self.enter_dead(unit, "exec-condition", true);
            }
            Sub::StartPre => self.start_main(unit),
            Sub::Start if this.file.kind == Kind::Oneshot => {
                let exit = this.file.program.exits_after.map_or(Exit::Status(0), |(_, exit)| exit);
                self.main_exits(unit, exit);
            }
            Sub::Start => self.main_runs(unit, Sub::Running),
            Sub::Reload => self.set_state(unit, Sub::Running, false),
            Sub::StopSigterm => {
                let result = this.stop_result;
                let left = this.file.program.leaves_child && this.main_pid != 0;
                let this = &mut self.units[unit];
                this.left_over |= left;
                if std::mem::take(&mut this.main_pid) != 0 {
                    this.times.main_exit = usec;
                }
                self.enter_dead(unit, result, true);
            }
            Sub::AutoRestart => self.enter_restart(unit),
            _ => {}
        }
    }

    /// The main process ends by itself, or is killed.
    pub(super) fn main_exits(&mut self, unit: usize, exit: Exit) {
        let usec = self.usec;
        let this = &mut self.units[unit];
        let daemon = this.file.kind != Kind::Oneshot;
        let result = exit.result(daemon);
        match this.sub {
            Sub::Running | Sub::Reload => {}
            Sub::StartPre | Sub::Condition => {
                // The main process is not there yet; what ends is the command before it.
                let result = exit.result(false);
                return self.enter_dead(unit, result, true);
            }
            Sub::Start => {}
            _ => return,
        }
        let starting = this.sub == Sub::Start;
        let listens = this.sub == Sub::Running && this.listens_from <= self.now;
        this.left_over |= this.file.program.leaves_child && listens;
        this.exit = Some(exit);
        this.times.main_exit = usec;
        this.main_pid = 0;
        let name = this.name().clone();
        let remains = this.file.remain_after_exit;
        let notify = this.file.kind == Kind::Notify;
        self.note(|| format!("the main process of {name} ends: {exit:?}"));
        match result {
            "success" if remains => self.set_state(unit, Sub::Exited, false),
            "success" if starting && notify => self.enter_dead(unit, "protocol", true),
            result => self.enter_dead(unit, result, true),
        }
    }

    pub(super) fn start_times_out(&mut self, unit: usize) {
        let this = &mut self.units[unit];
        if matches!(this.sub, Sub::StartPre | Sub::Start) {
            this.result = "timeout";
            this.stop_result = "timeout";
            let takes = this.file.stop_takes;
            self.set_state(unit, Sub::StopSigterm, false);
            self.state_timer(unit, takes);
        }
    }

    pub(super) fn stop_service(&mut self, unit: usize) {
        let this = &mut self.units[unit];
        this.forbid_restart = true;
        let sub = this.sub;
        let daemon = this.file.kind != Kind::Oneshot;
        let ends = this.file.stop_exit;
        let takes = this.file.stop_takes;
        this.stop_result = match sub {
            // The command before the main process is no daemon: SIGTERM is a failure of it.
            Sub::Condition | Sub::StartPre => "signal",
            Sub::Exited => "success",
            _ => ends.result(daemon),
        };
        match sub {
            Sub::StopSigterm => {}
            Sub::AutoRestart => self.set_state(unit, Sub::Dead, false),
            _ => {
                if this.main_pid != 0 {
                    this.exit = Some(ends);
                }
                let takes = if sub == Sub::Exited { Duration::from_millis(5) } else { takes + self.slowness };
                self.set_state(unit, Sub::StopSigterm, false);
                self.state_timer(unit, takes);
            }
        }
    }

    /// The service has no processes any more (service_enter_dead).
    pub(super) fn enter_dead(&mut self, unit: usize, result: &'static str, allow_restart: bool) {
        let this = &mut self.units[unit];
        let fails = result != "success" && result != "exec-condition";
        let stop_pending = this.job.is_some_and(|job| job.kind == JobType::Stop);
        if this.result == "success" {
            this.result = result;
        }
        this.main_pid = 0;
        this.run_serial += 1;
        let sub = match this.result {
            "success" | "exec-condition" => Sub::Dead,
            _ => Sub::Failed,
        };
        let shall = match this.file.restart {
            Restart::No => false,
            Restart::OnFailure => !matches!(this.result, "success" | "exec-condition"),
            Restart::Always => this.result != "exec-condition",
        };
        let restarts = allow_restart && !stop_pending && !this.forbid_restart && shall;
        let delay = this.restart_delay();
        if fails {
            self.happened(|this| Happened::Failed { unit: this.units[unit].name().clone() });
        }
        self.set_state(unit, sub, restarts);
        if restarts {
            self.set_state(unit, Sub::AutoRestart, false);
            self.state_timer(unit, delay);
        } else {
            self.units[unit].flush_n_restarts = true;
        }
        self.units[unit].forbid_restart = false;
    }

    /// `RestartSec=` is over.
    fn enter_restart(&mut self, unit: usize) {
        if self.units[unit].job.is_some_and(|job| job.kind == JobType::Stop) {
            return;
        }
        if self.add_job(unit, JobType::Restart, By::Systemd).is_ok() {
            let this = &mut self.units[unit];
            this.n_restarts += 1;
            this.flush_n_restarts = false;
            self.mark_changed(unit);
        } else {
            self.enter_dead(unit, "resources", false);
        }
    }

    /// `kill`: the main process ends now.
    pub fn kill(&mut self, name: &UnitName, exit: Exit) {
        if let Some(unit) = self.index(name) {
            self.main_exits(unit, exit);
            self.dispatch();
        }
    }

    /// The left-over process of an earlier run is killed.
    pub fn kill_left_over(&mut self, name: &UnitName) {
        self.at_mut(name).left_over = false;
    }

    /// What a request to the service comes to.
    pub fn answer(&self, name: &UnitName) -> Answer {
        let Some(unit) = self.index(name).map(|index| &self.units[index]) else { return Answer::Refused };
        if unit.left_over {
            return Answer::Well;
        }
        let listens = matches!(unit.sub, Sub::Running | Sub::Reload) && unit.listens_from <= self.now;
        let program = &unit.file.program;
        if !listens {
            let other =
                |other: &UnitName| self.index(other).is_some_and(|other| self.units[other].main_pid != 0);
            return if program.shares_port_with.iter().any(other) { Answer::Well } else { Answer::Refused };
        }
        let hangs = program.hangs_after.is_some_and(|after| self.now.since(unit.started) >= after);
        if unit.frozen || program.hung || program.broken || hangs {
            return Answer::Silent;
        }
        if program.needs.iter().any(|other| self.answer(other) != Answer::Well) {
            return Answer::Error;
        }
        Answer::Well
    }
}
