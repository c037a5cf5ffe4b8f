//! Checks in few words.

use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::{
    Alert, Backoff, Check, CheckName, HostPort, JobProbe, Probe, Recovery, Respect, Schedule, Step, TcpProbe,
};
use stealthcheck::unit::UnitName;

use super::unit_name;

/// A check that is being written.
#[derive(Clone, Debug)]
pub struct CheckBuilder {
    check: Check,
    asks: Option<UnitName>,
}

fn builder(name: &str, probe: Probe) -> CheckBuilder {
    let check = Check {
        name: CheckName::new(name).unwrap(),
        unit: Some(unit_name(name)),
        probe,
        schedule: Schedule::default(),
        recovery: Recovery { steps: vec![Step::Restart], ..Recovery::default() },
        alert: Alert { to: vec!["ops@example.org".into()], ..Alert::default() },
        runbook: None,
    };
    CheckBuilder { check, asks: None }
}

/// The service of this name is asked, by the defaults of the configuration, and restarted.
pub fn http(name: &str) -> CheckBuilder {
    let address = HostPort::parse("127.0.0.1:9001").unwrap();
    builder(name, Probe::Tcp(Arc::new(TcpProbe { address, send: None, expect: None })))
}

/// `{ unit: … }`: the state of the unit is the check.
pub fn unit_check(name: &str) -> CheckBuilder {
    builder(name, Probe::Unit)
}

/// The service (or what the timer triggers) must have run well within so many seconds.
pub fn job_check(name: &str, succeeded_within: u64) -> CheckBuilder {
    let within = Duration::from_secs(succeeded_within);
    builder(name, Probe::Job(JobProbe { succeeded_within: within, max_runtime: within }))
}

fn respect(secs: Option<u64>) -> Respect {
    secs.map_or(Respect::Forever, |secs| Respect::For(Duration::from_secs(secs)))
}

impl CheckBuilder {
    /// The unit that it monitors, where the name is another.
    pub fn on(mut self, unit: &str) -> Self {
        self.check.unit = Some(unit_name(unit));
        self
    }

    /// The program of this unit answers its probes.
    pub fn asks(mut self, unit: &str) -> Self {
        self.asks = Some(unit_name(unit));
        self
    }

    pub fn interval(mut self, secs: u64) -> Self {
        self.check.schedule.interval = Duration::from_secs(secs);
        self.check.schedule.retry_interval =
            self.check.schedule.retry_interval.min(self.check.schedule.interval);
        self.check.schedule.timeout = self.check.schedule.timeout.min(self.check.schedule.retry_interval);
        self
    }

    pub fn retry_interval(mut self, secs: u64) -> Self {
        self.check.schedule.retry_interval = Duration::from_secs(secs);
        self
    }

    pub fn failure_threshold(mut self, n: u32) -> Self {
        self.check.schedule.failure_threshold = n;
        self
    }

    pub fn success_threshold(mut self, n: u32) -> Self {
        self.check.schedule.success_threshold = n;
        self
    }

    pub fn grace(mut self, secs: u64) -> Self {
        self.check.recovery.grace = Duration::from_secs(secs);
        self
    }

    pub fn recover(mut self, steps: &[Step]) -> Self {
        self.check.recovery.steps = steps.to_vec();
        self
    }

    /// A failure is only notified.
    pub fn only_notified(self) -> Self {
        self.recover(&[])
    }

    pub fn max_attempts(mut self, n: u32) -> Self {
        self.check.recovery.max_attempts = Some(n);
        self
    }

    pub fn backoff(mut self, initial: u64, max: u64) -> Self {
        let (initial, max) = (Duration::from_secs(initial), Duration::from_secs(max));
        self.check.recovery.backoff = Backoff { initial, max };
        self
    }

    /// `None`: for as long as it lasts.
    pub fn respect_stop(mut self, secs: Option<u64>) -> Self {
        self.check.recovery.respect_stop = respect(secs);
        self
    }

    pub fn respect_conflict(mut self, secs: Option<u64>) -> Self {
        self.check.recovery.respect_conflict = respect(secs);
        self
    }

    pub fn repeat_interval(mut self, secs: u64) -> Self {
        self.check.alert.repeat_interval = Some(Duration::from_secs(secs));
        self
    }

    /// Anything that has no method of its own here.
    pub fn with(mut self, change: impl FnOnce(&mut Check)) -> Self {
        change(&mut self.check);
        self
    }

    /// The check by itself.
    pub fn finish(self) -> Check {
        self.check
    }

    pub(super) fn build(self) -> (Check, Option<UnitName>) {
        (self.check, self.asks)
    }
}
