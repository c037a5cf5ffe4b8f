//! One connection to systemd, from its first message to its last: the loop.
//!
//! In: the messages of the bus, answers to our calls, asks, changes of what is watched, a slow clock. Out: happenings,
//! through the outbox. Messages are taken before answers, so that what systemd said first is heard first (the bus keeps
//! the order of one sender). Nothing in the loop waits for an answer: calls run beside it.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::Instant;
use zbus::MessageStream;
use zbus::message::Sequence;

use super::calls::{Failure, Reading, Systemd};
use super::jobs::Order;
use super::runs::{Run, Runs};
use super::track::{Listed, Read};
use super::watched::Unit;
use super::{Ask, Bus, Client, Happening};
use crate::engine::AttemptId;
use crate::unit::{JobKind, JobResult, ManagerState, UnitName, UnitState, UnitUsage};

/// How often everything is compared with systemd's list although no signal came.
const RECONCILE: Duration = Duration::from_secs(45);
/// Questions that may be under way at once: a bus gives each connection 128 (max_replies_per_connection).
const QUESTIONS: usize = 16;
/// The same for readings that nothing hinted at, so that a job has few of them before it in systemd's queue.
const ROUTINE_QUESTIONS: usize = 8;

/// An order that has no answer after this long has systemd asked whether it answers at all.
const ORDER_PATIENCE: Duration = Duration::from_secs(5);
/// Between one question and the next while systemd does not answer.
const PING_PAUSE: Duration = Duration::from_secs(5);

/// Why the loop ended.
pub(super) enum Ended {
    /// A channel is closed: nobody is there any more.
    Closed,
    /// The bus is lost.
    Lost {
        why: String,
        /// Something was achieved on this connection.
        served: bool,
    },
}

/// A question that waits for its turn.
pub(super) enum Work {
    List {
        all: bool,
    },
    Read(UnitName),
    Kind {
        unit: UnitName,
        id: u32,
        job: String,
    },
    System,
    Look {
        attempt: AttemptId,
        job: String,
    },
    /// What became of an order of which nobody heard the end.
    Find {
        attempt: AttemptId,
        unit: UnitName,
    },
}

/// An answer.
pub(super) enum Done {
    /// With the owners where they were asked for.
    Ready(Result<Option<Owners>, Failure>),
    Listed {
        names: Vec<UnitName>,
        all: bool,
        answer: Result<Vec<Listed>, Failure>,
    },
    Read {
        unit: UnitName,
        answer: Result<Reading, Failure>,
    },
    Kind {
        unit: UnitName,
        id: u32,
        kind: JobKind,
    },
    System(Result<ManagerState, Failure>),
    Looked {
        attempt: AttemptId,
        answer: Result<bool, Failure>,
    },
    Found {
        attempt: AttemptId,
        answer: Result<Reading, Failure>,
    },
    Queued {
        attempt: AttemptId,
        answer: Result<String, Failure>,
    },
    /// An order has been out for some seconds.
    Out {
        attempt: AttemptId,
    },
    /// Whether a systemd that did not answer does again.
    Pinged(Result<ManagerState, Failure>),
    Ended {
        order: Order,
        result: JobResult,
        answer: Result<Reading, Failure>,
    },
    Asked {
        unit: UnitName,
        reply: oneshot::Sender<Result<UnitState, String>>,
        answer: Result<Reading, Failure>,
    },
    Usage {
        unit: UnitName,
        reply: oneshot::Sender<Result<UnitUsage, String>>,
        answer: Result<UnitUsage, Failure>,
    },
    /// A command's run is over, and answered.
    Ran {
        unit: UnitName,
    },
}

/// The unique names behind the ones that are believed.
#[derive(Default)]
pub(super) struct Owners {
    pub systemd: Option<String>,
    pub logind: Option<String>,
}

type Answer = Pin<Box<dyn Future<Output = Done> + Send>>;

