//! Holds on the simulated machine: their holders, their leases, and the starts after them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stealthcheck::check::CheckName;
use stealthcheck::engine::hold::{HoldAction, HoldEvent, HoldId, Holder, HowEnded};
use stealthcheck::engine::{AttemptId, ChangeKind, Effect, Event};
use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, Job, JobKind, UnitName};

use super::{Coming, World};

/// All holds.
#[derive(Debug, Default)]
pub struct Holds {
    /// The leases that are open, with their units and since when.
    pub open: BTreeMap<HoldId, (UnitName, Mono)>,
    /// The checks that each hold that was granted is for.
    pub granted: Vec<Vec<CheckName>>,
    /// What was said of those that were not.
    pub refused: Vec<String>,
    /// Starts after holds, by unit.
    pub starts: Vec<UnitName>,
    /// The start that is asked for now is one of these.
    returning: BTreeSet<UnitName>,
    asked: u64,
}

impl World {
    /// `stealthctl hold`; `None` where it is refused.
    pub fn hold(&mut self, unit: &UnitName, lasting: Duration) -> Option<HoldId> {
        self.holds.asked += 1;
        let id = HoldId(self.holds.asked.to_string().into());
        let holder = Holder { who: "root (pid 7)".into(), why: "certbot renew".into() };
        self.holds.open.insert(id.clone(), (unit.clone(), self.now.mono));
        self.tell(Event::Hold(HoldEvent::Take { id: id.clone(), unit: unit.clone(), holder, lasting }));
        self.holds.open.contains_key(&id).then_some(id)
    }

    /// The lease closes, or somebody releases it.
    pub fn end_hold(&mut self, id: &HoldId, how: HowEnded) {
        self.tell(Event::Hold(HoldEvent::End(id.clone(), how)));
        assert!(!self.holds.open.contains_key(id), "{id} is not over\n{}", self.timeline());
    }

    /// The holder dies while the daemon is away, or is there and does not see it.
    pub fn lease_is_lost(&mut self, id: &HoldId) {
        self.holds.open.remove(id);
    }

    pub fn is_held(&self, unit: &UnitName) -> bool {
        self.holds.open.values().any(|(held, _)| held == unit)
    }

    /// After a restart of the daemon: what is left in the service manager's store.
    pub(super) fn leases_come_back(&mut self) {
        let open: BTreeSet<HoldId> = self.holds.open.keys().cloned().collect();
        self.tell(Event::Hold(HoldEvent::Kept(open)));
    }

    /// Notes which of the jobs asked for are starts after holds.
    pub(super) fn note_returns(&mut self, effects: &[Effect]) {
        let asked = effects.iter().filter_map(|effect| match effect {
            Effect::Changed(change) if matches!(change.what, ChangeKind::HoldStartRequested { .. }) => {
                change.unit.clone()
            }
            _ => None,
        });
        self.holds.returning.extend(asked);
    }

    pub(super) fn hold_answer(&mut self, answer: HoldAction) {
        match answer {
            HoldAction::Granted { checks, .. } => self.holds.granted.push(checks),
            HoldAction::Refused { id, why } => {
                self.holds.open.remove(&id);
                self.holds.refused.push(why);
            }
            HoldAction::Over(id) => {
                let Some((unit, since)) = self.holds.open.remove(&id) else { return };
                // A stop within the hold was the holder's, and is not respected any longer.
                if let Some(target) = self.units.get_mut(&unit)
                    && target.stopped_at.is_some_and(|at| at >= since)
                {
                    target.stopped_at = None;
                }
            }
        }
    }

    /// A start after a hold counts in no backoff. `false`: this job is none.
    pub(super) fn start_after_hold(&mut self, unit: &UnitName, attempt: AttemptId) -> bool {
        if !self.holds.returning.remove(unit) {
            return false;
        }
        let timeline = self.timeline();
        let takes = self.job_takes;
        let Some(target) = self.units.get_mut(unit) else { panic!("a start of an unknown unit\n{timeline}") };
        assert!(target.our_job.is_none(), "two jobs of ours on {unit}\n{timeline}");
        assert!(target.state.job.is_none(), "a start of {unit}, on which there is a job\n{timeline}");
        assert_ne!(target.state.active, ActiveState::Active, "a start of {unit}, which is up\n{timeline}");
        target.our_job = Some(attempt);
        target.stopped_at = None;
        target.state.active = ActiveState::Activating;
        target.state.stopped_by = None;
        target.state.job = Some(Job { id: 3, kind: JobKind::Start, ours: true });
        self.holds.starts.push(unit.clone());
        self.tell_unit(unit);
        self.later(takes, Coming::JobEnds { unit: unit.clone(), attempt: attempt.0, restart: true });
        true
    }
}
