//! The only loop: events in, engine, actions out, orderly shutdown.
//!
//! Everything that can happen arrives here in one place: what systemd tells, what probes saw, what became of mails,
//! what operators ask over the bus, signals, and the passing of time. Each becomes an event for the engine; what the
//! engine wants is written to the state file first and then done, so that a crash forgets nothing that was decided. It
//! never decides anything about a unit itself, and it never starts a process.
//!
//! | task | what it waits for | how it ends |
//! |---|---|---|
//! | this loop | all of the channels below, signals, the engine's next wake-up | SIGTERM, or an essential task ended |
//! | systemd client | the bus | its channels close |
//! | mailer (two tasks) | notifications, the mail server | [`Mailer::stop`] |
//! | publisher | calls on our own interface | its channels close |
//! | HTTP listener | connections where `listen:` says | its channels close |
//! | one for each probe | the target | the probe's deadline |
//! | one for each hold | its lease | the lease closes, or the hold is over |
//! | state writer | states to write | its channel closes |

mod act;
mod call_limit;
mod clock;
mod command;
mod configuration;
mod dbus_server;
mod holds;
mod listener;
mod persist;
mod requests;
mod sample;
mod start;
mod state_file;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::check::CheckName;
use crate::config::Config;
use crate::engine::{Effect, Engine, Event, RunId};
use crate::mail::{MailEvent, Mailer};
use crate::notification::NotificationId;
use crate::probe::Prober;
use crate::status::{CheckStatus, ConfigurationStatus, Snapshot};
use crate::systemd::{self, Report, Request};
use crate::time::Wall;
use crate::unit::UnitName;
use crate::{bus, journal, listen, service_manager};
use act::Internal;
use call_limit::CallLimit;
pub use configuration::Origin;
use dbus_server::{Place, Waiting};
use holds::Holds;
use start::Inputs;
use state_file::StateFile;

/// What the daemon is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the configuration is.
    pub configuration: Origin,
    /// Where incidents and undelivered mails survive a restart; without one they live in memory.
    pub state_dir: Option<PathBuf>,
    /// Guard the units of a user manager.
    pub user: bool,
    /// Draws the status for the HTTP listener.
    pub draw: listen::Draw,
}

/// Why the daemon ended other than by order.
#[derive(Debug)]
pub enum Fatal {
    /// There is no valid configuration to begin with, and these are the problems: sysexits' EX_CONFIG.
    Configuration(Vec<String>),
    /// Root has left no configuration to load. The service manager starts the daemon, and root's part before it, anew.
    NothingAccepted(String),
    /// Another stealthcheck runs already.
    AlreadyRunning(String),
    /// A task without which nothing is guarded has ended. The service manager starts the daemon anew.
    TaskEnded(&'static str),
    /// Signals cannot be received.
    Signals(std::io::Error),
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(problems) => f.write_str(&problems.join("\n")),
            Self::NothingAccepted(why) | Self::AlreadyRunning(why) => f.write_str(why),
            Self::TaskEnded(task) => write!(f, "the {task} ended unexpectedly"),
            Self::Signals(error) => write!(f, "signals cannot be received: {error}"),
        }
    }
}

impl std::error::Error for Fatal {}

impl Fatal {
    /// The exit status (sysexits.h), which the unit file knows.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Configuration(_) => 78,
            Self::NothingAccepted(_) => 66,
            Self::AlreadyRunning(_) => 69,
            Self::TaskEnded(_) => 70,
            Self::Signals(_) => 71,
        }
    }
}

/// So many events are handled before their actions are saved and done together: a burst costs one write.
const BATCH: usize = 64;

/// What is due within one slot is done together at its end: a wake-up costs more than a small probe. Nothing is late by
/// more than this for it.
const SLOT: Duration = Duration::from_millis(20);

/// The engine is woken at least this often (and the watchdog, where there is one, at half its time).
const HEARTBEAT: Duration = Duration::from_secs(10);

/// So many mails that cannot be read are alerts each, the others a number. The journal has them all.
const UNREADABLE_SHOWN: usize = 3;

/// How long the last state is waited for at the end.
const LAST_SAVE: Duration = Duration::from_millis(500);

/// Everything the loop holds.
struct Supervisor {
    options: Options,
    config: Config,
    configuration: ConfigurationStatus,
    /// The rejection of which people were notified, by the moment at which it was found first. It survives a restart.
    notified_rejection: Option<Wall>,
    engine: Engine,
    prober: Arc<Prober>,
    mailer: Mailer,
    state: Option<StateFile>,
    requests: mpsc::Sender<Request>,
    units: watch::Sender<BTreeSet<UnitName>>,
    internal: mpsc::Sender<Internal>,
    signals: mpsc::Sender<bus::Signal>,
    /// Where the HTTP listener shall listen.
    listen: watch::Sender<Vec<SocketAddr>>,
    counters: listen::Counters,
    /// Callers of `Check`, until the observation comes.
    waiting: Vec<(CheckName, Waiting<CheckStatus>)>,
    holds: Holds,
    /// The network probes under way.
    probes: BTreeMap<CheckName, (RunId, AbortHandle)>,
    /// Wishes of the engine that are not yet done.
    effects: Vec<Effect>,
    /// Notices that are spooled, to be released once the state says so.
    spooled: Vec<NotificationId>,
    /// Something changed that the state file must know.
    dirty: bool,
    started: Wall,
    /// The kernel's id of this boot.
    boot: String,
    status_line: String,
    alerts: Alerts,
    /// The daemon's own properties may be others than the bus was told.
    announce: bool,
    /// What the bus was told of them last.
    announced: Option<Snapshot>,
}

