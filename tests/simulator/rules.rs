//! What must hold whatever happens: the rules in engine/rules.md as functions, each named by what it promises.
//!
//! In: what the daemon was told, what it decided, what it has committed to (decided and written), what the mail server got.
//! Out: nothing, or a panic. It keeps books of its own and takes the engine's word for nothing but its decisions.
//!
//! A decision is judged at once by what the daemon knew. It is entered into the books when it is committed: what a crash
//! undid never was.

mod end;
mod incidents;
mod jobs;
mod look;
mod mails;
mod notifications;
mod restart;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use stealthcheck::check::{Check, CheckName};
use stealthcheck::engine::hold::{HoldAction, HoldEvent, HoldId};
use stealthcheck::engine::{AttemptId, ChangeKind, Command, Effect, Event, JobRequest};
use stealthcheck::notification::{IncidentId, NotificationId};
use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, JobKind, JobResult, ManagerState, UnitName, UnitState};
use stealthcheck::verdict::{Observation, SuppressedBy};

use crate::config::{Plan, is_of, real};
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
    /// The daemon is about to be told something: from here on it knows.
    pub fn rules_before(&mut self, event: &Event) {
        let now = self.mono;
        match event {
            Event::UnitRead { unit, state } => {
                self.rules_told(unit, state);
                self.an_operators_stop_is_known(unit);
            }
            Event::JobEnded { unit, attempt, result, state } => {
                if let Some(state) = state {
                    self.rules_told(unit, state);
                }
                self.an_operators_stop_is_known(unit);
                self.upset(unit);
                for book in self.rules.checks.values_mut() {
                    book.other_job = book.other_job.filter(|open| open != attempt);
                }
                if let Some(book) = self.rules.units.get_mut(unit)
                    && book.open.is_some_and(|(open, _)| open == *attempt)
                {
                    book.open = None;
                    // (What was not requested was no job.)
                    if !matches!(result, JobResult::Unasked(_) | JobResult::Refused(_)) {
                        book.job_ended = now;
                    }
                }
            }
            Event::ManagerChanged(manager) if self.rules.manager.0 != *manager => {
                self.rules.manager = (*manager, now);
            }
            Event::Observed { check, run, observation } => {
                let asked = self.probe_ended(check, run.0);
                self.is_answered(check, asked, observation);
            }
            Event::Sampled { check, run, .. } => {
                self.probe_ended(check, run.0);
            }
            Event::Configured(_) => {
                // The wait after an attempt is by the settings of that time.
                self.rules.units.values_mut().for_each(|book| book.pace = Pace::default());
                self.rules.checks.values_mut().for_each(|book| book.other_pace = Pace::default());
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
                self.rules.wanted_leases.insert(id.clone(), real(unit));
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
        let now = self.mono;
        let unit = self.unit_of(check);
        let told = unit.as_ref().and_then(|unit| self.rules.told.get(unit));
        let up = told.is_some_and(|told| told.active == ActiveState::Active && told.job.is_none());
        let unit_book = unit.as_ref().and_then(|unit| self.rules.units.get(unit));
        let of_this_run = asked.is_some_and(|asked| unit_book.is_some_and(|book| book.changed < asked));
        let left_alone = unit_book.is_some_and(|book| book.open.is_some() || book.rival_up.is_some())
            || self.rules.leases.values().any(|held| Some(held) == unit.as_ref());
        let open = self.rules.checks.get(check).is_some_and(|book| book.incident.is_some());
        if open && matches!(observation, Observation::Passing { .. }) {
            // What needs its unit may be well again.
            self.all_upset();
        }
        let Some(book) = self.rules.checks.get_mut(check) else { return };
        let good = matches!(observation, Observation::Passing { .. });
        if good {
            book.last_pass = now;
        }
        book.passes = good && up && of_this_run && !left_alone && book.paused.is_none();
    }

    /// What was stopped within a hold was the holder's to stop.
    fn lease_is_over(&mut self, id: &HoldId) {
        if let Some(unit) = self.rules.leases.remove(id) {
            self.rules.leases_over.insert(unit.clone(), self.mono);
            self.all_upset();
            if let Some(book) = self.rules.units.get_mut(&unit) {
                (book.stop, book.operators_stop) = (None, None);
            }
        }
    }

    fn upset(&mut self, unit: &UnitName) {
        let now = self.mono;
        for check in self.plan.checks.iter().filter(|check| is_of(check, unit)) {
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
        let before_run = before.as_ref().map(|before| before.invocation_id.clone());
        let other_run = before.is_none_or(|before| {
            before.invocation_id != state.invocation_id || before.active != state.active
        });
        if other_run {
            // What needs it is looked at as well, and what it stands in the way of.
            self.all_upset();
        }
        if other_run || state.job.is_some() {
            let checks = self.plan.checks.iter().filter(|check| is_of(check, unit));
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
            let ago = Duration::from_micros(since_systemd_says);
            book.stop = Some((Mono(now.0.saturating_sub(ago)), state.inactive_enter_usec));
        }
        if other_run {
            book.changed = now;
        }
        if !first && before_run.is_some_and(|run| run != state.invocation_id) && !state.is_down() {
            book.started = now;
        }
        let comes = state.job.is_some_and(|job| matches!(job.kind, JobKind::Start | JobKind::Restart));
        book.waits = (state.is_down() && comes).then(|| book.waits.unwrap_or(now));
    }

    /// The machine knows who has stopped a unit; from when it is read as it is now, the daemon could.
    fn an_operators_stop_is_known(&mut self, unit: &UnitName) {
        let Some(truth) = self.units.get(unit) else { return };
        let told = self.rules.told.get(unit);
        let up_to_date = told.is_some_and(|told| {
            told.is_down()
                && truth.state.is_down()
                && told.job.is_none()
                && truth.job.is_none()
                && told.inactive_enter_usec == truth.state.inactive_enter_usec
        });
        let stopped = truth.stopped_by_operator.filter(|_| truth.state.active == ActiveState::Inactive);
        if let Some(book) = self.rules.units.get_mut(unit) {
            let open = book.open.is_some();
            book.operators_stop =
                if up_to_date && !open { stopped } else { book.operators_stop.and(stopped) };
        }
    }

    fn all_upset(&mut self) {
        for check in &self.plan.checks {
            self.rules.upset.insert(check.name.clone(), self.mono);
        }
    }

    /// The engine has decided: judged by what it knew, before anything is written or done.
    pub fn rules_decided(&mut self, effects: &[Effect]) {
        self.rules_upset_by(effects);
        for (n, effect) in effects.iter().enumerate() {
            match effect {
                Effect::StartJob(JobRequest { unit, attempt, step, .. }) => {
                    let why = effects[n..].iter().find_map(|effect| match effect {
                        Effect::Changed(change) if change.unit.as_ref() == Some(unit) => match change.what {
                            ChangeKind::RecoveryRequested { .. } => Some(change.check.clone()),
                            ChangeKind::HoldStartRequested { .. } => Some(None),
                            _ => None,
                        },
                        _ => None,
                    });
                    match why {
                        Some(asker) => self.a_job_is_ours_to_ask_for(unit, *attempt, step, asker.as_ref()),
                        None => self.broken("every job says what it is for", unit.as_str()),
                    }
                }
                Effect::Probe { check, run, .. } => self.a_check_does_not_overlap_itself(check, run.0),
                Effect::Notify(notification) => self.nobody_is_told_of_what_is_left_alone(notification),
                Effect::Hold(HoldAction::Granted { id, .. }) => {
                    if let Some(unit) = self.rules.wanted_leases.remove(id) {
                        self.rules.leases.insert(id.clone(), unit);
                    }
                }
                Effect::Hold(HoldAction::Over(id)) => self.lease_is_over(&id.clone()),
                Effect::Changed(change) => {
                    if let Some(check) = &change.check {
                        let (check, incident) = (check.clone(), change.incident.clone());
                        match &change.what {
                            ChangeKind::IncidentOpened { cause } => self.what_is_down_is_down(&check, cause),
                            ChangeKind::IncidentClosed { passes: true, attempts, .. } => {
                                self.what_is_closed_is_proven(&check, *attempts);
                            }
                            _ => {}
                        }
                        self.health_is_told(&check, incident, &change.what);
                    }
                    if let (ChangeKind::CrashLoop { .. }, Some(unit)) = (&change.what, &change.unit) {
                        self.a_crash_loop_is_one(unit);
                    }
                    if let ChangeKind::StormBegan { .. } = change.what {
                        (self.rules.storm, self.rules.storm_since) = (true, self.mono);
                    }
                    if let ChangeKind::StormOver { .. } = change.what {
                        (self.rules.storm, self.rules.storm_over) = (false, self.mono);
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether no check of the unit had an incident for long until now.
    fn has_rested(&mut self, check: &CheckName, what: &ChangeKind) -> bool {
        let now = self.mono;
        let unit = self.unit_of(check);
        let open = |of: &&Check| {
            let book = self.rules.checks.get(&of.name);
            of.unit.as_ref().map(real) == unit && book.is_some_and(|book| book.incident.is_some())
        };
        let trouble = self.plan.checks.iter().any(|check| open(&check));
        let moves = matches!(what, ChangeKind::IncidentOpened { .. } | ChangeKind::IncidentClosed { .. });
        let book = unit.and_then(|unit| self.rules.units.get_mut(&unit));
        book.filter(|_| moves).is_some_and(|book| {
            let before = std::mem::replace(&mut book.trouble, now);
            !trouble && now.since(before) > LONG_REST
        })
    }

    /// What makes probes that are under way worthless, wherever it stands in the list.
    fn rules_upset_by(&mut self, effects: &[Effect]) {
        let changes = effects.iter().filter_map(|effect| match effect {
            Effect::Changed(change) => Some(change),
            _ => None,
        });
        for change in changes {
            match (&change.what, &change.check) {
                (ChangeKind::IncidentOpened { .. } | ChangeKind::IncidentClosed { .. }, _) => {
                    self.all_upset();
                }
                (ChangeKind::Health { from, to, .. }, Some(check))
                    if [from, to].iter().any(|health| {
                        matches!(&health.suppressed_by, Some(SuppressedBy::Dependency { .. }))
                    }) =>
                {
                    self.rules.upset.insert(check.clone(), self.mono);
                }
                _ => {}
            }
        }
    }

    fn health_is_told(&mut self, check: &CheckName, incident: Option<IncidentId>, what: &ChangeKind) {
        let now = self.mono;
        let rested = self.has_rested(check, what);
        let Some(book) = self.rules.checks.get_mut(check) else { return };
        match what {
            ChangeKind::IncidentOpened { .. } => {
                if let Some(open) = &book.incident {
                    let what = format!("{open} is open and {incident:?} opens");
                    self.broken("one incident of a check at a time", &what);
                }
                book.incident = incident;
                (book.opened, book.tries) = (now, 0);
                book.openings.push_back(now);
                (book.rested, book.reconfigured) = (rested, false);
            }
            ChangeKind::IncidentClosed { .. } => {
                if book.incident != incident {
                    let what = format!("{:?} is open and {incident:?} closes", book.incident);
                    self.broken("what closes was open", &what);
                }
                book.incident = None;
                // What needs its unit is looked at.
                self.all_upset();
            }
            ChangeKind::Health { to, .. } => {
                let down = to.is_down();
                book.down_since = down.then(|| book.down_since.unwrap_or(now));
            }
            _ => {}
        }
    }

    /// A check that is gone, or looks after another unit from now on, has no incident any more (rule 17).
    pub fn rules_reconfigures(&mut self) {
        let fresh: Vec<CheckName> = self.plan.checks.iter().map(|check| check.name.clone()).collect();
        for books in [&mut self.rules.checks, &mut self.rules.committed] {
            for name in &fresh {
                books.entry(name.clone()).or_default();
            }
        }
        let open =
            self.rules.checks.iter().filter_map(|(name, book)| Some((name.clone(), book.incident.clone()?)));
        self.rules.open_before_reload = open.collect();
        self.all_upset();
    }

    /// The reload has been handled.
    pub fn rules_reconfigured(&mut self, before: &[Check]) {
        for old in before {
            let new = self.plan.checks.iter().find(|check| check.name == old.name);
            // (An alias is the same unit.)
            let unit = |check: &Check| check.unit.as_ref().map(real);
            if new.is_some_and(|new| unit(new) == unit(old)) {
                if new != Some(old) {
                    // Its attempts so far are those of other settings.
                    for books in [&mut self.rules.checks, &mut self.rules.committed] {
                        if let Some(book) = books.get_mut(&old.name) {
                            (book.rested, book.reconfigured) = (false, true);
                        }
                    }
                }
                continue;
            }
            let open = self.rules.checks.get(&old.name).and_then(|book| book.incident.clone());
            // (One that is pointed to a unit that is down has a new one.)
            if let Some(open) = open.filter(|open| self.rules.open_before_reload.get(&old.name) == Some(open))
            {
                let what = format!("{open} of {}, which is gone", old.name);
                self.broken("the incident of a check that is gone is closed", &what);
            }
            for books in [&mut self.rules.checks, &mut self.rules.committed] {
                let known = books.remove(&old.name).unwrap_or_default();
                if new.is_some() {
                    let CheckBook { incident, down_since, .. } = known;
                    books
                        .insert(old.name.clone(), CheckBook { incident, down_since, ..CheckBook::default() });
                }
            }
        }
    }

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
