//! The client of systemd: the states of the watched units, and jobs on them.
//!
//! In: the names to watch, and [`Request`]s. Out: [`Report`]s, most of them events for the engine. [`run`] holds one
//! connection to the bus and connects again after every loss of it. State is read, not remembered: a signal is a hint to
//! read the unit's properties again, and a slow reconcile catches what no signal showed. Only *which job took a unit down*
//! is taken from the signals themselves, as no property shows it.
//!
//! It never decides what is to be done, never polls a unit, never starts a process, and never lets polkit ask a person.
//!
//! | file | what is in it |
//! |---|---|
//! | `session.rs` | the loop on one connection |
//! | `signals.rs`, `replies.rs`, `requests.rs` | its three inputs |
//! | `queries.rs` | the questions that wait for their turn |
//! | `calls.rs` | the calls on the bus |
//! | `properties.rs`, `settings.rs`, `relations.rs`, `start_conditions.rs`, `names.rs` | D-Bus values into those of `unit` |
//! | `watched.rs` | the watched units by name and alias: what outlives a connection |
//! | `unit_tracker.rs`, `job_tracker.rs` | one unit: what is reported of it, which job took it down |
//! | `pending_jobs.rs`, `refusals.rs` | job requests until their result; what a refusal means |
//! | `command_runs.rs`, `command_result.rs` | the runs of `command` probes; what their end means |
//! | `report_queue.rs` | the reports that wait |

mod calls;
mod command_result;
mod command_runs;
mod job_tracker;
mod names;
mod pending_jobs;
mod properties;
mod queries;
mod refusals;
mod relations;
mod replies;
mod report_queue;
mod requests;
mod session;
mod settings;
mod signals;
mod start_conditions;
mod unit_tracker;
mod watched;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::engine::{Event, JobRequest, Withdrawal};
use crate::unit::{JobResult, ManagerState, UnitName, UnitState, UnitUsage};
use crate::verdict::Observation;
use calls::Failure;
use report_queue::ReportQueue;
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

/// What the client is to do.
#[derive(Debug)]
pub enum Request {
    /// Queue a job; answered by [`Event::JobEnded`], once, whatever happens.
    Job(JobRequest),
    /// Do not queue a job that was requested, or cancel it; its request is answered all the same.
    Withdraw(Withdrawal),
    /// Read a unit's properties now, watched or not.
    Read {
        /// The unit, or an alias of it.
        unit: UnitName,
        /// The unit's primary name and its state; a sentence where it cannot be read.
        reply: oneshot::Sender<Result<(UnitName, UnitState), String>>,
    },
    /// Read a watched unit's properties now, and report them whether they have changed or not.
    Report(UnitName),
    /// Read what a unit uses now, watched or not.
    Usage {
        /// The unit.
        unit: UnitName,
        /// What it uses; a sentence where it cannot be read.
        reply: oneshot::Sender<Result<UnitUsage, String>>,
    },
    /// Run the command of a unit of ours once ([`UnitName::of_probe`]).
    Run {
        /// The unit; it need not be watched.
        unit: UnitName,
        /// Its deadline, at which all its processes are killed.
        timeout: Duration,
        /// The observation, a little after the deadline at the latest; dropped where the bus is lost meanwhile.
        reply: oneshot::Sender<Observation>,
    },
}

/// What the client reports.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all reports are events")]
pub enum Report {
    /// For the engine: [`Event::UnitResolved`], [`Event::UnitRead`] (when a state is known first, and when anything of it
    /// differs), [`Event::JobEnded`] and [`Event::ManagerChanged`] (after every [`Report::Reachable`] and
    /// [`Report::Unreachable`], and when it differs).
    Event(Event),
    /// systemd cannot be reached, and the reason in a sentence. Reported once, until it can be again.
    Unreachable(String),
    /// systemd can be reached, and the states of all watched units have been reported as far as they can be read.
    Reachable,
    /// A job call has met a limit of the bus, and is repeated, or is not answered for some seconds: another process calls
    /// systemd or polkit without end, or polkit hangs.
    CallLimit,
}

/// Waits between two attempts to connect.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_LONGEST: Duration = Duration::from_secs(10);

/// Serves `requests` and sends `reports` until one of the channels is closed. Connects, and connects again.
///
/// `units` holds the names as the configuration has them: an alias is followed for as long as it is in there.
pub async fn run(
    bus: Bus,
    units: watch::Receiver<BTreeSet<UnitName>>,
    requests: mpsc::Receiver<Request>,
    reports: mpsc::Sender<Report>,
) {
    let mut client = Client {
        units,
        requests,
        reports,
        queue: ReportQueue::default(),
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

/// The result of a call.
type Call<T> = Result<T, Failure>;

/// What outlives a connection.
struct Client {
    units: watch::Receiver<BTreeSet<UnitName>>,
    requests: mpsc::Receiver<Request>,
    reports: mpsc::Sender<Report>,
    queue: ReportQueue,
    watched: Watched,
    /// What was reported last; with the sentence where systemd cannot be reached.
    reachable: Option<Result<(), String>>,
}

impl Client {
    /// Answers requests and sends reports while there is no connection. `None`: a channel is closed.
    async fn meanwhile<T>(&mut self, wait: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(wait);
        let reports = self.reports.clone();
        loop {
            tokio::select! {
                biased;
                permit = reports.reserve(), if !self.queue.is_empty() => match self.queue.pop() {
                    Some(report) => permit.ok()?.send(report),
                    None => drop(permit.ok()?),
                },
                done = &mut wait => return Some(done),
                request = self.requests.recv() => self.refuse(request?),
            }
        }
    }

    /// Answers a request that cannot be put to systemd.
    fn refuse(&mut self, request: Request) {
        let why = match &self.reachable {
            Some(Err(sentence)) => sentence.clone(),
            _ => "not connected yet".to_owned(),
        };
        let sentence = format!("systemd cannot be reached: {why}");
        match request {
            Request::Job(request) => self.job_ended(request, JobResult::Unasked(sentence)),
            Request::Withdraw(_) | Request::Report(_) => {}
            // The requester may have gone.
            Request::Read { reply, .. } => drop(reply.send(Err(sentence))),
            Request::Usage { reply, .. } => drop(reply.send(Err(sentence))),
            Request::Run { reply, .. } => drop(reply.send(Observation::Unknown { reason: sentence })),
        }
    }

    /// Reports the result of a request whose unit cannot be read.
    fn job_ended(&mut self, request: JobRequest, result: JobResult) {
        let JobRequest { unit, attempt, .. } = request;
        self.queue.push_event(Event::JobEnded { unit, attempt, result, state: None });
    }

    /// The connection is lost, or there was none.
    fn lost(&mut self, sentence: String) {
        for (job, result) in self.watched.jobs.take_ended() {
            self.job_ended(job.request, result);
        }
        self.watched.lost();
        self.unreachable(sentence);
    }

    /// Reports that systemd cannot be reached, unless that was reported.
    fn unreachable(&mut self, sentence: String) {
        if !matches!(self.reachable, Some(Err(_))) {
            self.queue.push(Report::Unreachable(sentence.clone()));
            self.queue.push_event(Event::ManagerChanged(ManagerState::Unreachable));
        }
        self.reachable = Some(Err(sentence));
    }

    fn is_reachable(&self) -> bool {
        matches!(self.reachable, Some(Ok(())))
    }
}
