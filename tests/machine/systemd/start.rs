//! Starting, stopping and reloading a unit of any type (unit_start, unit_stop and unit_reload in src/core/unit.c).

use std::time::Duration;

use stealthcheck::unit::{ActiveState, JobResult};

use super::job::{By, JobType};
use super::unit::{Sub, Unit};
use super::unit_file::Kind;
use super::{Happened, Systemd, Timer};

/// What came of running a job.
#[derive(Debug)]
pub(super) enum Start {
    /// It is under way; the unit's state ends it.
    Running,
    /// Not now: it is run again when the unit's state changes.
    Later,
    End(JobResult),
}

impl Systemd {
    pub(super) fn start_unit(&mut self, unit: usize) -> Start {
        let this = &self.units[unit];
        if this.is_up() {
            return Start::End(JobResult::Done);
        }
        if this.active() != ActiveState::Activating
            && let Some(result) = self.test_conditions(unit)
        {
            return Start::End(result);
        }
        let this = &self.units[unit];
        let missing = |other: &usize| this.links.after.contains(other) && !self.units[*other].is_up();
        if this.links.binds_to.iter().any(missing) {
            return Start::End(JobResult::Dependency);
        }
        match this.file.kind.clone() {
            Kind::Simple | Kind::Notify | Kind::Oneshot => {
                if !self.is_below_start_limit(unit) {
                    self.enter_dead(unit, "start-limit-hit", false);
                    return Start::End(JobResult::Failed);
                }
                self.start_service(unit)
            }
            Kind::Target => {
                let name = this.name().clone();
                if name.as_str() == "reboot.target" {
                    self.reboot_wanted = Some(format!("{name} is started"));
                }
                self.set_state(unit, Sub::Active, false);
                Start::Running
            }
            Kind::Socket { service } => {
                let busy = |service: &Unit| !service.is_down() && service.sub != Sub::AutoRestart;
                if self.index(&service).is_some_and(|service| busy(&self.units[service])) {
                    self.note(|| format!("systemd: socket service {service} already active, refusing"));
                    return Start::End(JobResult::Failed);
                }
                self.set_state(unit, Sub::Listening, false);
                Start::Running
            }
            Kind::Timer { interval, catches_up_after, .. } => {
                self.next_run(unit);
                self.set_state(unit, Sub::Waiting, false);
                self.schedule_elapse(unit, interval, catches_up_after);
                Start::Running
            }
        }
    }

    fn next_run(&mut self, unit: usize) {
        self.next_invocation += 1;
        let this = &mut self.units[unit];
        this.invocation = self.next_invocation;
        this.run_serial += 1;
        this.runs += 1;
    }

    /// The result with which the start is skipped, if a condition or an assertion is not met.
    fn test_conditions(&mut self, unit: usize) -> Option<JobResult> {
        let usec = self.usec;
        let this = &mut self.units[unit];
        this.times.condition = usec;
        let unmet = |line: &Option<super::unit_file::Condition>| {
            line.as_ref().filter(|line| !line.met).map(|line| line.line.clone())
        };
        let (condition, assertion) = (unmet(&this.file.condition), unmet(&this.file.assertion));
        let result = match (&condition, &assertion) {
            (Some(_), _) => Some(JobResult::Done),
            (None, Some(_)) => Some(JobResult::Other("assert".to_owned())),
            (None, None) => None,
        };
        this.unmet = condition.or(assertion);
        self.mark_changed(unit);
        result
    }

    /// Counts a start (ratelimit_below in src/basic/ratelimit.c): the interval begins with the first start in it.
    fn is_below_start_limit(&mut self, unit: usize) -> bool {
        let now = self.now;
        let this = &mut self.units[unit];
        let Some(limit) = this.file.start_limit else { return true };
        match this.limit_began {
            Some(began) if now.since(began) <= limit.interval => this.starts += 1,
            _ => (this.limit_began, this.starts) = (Some(now), 1),
        }
        if this.starts <= limit.burst {
            return true;
        }
        let name = this.name().clone();
        self.note(|| format!("systemd: {name}: start request repeated too quickly"));
        if limit.reboots {
            let by = self.units[unit].job.map_or(By::Systemd, |job| job.by);
            self.happened(|this| Happened::LimitHit { unit: this.units[unit].name().clone(), by });
            self.reboot_wanted = Some(format!("StartLimitAction= of {name}"));
        }
        false
    }

