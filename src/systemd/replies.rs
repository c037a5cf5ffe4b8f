//! The replies to our calls. Part of the loop in `session.rs`.

use std::pin::Pin;

use tokio::sync::oneshot;

use super::Report;
use super::calls::{Failure, Reading};
use super::pending_jobs::{Found, PendingJob};
use super::queries::Query;
use super::requests::NotQueued;
use super::session::{Owners, Session};
use super::unit_tracker::{Listed, Read};
use crate::engine::{AttemptId, Event, JobRequest};
use crate::unit::{JobKind, JobResult, LoadState, ManagerState, UnitName, UnitState, UnitUsage};

/// systemd has no name on the bus.
pub(super) const NOT_ON_THE_BUS: &str = "systemd is not on the bus";

/// A call under way. Those that are answered are processed in the order in which their replies came.
pub(super) type PendingReply = Pin<Box<dyn Future<Output = Reply> + Send>>;

pub(super) enum Reply {
    /// With the owners where they were asked for.
    Ready(Result<Option<Owners>, Failure>),
    /// Whether a systemd that did not answer does again.
    Pinged(Result<ManagerState, Failure>),

    // Of queries.
    Listed {
        names: Vec<UnitName>,
        all: bool,
        answer: Result<Vec<Listed>, Failure>,
    },
    Read {
        unit: UnitName,
        answer: Result<Reading, Failure>,
    },
    JobKind {
        unit: UnitName,
        id: u32,
        kind: JobKind,
    },
    SystemState(Result<ManagerState, Failure>),
    JobExists {
        attempt: AttemptId,
        answer: Result<bool, Failure>,
    },
    FoundJob {
        attempt: AttemptId,
        answer: Result<Reading, Failure>,
    },

    // Of requests.
    /// `ResetFailedUnit`, before the job is asked for.
    FailuresReset {
        job: PendingJob,
        answer: Result<(), Failure>,
    },
    Queued {
        attempt: AttemptId,
        answer: Result<String, NotQueued>,
    },
    /// A job was canceled, or had ended.
    Canceled,
    /// A job request has been out for longer than one takes.
    JobSlow {
        attempt: AttemptId,
    },
    /// A job request has been out for some seconds.
    JobOverdue {
        attempt: AttemptId,
    },
    JobEnded {
        job: PendingJob,
        result: JobResult,
        answer: Result<Reading, Failure>,
    },
    Requested {
        unit: UnitName,
        reply: oneshot::Sender<Result<(UnitName, UnitState), String>>,
        answer: Result<Reading, Failure>,
    },
    ReadForReport {
        unit: UnitName,
        answer: Result<Reading, Failure>,
    },
    Usage {
        unit: UnitName,
        reply: oneshot::Sender<Result<UnitUsage, String>>,
        answer: Result<UnitUsage, Failure>,
    },
    /// The run of a command is over, and answered.
    Ran {
        unit: UnitName,
    },
}

