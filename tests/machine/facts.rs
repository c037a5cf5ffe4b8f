//! What happened, for assertions.

use std::collections::BTreeMap;
use std::time::Duration;

use stealthcheck::check::CheckName;
use stealthcheck::notification::{
    HostNotification, HostNotificationKind, IncidentId, Notification, NotificationKind,
};
use stealthcheck::status::CheckStatus;
use stealthcheck::unit::{JobKind, UnitName, UnitState};

use super::systemd::{Answer, Systemd};
use super::{Machine, unit_name};

/// A job that the daemon requested.
#[derive(Clone, Debug)]
pub struct Requested {
    pub at: Duration,
    /// The unit that the job is on, by its primary name.
    pub unit: UnitName,
    pub kind: JobKind,
    /// The unit that the attempt is for.
    pub for_unit: UnitName,
    /// The unit was up, and a storm was on.
    pub in_storm: bool,
}

/// A notification, once.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Duration,
    pub notification: Notification,
}

/// A stretch of time in which a unit was up, or was not.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    pub from: Duration,
    pub up: bool,
}

#[derive(Debug, Default)]
pub struct Record {
    pub jobs: Vec<Requested>,
    pub sent: Vec<Sent>,
    pub host: Vec<HostNotification>,
    pub refused_holds: Vec<String>,
    /// The checks that each hold is for.
    pub granted_holds: Vec<Vec<CheckName>>,
    /// Requests that have become no job.
    pub rejected: Vec<Requested>,
    /// Reboots that a unit's file asked for, and why.
    pub reboots: Vec<String>,
    /// When each check was probed.
    pub probes: BTreeMap<CheckName, Vec<Duration>>,
    truth: BTreeMap<UnitName, Vec<Stretch>>,
}

impl Record {
    pub(super) fn requested(&mut self, job: Requested) {
        self.jobs.push(job);
    }

    /// The same notification asked for again, after a restart of the daemon, is one.
    pub(super) fn sent(&mut self, sent: Sent) {
        if !self.sent.iter().any(|known| known.notification.id == sent.notification.id) {
            self.sent.push(sent);
        }
    }

    pub(super) fn host_sent(&mut self, notification: HostNotification) {
        if !self.host.iter().any(|known| known.id == notification.id) {
            self.host.push(notification);
        }
    }

    pub(super) fn probe(&mut self, check: &CheckName, at: Duration) {
        self.probes.entry(check.clone()).or_default().push(at);
    }

    /// Notes which units are up.
    pub(super) fn follow(&mut self, now: Duration, systemd: &Systemd) {
        for unit in systemd.unit_names() {
            let up = systemd.is_up(unit);
            let stretches = self.truth.entry(unit.clone()).or_default();
            if stretches.last().is_none_or(|last| last.up != up) {
                stretches.push(Stretch { from: now, up });
            }
        }
    }
}

impl Machine {
    /// Seconds since the test began.
    pub fn secs(&self) -> f64 {
        self.time.as_secs_f64()
    }

    /// Everything up to here was the test's beginning: it is not counted.
    pub fn forget(&mut self) {
        self.note("----");
        self.record.jobs.clear();
        self.record.sent.clear();
        self.record.host.clear();
        self.record.probes.clear();
    }

    /// The kinds of the jobs that the daemon requested on the unit.
    pub fn job_kinds(&self, unit: &str) -> Vec<JobKind> {
        let unit = self.unit_name(unit);
        self.record.jobs.iter().filter(|job| job.unit == unit).map(|job| job.kind).collect()
    }

    /// How many jobs the daemon requested on the unit.
    pub fn jobs(&self, unit: &str) -> usize {
        self.job_kinds(unit).len()
    }

    /// When the daemon requested jobs on the unit, in seconds since the test began.
    pub fn job_times(&self, unit: &str) -> Vec<f64> {
        let unit = self.unit_name(unit);
        let jobs = self.record.jobs.iter().filter(|job| job.unit == unit);
        jobs.map(|job| job.at.as_secs_f64()).collect()
    }

    /// The kinds of the notifications about the check.
    pub fn notifications(&self, check: &str) -> Vec<NotificationKind> {
        self.sent_about(check).map(|sent| sent.notification.kind).collect()
    }

    pub fn sent_about(&self, check: &str) -> impl Iterator<Item = &Sent> {
        let name = CheckName::new(check).unwrap();
        self.record.sent.iter().filter(move |sent| sent.notification.check == name)
    }

    pub fn count(&self, check: &str, kind: NotificationKind) -> usize {
        self.notifications(check).into_iter().filter(|sent| *sent == kind).count()
    }

    /// How many incidents of the check have been notified.
    pub fn threads(&self, check: &str) -> usize {
        let mut ids: Vec<_> =
            self.sent_about(check).map(|sent| sent.notification.id.incident.clone()).collect();
        ids.sort();
        ids.dedup();
        ids.len()
    }