/// What an administrator must know besides the checks, one sentence each.
#[derive(Debug, Default)]
struct Alerts {
    systemd: Option<String>,
    call_limit: CallLimit,
    bus: Option<String>,
    state: Option<String>,
    /// The state of the life before could not be used.
    forgotten: Option<String>,
    mail: Option<String>,
    /// Mails that the life before has left, and that could not be used; and how many more there are.
    unreadable: (Vec<String>, usize),
    listen: Vec<String>,
    /// Credentials that the configuration names and that cannot be used.
    credentials: Vec<String>,
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// [`Fatal`], whose [`Fatal::status`] is the exit status.
pub async fn run(options: Options) -> Result<(), Fatal> {
    let mut hangup = signal(SignalKind::hangup()).map_err(Fatal::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Fatal::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Fatal::Signals)?;
    let (loaded, rejected) = options.configuration.at_start()?;
    let (user, draw) = (options.user, options.draw);
    let (mut supervisor, mut inputs, asked) = Supervisor::new(options, loaded);

    supervisor.take_up_leases();
    let systemd_bus = if user { systemd::Bus::Session } else { systemd::Bus::System };
    let units = supervisor.units.subscribe();
    let mut client = tokio::spawn(systemd::run(systemd_bus, units, asked.to_systemd, asked.reports));
    let our_bus = if user { bus::Bus::User } else { bus::Bus::System };
    let mut publisher = tokio::spawn(dbus_server::run(our_bus, asked.requests, asked.signals, asked.places));
    let (addresses, limits) = (supervisor.listen.subscribe(), listen::Limits::default());
    let mut listener = tokio::spawn(listen::run(addresses, asked.questions, asked.unheard, draw, limits));
    if let Some(place) = dbus_server::first_word(&mut inputs.places).await {
        supervisor.place(place)?;
    }

    let mut heartbeat = tokio::time::interval(
        service_manager::watchdog().map_or(HEARTBEAT, |timeout| timeout / 2).min(HEARTBEAT),
    );
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    supervisor.settle().await;
    journal::log_started(supervisor.config.checks.len(), &supervisor.configuration.files);
    if let Some(rejected) = rejected {
        supervisor.rejected_at_start(rejected);
    }
    service_manager::ready();
    loop {
        let wakeup = supervisor.until_wakeup();
        tokio::select! {
            Some(report) = inputs.reports.recv() => supervisor.report(report),
            Some(internal) = inputs.internal.recv() => supervisor.internal(internal),
            Some(event) = inputs.mail.recv() => supervisor.mail_event(event),
            Some(request) = inputs.requests.recv() => supervisor.request(request),
            Some(place) = inputs.places.recv() => supervisor.place(place)?,
            Some(question) = inputs.questions.recv() => supervisor.question(question),
            Some(troubles) = inputs.unheard.recv() => supervisor.unheard(troubles),
            _ = hangup.recv() => supervisor.reload(None),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = tokio::time::sleep(wakeup) => supervisor.tell(Event::Tick),
            _ = heartbeat.tick() => {
                if !supervisor.mailer.is_running() {
                    return Err(Fatal::TaskEnded("mailer"));
                }
                if supervisor.state.as_ref().is_some_and(|state| !state.is_running()) {
                    return Err(Fatal::TaskEnded("state writer"));
                }
                supervisor.tell(Event::Tick);
                supervisor.try_again();
                supervisor.alerts.call_limit.expire(clock::now().mono);
                // (Sentences about the machine change without an event of a check.)
                supervisor.announce = true;
                service_manager::ping();
            }
            _ = &mut client => return Err(Fatal::TaskEnded("systemd client")),
            _ = &mut publisher => return Err(Fatal::TaskEnded("publisher of the bus interface")),
            _ = &mut listener => return Err(Fatal::TaskEnded("HTTP listener")),
        }
        supervisor.drain(&mut inputs);
        supervisor.settle().await;
    }
    supervisor.stop().await;
    Ok(())
}

impl Supervisor {
    /// Hands an event to the engine and keeps what it wants.
    fn tell(&mut self, event: Event) {
        self.dirty |= !matches!(
            event,
            Event::Tick | Event::Observed { .. } | Event::Sampled { .. } | Event::UnitRead { .. }
        );
        let effects = self.engine.handle(clock::now(), event);
        self.dirty |=
            effects.iter().any(|effect| !matches!(effect, Effect::Probe { .. } | Effect::ReadUnit(_)));
        self.effects.extend(effects);
    }