impl Session<'_> {
    /// # Errors
    /// Where the connection is of no use: the signals could not be asked for.
    pub fn reply(&mut self, reply: Reply) -> Result<(), Failure> {
        match reply {
            Reply::Ready(owners) => return self.subscribed(owners?),
            Reply::Pinged(answer) => self.pinged(answer),
            Reply::FailuresReset { job, answer } => self.failures_reset(job, answer),
            Reply::Queued { attempt, answer } => self.answered_job(attempt, answer),
            Reply::Canceled => {}
            Reply::JobSlow { attempt } => {
                if self.asked.remove(&attempt) {
                    self.ask_for_jobs();
                }
            }
            Reply::JobOverdue { attempt } => {
                if self.client.watched.jobs.waits_for_reply(attempt) {
                    self.client.queue.push(Report::CallLimit);
                    self.query(Query::SystemState);
                }
            }
            Reply::JobEnded { job, result, answer } => self.job_ended(job, result, answer),
            Reply::Requested { unit, reply, answer } => {
                self.queries.requested_done();
                self.requested(unit, reply, answer);
            }
            Reply::ReadForReport { unit, answer } => {
                self.queries.requested_done();
                self.read_for_report(unit, answer);
            }
            Reply::Usage { unit, reply, answer } => {
                self.queries.requested_done();
                let sentence = |failure| format!("systemd does not tell what {unit} uses: {failure}");
                // The requester may have gone.
                drop(reply.send(answer.map_err(sentence)));
            }
            Reply::Ran { unit } => self.runs.over(&unit),
            query => {
                self.queries.done();
                self.answered(query);
                self.report_manager();
            }
        }
        Ok(())
    }

    fn subscribed(&mut self, owners: Option<Owners>) -> Result<(), Failure> {
        if let Some(owners) = owners {
            self.owners = owners;
            if std::mem::take(&mut self.owners_changed) {
                self.subscribe();
                return Ok(());
            }
        }
        if self.owners.systemd.is_some() {
            self.read_everything();
        } else {
            self.client.unreachable(NOT_ON_THE_BUS.to_owned());
        }
        Ok(())
    }

    /// The answer to a query.
    fn answered(&mut self, query: Reply) {
        match query {
            Reply::Listed { names, all, answer } => self.listed(names, all, answer),
            Reply::Read { unit, answer } => self.read(unit, answer),
            Reply::JobKind { unit, id, kind } => {
                if let Some(watched) = self.client.watched.unit_mut(&unit) {
                    watched.track.job_kind(id, kind);
                    self.report_unit(&unit);
                }
            }
            Reply::SystemState(Ok(state)) => self.system = Some(state),
            Reply::JobExists { answer: Ok(true), .. } => {}
            Reply::JobExists { attempt, answer: Ok(false) } => {
                if let Some(target) = self.client.watched.jobs.target(attempt) {
                    self.query(Query::FindJob { attempt, target });
                }
            }
            Reply::FoundJob { attempt, answer: Ok(reading) } => {
                match self.client.watched.jobs.find(attempt, &reading.state) {
                    Found::Running => self.mark_own_job(attempt),
                    Found::Lost(job) => self.queue_job(job),
                    Found::Ended(job, result) => self.finish_job(job, result),
                }
            }
            Reply::SystemState(Err(failure))
            | Reply::JobExists { answer: Err(failure), .. }
            | Reply::FoundJob { answer: Err(failure), .. } => self.query_failed(None, &failure),
            // The others are no queries.
            _ => {}
        }
    }

    /// A job request has its answer: the next one is made.
    pub fn answered_job(&mut self, attempt: AttemptId, answer: Result<String, NotQueued>) {
        self.asked.remove(&attempt);
        self.queued(attempt, answer);
        self.ask_for_jobs();
    }

    fn queued(&mut self, attempt: AttemptId, answer: Result<String, NotQueued>) {
        let jobs = &mut self.client.watched.jobs;
        let ended = match answer {
            Ok(path) => {
                if jobs.queued(attempt, path.clone()) {
                    self.cancel_job(path);
                }
                self.mark_own_job(attempt);
                self.client.watched.jobs.take_early(attempt)
            }
            Err(NotQueued::Withheld(why)) => jobs.not_requested(attempt, JobResult::Unasked(why)),
            // systemd left the bus with the request in its hands, to re-execute itself.
            Err(NotQueued::Failed(failure) | NotQueued::NotReset(failure)) if failure.is_disconnect() => {
                jobs.reply_lost(attempt);
                if self.ready && !self.silent {
                    self.look_for_jobs();
                }
                None
            }
            Err(NotQueued::Failed(failure)) => jobs.refused(attempt, &failure),
            Err(NotQueued::NotReset(failure)) => jobs.not_reset(attempt, &failure),
        };
        if let Some((job, result)) = ended {
            self.finish_job(job, result);
        }
    }

    /// The job of a request is ours, and of known kind.
    fn mark_own_job(&mut self, attempt: AttemptId) {
        let Some((target, id, kind)) = self.client.watched.jobs.own_job(attempt) else { return };
        let unit = self.client.watched.id(&target);
        if let Some(watched) = self.client.watched.unit_mut(&unit) {
            watched.track.own_job(id, kind);
            self.report_unit(&unit);
        }
    }

    fn job_ended(&mut self, job: PendingJob, result: JobResult, answer: Result<Reading, Failure>) {
        self.client.watched.jobs.reported(job.attempt());
        let state = match answer.map(|reading| self.take_reading(reading)) {
            Ok(Some((_, state))) => Some(state),
            // What the unit is in must be read again.
            Ok(None) => return self.finish_job(job, result),
            Err(_) => None,
        };
        let JobRequest { unit, attempt, .. } = job.request;
        self.client.queue.push_event(Event::JobEnded { unit, attempt, result, state });
    }

    fn requested(
        &mut self,
        unit: UnitName,
        reply: oneshot::Sender<Result<(UnitName, UnitState), String>>,
        answer: Result<Reading, Failure>,
    ) {
        if let Ok(reading) = &answer {
            self.resolve(&unit, &reading.id);
        }
        let answer = match answer.map(|reading| self.take_reading(reading)) {
            Ok(Some(reading)) => Ok(reading),
            Ok(None) => return self.request(super::Request::Read { unit, reply }),
            Err(failure) => Err(format!("systemd does not tell the state of {unit}: {failure}")),
        };
        // The requester may have gone.
        drop(reply.send(answer));
    }

    fn read_for_report(&mut self, unit: UnitName, answer: Result<Reading, Failure>) {
        // Where it cannot be read, whoever waits for it does not wait long.
        let Ok(reading) = answer else { return };
        self.resolve(&unit, &reading.id);
        if let Some(watched) = self.client.watched.unit_mut(&reading.id) {
            watched.track.forget_report();
            if self.take_reading(reading).is_none() {
                self.request(super::Request::Report(unit));
            }
        }
    }

    /// A signal about the unit came after the reading: what it shows is old.
    fn is_outdated(&self, reading: &Reading) -> bool {
        self.client.watched.unit(&reading.id).is_some_and(|unit| unit.latest_signal > Some(reading.at))
    }

    /// Takes a reading, and reports it if it is news. Returns it with what took the unit down; `None` where it must be read
    /// again: a signal about the unit came after it, or the kind of a job is still being asked for.
    fn take_reading(&mut self, reading: Reading) -> Option<(UnitName, UnitState)> {
        if self.is_outdated(&reading) {
            return None;
        }
        let Reading { id, state, start, .. } = reading;
        let Some(unit) = self.client.watched.unit_mut(&id) else { return Some((id, state)) };
        unit.track.jobs.mounted = matches!(id.kind(), "mount" | "swap");
        unit.track.read_done(state, &start);
        let current = unit.track.current().cloned();
        self.report_unit(&id);
        current.map(|state| (id, state))
    }

    /// Reports the unit's state, if it is news.
    pub fn report_unit(&mut self, id: &UnitName) {
        let Some(unit) = self.client.watched.unit_mut(id) else { return };
        if let Some(state) = unit.track.news() {
            self.client.queue.push_event(Event::UnitRead { unit: id.clone(), state });
        }
    }

    fn read(&mut self, unit: UnitName, answer: Result<Reading, Failure>) {
        let Some(watched) = self.client.watched.unit_mut(&unit) else { return };
        let again = watched.track.read == Read::Stale;
        watched.track.read = Read::Idle;
        match answer {
            Ok(reading) if reading.id != unit => self.renamed(&unit, &reading.id),
            Ok(reading) => {
                self.unreadable.remove(&unit);
                if again || self.is_outdated(&reading) {
                    self.hint(&unit, None);
                }
                self.take_reading(reading);
            }
            Err(failure) => {
                if again {
                    self.hint(&unit, None);
                }
                self.query_failed(Some(&unit), &failure);
            }
        }
    }

    /// The unit that was read by this name has another primary name: it could not be listed.
    fn renamed(&mut self, unit: &UnitName, id: &UnitName) {
        for name in self.client.watched.names() {
            if self.client.watched.id(&name) == *unit {
                self.resolve(&name, id);
            }
        }
        self.hint(id, None);
    }

    /// The name belongs to the unit `id`.
    fn resolve(&mut self, name: &UnitName, id: &UnitName) {
        if self.client.watched.resolve(name, id) {
            let (name, id) = (name.clone(), id.clone());
            self.client.queue.push_event(Event::UnitResolved { name, id });
        }
    }

    /// systemd's list is here: resolve the names, and read what differs (or all).
    fn listed(&mut self, names: Vec<UnitName>, all: bool, answer: Result<Vec<Listed>, Failure>) {
        let lines = match answer {
            Ok(lines) => lines.into_iter().map(Some).collect(),
            Err(failure) if failure.silent => return self.query_failed(None, &failure),
            Err(failure) => {
                tracing::debug!("cannot list units, reading each: {failure}");
                vec![None; names.len()]
            }
        };
        for (name, line) in names.into_iter().zip(lines) {
            let known = self.client.watched.id(&name);
            // A name that systemd does not know any more stays with the unit that it belonged to: `systemctl disable`
            // removes an alias while its unit still runs.
            let line = line.filter(|line| line.load != LoadState::NotFound || known == name);
            let id = line.as_ref().and_then(|line| line.id.clone()).unwrap_or(known);
            self.resolve(&name, &id);
            let Some(unit) = self.client.watched.unit_mut(&id) else { continue };
            if unit.track.read != Read::Idle {
                continue;
            }
            if line.as_ref().is_some_and(Listed::is_nothing) {
                unit.track.not_found();
                self.report_unit(&id);
            } else if all || line.is_none_or(|line| !unit.track.agrees(&line)) {
                unit.track.read = Read::Waiting;
                self.queries.push_routine(id);
            }
        }
        self.listed = true;
    }

    fn query_failed(&mut self, unit: Option<&UnitName>, failure: &Failure) {
        if failure.silent {
            self.fall_silent(failure);
        } else if let Some(unit) = unit
            && self.ready
            && !failure.is_disconnect()
            && self.unreadable.insert(unit.clone())
        {
            tracing::warn!("cannot read the state of {unit}: {failure}");
        } else {
            tracing::debug!("a query to systemd failed: {failure}");
        }
    }

    /// Reports that systemd can be reached once every unit that can be read has been, and what the manager does.
    fn report_manager(&mut self) {
        if !self.client.is_reachable() {
            if !self.listed || !self.queries.is_empty() || self.system.is_none() {
                return;
            }
            self.client.reachable = Some(Ok(()));
            self.client.queue.push(Report::Reachable);
            self.reported = None;
        }
        let state = if self.shutdown { Some(ManagerState::Stopping) } else { self.system };
        if let Some(state) = state
            && self.reported.replace(state) != Some(state)
        {
            self.client.queue.push_event(Event::ManagerChanged(state));
        }
    }
}