    /// Threads of notifications that nothing has closed.
    pub fn open_threads(&self) -> Vec<IncidentId> {
        let sent = || self.record.sent.iter().map(|sent| &sent.notification);
        let closed = |id: &IncidentId| sent().any(|sent| sent.id.incident == *id && sent.kind.is_last());
        sent()
            .filter(|sent| sent.id.number == 1 && !closed(&sent.id.incident))
            .map(|sent| sent.id.incident.clone())
            .collect()
    }

    /// How many probes there were, of all checks.
    pub fn probes(&self) -> usize {
        self.record.probes.values().map(Vec::len).sum()
    }

    /// The kinds of the notifications about the machine.
    pub fn host_notifications(&self) -> Vec<HostNotificationKind> {
        self.record.host.iter().map(|notification| notification.kind).collect()
    }

    pub fn status(&self, check: &str) -> CheckStatus {
        let daemon = self.daemon.as_ref().expect("the daemon runs");
        daemon.driver.status(self.daemon_now(), &CheckName::new(check).unwrap())
    }

    /// The check's state, as one word: `passing`, `down`.
    pub fn state(&self, check: &str) -> &'static str {
        self.status(check).health.word()
    }

    /// The cause of the check's incident.
    pub fn cause(&self, check: &str) -> Option<String> {
        self.status(check).incident.map(|incident| incident.cause)
    }

    pub fn has_incident(&self, check: &str) -> bool {
        self.status(check).incident.is_some()
    }

    /// The storm that is on, in words.
    pub fn storm(&self) -> Option<String> {
        self.engine()?.storm(self.daemon_now())
    }

    /// What `stealthctl why` shows.
    pub fn why(&self, check: &str) -> String {
        let daemon = self.daemon.as_ref().expect("the daemon runs");
        daemon.driver.why(self.daemon_now(), &CheckName::new(check).unwrap())
    }

    /// The unit as systemd has it.
    pub fn unit_state(&self, unit: &str) -> UnitState {
        self.systemd.read(&unit_name(unit))
    }

    /// The unit as `systemctl status` words it.
    pub fn describe(&self, unit: &str) -> String {
        self.unit_state(unit).describe()
    }

    pub fn is_up(&self, unit: &str) -> bool {
        self.systemd.is_up(&unit_name(unit))
    }

    /// Whether the service answers.
    pub fn answers(&self, unit: &str) -> bool {
        self.systemd.answer(&unit_name(unit)) == Answer::Well
    }

    /// How many runs of the unit there have been since the test began.
    pub fn runs(&self, unit: &str) -> u64 {
        self.systemd.runs(&unit_name(unit))
    }

    /// When the unit last came up or went down, in seconds since the test began, and which of both.
    pub fn last_change(&self, unit: &str) -> (f64, bool) {
        let stretches = &self.record.truth[&self.unit_name(unit)];
        let last = stretches.last().expect("it has a state");
        (last.from.as_secs_f64(), last.up)
    }

    /// For how long in all the unit was not up, from this moment on (seconds since the test began).
    pub fn downtime_since(&self, unit: &str, from: f64) -> f64 {
        let stretches = &self.record.truth[&self.unit_name(unit)];
        let now = self.secs();
        let ends = stretches.iter().skip(1).map(|next| next.from.as_secs_f64()).chain([now]);
        let down = stretches.iter().zip(ends).filter(|(stretch, _)| !stretch.up);
        down.map(|(stretch, end)| (end - stretch.from.as_secs_f64().max(from)).max(0.0)).sum()
    }

    /// A unit's file has made the machine reboot.
    pub fn rebooted(&self) -> bool {
        !self.record.reboots.is_empty()
    }

    /// When the check was probed, in seconds since the test began.
    pub fn probe_times(&self, check: &str) -> Vec<f64> {
        let probes = self.record.probes.get(&CheckName::new(check).unwrap());
        probes.into_iter().flatten().map(Duration::as_secs_f64).collect()
    }

    /// No job was requested, and nobody was notified.
    pub fn assert_quiet(&self) {
        let sent: Vec<_> =
            self.record.sent.iter().map(|sent| (sent.notification.kind, &sent.notification.check)).collect();
        assert!(self.record.jobs.is_empty(), "jobs were requested: {:?}", self.record.jobs);
        assert!(sent.is_empty() && self.record.host.is_empty(), "notifications were sent: {sent:?}");
    }

    /// No job was requested on the unit.
    pub fn assert_no_job(&self, unit: &str) {
        let jobs = self.job_kinds(unit);
        assert!(jobs.is_empty(), "jobs were requested on {unit}: {jobs:?}");
    }

    /// Nobody was notified about the check.
    pub fn assert_not_notified(&self, check: &str) {
        let sent = self.notifications(check);
        assert!(sent.is_empty(), "notifications about {check}: {sent:?}");
    }
}