pub(super) struct Session<'a> {
    pub client: &'a mut Client,
    pub bus: &'a Bus,
    pub systemd: Systemd,
    pub owners: Owners,
    /// Whether the signals were asked for; orders wait for that.
    pub ready: bool,
    /// A name has changed its owner while the owners were being asked for.
    pub restless: bool,
    held: Vec<Order>,
    urgent: VecDeque<Work>,
    routine: VecDeque<UnitName>,
    /// How many questions of the two queues are under way.
    busy: usize,
    pub answers: FuturesUnordered<Answer>,
    pub runs: Runs,
    /// Every unit has been listed on this connection, by this systemd.
    pub listed: bool,
    /// systemd has left a question without an answer: nothing is asked but whether it answers again.
    pub silent: bool,
    pub system: Option<ManagerState>,
    /// logind has announced a shutdown.
    pub shutdown: bool,
    /// What was told of the manager, on this connection.
    pub told: Option<ManagerState>,
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
    let mut session = Session {
        client,
        bus,
        systemd,
        owners: Owners::default(),
        ready: false,
        restless: false,
        held: Vec::new(),
        urgent: VecDeque::new(),
        routine: VecDeque::new(),
        busy: 0,
        answers: FuturesUnordered::new(),
        runs: Runs::default(),
        listed: false,
        silent: false,
        system: None,
        shutdown: false,
        told: None,
        unreadable: BTreeSet::new(),
    };
    let names = session.client.units.borrow_and_update().clone();
    session.client.watched.set(&names);
    session.get_ready();
    let mut reconcile = tokio::time::interval(RECONCILE);
    reconcile.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    reconcile.reset();
    let happenings = session.client.happenings.clone();
    loop {
        let lost = |why: String, session: &Session<'_>| Ended::Lost { why, served: session.listed };
        tokio::select! {
            biased;
            permit = happenings.reserve(), if !session.client.outbox.is_empty() => {
                let Ok(permit) = permit else { return Ended::Closed };
                if let Some(happening) = session.client.outbox.pop() {
                    permit.send(happening);
                }
            }
            message = messages.next() => match message {
                Some(Ok(message)) => session.message(&message),
                Some(Err(error)) => return lost(error.to_string(), &session),
                None => return lost("it was closed".to_owned(), &session),
            },
            Some(done) = session.answers.next() => {
                if let Err(failure) = session.done(done) {
                    return lost(failure.to_string(), &session);
                }
            }
            ask = session.client.asks.recv() => match ask {
                Some(ask) => session.ask(ask),
                None => return Ended::Closed,
            },
            changed = session.client.units.changed() => {
                if changed.is_err() {
                    return Ended::Closed;
                }
                let names = session.client.units.borrow_and_update().clone();
                session.client.watched.set(&names);
                session.unreadable.retain(|name| names.contains(name));
                session.later(Work::List { all: false });
            }
            _ = reconcile.tick() => session.reconcile(),
        }
        session.start_questions();
    }
}

