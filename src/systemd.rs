//! The client of systemd: what the watched units are in, and jobs on them.
//!
//! In: the names to watch, and [`Ask`]s. Out: [`Happening`]s. [`run`] holds one connection to the bus and comes back
//! after every loss of it. State is read, not remembered: a signal is a hint to read the unit's properties again, and a
//! slow reconcile catches what no signal told. Only *what took a unit down* is taken from the signals themselves, since
//! nothing else tells (see `track.rs`).
//!
//! It never decides what is to be done, never polls a unit, never starts a process, and never lets polkit ask a person.
//!
//! ```text
//! calls.rs    questions and orders on the bus        track.rs   one unit: what it is in, what took it down
//! state.rs    systemd's words into UnitState         jobs.rs    orders until they are answered; refusals
//! edges.rs    systemd's graph into Relations
//! session.rs  the loop on one connection             outbox.rs  what is still to be told
//! signals.rs, answers.rs: its two inputs from the bus    watched.rs  what outlives a connection
//! runs.rs     commands, from order to verdict        judge.rs   what the end of a run means
//! ```

mod answers;
mod calls;
mod edges;
mod jobs;
mod judge;
mod outbox;
mod runs;
mod session;
mod signals;
mod state;
mod track;
mod watched;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::check::Step;
use crate::engine::AttemptId;
use crate::unit::{JobResult, ManagerState, UnitName, UnitState, UnitUsage};
use crate::verdict::Observation;
use calls::Failure;
use jobs::Order;
use outbox::Outbox;
use session::Ended;
use watched::Watched;

/// The bus on which systemd is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bus {
    /// The system's.
    System,
    /// The user's: the units of `systemctl --user`.
    Session,
    /// At this D-Bus address.
    Address(String),
}

impl Bus {
    /// As part of a sentence.
    fn describe(&self) -> &str {
        match self {
            Self::System => "the system bus",
            Self::Session => "the user's bus",
            Self::Address(address) => address,
        }
    }
}

/// What systemd is to be asked.
#[derive(Debug)]
pub enum Ask {
    /// Queue a job; answered by [`Happening::JobEnded`], once, whatever happens.
    Job {
        /// The unit the attempt is for.
        unit: UnitName,
        /// To be handed back.
        attempt: AttemptId,
        /// What to ask for. For [`Step::StartUnit`] the job is on that other unit.
        step: Step,
        /// Forget the failures of the job's unit first: its start limit has been hit.
        reset_failed: bool,
    },
    /// Read a unit's properties now, watched or not.
    Read {
        /// The unit.
        unit: UnitName,
        /// Where the answer goes; a sentence where there is none.
        reply: oneshot::Sender<Result<UnitState, String>>,
    },
    /// Read what a unit uses now, watched or not.
    Usage {
        /// The unit.
        unit: UnitName,
        /// Where the answer goes; a sentence where there is none.
        reply: oneshot::Sender<Result<UnitUsage, String>>,
    },
    /// Run the command of a unit of ours once ([`UnitName::of_probe`]).
    Run {
        /// The unit; it need not be watched.
        unit: UnitName,
        /// Its deadline, at which all its processes are killed.
        timeout: Duration,
        /// Where the verdict goes, a little after the deadline at the latest; dropped where the bus is lost meanwhile.
        reply: oneshot::Sender<Observation>,
    },
}

/// What is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A watched unit is in this state now; told when it is known first and when anything of it differs.
    Unit {
        /// By the name under which it is watched, which may be an alias.
        unit: UnitName,
        /// What systemd says of it.
        state: UnitState,
    },
    /// A job has ended, or could not be asked for.
    JobEnded {
        /// The unit the attempt is for.
        unit: UnitName,
        /// Which attempt.
        attempt: AttemptId,
        /// How it ended.
        result: JobResult,
        /// The unit's properties, read after the end.
        state: Option<UnitState>,
    },
    /// What the manager is doing: told after every [`Happening::Reachable`], and when it differs.
    Manager(ManagerState),
    /// systemd cannot be reached; the sentence says why. Told once, until it can be again.
    Unreachable(String),
    /// systemd can be reached, and the states of all watched units have been told as far as they can be read.
    Reachable,
}

