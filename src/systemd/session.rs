//! One connection to systemd, from its first message to its last: the loop.
//!
//! In: the messages of the bus (`signals.rs`), replies to our calls (`replies.rs`), requests (`requests.rs`), changes of
//! what is watched, a slow clock. Out: reports. Messages are taken before replies, as the bus keeps the order of one
//! sender: what systemd sent first is processed first. The loop never waits for a reply: calls run beside it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use zbus::MessageStream;

use super::calls::{Failure, LOGIND, SYSTEMD, Systemd};
use super::command_runs::CommandRuns;
use super::pending_jobs::PendingJob;
use super::queries::{Query, QueryQueue};
use super::replies::{PendingReply, Reply};
use super::unit_tracker::Read;
use super::{Bus, Client, Report};
use crate::engine::AttemptId;
use crate::unit::{ManagerState, UnitName};

/// How often everything is compared with systemd's list although no signal came.
const RECONCILE: Duration = Duration::from_secs(45);
/// Between one question and the next while systemd does not answer.
const PING_PAUSE: Duration = Duration::from_secs(5);

/// Why the loop ended.
pub(super) enum Ended {
    /// A channel is closed: the supervisor has ended.
    Closed,
    /// The bus is lost.
    Lost {
        why: String,
        /// Something was achieved on this connection.
        served: bool,
    },
}

/// The unique names behind the well-known ones.
#[derive(Default)]
pub(super) struct Owners {
    pub systemd: Option<String>,
    pub logind: Option<String>,
}

pub(super) struct Session<'a> {
    pub client: &'a mut Client,
    pub bus: &'a Bus,
    pub systemd: Systemd,
    pub owners: Owners,
    /// The signals are subscribed to; requests wait for that.
    pub ready: bool,
    /// An owner has changed while the owners were being asked for.
    pub owners_changed: bool,
    /// Job requests that systemd has not been asked for yet.
    pub line: VecDeque<PendingJob>,
    /// Those that it has been asked for and has not answered, unless that takes too long.
    pub asked: BTreeSet<AttemptId>,
    pub queries: QueryQueue,
    pub replies: FuturesUnordered<PendingReply>,
    pub runs: CommandRuns,
    /// Every unit has been listed on this connection, by this systemd.
    pub listed: bool,
    /// systemd has left a question without an answer: it is asked nothing but whether it answers again.
    pub silent: bool,
    pub system: Option<ManagerState>,
    /// logind has announced a shutdown.
    pub shutdown: bool,
    /// The state of the manager that was reported on this connection.
    pub reported: Option<ManagerState>,
    /// Units whose failure to be read is in the log.
    pub unreadable: BTreeSet<UnitName>,
}

/// Serves one connection until it is lost.
pub(super) async fn serve(
    client: &mut Client,
    bus: &Bus,
    systemd: Systemd,
    mut messages: MessageStream,
) -> Ended {
    let mut session = Session::new(client, bus, systemd);
    session.watch();
    session.subscribe();
    let mut reconcile = tokio::time::interval(RECONCILE);
    reconcile.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    reconcile.reset();
    let reports = session.client.reports.clone();
    loop {
        let lost = |why: String, session: &Session<'_>| Ended::Lost { why, served: session.listed };
        tokio::select! {
            biased;
            permit = reports.reserve(), if !session.client.queue.is_empty() => {
                let Ok(permit) = permit else { return Ended::Closed };
                if let Some(report) = session.client.queue.pop() {
                    permit.send(report);
                }
            }
            message = messages.next() => match message {
                Some(Ok(message)) => session.message(&message),
                Some(Err(error)) => return lost(error.to_string(), &session),
                None => return lost("it was closed".to_owned(), &session),
            },
            Some(reply) = session.replies.next() => {
                if let Err(failure) = session.reply(reply) {
                    return lost(failure.to_string(), &session);
                }
            }
            request = session.client.requests.recv() => match request {
                Some(request) => session.request(request),
                None => return Ended::Closed,
            },
            changed = session.client.units.changed() => {
                if changed.is_err() {
                    return Ended::Closed;
                }
                session.watch();
                session.query(Query::List { all: false });
            }
            _ = reconcile.tick() => session.reconcile(),
        }
        session.start_queries();
        if session.systemd.take_limit_met() {
            session.client.queue.push(Report::CallLimit);
        }
    }
}

