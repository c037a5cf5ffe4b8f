//! The daemon's shell, as `supervisor.rs` is it: events to the real engine, the state saved, then what it wants done. It can
//! be killed at every step of that.
//!
//! In: what the machine tells, and what becomes of mails. Out: effects for the machine, submissions to the mailer.

use std::time::Duration;

use stealthcheck::check::{Check, CheckName};
use stealthcheck::engine::hold::{HoldAction, HoldId, HowEnded};
use stealthcheck::engine::saved::Saved;
use stealthcheck::engine::{Effect, Event};
use stealthcheck::notification::NotificationId;
use stealthcheck::unit::UnitName;

use crate::config::units::STUCK_AT_BOOT;
use crate::machine::{Input, unit_name};
use crate::post::Submission;
use crate::sim::{Coming, Sim};

/// What one life of the daemon has decided and not done yet.
#[derive(Default)]
pub struct Shell {
    effects: Vec<Effect>,
    /// Notifications that are spooled, to be released once the state says so.
    spooled: Vec<NotificationId>,
    dirty: bool,
}

/// What survives the daemon.
#[derive(Default)]
pub struct Disk {
    /// `state.json`, which becomes text when it is read. It is kept when somebody will read it: a crash is planned, or the
    /// daemon stops in good order.
    pub state: Option<Box<Saved>>,
}

/// A `kill -9` that is to come.
#[derive(Clone, Debug)]
pub struct Crash {
    /// So many times more the state is written.
    pub after_writes: u64,
    pub at: Moment,
    pub away: Duration,
}

/// Between which two steps it falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Events are handled, and nothing of that is written.
    BeforeSave,
    /// It is written, and so many effects are done.
    AfterActions(usize),
    BeforeRelease,
    AfterRelease,
    /// A mail is on disk, and nobody knows.
    Spooled,
    /// The server has accepted a mail, and so many of its notifications are settled on the disk.
    Accepted(usize),
    /// A mail is on its way.
    Sending,
}

impl Sim {
    /// Hands an input to the engine and keeps what it wants.
    pub fn receive(&mut self, input: Input) {
        let Some(event) = self.machine.event(input) else { return };
        self.rules_before(&event);
        self.shell.dirty |= !matches!(
            event,
            Event::Tick | Event::Observed { .. } | Event::Sampled { .. } | Event::UnitRead { .. }
        );
        let effects = self.machine.decide(event);
        self.rules.stats.events += 1;
        self.wants(effects);
    }

    fn wants(&mut self, effects: Vec<Effect>) {
        self.shell.dirty |=
            effects.iter().any(|effect| !matches!(effect, Effect::Probe { .. } | Effect::ReadUnit(_)));
        if !effects.is_empty() {
            self.note_effects(&effects);
            self.rules_decided(&effects);
            self.shell.effects.extend(effects);
        }
    }

    fn note_effects(&self, effects: &[Effect]) {
        for effect in effects {
            if !matches!(effect, Effect::Probe { .. } | Effect::ReadUnit(_) | Effect::Remember) {
                self.note(|| format!("decision: {}", short(effect)));
            }
        }
    }

    /// Saves what was decided, then does it.
    pub fn settle(&mut self) {
        if !self.machine.is_daemon_up() {
            return;
        }
        let nothing = !self.shell.dirty && self.shell.effects.is_empty() && self.shell.spooled.is_empty();
        if nothing {
            self.machine.ask_for_units();
            return;
        }
        let effects = std::mem::take(&mut self.shell.effects);
        if std::mem::take(&mut self.shell.dirty) {
            if self.crash.as_ref().is_some_and(|crash| crash.after_writes == 0)
                && self.dies_at(|at| at == Moment::BeforeSave)
            {
                return;
            }
            if let Some(crash) = &mut self.crash {
                crash.after_writes = crash.after_writes.saturating_sub(1);
                self.save();
            }
            self.rules_committed(&effects);
        }
        for (n, effect) in effects.into_iter().enumerate() {
            if self.dies_at(|at| matches!(at, Moment::AfterActions(most) if most <= n)) {
                return;
            }
            self.act(effect);
        }
        let spooled = std::mem::take(&mut self.shell.spooled);
        if !spooled.is_empty() && self.dies_at(|at| at == Moment::BeforeRelease) {
            return;
        }
        for id in &spooled {
            self.release(id);
        }
        if !spooled.is_empty() && self.dies_at(|at| at == Moment::AfterRelease) {
            return;
        }
        self.machine.ask_for_units();
        self.note_truth();
    }

    fn save(&mut self) {
        self.disk.state = self.machine.save().map(Box::new);
        self.clock_was_set = false;
        self.rules_saved();
    }

    /// The planned `kill -9`, if this is its moment.
    pub fn dies_at(&mut self, is_moment: impl Fn(Moment) -> bool) -> bool {
        let Some(crash) = self.crash.as_ref().filter(|crash| crash.after_writes == 0 && is_moment(crash.at))
        else {
            return false;
        };
        let (at, away) = (crash.at, crash.away);
        self.note(|| format!("kill -9 at {at:?}, away for {away:?}"));
        self.daemon_ends();
        self.later(away, Coming::DaemonStarts);
        true
    }

    /// Plans a `kill -9`. What would be on the disk already is written now.
    pub fn plan_crash(&mut self, crash: Crash) {
        if self.crash.is_none() && self.machine.is_daemon_up() {
            self.note(|| format!("to be killed: {crash:?}"));
            self.settle();
            self.crash = Some(crash);
            self.save();
        }
    }

    fn daemon_ends(&mut self) {
        self.crash = None;
        self.shell = Shell::default();
        self.machine.kill_daemon();
        self.rules.stats.crashes += 1;
        self.rules_mail_interrupted();
        self.post_dies();
        self.rules_daemon_ended();
    }

