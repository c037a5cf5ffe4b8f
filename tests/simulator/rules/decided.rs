//! What the engine decides, judged by what it was told.

use stealthcheck::check::{Check, CheckName};
use stealthcheck::engine::hold::HoldAction;
use stealthcheck::engine::{ChangeKind, Effect, JobRequest};
use stealthcheck::notification::IncidentId;
use stealthcheck::verdict::SuppressedBy;

use super::LONG_REST;
use crate::config::real;
use crate::sim::Sim;

impl Sim {
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
                    if let (ChangeKind::HoldStartRequested { .. }, Some(unit)) = (&change.what, &change.unit)
                        && let Some(book) = self.rules.units.get_mut(unit)
                    {
                        book.hold_start = self.mono;
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
                        matches!(health.suppressed_by, Some(SuppressedBy::Dependency { .. }))
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
}
