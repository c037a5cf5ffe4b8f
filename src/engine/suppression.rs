//! Why a check is left alone now (rules 8 to 12): computed here and nowhere else, with its end.
//!
//! While a check is suppressed its failures do not count, no job is requested for its incident, and no notification is
//! sent. In: the check's pause, the unit's hold, stop, conflict and dependency. Out: the first that applies: an operator's
//! command comes before what systemd shows, and an operator's stop before other reasons to be down.

use std::sync::Arc;

use super::check::Check;
use super::unit::{Condition, Moment, Unit};
use crate::check::Respect;
use crate::time::{Mono, Now};
use crate::unit::UnitName;
use crate::verdict::SuppressedBy;

/// Why a check is suppressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Suppression {
    /// By an operator. It is not even probed.
    Paused { ends: Moment },
    /// A command holds the unit, or the unit is started after that. `others`: what answers now may not be the unit.
    Held { by: SuppressedBy, ends: Option<Mono>, others: bool },
    /// An operator has stopped (or frozen) the unit.
    Stopped { until: Option<Moment> },
    /// The unit is down because `by` is up; `over`: because it was until a moment ago.
    Conflict { by: UnitName, until: Option<Moment>, over: bool },
    /// The unit requires `by`, which must be recovered first; with an end: which is back.
    Dependency { by: UnitName, until: Option<Moment> },
}

impl Suppression {
    /// Why the check is suppressed now, if it is.
    pub fn of(check: &Check, unit: Option<&Unit>, now: Now) -> Option<Self> {
        if let Some(pause) = check.pause() {
            return Some(Self::Paused { ends: pause.ends(now) });
        }
        let unit = unit?;
        if let Some(held) = Self::held(check, unit) {
            return Some(held);
        }
        let stop = || Self::stopped(unit, now).filter(|_| !unit.stopped_for_conflict());
        let others = || Self::conflict(check, unit, now).or_else(|| Self::dependency(check, unit, now));
        if unit.fell_with().is_none() {
            return stop().or_else(others);
        }
        // What went down with a unit that no job of ours brings back counts as down soon.
        let alone = || {
            let (since, wall) = unit.stopped_since().filter(|_| unit.dependency().is_none())?;
            let (at, until) = (since.after(unit.reason_may_follow()), wall.after(unit.reason_may_follow()));
            (now.mono < at).then_some(Self::Stopped { until: Some((at, until)) })
        };
        let apart = || stop().filter(|_| unit.dependency().is_some() && !unit.is_left_down());
        others().or_else(apart).or_else(alone)
    }

    fn held(check: &Check, unit: &Unit) -> Option<Self> {
        let hold = unit.hold().filter(|hold| hold.suppresses())?;
        let holder = hold.holder();
        let by = SuppressedBy::Held {
            id: Arc::clone(&hold.id().0),
            who: Arc::clone(&holder.who),
            why: Arc::clone(&holder.why),
            until: hold.until(),
        };
        // What the holder's command tries out closes no incident, and neither does what has the port in the unit's place.
        let others = check.is_down() || *unit.condition() != Condition::Up;
        Some(Self::Held { by, ends: hold.next_look(), others })
    }

    /// An operator's stop (or freeze), unless it has lasted too long (rule 12).
    pub fn stopped(unit: &Unit, now: Now) -> Option<Self> {
        if unit.is_frozen() && *unit.condition() == Condition::Up {
            return Some(Self::Stopped { until: None });
        }
        let (since, since_wall) = unit.stopped_since()?;
        match unit.respect_stop() {
            Respect::Forever => Some(Self::Stopped { until: None }),
            Respect::For(lasting) => {
                let lasting = lasting.max(unit.reason_may_follow());
                let (at, until) = (since.after(lasting), since_wall.after(lasting));
                (now.mono < at).then_some(Self::Stopped { until: Some((at, until)) })
            }
        }
    }

    fn conflict(check: &Check, unit: &Unit, now: Now) -> Option<Self> {
        let conflict = unit.conflict()?;
        let until = conflict.suppresses(now.mono, &check.settings().recovery)?;
        Some(Self::Conflict { by: conflict.by().clone(), until, over: conflict.is_over() })
    }

    fn dependency(check: &Check, unit: &Unit, now: Now) -> Option<Self> {
        let dependency = unit.dependency().filter(|_| !does_well(check, unit))?;
        let settings = check.settings();
        let until = dependency.suppresses(
            now.mono,
            settings.recovery.grace,
            unit.condition().is_rising(),
            !settings.alert.is_silent(),
        )?;
        Some(Self::Dependency { by: dependency.by().clone(), until })
    }

    /// When it ends if nothing happens; `None`: not by itself.
    pub fn ends(&self) -> Option<Mono> {
        match self {
            Self::Paused { ends } => Some(ends.0),
            Self::Held { ends, .. } => *ends,
            Self::Stopped { until } | Self::Conflict { until, .. } | Self::Dependency { until, .. } => {
                until.map(|(at, _)| at)
            }
        }
    }

    /// The unit is expected back any moment: it is probed as often as one that comes up.
    pub fn is_ending(&self) -> bool {
        matches!(self, Self::Conflict { over: true, .. } | Self::Dependency { until: Some(_), .. })
    }

    /// An incident that opened shortly before, and that nobody was notified of, was the beginning of this.
    pub fn explains_incidents(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Dependency { .. })
    }

    /// What answers a probe now is not the unit.
    pub fn answered_by_others(&self) -> bool {
        match self {
            Self::Paused { .. } | Self::Stopped { .. } | Self::Conflict { .. } => true,
            // Its own unit may run all the same.
            Self::Dependency { .. } => false,
            Self::Held { others, .. } => *others,
        }
    }

    /// As it is shown.
    pub fn shown(&self) -> SuppressedBy {
        match self {
            Self::Paused { ends } => SuppressedBy::Paused { until: ends.1 },
            Self::Held { by, .. } => by.clone(),
            Self::Stopped { until } => SuppressedBy::Stopped { until: until.map(|(_, until)| until) },
            Self::Conflict { by, until, .. } => {
                SuppressedBy::Conflict { by: by.clone(), until: until.map(|(_, until)| until) }
            }
            Self::Dependency { by, until } => {
                SuppressedBy::Dependency { by: by.clone(), until: until.map(|(_, until)| until) }
            }
        }
    }
}

/// Nothing is wrong with the check and its unit, as far as known.
pub(super) fn does_well(check: &Check, unit: &Unit) -> bool {
    let up = matches!(
        unit.condition(),
        Condition::Unread | Condition::Up | Condition::AtRest | Condition::Starting
    );
    up && !check.history().failed_last() && check.failures() == 0 && !check.is_down()
}