/// Waits between two attempts to connect.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_LONGEST: Duration = Duration::from_secs(10);

/// Serves `asks` and tells `happenings` until one of the channels is closed. Connects, and connects again.
pub async fn run(
    bus: Bus,
    units: watch::Receiver<BTreeSet<UnitName>>,
    asks: mpsc::Receiver<Ask>,
    happenings: mpsc::Sender<Happening>,
) {
    let mut client = Client {
        units,
        asks,
        happenings,
        outbox: Outbox::default(),
        watched: Watched::default(),
        reachable: None,
    };
    let mut backoff = BACKOFF_FIRST;
    loop {
        let sentence = match client.meanwhile(calls::Systemd::connect(&bus)).await {
            None => return,
            Some(Ok((systemd, messages))) => match session::serve(&mut client, &bus, systemd, messages).await
            {
                Ended::Closed => return,
                Ended::Lost { why, served } => {
                    if served {
                        backoff = BACKOFF_FIRST;
                    }
                    format!("the connection to {} was lost: {why}", bus.describe())
                }
            },
            Some(Err(failure)) => format!("cannot connect to {}: {failure}", bus.describe()),
        };
        client.lost(sentence);
        if client.meanwhile(tokio::time::sleep(backoff)).await.is_none() {
            return;
        }
        backoff = (backoff * 2).min(BACKOFF_LONGEST);
    }
}

/// The answer to a call.
type Call<T> = Result<T, Failure>;

/// What outlives a connection.
struct Client {
    units: watch::Receiver<BTreeSet<UnitName>>,
    asks: mpsc::Receiver<Ask>,
    happenings: mpsc::Sender<Happening>,
    outbox: Outbox,
    watched: Watched,
    /// What was told last; with the sentence where it cannot be reached.
    reachable: Option<Result<(), String>>,
}

impl Client {
    /// Answers and tells while something that has no connection is waited for. `None`: a channel is closed.
    async fn meanwhile<T>(&mut self, wait: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(wait);
        let happenings = self.happenings.clone();
        loop {
            tokio::select! {
                biased;
                permit = happenings.reserve(), if !self.outbox.is_empty() => match self.outbox.pop() {
                    Some(happening) => permit.ok()?.send(happening),
                    None => drop(permit.ok()?),
                },
                done = &mut wait => return Some(done),
                ask = self.asks.recv() => self.refuse(ask?),
            }
        }
    }

    /// Answers an ask that cannot be put to systemd.
    fn refuse(&mut self, ask: Ask) {
        let why = match &self.reachable {
            Some(Err(sentence)) => sentence.clone(),
            _ => "not connected yet".to_owned(),
        };
        let sentence = format!("systemd cannot be reached: {why}");
        match ask {
            Ask::Job { unit, attempt, .. } => {
                let result = JobResult::Unasked(sentence);
                self.outbox.push(Happening::JobEnded { unit, attempt, result, state: None });
            }
            // Whoever asked may have gone; then nobody misses the answer.
            Ask::Read { reply, .. } => drop(reply.send(Err(sentence))),
            Ask::Usage { reply, .. } => drop(reply.send(Err(sentence))),
            Ask::Run { reply, .. } => drop(reply.send(Observation::Unknown { reason: sentence })),
        }
    }

    /// The connection is lost, or there was none.
    fn lost(&mut self, sentence: String) {
        for (Order { unit, attempt, .. }, result) in self.watched.jobs.take_ended() {
            self.outbox.push(Happening::JobEnded { unit, attempt, result, state: None });
        }
        self.watched.lost();
        self.unreachable(sentence);
    }

    /// Tells that systemd cannot be reached, unless that was told.
    fn unreachable(&mut self, sentence: String) {
        if !matches!(self.reachable, Some(Err(_))) {
            self.outbox.push(Happening::Unreachable(sentence.clone()));
        }
        self.reachable = Some(Err(sentence));
    }

    fn is_reachable(&self) -> bool {
        matches!(self.reachable, Some(Ok(())))
    }
}
