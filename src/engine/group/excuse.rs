//! Why a failure does not count although the check is not suppressed: the unit comes up, goes down, or waits (rules 6 and 12).
//!
//! In: the unit's attempt, stop and start. Out: an excuse, with its end. It changes nothing.

use std::time::Duration;

use super::Group;
use crate::check::Respect;
use crate::engine::check::Check;
use crate::time::{Mono, Now};

/// A start job that waits this long for other units is reported as a failure.
const START_WAITS_AT_MOST: Duration = Duration::from_secs(600);

/// systemd's own restart is awaited in silence when it comes within this time (or the check's `grace`, if that is longer):
/// as long as systemd lets a start take by default (`DefaultTimeoutStartSec=`). What takes longer is reported, with when.
const RESTART_AWAITED: Duration = Duration::from_secs(90);

/// systemd's own restart has this long more than `RestartSec=` until failures count.
const RESTART_SLACK: Duration = Duration::from_secs(5);

/// Why a failure does not count although the check is not suppressed, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Excuse {
    pub why: String,
    pub until: Option<Mono>,
}

impl Group {
    /// Why a failure does not count now, although the check is not suppressed (rules 6 and 12).
    pub fn excuse(&self, check: &Check, now: Now) -> Option<Excuse> {
        let unit = self.unit.as_ref()?;
        let recovery = &check.settings().recovery;
        let awaited = RESTART_AWAITED.max(recovery.grace);
        let until =
            |why: String, until: Mono| (now.mono < until).then_some(Excuse { why, until: Some(until) });
        if let Some(attempt) = unit.attempt() {
            let step = attempt.step().describe();
            match attempt.ended() {
                None => return Some(Excuse { why: format!("the {step} job is running"), until: None }),
                // (A pass ends the grace.)
                Some(ended) if !check.passed_since(ended) => {
                    let why = format!("the unit may come up after the {step} (grace)");
                    if let Some(excuse) = attempt.grace_until().and_then(|at| until(why, at)) {
                        return Some(excuse);
                    }
                }
                Some(_) => {}
            }
        }
        if let Some(at) = unit.deferred_until() {
            let why = "systemd's account of the unit is not complete yet".to_owned();
            return until(why, at);
        }
        if let Some(since) = unit.stopping_since() {
            let why = "a job is taking the unit down".to_owned();
            return match unit.respect_stop() {
                Respect::Forever => Some(Excuse { why, until: None }),
                Respect::For(lasting) => until(why, since.after(lasting.max(recovery.grace))),
            };
        }
        if let Some(since) = unit.reloading_since() {
            let why = "a reload that somebody requested is running".to_owned();
            return until(why, since.after(awaited));
        }
        if let Some(since) = unit.ending_since() {
            let why = "systemd restarts the unit when it has ended (Restart=)".to_owned();
            return until(why, since.after(awaited));
        }
        if let Some(since) = unit.waiting_since() {
            let why = "the unit's start job waits for other units".to_owned();
            return until(why, since.after(START_WAITS_AT_MOST.max(recovery.grace)));
        }
        if let Some((since, delay)) = unit.auto_restart()
            && delay <= awaited
        {
            let why = "systemd restarts the unit itself (RestartSec=)".to_owned();
            return until(why, since.after(delay).after(RESTART_SLACK));
        }
        let started = unit.started().filter(|started| !check.passed_since(*started))?;
        // systemd restarts a unit with one that it requires and that loops: with a grace each time it would never be down.
        if !unit.condition().is_rising()
            || unit.starts().loops_by_others(now.mono, |at| !check.passed_since(at))
        {
            return None;
        }
        until("the unit has started not long ago (grace)".to_owned(), started.after(recovery.grace))
    }
}
