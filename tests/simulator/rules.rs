//! What must hold whatever happens: the rules in engine/rules.md as functions, each named by what it promises.
//!
//! In: what the daemon was told, what it decided, what it has committed to (decided and written), what the mail server got.
//! Out: nothing, or a panic. It keeps books of its own and takes the engine's word for nothing but its decisions.
//!
//! A decision is judged at once by what the daemon knew. It is entered into the books when it is committed: what a crash
//! undid never was.

mod decided;
mod end;
mod incidents;
mod jobs;
mod look;
mod mails;
mod notifications;
mod pace;
mod reload;
mod restart;
mod storm;
mod told;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use stealthcheck::check::CheckName;
use stealthcheck::engine::hold::HoldId;
use stealthcheck::engine::{AttemptId, ChangeKind, Effect};
use stealthcheck::notification::{IncidentId, NotificationId};
use stealthcheck::time::Mono;
use stealthcheck::unit::{JobResult, ManagerState, UnitName, UnitState};

use crate::config::Plan;
use crate::machine::By;
use crate::sim::{Sim, Stats};

/// Across a reboot the daemon's clock is continued to the millisecond.
const SLACK: Duration = Duration::from_millis(2);

/// Longer than any unit must be well until its steps begin with the first again.
const LONG_REST: Duration = Duration::from_secs(3 * 3600);

/// Books on a unit.
#[derive(Clone, Debug, Default)]
pub struct UnitBook {
    /// Our job on it, and since when.
    open: Option<(AttemptId, Mono)>,
    pace: Pace,
    /// An operator's stop that the daemon knows of, by the machine's account: when it was.
    operators_stop: Option<Mono>,
    /// Somebody's stop, as the daemon was told of it: when, and systemd's own time of it.
    stop: Option<(Mono, u64)>,
    /// A stop in the middle of a hold, by when the unit was down: what the hold owes the unit comes before it, also later.
    held_stop: Option<u64>,
    /// It was up when it was stopped so.
    owed: bool,
    /// When the daemon last requested the start after a hold.
    hold_start: Mono,
    /// It is going down by a stop in the middle of a hold.
    held_fall: bool,
    /// When it was last told to be in another run or state.
    changed: Mono,
    /// When it was first told to be in this run, on its way or up.
    started: Mono,
    /// When our latest job on it was told to have ended.
    job_ended: Mono,
    /// Since when a start job waits on it, by what the daemon was told.
    waits: Option<Mono>,
    /// When an incident of a check of it last opened or closed.
    trouble: Mono,
    /// A steps' last resort has stopped it.
    stopped_by_us: bool,
    /// What conflicts with it is up: since when, and when it went.
    rival_up: Option<Mono>,
    rival_went: Option<Mono>,
}

/// Attempts in a row without a long pause between them, and when the last was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    streak: u32,
    last: Option<Mono>,
    /// The least distance that the checks of that time wanted.
    least: Duration,
}

/// Books on a check.
#[derive(Clone, Debug, Default)]
pub struct CheckBook {
    incident: Option<IncidentId>,
    opened: Mono,
    /// Attempts asked for by it in this incident.
    tries: u32,
    paused: Option<Mono>,
    /// Since when it is shown as down, without a break.
    down_since: Option<Mono>,
    /// Of jobs on other units that its steps start.
    /// When its latest incidents opened.
    openings: VecDeque<Mono>,
    /// The incident opened after the unit had been well for long: its steps begin with the first.
    rested: bool,
    /// Its settings are others since the incident opened.
    reconfigured: bool,
    other_pace: Pace,
    other_job: Option<AttemptId>,
    /// Failures seen since the latest pass of the unit as it is: at least as many as count.
    failures: u32,
    /// When the latest good answer came.
    last_pass: Mono,
    /// The latest answer was a good one, of the unit as it is now.
    passes: bool,
}

/// Books on a thread of mails.
#[derive(Clone, Debug, Default)]
pub struct Thread {
    count: u32,
    last: Mono,
    closed: bool,
    /// Its times are not to be relied on: the machine was booted.
    disturbed: bool,
}

/// All books.
pub struct Rules {
    pub stats: Stats,
    told: BTreeMap<UnitName, UnitState>,
    /// systemd as a whole, and since when it is told to be so.
    manager: (ManagerState, Mono),
    units: BTreeMap<UnitName, UnitBook>,
    /// As decided, and as committed.
    checks: BTreeMap<CheckName, CheckBook>,
    committed: BTreeMap<CheckName, CheckBook>,
    ids: BTreeSet<IncidentId>,
    threads: BTreeMap<IncidentId, Thread>,
    /// Leases that are out, and those that were asked for.
    leases: BTreeMap<HoldId, UnitName>,
    wanted_leases: BTreeMap<HoldId, UnitName>,
    storm: bool,
    storm_since: Mono,
    storm_over: Mono,
    /// When the wall clock was last set, and when a job could last not be requested.
    pub clock_set: Mono,
    denied: Mono,
    /// When the daemon could last not see what happens: it was not there, the bus was away, or messages were late.
    pub blind: Mono,
    /// When the daemon was last started.
    started: Mono,
    /// When the machine last woke up.
    pub slept: Mono,
    /// The network is gone: jobs asked for since then on units that are well.
    network_gone: Option<Mono>,
    jobs_without_network: BTreeSet<UnitName>,
    /// Notices committed, with their recipients.
    asked: BTreeMap<NotificationId, Vec<String>>,
    got: BTreeMap<(NotificationId, String), u32>,
    dropped: BTreeSet<(NotificationId, String)>,
    /// When it was accepted. (Whether the disk says so is seen when the daemon dies.)
    unsettled: BTreeMap<(NotificationId, String), Mono>,
    /// May come once more.
    may_repeat: BTreeMap<(NotificationId, String), u32>,
    released: BTreeSet<NotificationId>,
    mails: BTreeMap<String, VecDeque<Mono>>,
    probing: BTreeMap<CheckName, BTreeMap<u64, Mono>>,
    /// The machine was booted, and the daemon has not started since.
    booted: bool,
    /// When something happened for which a probe that is under way is given up.
    upset: BTreeMap<CheckName, Mono>,
    /// Units whose hold was over then: what was begun in it is given up when its checks count again.
    leases_over: BTreeMap<UnitName, Mono>,
    /// The incidents that were open before the reload that is handled.
    open_before_reload: BTreeMap<CheckName, IncidentId>,
}

