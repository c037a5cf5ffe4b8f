//! Attempts whose effect shows only after a while: whether a restart has ended a use of too much is known when a window
//! has filled, which may take longer than other trouble of the unit can wait, and longer than the daemon lives.
//!
//! In: a unit's attempt, and the checks it serves. Out: whose failure judges it, what may be asked for meanwhile, and what a
//! job that is done lacks. How an attempt is judged otherwise stands in `health`.

use super::event::{ChangeKind, Effect};
use super::watch::{InFlight, UnitWatch};
use super::{Engine, changed};
use crate::check::{CheckName, Step};
use crate::notification::{Attempt, AttemptOutcome};
use crate::time::Now;
use crate::unit::UnitName;

impl Engine {
    /// The unit's attempt has had its job and its grace, and all incidents that it was for wait for a window to fill:
    /// that may take long. Other trouble of the unit is not kept waiting for it.
    pub(super) fn awaits_usage(&self, now: Now, unit: &UnitName) -> bool {
        let attempt = self.units.get(unit).and_then(|watch| watch.attempt.as_ref());
        let Some(attempt) = attempt.filter(|attempt| attempt.is_over(now.mono)) else { return false };
        let served = attempt.told.iter().filter_map(|(name, _)| self.checks.get(name));
        let mut open = served.filter(|state| state.incident.is_some()).peekable();
        open.peek().is_some() && open.all(|state| state.usage.too_soon())
    }

    /// Settles the attempt that waits for a window, for another is about to be asked for. It is not known whether it
    /// would have helped, so no step is left behind.
    pub(super) fn overtake(&mut self, now: Now, unit: &UnitName, out: &mut Vec<Effect>) {
        let why = "another check of the unit went down before that could be told".to_owned();
        self.judge(now, unit, AttemptOutcome::Ineffective(why), false, out);
    }

    /// The attempt is judged by a check: where the incident of the one that asked for it is over, it is now that check's.
    pub(super) fn hand_over(&mut self, unit: &UnitName, name: &CheckName) {
        let Some(attempt) = self.units.get_mut(unit).and_then(|watch| watch.attempt.as_mut()) else { return };
        let open = self.checks.get(&attempt.by).is_some_and(|state| state.incident.is_some());
        let told = attempt.told.iter().find(|(told, _)| told == name);
        if let (false, Some((_, number))) = (open, told) {
            (attempt.by, attempt.number) = (name.clone(), *number);
        }
    }

    /// A check fails whose latest attempt was made, its job done, in an earlier life of the daemon: it did not help, and
    /// its step is left behind before the next is asked for.
    pub(super) fn judge_of_old(
        &mut self,
        unit: &UnitName,
        name: &CheckName,
        reason: String,
        out: &mut Vec<Effect>,
    ) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let Some(incident) = &mut state.incident else { return };
        let unjudged = |last: &&mut Attempt| last.outcome.is_none() && last.result.is_some();
        let Some(last) = incident.attempts.last_mut().filter(unjudged) else { return };
        let proof = AttemptOutcome::Ineffective(reason);
        last.outcome = Some(proof.clone());
        let (number, id) = (last.number, &incident.id);
        out.push(changed(
            Some(name),
            Some(unit),
            Some(id),
            ChangeKind::AttemptConcluded { number, outcome: proof },
        ));
        state.climbed = state.climbed.saturating_add(1);
    }
}

/// What a job that is done lacks to have worked at all; `None`: the checks will tell.
pub(super) fn unproven(flight: &InFlight, watch: &UnitWatch) -> Option<String> {
    if flight.step == Step::Stop {
        return Some("the unit was stopped".to_owned());
    }
    if let Some(reason) = watch.condition.down() {
        return Some(reason.to_owned());
    }
    let fresh = matches!(flight.step, Step::Restart | Step::Start);
    let same_run = watch.state.as_ref().is_some_and(|state| {
        !state.invocation_id.is_empty() && state.invocation_id == flight.invocation_before
    });
    (fresh && same_run).then(|| "the job is done, but the unit's InvocationID is the old one".to_owned())
}
