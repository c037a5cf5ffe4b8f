//! What becomes of an answer. Part of the loop in `session.rs`.

use super::Happening;
use super::calls::{Failure, Reading};
use super::jobs::Found;
use super::session::{Done, Session, Work};
use super::track::{Listed, Read};
use super::watched::Unit;
use crate::engine::AttemptId;
use crate::unit::{ActiveState, LoadState, ManagerState, UnitName, UnitState};

impl Session<'_> {
    /// # Errors
    /// Where the connection is of no use: the signals could not be asked for.
    pub fn done(&mut self, done: Done) -> Result<(), Failure> {
        match done {
            Done::Ready(owners) => {
                if let Some(owners) = owners? {
                    self.owners = owners;
                    if std::mem::take(&mut self.restless) {
                        self.get_ready();
                        return Ok(());
                    }
                }
                if self.owners.systemd.is_some() {
                    self.everything();
                } else {
                    self.client.unreachable(NOT_ON_THE_BUS.to_owned());
                }
                return Ok(());
            }
            Done::Queued { attempt, answer } => {
                if let Ok(job) = &answer {
                    self.own_job(attempt, job);
                }
                let jobs = &mut self.client.watched.jobs;
                let ended = match answer {
                    Ok(job) => jobs.queued(attempt, job),
                    // systemd left the bus with the order in its hands, to execute itself anew.
                    Err(failure) if failure.is_nobodys_word() => {
                        jobs.unheard(attempt);
                        if self.ready && !self.silent {
                            self.look_for_jobs();
                        }
                        None
                    }
                    Err(failure) => jobs.refused(attempt, &failure),
                };
                if let Some((order, result)) = ended {
                    self.finish(order, result);
                }
                return Ok(());
            }
            Done::Out { attempt } => {
                if self.client.watched.jobs.waits_for_its_name(attempt) {
                    self.later(Work::System);
                }
                return Ok(());
            }
            Done::Pinged(answer) => {
                self.pinged(answer);
                return Ok(());
            }
            Done::Ended { order, result, answer } => {
                self.client.watched.jobs.told(order.attempt);
                if self.overtaken(&order.unit, &answer) {
                    self.finish(order, result);
                    return Ok(());
                }
                let state = answer.ok().map(|reading| self.heard(&order.unit, reading.state));
                self.client.outbox.push(Happening::JobEnded {
                    unit: order.unit,
                    attempt: order.attempt,
                    result,
                    state,
                });
                return Ok(());
            }
            Done::Asked { unit, reply, answer } => {
                let answer = match answer {
                    Ok(reading) if self.overtaken(&unit, &Ok(reading.clone())) => Ok(reading.state),
                    Ok(reading) => Ok(self.heard(&unit, reading.state)),
                    Err(failure) => Err(format!("systemd does not tell the state of {unit}: {failure}")),
                };
                // Whoever asked may have gone; then nobody misses the answer.
                drop(reply.send(answer));
                return Ok(());
            }
            Done::Usage { unit, reply, answer } => {
                let sentence = |failure| format!("systemd does not tell what {unit} uses: {failure}");
                drop(reply.send(answer.map_err(sentence)));
                return Ok(());
            }
            Done::Ran { unit } => {
                self.runs.over(&unit);
                return Ok(());
            }
            Done::Listed { names, all, answer } => self.listed(names, all, answer),
            Done::Read { unit, answer } => self.read(unit, answer),
            Done::Kind { unit, id, kind } => {
                if let Some(Unit { track, .. }) = self.client.watched.units.get_mut(&unit) {
                    track.job_kind(id, kind);
                    self.tell(&unit);
                }
            }
            Done::System(Ok(state)) => self.system = Some(state),
            Done::System(Err(failure)) => self.failed(None, &failure),
            Done::Looked { attempt, answer: Ok(false) } => {
                if let Some((unit, _)) = self.client.watched.jobs.target(attempt) {
                    self.later(Work::Find { attempt, unit });
                }
            }
            Done::Looked { answer: Ok(true), .. } => {}
            Done::Found { attempt, answer: Ok(reading) } => {
                match self.client.watched.jobs.find(attempt, &reading.state) {
                    Found::GoesOn => {}
                    Found::Lost(order) => self.queue(order),
                    Found::Ended(order, result) => self.finish(order, result),
                }
            }
            Done::Looked { answer: Err(failure), .. } | Done::Found { answer: Err(failure), .. } => {
                self.failed(None, &failure);
            }
        }
        self.answered();
        Ok(())
    }

    /// Of our own jobs the kind need not be asked.
    fn own_job(&mut self, attempt: AttemptId, job: &str) {
        let Some((target, kind)) = self.client.watched.jobs.target(attempt) else { return };
        let Some(id) = job.rsplit('/').next().and_then(|id| id.parse().ok()) else { return };
        let path = self.client.watched.path(&target);
        for name in self.client.watched.by_path.get(&path).cloned().unwrap_or_default() {
            if let Some(Unit { track, .. }) = self.client.watched.units.get_mut(&name) {
                track.job_kind(id, kind);
                self.tell(&name);
            }
        }
    }

    /// A question of the queues is answered: tell what the manager does, and when everything is known.
    fn answered(&mut self) {
        self.question_done();
        if !self.client.is_reachable() {
            if !self.all_known() || self.system.is_none() {
                return;
            }
            self.client.reachable = Some(Ok(()));
            self.client.outbox.push(Happening::Reachable);
            self.told = None;
        }
        self.tell_manager();
    }

    /// Whether a signal about the unit came after this reading: the reading is old, and what it shows is not to be
    /// taken for what followed the signal.
    fn overtaken(&self, name: &UnitName, answer: &Result<Reading, Failure>) -> bool {
        match (self.client.watched.units.get(name), answer) {
            (Some(unit), Ok(reading)) => unit.heard > Some(reading.at),
            _ => false,
        }
    }

    /// A fresh reading of the unit, outside of the queue. Returns it with what took the unit down.
    fn heard(&mut self, name: &UnitName, state: UnitState) -> UnitState {
        let Some(Unit { track, .. }) = self.client.watched.units.get_mut(name) else { return state };
        track.read_done(state.clone());
        let current = track.current().unwrap_or(state);
        self.tell(name);
        current
    }

    /// Tells the unit's state, if it is news.
    pub fn tell(&mut self, name: &UnitName) {
        let Some(Unit { track, .. }) = self.client.watched.units.get_mut(name) else { return };
        if let Some(state) = track.news() {
            self.client.outbox.push(Happening::Unit { unit: name.clone(), state });
        }
    }

    fn read(&mut self, name: UnitName, answer: Result<Reading, Failure>) {
        let overtaken = self.overtaken(&name, &answer);
        let Some(Unit { track, .. }) = self.client.watched.units.get_mut(&name) else { return };
        let again = track.read == Read::Stale;
        track.read = Read::Idle;
        match answer {
            Ok(_) if overtaken => {}
            Ok(reading) => {
                track.read_done(reading.state);
                self.unreadable.remove(&name);
                self.tell(&name);
            }
            Err(failure) => self.failed(Some(&name), &failure),
        }
        if again || overtaken {
            self.hint(&name, None);
        }
    }

    /// systemd's list is here: note where signals come from, and read what differs (or all).
    fn listed(&mut self, names: Vec<UnitName>, all: bool, answer: Result<Vec<Listed>, Failure>) {
        let lines = match answer {
            Ok(lines) => lines.into_iter().map(Some).collect(),
            Err(failure) if failure.silent => return self.failed(None, &failure),
            Err(failure) => {
                // Then by one question each.
                tracing::debug!("cannot list units, reading each: {failure}");
                vec![None; names.len()]
            }
        };
        let mut moved = false;
        for (name, line) in names.into_iter().zip(lines) {
            let Some(unit) = self.client.watched.units.get_mut(&name) else { continue };
            if let Some(line) = &line {
                if unit.path != line.path {
                    unit.path.clone_from(&line.path);
                    moved = true;
                }
                let nothing = line.load == LoadState::NotFound && line.active == ActiveState::Inactive;
                if nothing && line.job == 0 && unit.track.read == Read::Idle {
                    // There is nothing to read.
                    unit.track.read_done(UnitState::default());
                    self.tell(&name);
                    continue;
                }
            }
            let differs = line.is_none_or(|line| !unit.track.agrees(&line));
            if (all || differs) && unit.track.read == Read::Idle {
                unit.track.read = Read::Waiting;
                self.routine(name);
            }
        }
        if moved {
            self.client.watched.index();
        }
        self.listed = true;
    }

    /// A question failed.
    fn failed(&mut self, unit: Option<&UnitName>, failure: &Failure) {
        if failure.silent {
            self.silence(failure);
        } else if let Some(unit) = unit
            && self.ready
            && !failure.is_nobodys_word()
            && self.unreadable.insert(unit.clone())
        {
            tracing::warn!("cannot read the state of {unit}: {failure}");
        } else {
            tracing::debug!("a question to systemd failed: {failure}");
        }
    }

    fn tell_manager(&mut self) {
        let state = if self.shutdown { Some(ManagerState::Stopping) } else { self.system };
        if let Some(state) = state
            && self.told.replace(state) != Some(state)
        {
            self.client.outbox.push(Happening::Manager(state));
        }
    }
}

/// systemd has no name on the bus.
pub(super) const NOT_ON_THE_BUS: &str = "systemd is not on the bus";