    fn start_service(&mut self, unit: usize) -> Start {
        match self.units[unit].sub {
            Sub::StopSigterm | Sub::AutoRestart => return Start::Later,
            Sub::Condition | Sub::StartPre | Sub::Start => return Start::Running,
            _ => {}
        }
        self.next_run(unit);
        let this = &mut self.units[unit];
        this.result = "success";
        this.forbid_restart = false;
        this.exit = None;
        this.file.program.hung = false;
        if std::mem::take(&mut this.flush_n_restarts) {
            this.n_restarts = 0;
        }
        let (serial, timeout) = (this.run_serial, this.file.start_timeout);
        if let Some(timeout) = timeout {
            self.later(timeout, Timer::StartTimeout { unit, serial });
        }
        let this = &self.units[unit];
        if this.file.exec_condition.as_ref().is_some_and(|line| !line.met) {
            self.set_state(unit, Sub::Condition, false);
            self.state_timer(unit, Duration::from_millis(5));
        } else if this.file.start_pre > Duration::ZERO {
            let takes = this.file.start_pre;
            self.set_state(unit, Sub::StartPre, false);
            self.state_timer(unit, takes);
        } else {
            self.start_main(unit);
        }
        Start::Running
    }

    pub(super) fn stop_unit(&mut self, unit: usize) -> Start {
        let this = &self.units[unit];
        if this.is_down() {
            return Start::End(JobResult::Done);
        }
        if this.is_service() {
            self.stop_service(unit);
        } else {
            self.set_state(unit, Sub::Dead, false);
        }
        Start::Running
    }

    pub(super) fn reload_unit(&mut self, unit: usize) -> Start {
        let this = &self.units[unit];
        match this.active() {
            ActiveState::Active => {}
            ActiveState::Reloading => return Start::Later,
            _ => return Start::End(JobResult::Other("invalid".to_owned())),
        }
        let takes = this.file.reload_takes.unwrap_or_default();
        let (serial, ends) = (this.run_serial, this.file.program.reload_exit);
        self.set_state(unit, Sub::Reload, false);
        self.state_timer(unit, takes);
        if let Some(exit) = ends {
            self.later(takes / 2, Timer::Exit { unit, serial, exit });
        }
        Start::Running
    }

    /// The state that the unit is in lasts so long.
    pub(super) fn state_timer(&mut self, unit: usize, takes: Duration) {
        let serial = self.units[unit].state_serial;
        self.later(takes, Timer::State { unit, serial });
    }

    fn schedule_elapse(&mut self, unit: usize, interval: Duration, catches_up_after: Option<Duration>) {
        let this = &self.units[unit];
        let (serial, last) = (this.run_serial, this.last_trigger);
        let since = Duration::from_micros(self.usec.saturating_sub(last));
        let after = match catches_up_after {
            Some(delay) if last != 0 && since >= interval => delay,
            _ if last != 0 && since < interval => interval - since,
            _ => interval,
        };
        self.later(after, Timer::Elapse { unit, serial });
    }

    fn timer_elapses(&mut self, unit: usize) {
        let Kind::Timer { triggers, interval, .. } = self.units[unit].file.kind.clone() else { return };
        if !self.units[unit].is_up() {
            return;
        }
        self.units[unit].last_trigger = self.usec;
        self.mark_changed(unit);
        let serial = self.units[unit].run_serial;
        self.later(interval, Timer::Elapse { unit, serial });
        if let Some(service) = self.index(&triggers) {
            let _ = self.add_job(service, JobType::Start, By::Systemd);
        }
    }

    pub(super) fn timer_fires(&mut self, timer: Timer) {
        let runs = |unit: usize, serial: u64| self.units[unit].run_serial == serial;
        match timer {
            Timer::State { unit, serial } => {
                if self.units[unit].state_serial == serial {
                    self.state_is_over(unit);
                }
            }
            Timer::Exit { unit, serial, exit } if runs(unit, serial) => self.main_exits(unit, exit),
            Timer::StartTimeout { unit, serial } if runs(unit, serial) => self.start_times_out(unit),
            Timer::Elapse { unit, serial } if runs(unit, serial) => self.timer_elapses(unit),
            Timer::JobTimeout { unit, job, kind } => self.job_times_out(unit, job, kind),
            Timer::Exit { .. } | Timer::StartTimeout { .. } | Timer::Elapse { .. } => {}
        }
    }
}