    /// SIGTERM: everything is written, then it ends.
    pub fn daemon_stops(&mut self, away: Duration) {
        if !self.machine.is_daemon_up() {
            return;
        }
        self.note(|| format!("the daemon is stopped, for {away:?}"));
        self.crash = None;
        self.settle();
        self.save();
        self.daemon_ends();
        self.later(away, Coming::DaemonStarts);
    }

    /// The power fails. In the boot some units wait for something slow, and some boots are never finished.
    pub fn power_fails(&mut self, away: Duration) {
        if self.machine.is_daemon_up() {
            self.crash = None;
            self.settle();
            self.save();
            self.daemon_ends();
            self.later(away, Coming::DaemonStarts);
        }
        self.note(|| "the machine reboots".to_owned());
        let slow = self.random.secs(2, 90);
        let stuck = match self.random.below(10) {
            0..=1 => self.random.heavy(900, 14_400),
            2 => Duration::MAX,
            _ => self.random.secs(1, 30),
        };
        let stuck = if self.quiet { Duration::from_secs(1) } else { stuck };
        self.machine.edit(crate::config::units::SLOW_AT_BOOT, |file| file.start_takes = slow);
        self.machine.edit(STUCK_AT_BOOT, |file| file.start_takes = stuck);
        self.machine.reboot_now();
        self.mono = self.machine.now().mono;
        self.rules_rebooted();
        self.note_truth();
    }

    pub fn daemon_starts(&mut self) {
        if self.machine.is_daemon_up() {
            return;
        }
        self.life += 1;
        let saved = self.disk.state.as_ref().map(|state| serde_json::to_string(state).unwrap());
        self.machine.configure(self.plan.checks.clone());
        let effects = self.machine.wake_daemon(saved);
        self.rules_restored();
        let pending: Vec<NotificationId> = self
            .machine
            .engine()
            .into_iter()
            .flat_map(|engine| engine.pending_notifications())
            .cloned()
            .collect();
        self.wants(effects);
        self.shell.dirty = true;
        self.post_starts(pending);
        self.machine.connect_daemon();
        self.attend();
    }

    pub fn notification_is_spooled(&mut self, id: NotificationId) {
        self.receive(Input::Stored(id.clone()));
        self.shell.spooled.push(id);
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            // One in ten thousand is never heard of again: its task was lost.
            Effect::Probe { .. } if self.random.below(10_000) == 0 && !self.quiet => {}
            Effect::StartJob(request) => {
                self.rules.stats.jobs += 1;
                let target = request.target().clone();
                self.machine.act(Effect::StartJob(request));
                self.note_truth();
                self.somebody_interferes(&target, 6);
            }
            Effect::Notify(notification) => self.submit(Submission::Notification(notification)),
            Effect::NotifyHost(notification) => self.submit(Submission::HostNotification(notification)),
            Effect::Hold(HoldAction::Granted { id, checks }) => {
                self.machine.act(Effect::Hold(HoldAction::Granted { id: id.clone(), checks }));
                self.hold_is_granted(&id);
            }
            Effect::Changed(_) | Effect::Remember => {}
            other => self.machine.act(other),
        }
    }

    pub fn check(&self, name: &CheckName) -> Option<&Check> {
        let known = self.plan.checks.iter().find(|check| check.name == *name);
        known.or_else(|| self.former.get(name))
    }

    pub fn unit_of(&self, check: &CheckName) -> Option<UnitName> {
        self.check(check)?.unit.as_ref().map(crate::config::real)
    }

    fn hold_is_granted(&mut self, id: &HoldId) {
        let (stop, lasting) = (self.random.millis(100, 3000), self.random.heavy(5, 5400));
        if self.random.percent(80) {
            self.later(stop, Coming::Holder { id: id.clone(), stop: true });
        }
        let done = self.random.percent(60);
        self.later(stop + lasting, Coming::LeaseCloses { id: id.clone(), done });
        if let Some(unit) = self.machine.held_unit(&id.0) {
            let unit = crate::config::real(&unit);
            self.somebody_interferes(&unit, 10);
        }
    }

    /// The holder's command works on the unit.
    pub fn holder_acts(&mut self, id: &HoldId, stop: bool) {
        let Some(unit) = self.machine.held_unit(&id.0) else { return };
        self.note(|| format!("the holder of {id} works on {unit}"));
        self.machine.systemctl(if stop { "stop" } else { "start" }, &[unit.as_str()]);
        if stop && self.random.percent(30) {
            let after = self.random.secs(5, 60);
            self.later(after, Coming::Holder { id: id.clone(), stop: false });
        }
    }

    pub fn lease_closes(&mut self, id: &HoldId, how: HowEnded) {
        if let Some(unit) = self.machine.held_unit(&id.0) {
            self.machine.release(&id.0, how);
            self.attend();
            let unit = crate::config::real(&unit);
            self.somebody_interferes(&unit, 10);
        }
    }

    /// Nothing keeps the boot from being finished any more.
    pub fn boot_ends(&mut self) {
        self.machine.stop(STUCK_AT_BOOT);
        self.machine.edit(STUCK_AT_BOOT, |file| file.start_takes = Duration::from_secs(1));
    }

    pub fn is_hung(&self, unit: &UnitName) -> bool {
        self.machine.systemd.is_hung(unit) && self.machine.is_up(unit.as_str())
    }

    /// The unit's processes, and whatever they left, are gone and come back well.
    pub fn kill_left_over(&mut self, unit: &UnitName) {
        self.machine.systemd.kill_left_over(&unit_name(unit.as_str()));
    }
}

/// One line for what may be a page.
fn short(what: &impl std::fmt::Debug) -> String {
    let text = format!("{what:?}");
    text.chars().take(420).collect()
}