impl<'a> Session<'a> {
    fn new(client: &'a mut Client, bus: &'a Bus, systemd: Systemd) -> Self {
        Self {
            client,
            bus,
            systemd,
            owners: Owners::default(),
            ready: false,
            owners_changed: false,
            line: VecDeque::new(),
            asked: BTreeSet::new(),
            queries: QueryQueue::default(),
            replies: FuturesUnordered::new(),
            runs: CommandRuns::default(),
            listed: false,
            silent: false,
            system: None,
            shutdown: false,
            reported: None,
            unreadable: BTreeSet::new(),
        }
    }

    /// Takes over the names that are to be watched.
    fn watch(&mut self) {
        let names = self.client.units.borrow_and_update().clone();
        self.client.watched.set(&names);
        self.unreadable.retain(|id| self.client.watched.unit(id).is_some());
    }

    /// Asks for the signals, and only then for anything else.
    pub fn subscribe(&self) {
        let systemd = self.systemd.clone();
        // logind is on the system bus; the user's manager announces its end by its own state.
        let logind = *self.bus != Bus::Session;
        self.replies.push(Box::pin(async move {
            let owners = async {
                systemd.ask_for_signals(logind).await?;
                let owners = Owners {
                    systemd: systemd.owner(SYSTEMD).await?,
                    logind: if logind { systemd.owner(LOGIND).await? } else { None },
                };
                if owners.systemd.is_some() {
                    systemd.subscribe().await?;
                }
                Ok(Some(owners))
            };
            Reply::Ready(owners.await)
        }));
    }

    /// systemd is back on the bus: it must be asked to send signals again. The bus still passes them on.
    pub fn subscribe_again(&self) {
        let systemd = self.systemd.clone();
        self.replies.push(Box::pin(async move { Reply::Ready(systemd.subscribe().await.map(|()| None)) }));
    }

    /// systemd is there, as it was not before: everything is read, as signals may have been lost.
    pub fn read_everything(&mut self) {
        self.ready = true;
        self.silent = false;
        self.listed = false;
        self.system = None;
        for unit in self.client.watched.units_mut() {
            unit.track.jobs.lose_signals();
        }
        self.query(Query::SystemState);
        self.query(Query::List { all: true });
        self.look_for_jobs();
        self.ask_for_jobs();
        self.start_held_runs();
    }

    fn reconcile(&mut self) {
        if self.ready && !self.silent {
            self.query(Query::SystemState);
            self.query(Query::List { all: false });
            self.look_for_jobs();
        }
    }

    /// Asks what became of the jobs whose end may have been missed.
    pub fn look_for_jobs(&mut self) {
        for (attempt, path) in self.client.watched.jobs.named() {
            self.query(Query::JobExists { attempt, path });
        }
        for (attempt, target) in self.client.watched.jobs.unnamed() {
            self.query(Query::FindJob { attempt, target });
        }
        self.runs.look();
    }

    /// systemd does not answer. More questions would wait with the others, and be answered late and all at once: from here
    /// on there is one at a time, until it answers.
    pub fn fall_silent(&mut self, failure: &Failure) {
        self.client.unreachable(format!("systemd does not answer: {failure}"));
        if std::mem::replace(&mut self.silent, true) {
            return;
        }
        for request in self.queries.clear() {
            self.client.refuse(request);
        }
        for unit in self.client.watched.units_mut() {
            if matches!(unit.track.read, Read::Waiting | Read::Queued) {
                unit.track.read = Read::Idle;
            }
        }
        self.listed = false;
        self.system = None;
        self.ping();
    }

    fn ping(&self) {
        let systemd = self.systemd.clone();
        self.replies.push(Box::pin(async move {
            tokio::time::sleep(PING_PAUSE).await;
            Reply::Pinged(systemd.system_state().await)
        }));
    }

    /// The reply to a ping.
    pub fn pinged(&mut self, answer: Result<ManagerState, Failure>) {
        match answer {
            _ if !self.silent || !self.ready => {}
            Err(failure) if failure.silent => self.ping(),
            Ok(_) | Err(_) => self.read_everything(),
        }
    }
}