impl Rules {
    pub fn new(plan: &Plan) -> Self {
        let checks: BTreeMap<CheckName, CheckBook> =
            plan.checks.iter().map(|check| (check.name.clone(), CheckBook::default())).collect();
        Self {
            stats: Stats::default(),
            told: BTreeMap::new(),
            manager: (ManagerState::Running, Mono::default()),
            units: plan.units.iter().map(|unit| (unit.name.clone(), UnitBook::default())).collect(),
            committed: checks.clone(),
            checks,
            ids: BTreeSet::new(),
            threads: BTreeMap::new(),
            leases: BTreeMap::new(),
            wanted_leases: BTreeMap::new(),
            storm: false,
            storm_since: Mono::default(),
            storm_over: Mono::default(),
            clock_set: Mono::default(),
            denied: Mono::default(),
            blind: Mono::default(),
            started: Mono::default(),
            slept: Mono::default(),
            network_gone: None,
            jobs_without_network: BTreeSet::new(),
            asked: BTreeMap::new(),
            got: BTreeMap::new(),
            dropped: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            may_repeat: BTreeMap::new(),
            released: BTreeSet::new(),
            mails: BTreeMap::new(),
            probing: BTreeMap::new(),
            booted: false,
            upset: BTreeMap::new(),
            leases_over: BTreeMap::new(),
            open_before_reload: BTreeMap::new(),
        }
    }
}

impl Sim {
    /// It is decided and written: from here on no crash undoes it.
    pub fn rules_committed(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Notify(notification) => self.notifications_come_in_order(notification),
                Effect::NotifyHost(notification) => {
                    self.notifications_of_the_machine_come_in_order(notification)
                }
                Effect::Changed(change) => match (&change.what, &change.check, &change.unit) {
                    (ChangeKind::RecoveryRequested { step, .. }, Some(check), Some(unit)) => {
                        self.attempts_keep_their_distance(unit, check, step);
                        self.the_first_step_comes_first(check, unit, step);
                        self.the_limit_is_kept(check);
                    }
                    (ChangeKind::RecoveryEnded { result: JobResult::Unasked(_), .. }, Some(check), _) => {
                        self.rules.denied = self.mono;
                        self.it_was_no_attempt(check);
                    }
                    (ChangeKind::IncidentOpened { .. }, Some(check), _) => {
                        self.rules.stats.incidents += 1;
                        let Some(id) = &change.incident else { continue };
                        if !self.rules.ids.insert(id.clone()) {
                            self.broken("no id is given twice", &format!("{id} of {check}"));
                        }
                    }
                    (ChangeKind::StormBegan { .. }, ..) => self.rules.stats.storms += 1,
                    _ => {}
                },
                _ => {}
            }
        }
        self.rules_saved();
    }

    /// The state is on the disk as it is now.
    pub fn rules_saved(&mut self) {
        self.rules.committed.clone_from(&self.rules.checks);
    }

    /// Rule 7: a start job of ours that trips `StartLimitAction=`, also where the daemon did not see the starts before.
    pub fn rules_reboot_by_job(&self, unit: &UnitName, by: By) {
        if by == By::Daemon && !self.troubles.slow_systemd {
            self.broken("no job of ours reboots the machine", unit.as_str());
        }
    }

    /// The unit is held, or was until a short time ago.
    pub fn is_held_or_was(&self, unit: &UnitName, within: Duration) -> bool {
        let over = self.rules.leases_over.get(unit);
        self.rules.leases.values().any(|held| held == unit)
            || over.is_some_and(|over| self.mono.since(*over) <= within)
    }

    /// The process of a unit ended by itself.
    pub fn rules_note_death(&mut self, unit: &UnitName) {
        if let Some(book) = self.rules.units.get_mut(unit) {
            book.stop = None;
        }
    }

    pub fn rules_network_gone(&mut self) {
        // With much amiss already, the few that are left are no measure.
        let open = self.rules.checks.values().filter(|book| book.incident.is_some()).count();
        if !self.rules.storm && open * 4 <= self.plan.checks.len() {
            self.rules.network_gone = Some(self.mono);
        }
        self.rules.jobs_without_network.clear();
    }

    pub fn rules_network_back(&mut self) {
        self.rules.network_gone = None;
    }
}