impl Session<'_> {
    /// Asks for the signals, and only then for anything else.
    pub fn get_ready(&self) {
        let systemd = self.systemd.clone();
        // logind is on the system bus; the user's manager tells of its end by its own state.
        let logind = *self.bus != Bus::Session;
        self.answers.push(Box::pin(async move {
            let owners = async {
                systemd.ask_for_signals(logind).await?;
                let owners = Owners {
                    systemd: systemd.owner(super::calls::SYSTEMD).await?,
                    logind: if logind { systemd.owner(super::calls::LOGIND).await? } else { None },
                };
                if owners.systemd.is_some() {
                    systemd.subscribe().await?;
                }
                Ok(Some(owners))
            };
            Done::Ready(owners.await)
        }));
    }

    /// systemd is back on the bus: signals need not be asked for again, but to be sent.
    pub fn get_ready_again(&self) {
        let systemd = self.systemd.clone();
        self.answers.push(Box::pin(async move { Done::Ready(systemd.subscribe().await.map(|()| None)) }));
    }

    /// systemd is there, as it was not before: everything is asked anew.
    pub fn everything(&mut self) {
        self.ready = true;
        self.silent = false;
        self.listed = false;
        self.system = None;
        self.urgent.push_back(Work::System);
        self.urgent.push_back(Work::List { all: true });
        self.look_for_jobs();
        for order in std::mem::take(&mut self.held) {
            self.queue(order);
        }
        self.run_held();
    }

    fn reconcile(&mut self) {
        if self.ready && !self.silent {
            self.urgent.push_back(Work::System);
            self.urgent.push_back(Work::List { all: false });
            self.look_for_jobs();
        }
    }

    /// systemd does not answer. Whatever else it were asked would wait with the rest, and be done late and all at once: from
    /// here on there is one question at a time, until it answers.
    pub fn silence(&mut self, failure: &Failure) {
        self.client.unreachable(format!("systemd does not answer: {failure}"));
        if std::mem::replace(&mut self.silent, true) {
            return;
        }
        self.urgent.clear();
        self.routine.clear();
        for unit in self.client.watched.units.values_mut() {
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
        self.answers.push(Box::pin(async move {
            tokio::time::sleep(PING_PAUSE).await;
            Done::Pinged(systemd.system_state().await)
        }));
    }

    /// The answer to a ping. Once there is one, everything is asked anew: signals may have been lost.
    pub fn pinged(&mut self, answer: Result<ManagerState, Failure>) {
        match answer {
            _ if !self.silent || !self.ready => {}
            Err(failure) if failure.silent => self.ping(),
            Ok(_) | Err(_) => self.everything(),
        }
    }

    /// Asks what became of the jobs whose end may have been missed.
    pub fn look_for_jobs(&mut self) {
        for (attempt, job) in self.client.watched.jobs.to_look_for() {
            self.urgent.push_back(Work::Look { attempt, job });
        }
        for (attempt, unit) in self.client.watched.jobs.to_find() {
            self.urgent.push_back(Work::Find { attempt, unit });
        }
        self.runs.look();
    }

    /// Whether every unit that can be read has been, since [`Session::everything`].
    pub fn all_known(&self) -> bool {
        self.listed && self.busy == 0 && self.urgent.is_empty() && self.routine.is_empty()
    }

    /// One question of the queues is answered.
    pub fn question_done(&mut self) {
        self.busy = self.busy.saturating_sub(1);
    }

    /// Reads the unit when nothing more urgent is to be asked.
    pub fn routine(&mut self, name: UnitName) {
        self.routine.push_back(name);
    }

    pub fn later(&mut self, work: Work) {
        if self.ready && !self.silent {
            self.urgent.push_back(work);
        }
    }

    /// Something was said of the unit, by the message at this place: read it again.
    pub fn hint(&mut self, name: &UnitName, at: Option<Sequence>) {
        let Some(unit) = self.client.watched.units.get_mut(name) else { return };
        unit.heard = unit.heard.max(at);
        if self.silent {
            // Everything is read when it answers again.
            return;
        }
        match unit.track.read {
            Read::Idle | Read::Waiting => {
                unit.track.read = Read::Queued;
                self.urgent.push_back(Work::Read(name.clone()));
            }
            Read::Running => unit.track.read = Read::Stale,
            Read::Queued | Read::Stale => {}
        }
    }

    fn start_questions(&mut self) {
        while self.busy < QUESTIONS {
            let Some(work) = self.urgent.pop_front() else { break };
            self.start(work);
        }
        while self.busy < ROUTINE_QUESTIONS {
            let Some(name) = self.routine.pop_front() else { break };
            let waits = |unit: &Unit| unit.track.read == Read::Waiting;
            if self.client.watched.units.get(&name).is_some_and(waits) {
                self.start(Work::Read(name));
            }
        }
    }

    fn start(&mut self, work: Work) {
        let systemd = self.systemd.clone();
        let watched = &mut self.client.watched;
        let answer: Answer = match work {
            Work::List { all } => {
                let names: Vec<UnitName> = watched.units.keys().cloned().collect();
                Box::pin(async move {
                    let answer = systemd.list(&names).await;
                    Done::Listed { names, all, answer }
                })
            }
            Work::Read(unit) => {
                let Some(Unit { path, track, .. }) = watched.units.get_mut(&unit) else { return };
                track.read = Read::Running;
                let (path, known) = (path.clone(), track.known_job());
                Box::pin(async move {
                    let answer = systemd.read(&path, &unit, known).await;
                    Done::Read { unit, answer }
                })
            }
            Work::Kind { unit, id, job } => Box::pin(async move {
                let kind = systemd.job_kind(&job).await;
                Done::Kind { unit, id, kind }
            }),
            Work::System => Box::pin(async move { Done::System(systemd.system_state().await) }),
            Work::Look { attempt, job } => Box::pin(async move {
                let answer = systemd.job_lives(&job).await;
                Done::Looked { attempt, answer }
            }),
            Work::Find { attempt, unit } => {
                let path = watched.path(&unit);
                Box::pin(async move {
                    let answer = systemd.read(&path, &unit, None).await;
                    Done::Found { attempt, answer }
                })
            }
        };
        self.busy += 1;
        self.answers.push(answer);
    }

    fn ask(&mut self, ask: Ask) {
        if self.silent {
            return self.client.refuse(ask);
        }
        match ask {
            Ask::Job { unit, attempt, step, reset_failed } => {
                let order = Order::new(unit, attempt, step, reset_failed);
                let before = self.client.watched.run_of(order.target());
                let order = order.after(before);
                self.client.watched.jobs.add(order.clone());
                if self.ready {
                    self.queue(order);
                } else {
                    self.held.push(order);
                }
            }
            Ask::Read { unit, reply } => {
                let systemd = self.systemd.clone();
                let path = self.client.watched.path(&unit);
                self.answers.push(Box::pin(async move {
                    let answer = systemd.read(&path, &unit, None).await;
                    Done::Asked { unit, reply, answer }
                }));
            }
            Ask::Usage { unit, reply } => {
                let systemd = self.systemd.clone();
                let path = self.client.watched.path(&unit);
                self.answers.push(Box::pin(async move {
                    let answer = systemd.usage(&path, &unit).await;
                    Done::Usage { unit, reply, answer }
                }));
            }
            Ask::Run { unit, timeout, reply } => {
                self.run(Run { unit, timeout, reply, asked: Instant::now() })
            }
        }
    }

    /// Asks systemd for the job at once, past all questions.
    pub fn queue(&self, order: Order) {
        let (systemd, attempt) = (self.systemd.clone(), order.attempt);
        self.answers.push(Box::pin(async move {
            tokio::time::sleep(ORDER_PATIENCE).await;
            Done::Out { attempt }
        }));
        self.answers.push(Box::pin(async move {
            if order.reset_failed
                && let Err(failure) = systemd.reset_failed(order.target()).await
            {
                // The job itself will tell whether it mattered.
                tracing::debug!("cannot reset the failures of {}: {failure}", order.target());
            }
            let answer = systemd.queue(order.method(), order.target()).await;
            Done::Queued { attempt: order.attempt, answer }
        }));
    }

    /// An order has its result: read the unit, then tell.
    pub fn finish(&mut self, order: Order, result: JobResult) {
        if self.silent {
            let Order { unit, attempt, .. } = order;
            self.client.outbox.push(Happening::JobEnded { unit, attempt, result, state: None });
            return;
        }
        // The reading is lost with the connection; the result must not be.
        self.client.watched.jobs.ends(order.clone(), result.clone());
        let systemd = self.systemd.clone();
        let path = self.client.watched.path(&order.unit);
        self.answers.push(Box::pin(async move {
            let answer = systemd.read(&path, &order.unit, None).await;
            Done::Ended { order, result, answer }
        }));
    }
}
