//! What is due: probes, the ends of pauses and stops, notifications, attempts; and when the next thing will be.
//!
//! In: the moment. Out: wishes for probes, and a wake-up for each check. What a probe saw is judged in `health`.

use std::time::Duration;

use super::event::{Effect, RunId};
use super::state::Run;
use super::{Engine, outlook, schedule};
use crate::check::CheckName;
use crate::time::{Mono, Now};

/// A probe that was not heard of this long after its deadline is lost: whoever runs it broke its promise.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(5);

impl Engine {
    /// Sets the check's wake-up: the earliest of everything that may become due for it.
    pub(super) fn wake(&mut self, now: Now, name: &CheckName) {
        let Some(state) = self.checks.get(name) else { return };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let later = |at: &Mono| *at > now.mono;
        let aside = state.aside(now, watch);
        let hold_ends = watch.and_then(|watch| watch.hold.as_ref()?.ends());
        let at = if state.paused() {
            aside.and_then(|aside| aside.ends()).into_iter().chain(hold_ends).min()
        } else {
            let probe = state.running.map_or(state.next_probe, |run| run.lost_at);
            let hushed = aside.is_some() || self.is_in_storm(name);
            let tell = match &state.incident {
                Some(incident) if !hushed => {
                    incident.next_due(&state.check, outlook::pending(state, watch)).filter(later)
                }
                _ => None,
            };
            let unmeasured = state.unmeasured_due().filter(|_| !hushed).filter(later);
            let attempt = watch.and_then(|watch| outlook::next_look(state, watch)).filter(later);
            let aside_ends = aside.and_then(|aside| aside.ends());
            let placed = watch.and_then(|watch| watch.placed_by());
            let shown = watch.and_then(|watch| watch.stop_shown_from()).filter(later);
            [Some(probe), aside_ends, tell, unmeasured, attempt, placed, shown].into_iter().flatten().min()
        };
        self.wakeups.set(name, at);
    }

    /// Does what is due for the checks whose moment has come.
    pub(super) fn run_due(&mut self, now: Now, out: &mut Vec<Effect>) {
        // Each check is looked at once: whatever it wants next is at a later moment. And once more, where the failure of
        // another one calls for it.
        for _ in 0..2 * self.checks.len() {
            let Some(name) = self.wakeups.pop(now.mono) else { break };
            self.due(now, &name, out);
        }
    }

    fn due(&mut self, now: Now, name: &CheckName, out: &mut Vec<Effect>) {
        self.hold_due(now, name, out);
        let Some(state) = self.checks.get_mut(name) else { return };
        if let Some((until, _)) = state.pause
            && until <= now.mono
        {
            state.pause = None;
            state.failures = 0;
            state.forget_unmeasured();
            state.next_probe = now.mono;
        }
        let unit = state.check.unit.clone();
        if let Some(unit) = &unit {
            self.place_reading(now, unit, out);
            // Whatever was missed of what is around it ends here.
            self.look_around(now, unit);
        }
        let Some(state) = self.checks.get_mut(name) else { return };
        if state.running.is_some_and(|run| run.lost_at <= now.mono) {
            state.running = None;
            let reason = "the probe was not heard of again".to_owned();
            state.record(now, crate::verdict::Observation::Unknown { reason: reason.clone() });
            self.heard(name);
            self.could_not_measure(now, name, reason, out);
        }
        let Some(state) = self.checks.get_mut(name) else { return };
        if !state.paused() && state.running.is_none() && state.next_probe <= now.mono {
            let late = now.mono.since(state.next_probe);
            if late > schedule::MISSED_AFTER && !state.put_off {
                state.put_off = true;
                state.next_probe = schedule::first(name, state.check.schedule.interval, now.mono);
            } else {
                self.start_probe(now, name, false, out);
            }
        }
        self.overdue(now, name, out);
        self.settle(now, name, out);
    }

    /// Starts a check's probe, or looks at its unit where that is the check. `by_hand`: an operator asked for it, so a
    /// unit is read afresh.
    pub(super) fn start_probe(&mut self, now: Now, name: &CheckName, by_hand: bool, out: &mut Vec<Effect>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        state.put_off = false;
        state.probed = now.mono;
        if state.check.probe.looks_at_unit() && !by_hand {
            state.next_probe = state.next_on_grid(now.mono);
            self.look_at_unit(now, name, out);
            return;
        }
        let run = RunId(self.next_run);
        self.next_run += 1;
        let timeout = state.check.schedule.timeout;
        state.running =
            Some(Run { id: run, started: now.mono, lost_at: now.mono.after(timeout).after(LOST_AFTER) });
        out.push(Effect::Probe {
            check: name.clone(),
            run,
            probe: state.check.probe.clone(),
            unit: state.check.unit.clone(),
            timeout,
        });
    }
}
