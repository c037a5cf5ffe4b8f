//! What must hold whatever happens: DESIGN.md §5 and §6 as functions, each named by what it promises.
//!
//! In: what the daemon was told, what it decided, what it has committed to (decided and written), what the mail server got.
//! Out: nothing, or a panic. It keeps books of its own and takes the engine's word for nothing but its decisions.
//!
//! A decision is judged at once by what the daemon knew. It is entered into the books when it is committed: what a crash
//! undid never was.

mod end;
mod jobs;
mod look;
mod mails;
mod notices;
mod restart;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use stealthcheck::check::CheckName;
use stealthcheck::engine::hold::{HoldAction, HoldEvent, HoldId};
use stealthcheck::engine::{Action, AttemptId, Command, Event, JobRequest, What};
use stealthcheck::notice::{IncidentId, NoticeId};
use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, JobKind, JobResult, ManagerState, UnitName, UnitState};
use stealthcheck::verdict::Observation;

use crate::config::Plan;
use crate::sim::{Sim, Stats};

/// Books on a unit.
#[derive(Clone, Debug, Default)]
pub struct UnitBook {
    /// Our job on it, and since when.
    open: Option<(AttemptId, Mono)>,
    /// Attempts in a row without a long pause between them, and when the last was.
    streak: u32,
    last: Option<Mono>,
    /// Somebody's stop, as the daemon was told of it: when, and systemd's own time of it.
    stop: Option<(Mono, u64)>,
    /// A stop in the middle of a hold, by when the unit was down: what the hold owes the unit comes before it, also later.
    held_stop: Option<u64>,
    /// It is going down by a stop in the middle of a hold.
    held_fall: bool,
    /// When it was last told to be in another run or state.
    changed: Mono,
    /// A ladder's last resort has stopped it.
    stopped_by_us: bool,
    /// What conflicts with it is up: since when, and when it went.
    rival_up: Option<Mono>,
    rival_went: Option<Mono>,
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
    manager: ManagerState,
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
    /// When the machine last woke up.
    pub slept: Mono,
    /// The network is gone: jobs asked for since then on units that are well.
    network_gone: Option<Mono>,
    jobs_without_network: BTreeSet<UnitName>,
    /// Notices committed, with their recipients.
    asked: BTreeMap<NoticeId, Vec<String>>,
    got: BTreeMap<(NoticeId, String), u32>,
    dropped: BTreeSet<(NoticeId, String)>,
    /// When it was accepted. (Whether the disk says so is seen when the daemon dies.)
    unsettled: BTreeMap<(NoticeId, String), Mono>,
    /// May come once more.
    may_repeat: BTreeMap<(NoticeId, String), u32>,
    released: BTreeSet<NoticeId>,
    mails: BTreeMap<String, VecDeque<Mono>>,
    probing: BTreeMap<CheckName, BTreeMap<u64, Mono>>,
    /// The machine was booted, and the daemon has not started since.
    booted: bool,
    /// When something happened for which a probe that is under way is given up.
    upset: BTreeMap<CheckName, Mono>,
}

impl Rules {
    pub fn new(plan: &Plan) -> Self {
        let checks: BTreeMap<CheckName, CheckBook> =
            plan.checks.iter().map(|check| (check.name.clone(), CheckBook::default())).collect();
        Self {
            stats: Stats::default(),
            told: BTreeMap::new(),
            manager: ManagerState::Running,
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
        }
    }
}

impl Sim {
    /// The daemon is about to be told something: from here on it knows.
    pub fn rules_before(&mut self, event: &Event) {
        let now = self.mono;
        match event {
            Event::UnitChanged { unit, state } => self.rules_told(unit, state),
            Event::JobEnded { unit, attempt, state, .. } => {
                if let Some(state) = state {
                    self.rules_told(unit, state);
                }
                self.upset(unit);
                if let Some(book) = self.rules.units.get_mut(unit)
                    && book.open.is_some_and(|(open, _)| open == *attempt)
                {
                    book.open = None;
                }
            }
            Event::ManagerChanged(manager) => self.rules.manager = *manager,
            Event::Observed { check, run, observation } => {
                let asked = self.probe_ended(check, run.0);
                self.is_answered(check, asked, observation);
            }
            Event::Sampled { check, run, .. } => {
                self.probe_ended(check, run.0);
            }
            Event::Configured(_) => {
                for book in self.rules.checks.values_mut() {
                    book.passes = false;
                }
            }
            Event::Command(Command::Pause(check, lasting)) => {
                if let Some(book) = self.rules.checks.get_mut(check) {
                    book.paused = Some(now.after(*lasting));
                }
                self.all_upset();
            }
            Event::Command(Command::Resume(check)) => {
                if let Some(book) = self.rules.checks.get_mut(check) {
                    book.paused = None;
                }
                self.all_upset();
            }
            Event::Command(Command::Check(check)) => {
                self.rules.upset.insert(check.clone(), now);
            }
            Event::Hold(HoldEvent::Take { id, unit, .. }) => {
                self.rules.wanted_leases.insert(id.clone(), unit.clone());
            }
            Event::Hold(HoldEvent::End(id, _)) => self.lease_is_over(&id.clone()),
            Event::Hold(HoldEvent::Kept(ids)) => {
                let lost: Vec<HoldId> =
                    self.rules.leases.keys().filter(|id| !ids.contains(*id)).cloned().collect();
                for id in lost {
                    self.lease_is_over(&id);
                }
            }
            _ => {}
        }
    }

