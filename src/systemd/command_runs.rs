//! Commands that systemd runs for us: each from its request to its observation, within its deadline.
//!
//! In: requests ([`CommandRun`]), and of the signals the ends of jobs on the units that run commands. Out: one
//! [`Observation`] for each request. A run is a `RestartUnit`: it begins from whatever state the unit is in, and ends what
//! an earlier process of the daemon may have left behind. Its unit remains when the command has ended, and is read then; at
//! the deadline it is stopped, by which systemd kills every process of the command. What a reading means is decided in
//! `command_result.rs`.
//!
//! The units of commands are not watched: their states are never reported.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::calls::{Failure, Systemd};
use super::command_result::{self, Manager};
use super::names::job_result;
use super::replies::Reply;
use super::session::Session;
use super::{Bus, Call};
use crate::unit::{JobResult, UnitName};
use crate::verdict::Observation;

/// What systemd may take to answer when the deadline is over. With two such calls the observation still comes before the
/// supervisor takes the run for lost.
const LAST_CALL: Duration = Duration::from_secs(2);
/// Calls that may wait for systemd's reply at once, beside those of `queries.rs`: a bus gives each connection 128
/// (max_replies_per_connection), and polkit answers one after the other.
const CALLS: usize = 32;

/// A request to run a command once.
pub(super) struct CommandRun {
    pub unit: UnitName,
    pub timeout: Duration,
    pub reply: oneshot::Sender<Observation>,
    /// Latency and deadline count from here.
    pub requested: Instant,
}

/// A signal that concerns a run.
enum Signal {
    /// A job on its unit has ended.
    Ended { job: String, result: JobResult },
    /// A signal may have been missed.
    Look,
}

/// The runs under way on one connection. Its end ends them unanswered.
pub(super) struct CommandRuns {
    /// Where the ends of jobs are sent, by unit.
    under_way: HashMap<String, mpsc::UnboundedSender<Signal>>,
    /// Requests that wait for systemd to be ready.
    held: Vec<CommandRun>,
    calls: Arc<Semaphore>,
}

impl Default for CommandRuns {
    fn default() -> Self {
        Self { under_way: HashMap::new(), held: Vec::new(), calls: Arc::new(Semaphore::new(CALLS)) }
    }
}

impl CommandRuns {
    /// A run begins. An earlier one on the same unit is superseded.
    fn begin(&mut self, unit: &UnitName) -> mpsc::UnboundedReceiver<Signal> {
        let (sender, signals) = mpsc::unbounded_channel();
        self.under_way.insert(unit.as_str().to_owned(), sender);
        signals
    }

    /// A run is over; the unit may be another's by now.
    pub fn over(&mut self, unit: &UnitName) {
        if self.under_way.get(unit.as_str()).is_some_and(mpsc::UnboundedSender::is_closed) {
            self.under_way.remove(unit.as_str());
        }
    }

    /// A job has ended. It may be ours before the reply that names it, so the run itself compares.
    pub fn job_removed(&self, job: &str, unit: &str, word: &str) {
        if let Some(run) = self.under_way.get(unit) {
            // The run may just have ended.
            let _ = run.send(Signal::Ended { job: job.to_owned(), result: job_result(word) });
        }
    }

    /// Signals may have been missed: each run reads its unit.
    pub fn look(&self) {
        for run in self.under_way.values() {
            let _ = run.send(Signal::Look);
        }
    }
}

impl Session<'_> {
    /// Runs a command, once systemd is there.
    pub fn start_run(&mut self, run: CommandRun) {
        if !self.ready {
            self.runs.held.push(run);
            return;
        }
        let mut course = Course {
            systemd: self.systemd.clone(),
            manager: if *self.bus == Bus::Session { Manager::User } else { Manager::System },
            calls: Arc::clone(&self.runs.calls),
            signals: self.runs.begin(&run.unit),
            unit: run.unit,
            timeout: run.timeout,
            requested: run.requested,
            queued: false,
        };
        self.replies.push(Box::pin(async move {
            let observation = course.run().await;
            // The requester may have gone.
            drop(run.reply.send(observation));
            Reply::Ran { unit: course.unit }
        }));
    }

    /// systemd is ready: what waited for it begins.
    pub fn start_held_runs(&mut self) {
        for run in std::mem::take(&mut self.runs.held) {
            self.start_run(run);
        }
    }
}

/// One run.
struct Course {
    systemd: Systemd,
    manager: Manager,
    calls: Arc<Semaphore>,
    signals: mpsc::UnboundedReceiver<Signal>,
    unit: UnitName,
    timeout: Duration,
    requested: Instant,
    /// systemd has queued the job.
    queued: bool,
}

impl Course {
    async fn run(&mut self) -> Observation {
        match timeout_at(self.requested + self.timeout, self.until_ended()).await {
            Ok(observation) => observation,
            Err(_elapsed) => self.overdue().await,
        }
    }

    async fn until_ended(&mut self) -> Observation {
        let job = match self.queue().await {
            Ok(job) => job,
            Err(failure) => return command_result::refused(&self.unit, &failure, self.manager),
        };
        self.queued = true;
        while let Some(signal) = self.signals.recv().await {
            let result = match signal {
                Signal::Ended { job: ended, result } if ended == job => Some(result),
                Signal::Ended { .. } => continue,
                Signal::Look => None,
            };
            let latency = self.requested.elapsed();
            match self.systemd.read_run(&self.unit).await {
                Ok(reading) if result.is_some() || reading.is_over() => {
                    return command_result::ended(
                        &self.unit,
                        result.as_ref(),
                        &reading,
                        latency,
                        self.manager,
                    );
                }
                Ok(_still_running) => {}
                Err(failure) if result.is_some() => return command_result::unread(&self.unit, &failure),
                // The next signal, or the deadline, will show it.
                Err(_) => {}
            }
        }
        command_result::superseded()
    }

    async fn queue(&self) -> Result<String, Failure> {
        // It is never closed.
        let _slot = self.calls.acquire().await;
        self.systemd.queue("RestartUnit", &self.unit, "replace").await
    }

    /// The deadline is over: the run is read, then stopped.
    async fn overdue(&self) -> Observation {
        let reading = within(self.systemd.read_run(&self.unit)).await;
        if self.signals.is_closed() {
            // The unit is another run's: not ours to stop.
            return command_result::superseded();
        }
        if let Ok(reading) = &reading
            && self.queued
            && reading.is_over()
        {
            return command_result::ended(&self.unit, None, reading, self.requested.elapsed(), self.manager);
        }
        let stopped = within(self.systemd.queue("StopUnit", &self.unit, "replace")).await;
        let began = self.queued && reading.is_ok_and(|reading| reading.state.main_pid != 0);
        command_result::overdue(&self.unit, self.timeout, began, stopped.err().as_ref())
    }
}

/// A call's answer, if it comes soon.
async fn within<T>(call: impl Future<Output = Call<T>>) -> Call<T> {
    timeout(LAST_CALL, call).await.unwrap_or_else(|_| Err(Failure::silence()))
}