    /// How long the loop may sleep: until the end of the slot in which the next thing is due, so that what is due at
    /// nearly the same time costs one wake-up.
    fn until_wakeup(&self) -> Duration {
        let now = clock::now();
        let Some(at) = self.engine.next_wakeup() else { return HEARTBEAT };
        let past_slot = at.0.as_nanos() % SLOT.as_nanos();
        let rest =
            if past_slot == 0 { Duration::ZERO } else { SLOT - Duration::from_nanos(past_slot as u64) };
        at.after(rest).since(now.mono)
    }

    /// Takes what else has arrived, so that a burst is saved once.
    fn drain(&mut self, inputs: &mut Inputs) {
        for _ in 0..BATCH {
            if let Ok(report) = inputs.reports.try_recv() {
                self.report(report);
            } else if let Ok(internal) = inputs.internal.try_recv() {
                self.internal(internal);
            } else {
                break;
            }
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Event(event) => self.tell(event),
            Report::Reachable => {
                if self.alerts.systemd.take().is_some() {
                    journal::log_relief("systemd can be reached again");
                }
            }
            Report::Unreachable(why) => {
                journal::log_trouble(&why);
                self.alerts.systemd = Some(why);
            }
            Report::CallLimit => {
                self.alerts.call_limit.meet(clock::now().mono);
                self.announce = true;
            }
        }
    }

    fn mail_event(&mut self, event: MailEvent) {
        match event {
            MailEvent::Spooled(id) => {
                self.tell(Event::NotificationStored(id.clone()));
                self.spooled.push(id);
            }
            MailEvent::Delivered(id) => {
                journal::log_mail_delivered(&id);
                self.counters.mail_delivered();
                self.alerts.mail = None;
                self.tell(Event::NotificationDelivered(id));
            }
            MailEvent::Failed { error, next_try, queued } => {
                // Every try fails in the same words while a server is down: once is enough.
                if self.alerts.mail.as_ref() != Some(&error) {
                    journal::log_mail_failed(&error, next_try, queued);
                    self.alerts.mail = Some(error);
                }
            }
            MailEvent::Removed(id) => journal::log_mail_removed(&id),
            MailEvent::Undeliverable(id) => journal::log_mail_undeliverable(&id),
            MailEvent::Dropped { id, to, error } => journal::log_mail_dropped(&id, &to, &error),
            MailEvent::Warning(sentence) => journal::log_trouble(&sentence),
            MailEvent::Unreadable(sentence) => {
                journal::log_trouble(&sentence);
                let (first, more) = &mut self.alerts.unreadable;
                if first.len() < UNREADABLE_SHOWN { first.push(sentence) } else { *more += 1 }
            }
        }
    }

    fn place(&mut self, place: Place) -> Result<(), Fatal> {
        match place {
            Place::Served => {
                if self.alerts.bus.take().is_some() {
                    journal::log_relief("the bus can be reached again");
                }
            }
            Place::Away(why) => {
                if self.alerts.bus.as_ref() != Some(&why) {
                    journal::log_trouble(&why);
                    self.alerts.bus = Some(why);
                }
            }
            Place::Taken(why) => return Err(Fatal::AlreadyRunning(why)),
        }
        Ok(())
    }

    /// Saves what was decided, then does it.
    async fn settle(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.save(state_file::PATIENCE).await;
        }
        for effect in std::mem::take(&mut self.effects) {
            self.act(effect);
        }
        for id in std::mem::take(&mut self.spooled) {
            self.mailer.release(&id);
        }
        if let Some(units) = self.engine.take_wanted_units() {
            self.units.send_replace(units);
        }
        self.say_status();
        self.announce();
    }

    /// Keeps `systemctl status` told: "5 checks, 1 down: gru".
    fn say_status(&mut self) {
        let (checks, down) = self.engine.summary();
        let unknown = match self.engine.counts().unknown {
            0 => String::new(),
            n => format!(", {n} unknown"),
        };
        let plural = if checks == 1 { "check" } else { "checks" };
        let line = match down.as_slice() {
            [] if checks == 0 => "no checks configured".to_owned(),
            [] => format!("{checks} {plural}, none down{unknown}"),
            down => {
                let names: Vec<&str> = down.iter().take(5).map(|name| name.as_str()).collect();
                let more = if down.len() > names.len() { ", …" } else { "" };
                format!("{checks} {plural}, {} down{unknown}: {}{more}", down.len(), names.join(", "))
            }
        };
        if line != self.status_line {
            service_manager::status(&line);
            self.status_line = line;
        }
    }

    /// Ends in good order, within a second: what is decided is on the disk, what is not delivered stays in the spool.
    async fn stop(mut self) {
        service_manager::stopping();
        journal::log_stopping();
        self.settle().await;
        self.save(LAST_SAVE).await;
        self.mailer.stop().await;
    }
}
