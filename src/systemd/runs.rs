//! Commands that systemd runs for us: each from its order to its verdict, within its deadline.
//!
//! In: wishes ([`Run`]), and of the signals the ends of jobs on the units that run commands. Out: one [`Observation`] for
//! each wish. A run is a `RestartUnit`, so that it begins from whatever state the unit is in and ends what an earlier life
//! of the daemon may have left behind. Its unit remains when the command has ended, and is read then; at the deadline it
//! is stopped, by which systemd kills every process of the command. What a reading means is said in `judge.rs`.
//!
//! The units of commands are not watched: nothing here is ever told to the core as the state of a unit.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::calls::{Failure, Systemd};
use super::judge::{self, Manager};
use super::session::{Done, Session};
use super::state::job_result;
use super::{Bus, Call};
use crate::unit::{JobResult, UnitName};
use crate::verdict::Observation;

/// What systemd may take to answer when the deadline is over. Two such calls, and the core still hears of the run before
/// it takes it for lost.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Orders that may wait for systemd's answer at once, beside the questions of `session.rs`: a bus gives each connection 128
/// (max_replies_per_connection), and polkit answers one after the other.
const ORDERS: usize = 32;

/// A wish to run a command once.
pub(super) struct Run {
    pub unit: UnitName,
    pub timeout: Duration,
    pub reply: oneshot::Sender<Observation>,
    /// When it was wished for: latency and deadline count from here.
    pub asked: Instant,
}

/// What a run hears from outside.
enum Word {
    /// A job on its unit has ended.
    Ended { job: String, result: JobResult },
    /// A signal may have been missed.
    Look,
}

/// The runs under way on one connection. Its end ends them unanswered.
pub(super) struct Runs {
    /// What hears of the ends of jobs, by unit.
    under_way: HashMap<String, mpsc::UnboundedSender<Word>>,
    /// Wishes that wait for systemd to be ready.
    held: Vec<Run>,
    orders: Arc<Semaphore>,
}

impl Default for Runs {
    fn default() -> Self {
        Self { under_way: HashMap::new(), held: Vec::new(), orders: Arc::new(Semaphore::new(ORDERS)) }
    }
}

impl Runs {
    /// A run begins to listen. An earlier one on the same unit hears that it is superseded.
    fn begin(&mut self, unit: &UnitName) -> mpsc::UnboundedReceiver<Word> {
        let (words, heard) = mpsc::unbounded_channel();
        self.under_way.insert(unit.as_str().to_owned(), words);
        heard
    }

    /// A run is over; the unit may be another's by now.
    pub fn over(&mut self, unit: &UnitName) {
        if self.under_way.get(unit.as_str()).is_some_and(mpsc::UnboundedSender::is_closed) {
            self.under_way.remove(unit.as_str());
        }
    }

    /// A job has ended. It may be ours before we were told its name, so the run itself compares.
    pub fn job_removed(&self, job: &str, unit: &str, word: &str) {
        if let Some(run) = self.under_way.get(unit) {
            // A run that has just ended does not listen any more.
            let _ = run.send(Word::Ended { job: job.to_owned(), result: job_result(word) });
        }
    }

    /// Signals may have been missed: each run looks for itself.
    pub fn look(&self) {
        for run in self.under_way.values() {
            let _ = run.send(Word::Look);
        }
    }
}

impl Session<'_> {
    /// Runs a command, once systemd is there.
    pub fn run(&mut self, run: Run) {
        if !self.ready {
            self.runs.held.push(run);
            return;
        }
        let mut course = Course {
            systemd: self.systemd.clone(),
            manager: if *self.bus == Bus::Session { Manager::User } else { Manager::System },
            orders: Arc::clone(&self.runs.orders),
            words: self.runs.begin(&run.unit),
            unit: run.unit,
            timeout: run.timeout,
            asked: run.asked,
            queued: false,
        };
        self.answers.push(Box::pin(async move {
            let observation = course.run().await;
            // Whoever asked may have gone; then nobody misses the answer.
            drop(run.reply.send(observation));
            Done::Ran { unit: course.unit }
        }));
    }

    /// systemd is ready: what waited for it begins.
    pub fn run_held(&mut self) {
        for run in std::mem::take(&mut self.runs.held) {
            self.run(run);
        }
    }
}

/// One run.
struct Course {
    systemd: Systemd,
    manager: Manager,
    orders: Arc<Semaphore>,
    words: mpsc::UnboundedReceiver<Word>,
    unit: UnitName,
    timeout: Duration,
    asked: Instant,
    /// systemd has taken the order.
    queued: bool,
}

impl Course {
    async fn run(&mut self) -> Observation {
        match timeout_at(self.asked + self.timeout, self.course_of_it()).await {
            Ok(observation) => observation,
            Err(_elapsed) => self.overdue().await,
        }
    }

    async fn course_of_it(&mut self) -> Observation {
        let job = match self.order().await {
            Ok(job) => job,
            Err(failure) => return judge::refused(&self.unit, &failure, self.manager),
        };
        self.queued = true;
        while let Some(word) = self.words.recv().await {
            let result = match word {
                Word::Ended { job: ended, result } if ended == job => Some(result),
                Word::Ended { .. } => continue,
                Word::Look => None,
            };
            let latency = self.asked.elapsed();
            match self.systemd.read_run(&self.unit).await {
                Ok(reading) if result.is_some() || reading.is_over() => {
                    return judge::ended(&self.unit, result.as_ref(), &reading, latency, self.manager);
                }
                Ok(_still_running) => {}
                Err(failure) if result.is_some() => return judge::unread(&self.unit, &failure),
                // The next signal, or the deadline, will tell.
                Err(_) => {}
            }
        }
        judge::superseded()
    }

    async fn order(&self) -> Result<String, Failure> {
        // Never closed, so a slot always comes.
        let _slot = self.orders.acquire().await;
        self.systemd.queue("RestartUnit", &self.unit).await
    }

    /// The deadline is over: what has been, and an end to it.
    async fn overdue(&self) -> Observation {
        let reading = within(self.systemd.read_run(&self.unit)).await;
        if self.words.is_closed() {
            // The unit is another run's: not ours to stop.
            return judge::superseded();
        }
        if let Ok(reading) = &reading
            && self.queued
            && reading.is_over()
        {
            return judge::ended(&self.unit, None, reading, self.asked.elapsed(), self.manager);
        }
        let stopped = within(self.systemd.queue("StopUnit", &self.unit)).await;
        let began = self.queued && reading.is_ok_and(|reading| reading.state.main_pid != 0);
        judge::overdue(&self.unit, self.timeout, began, stopped.err().as_ref())
    }
}

/// A call's answer, if it comes soon.
async fn within<T>(call: impl Future<Output = Call<T>>) -> Call<T> {
    timeout(LAST_WORDS, call).await.unwrap_or_else(|_| Err(Failure::silence()))
}
