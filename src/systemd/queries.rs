//! The questions to systemd: those that wait, and how each is put.
//!
//! systemd answers one call after the other, so a job waits for all questions that were put before it: the number that is
//! under way at once is bounded. Those that a signal hinted at come before those that a list did; readings that the
//! supervisor requests (a thousand at once where a thousand probes fail) have a bound of their own.

use std::collections::VecDeque;

use super::Request;
use super::replies::Reply;
use super::session::Session;
use super::unit_tracker::Read;
use super::watched::Unit;
use crate::engine::AttemptId;
use crate::unit::UnitName;

/// Queries that may be under way at once: a bus gives each connection 128 (max_replies_per_connection).
const QUERIES: usize = 16;
/// The same for routine readings, so that a job has few of them before it in systemd's queue.
const ROUTINE_QUERIES: usize = 8;
/// Requested readings that may be under way at once, beside the others.
const REQUESTED: usize = 8;

pub(super) enum Query {
    /// List all watched names. `all`: read every unit, not only those that differ.
    List {
        all: bool,
    },
    Read(UnitName),
    JobKind {
        unit: UnitName,
        id: u32,
        path: String,
    },
    SystemState,
    JobExists {
        attempt: AttemptId,
        path: String,
    },
    /// What became of a request that had no reply.
    FindJob {
        attempt: AttemptId,
        target: UnitName,
    },
}

#[derive(Default)]
pub(super) struct QueryQueue {
    urgent: VecDeque<Query>,
    /// Units to be read that no signal hinted at.
    routine: VecDeque<UnitName>,
    under_way: usize,
    /// Readings that the supervisor requests.
    requested: VecDeque<Request>,
    requested_under_way: usize,
}

impl QueryQueue {
    pub fn push(&mut self, query: Query) {
        self.urgent.push_back(query);
    }

    /// Reads the unit when nothing urgent waits.
    pub fn push_routine(&mut self, unit: UnitName) {
        self.routine.push_back(unit);
    }

    /// Reads what this request is about when its turn comes.
    pub fn push_requested(&mut self, request: Request) {
        self.requested.push_back(request);
    }

    fn next_urgent(&mut self) -> Option<Query> {
        if self.under_way < QUERIES { self.urgent.pop_front() } else { None }
    }

    fn next_routine(&mut self) -> Option<UnitName> {
        if self.under_way < ROUTINE_QUERIES { self.routine.pop_front() } else { None }
    }

    fn next_requested(&mut self) -> Option<Request> {
        if self.requested_under_way < REQUESTED { self.requested.pop_front() } else { None }
    }

    /// One is answered.
    pub fn done(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// A requested reading is answered.
    pub fn requested_done(&mut self) {
        self.requested_under_way = self.requested_under_way.saturating_sub(1);
    }

    /// None waits, and none is under way, requested readings apart.
    pub fn is_empty(&self) -> bool {
        self.under_way == 0 && self.urgent.is_empty() && self.routine.is_empty()
    }

    /// Forgets those that wait, and returns the requests among them.
    pub fn clear(&mut self) -> VecDeque<Request> {
        self.urgent.clear();
        self.routine.clear();
        std::mem::take(&mut self.requested)
    }
}

impl Session<'_> {
    /// Puts the question when its turn comes; not at all while systemd cannot be asked.
    pub fn query(&mut self, query: Query) {
        if self.ready && !self.silent {
            self.queries.push(query);
        }
    }

    /// Puts as many questions as may be under way.
    pub fn start_queries(&mut self) {
        while let Some(query) = self.queries.next_urgent() {
            self.start(query);
        }
        while let Some(id) = self.queries.next_routine() {
            let waits = |unit: &Unit| unit.track.read == Read::Waiting;
            if self.client.watched.unit(&id).is_some_and(waits) {
                self.start(Query::Read(id));
            }
        }
        while let Some(request) = self.queries.next_requested() {
            self.start_requested(request);
        }
    }

    fn start_requested(&mut self, request: Request) {
        let systemd = self.systemd.clone();
        self.replies.push(match request {
            Request::Read { unit, reply } => Box::pin(async move {
                let answer = systemd.read(&unit, None).await;
                Reply::Requested { unit, reply, answer }
            }),
            Request::Report(unit) => Box::pin(async move {
                let answer = systemd.read(&unit, None).await;
                Reply::ReadForReport { unit, answer }
            }),
            Request::Usage { unit, reply } => Box::pin(async move {
                let answer = systemd.usage(&unit).await;
                Reply::Usage { unit, reply, answer }
            }),
            // The others are no readings.
            Request::Job(_) | Request::Withdraw(_) | Request::Run { .. } => return,
        });
        self.queries.requested_under_way += 1;
    }

    fn start(&mut self, query: Query) {
        let systemd = self.systemd.clone();
        let watched = &mut self.client.watched;
        match query {
            Query::List { all } => {
                let names = watched.names();
                self.replies.push(Box::pin(async move {
                    let answer = systemd.list(&names).await;
                    Reply::Listed { names, all, answer }
                }));
            }
            Query::Read(unit) => {
                let Some(Unit { track, .. }) = watched.unit_mut(&unit) else { return };
                track.read = Read::Running;
                let known = track.jobs.known_job();
                self.replies.push(Box::pin(async move {
                    let answer = systemd.read(&unit, known).await;
                    Reply::Read { unit, answer }
                }));
            }
            Query::JobKind { unit, id, path } => self.replies.push(Box::pin(async move {
                let kind = systemd.job_kind(&path).await;
                Reply::JobKind { unit, id, kind }
            })),
            Query::SystemState => {
                self.replies.push(Box::pin(async move { Reply::SystemState(systemd.system_state().await) }))
            }
            Query::JobExists { attempt, path } => self.replies.push(Box::pin(async move {
                let answer = systemd.job_lives(&path).await;
                Reply::JobExists { attempt, answer }
            })),
            Query::FindJob { attempt, target } => self.replies.push(Box::pin(async move {
                let answer = systemd.read(&target, None).await;
                Reply::FoundJob { attempt, answer }
            })),
        }
        self.queries.under_way += 1;
    }
}