    /// When the probe was asked for, if nobody has given it up.
    fn probe_ended(&mut self, check: &CheckName, run: u64) -> Option<Mono> {
        self.rules.probing.get_mut(check)?.remove(&run)
    }

    /// A probe that was asked for at `asked` has seen something. `None`: it was given up.
    fn is_answered(&mut self, check: &CheckName, asked: Option<Mono>, observation: &Observation) {
        let unit = self.unit_of(check);
        let told = unit.as_ref().and_then(|unit| self.rules.told.get(unit));
        let up = told.is_some_and(|told| told.active == ActiveState::Active && told.job.is_none());
        let unit_book = unit.as_ref().and_then(|unit| self.rules.units.get(unit));
        let of_this_run = asked.is_some_and(|asked| unit_book.is_some_and(|book| book.changed < asked));
        let left_alone = unit_book.is_some_and(|book| book.open.is_some() || book.rival_up.is_some())
            || self.rules.leases.values().any(|held| Some(held) == unit.as_ref());
        let Some(book) = self.rules.checks.get_mut(check) else { return };
        let good = matches!(observation, Observation::Passing { .. });
        book.passes = good && up && of_this_run && !left_alone && book.paused.is_none();
    }

    /// What was stopped within a hold was the holder's to stop.
    fn lease_is_over(&mut self, id: &HoldId) {
        if let Some(unit) = self.rules.leases.remove(id) {
            self.all_upset();
            if let Some(book) = self.rules.units.get_mut(&unit) {
                book.stop = None;
            }
        }
    }

    fn upset(&mut self, unit: &UnitName) {
        let now = self.mono;
        for check in self.plan.checks.iter().filter(|check| check.unit.as_ref() == Some(unit)) {
            self.rules.upset.insert(check.name.clone(), now);
        }
    }

    fn rules_told(&mut self, unit: &UnitName, state: &UnitState) {
        let now = self.mono;
        // What is found so at the first look has been so since systemd says.
        let since_systemd_says = self.usec().saturating_sub(state.inactive_enter_usec);
        let before = self.rules.told.insert(unit.clone(), state.clone());
        let rival_of = unit.as_str().strip_prefix("rival-of-").and_then(|name| UnitName::new(name).ok());
        if let Some(book) = rival_of.and_then(|unit| self.rules.units.get_mut(&unit)) {
            let coming = state.job.is_some_and(|job| matches!(job.kind, JobKind::Start | JobKind::Restart));
            if !state.is_down() || coming {
                let chain = book.rival_went.is_some_and(|went| now.since(went).as_secs() < 300);
                if book.rival_went.take().is_some() && !chain {
                    book.rival_up = None;
                }
                book.rival_up.get_or_insert(now);
            } else if book.rival_up.is_some() && book.rival_went.is_none() {
                book.rival_went = Some(now);
            }
        }
        // (A first reading tells how what it needs is.)
        let first = before.is_none();
        let other_run = before.is_none_or(|before| {
            before.invocation_id != state.invocation_id || before.active != state.active
        });
        if other_run {
            // What needs it is looked at as well, and what it stands in the way of.
            self.all_upset();
        }
        if other_run || state.job.is_some() {
            let checks = self.plan.checks.iter().filter(|check| check.unit.as_ref() == Some(unit));
            for check in checks {
                if let Some(book) = self.rules.checks.get_mut(&check.name) {
                    book.passes = false;
                }
            }
        }
        let held = self.rules.leases.values().any(|held| held == unit);
        let Some(book) = self.rules.units.get_mut(unit) else { return };
        let somebodys =
            state.stopped_by.is_some_and(|job| matches!(job.kind, JobKind::Stop | JobKind::Other));
        let goes_on = book.stop.is_some_and(|(_, usec)| usec == state.inactive_enter_usec);
        book.stopped_by_us &= state.is_down() || state.active == ActiveState::Deactivating;
        let at = Some(state.inactive_enter_usec);
        let falls = state.active == ActiveState::Deactivating;
        book.held_fall = (falls || state.is_down()) && (book.held_fall || (held && somebodys && falls));
        if (held || book.held_fall) && somebodys && state.is_down() {
            book.held_stop = at;
        }
        let counts = !held && book.held_stop != at && !book.stopped_by_us;
        if !state.is_down() || !(somebodys || goes_on) {
            book.stop = None;
        } else if somebodys && book.stop.is_none() && book.open.is_none() && counts {
            let ago = if first { Duration::from_micros(since_systemd_says) } else { Duration::ZERO };
            book.stop = Some((Mono(now.0.saturating_sub(ago)), state.inactive_enter_usec));
        }
        if other_run {
            book.changed = now;
        }
    }

