//! The machine for a simulation that is the daemon's shell itself: it takes the daemon's inputs, has the engine handle
//! them, saves, and has the effects done one by one, with whatever else happens between.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use stealthcheck::check::Check;
use stealthcheck::engine::saved::Saved;
use stealthcheck::engine::{Effect, Engine, Event};
use stealthcheck::time::Mono;
use stealthcheck::unit::UnitName;

use super::driver::Input;
use super::{HEADROOM, Machine};

impl Machine {
    /// What the daemon is told waits for [`Machine::take_input`].
    pub fn driven(mut self) -> Self {
        self.inputs = Some(VecDeque::new());
        self.systemd.keeps_notes = false;
        self.systemd.keeps_account = true;
        self.keeps_log = false;
        self
    }

    /// The lines of the timeline go there.
    pub fn log_to(&mut self, log_to: fn(Duration, &str)) {
        self.log_to = Some(log_to);
        (self.keeps_log, self.systemd.keeps_notes) = (true, true);
    }

    pub fn take_input(&mut self) -> Option<Input> {
        self.inputs.as_mut()?.pop_front()
    }

    /// When something is due, apart from what the engine wants.
    pub fn next_due(&mut self) -> Option<Mono> {
        self.pass_on();
        self.next_source().map(|(at, _)| Mono(HEADROOM + at))
    }

    /// Does the first thing that is due. The clock must be there.
    pub fn step(&mut self) {
        if let Some((_, source)) = self.next_source() {
            self.work(source);
            self.pass_on();
        }
    }

    /// Sets the clock forward. What is due until then must have been done, or comes late: the machine slept.
    pub fn advance(&mut self, to: Mono) {
        self.advance_to(Self::of_machine(to));
    }

    /// When the engine wants to be woken, on the machine's clock.
    pub fn wakeup(&self) -> Option<Mono> {
        self.next_wakeup().map(|at| Mono(HEADROOM + at))
    }

    pub fn engine(&self) -> Option<&Engine> {
        self.daemon.as_ref().map(|daemon| &daemon.driver.engine)
    }

    /// The engine's event for an input; `None`: it means nothing to this daemon.
    pub fn event(&mut self, input: Input) -> Option<Event> {
        self.note_input(&input);
        self.daemon.as_mut()?.driver.event(input)
    }

    /// The engine handles an event. Nothing of what it wants is done.
    pub fn decide(&mut self, event: Event) -> Vec<Effect> {
        let now = self.daemon_now();
        let Some(daemon) = &mut self.daemon else { return vec![] };
        let effects = daemon.driver.engine.handle(now, event);
        if let Some(at) = daemon.driver.next_wakeup() {
            assert!(at > now.mono, "the engine wants to be woken in the past");
        }
        effects
    }

    /// Does one thing that the engine wants.
    pub fn act(&mut self, effect: Effect) {
        self.perform_effect(effect);
        self.pass_on();
    }

    /// The units that the engine wants to know of are asked for.
    pub fn ask_for_units(&mut self) {
        self.watch_wanted();
    }

    /// The daemon starts with this state. Returns what it wants; then comes [`Machine::connect_daemon`].
    pub fn wake_daemon(&mut self, saved: Option<String>) -> Vec<Effect> {
        self.saved = saved;
        self.begin_life()
    }

    pub fn connect_daemon(&mut self) {
        self.greet();
    }

    /// The daemon is gone, as by `kill -9`.
    pub fn kill_daemon(&mut self) {
        self.daemon = None;
        self.wanted_leases.clear();
        self.inputs.iter_mut().for_each(VecDeque::clear);
    }

    pub fn is_daemon_up(&self) -> bool {
        self.daemon.is_some()
    }

    /// The daemon's state as it would be written now.
    pub fn save(&self) -> Option<Saved> {
        let daemon = self.daemon.as_ref()?;
        Some(daemon.driver.engine.save(self.daemon_now(), &self.boot.to_string()))
    }

    pub fn boot_id(&self) -> String {
        self.boot.to_string()
    }

    /// The machine is off for some seconds, and boots. The daemon must be gone.
    pub fn reboot_now(&mut self) {
        self.boots();
        self.pass_on();
    }

    /// The configuration that the next daemon, or the next reload, finds.
    pub fn configure(&mut self, checks: Vec<Check>) {
        self.checks = checks;
    }

    /// `systemctl reload stealthcheck`.
    pub fn reload_checks(&mut self, checks: Vec<Check>) {
        self.checks = checks.clone();
        self.tell(Input::Configured(checks));
    }

    /// The ids of the open leases.
    pub fn open_leases(&self) -> BTreeSet<String> {
        self.leases.keys().cloned().collect()
    }

    /// The unit that an open lease holds, as its holder named it.
    pub fn held_unit(&self, id: &str) -> Option<UnitName> {
        self.leases.get(id).cloned()
    }

    /// All leases are gone, as with a lost file descriptor store. The daemon must be gone.
    pub fn lose_leases(&mut self) {
        self.leases.clear();
    }

    /// A line of the timeline.
    pub fn remark(&mut self, what: impl FnOnce() -> String) {
        if self.keeps_log {
            self.note(what());
        }
    }
}