    fn all_upset(&mut self) {
        for check in &self.plan.checks {
            self.rules.upset.insert(check.name.clone(), self.mono);
        }
    }

    /// The engine has decided: judged by what it knew, before anything is written or done.
    pub fn rules_decided(&mut self, actions: &[Action]) {
        for (n, action) in actions.iter().enumerate() {
            match action {
                Action::StartJob(JobRequest { unit, attempt, step: rung, .. }) => {
                    let why = actions[n..].iter().find_map(|action| match action {
                        Action::Changed(change) if change.unit.as_ref() == Some(unit) => match change.what {
                            What::RecoveryAsked { .. } => Some(change.check.clone()),
                            What::HoldStartAsked { .. } => Some(None),
                            _ => None,
                        },
                        _ => None,
                    });
                    match why {
                        Some(asker) => self.a_job_is_ours_to_ask_for(unit, *attempt, rung, asker.as_ref()),
                        None => self.broken("every job says what it is for", unit.as_str()),
                    }
                }
                Action::Probe { check, run, .. } => self.a_check_does_not_overlap_itself(check, run.0),
                Action::Notify(notice) => self.nobody_is_told_of_what_is_left_alone(notice),
                Action::Hold(HoldAction::Granted { id, .. }) => {
                    if let Some(unit) = self.rules.wanted_leases.remove(id) {
                        self.rules.leases.insert(id.clone(), unit);
                    }
                }
                Action::Hold(HoldAction::Over(id)) => self.lease_is_over(&id.clone()),
                Action::Changed(change) => {
                    if let Some(check) = &change.check {
                        let (check, incident) = (check.clone(), change.incident.clone());
                        self.health_is_told(&check, incident, &change.what);
                    }
                    if let What::StormBegan { .. } = change.what {
                        (self.rules.storm, self.rules.storm_since) = (true, self.mono);
                    }
                    if let What::StormOver { .. } = change.what {
                        (self.rules.storm, self.rules.storm_over) = (false, self.mono);
                    }
                }
                _ => {}
            }
        }
    }

    fn health_is_told(&mut self, check: &CheckName, incident: Option<IncidentId>, what: &What) {
        let now = self.mono;
        let Some(book) = self.rules.checks.get_mut(check) else { return };
        match what {
            What::IncidentOpened { .. } => {
                if let Some(open) = &book.incident {
                    let what = format!("{open} is open and {incident:?} opens");
                    self.broken("one incident of a check at a time", &what);
                }
                book.incident = incident;
                (book.opened, book.tries) = (now, 0);
            }
            What::IncidentClosed { .. } => {
                if book.incident != incident {
                    let what = format!("{:?} is open and {incident:?} closes", book.incident);
                    self.broken("what closes was open", &what);
                }
                book.incident = None;
                // What needs its unit is looked at.
                self.all_upset();
            }
            What::Health { to, .. } => {
                let down = *to == stealthcheck::verdict::Health::Down;
                book.down_since = down.then(|| book.down_since.unwrap_or(now));
            }
            _ => {}
        }
    }

    /// It is decided and written: from here on no crash undoes it.
    pub fn rules_committed(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Notify(notice) => self.notices_come_in_order(notice),
                Action::NotifyHost(notice) => self.notices_of_the_machine_come_in_order(notice),
                Action::Changed(change) => match (&change.what, &change.check, &change.unit) {
                    (What::RecoveryAsked { .. }, Some(check), Some(unit)) => {
                        self.attempts_keep_their_distance(unit);
                        self.the_limit_is_kept(check);
                    }
                    (What::RecoveryEnded { result: JobResult::Unasked(_), .. }, Some(check), _) => {
                        self.it_was_no_attempt(check);
                    }
                    (What::IncidentOpened { .. }, Some(check), _) => {
                        self.rules.stats.incidents += 1;
                        let Some(id) = &change.incident else { continue };
                        if !self.rules.ids.insert(id.clone()) {
                            self.broken("no id is given twice", &format!("{id} of {check}"));
                        }
                    }
                    (What::StormBegan { .. }, ..) => self.rules.stats.storms += 1,
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

    pub fn rules_unit_of_attempt(&self, life: u64, attempt: AttemptId) -> Option<UnitName> {
        let daemon = self.daemon.as_ref().filter(|_| life == self.life)?;
        daemon.attempts.get(&attempt).cloned()
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
