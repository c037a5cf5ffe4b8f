//! The hold on a unit, from when it is granted until the unit has been started again (rule 10).
//!
//! In: the lease's beginning and end, the state of the unit. Out: whether the hold suppresses the unit's checks, when
//! something is to be done about it, and whether the unit is to be started after it. It never stops a unit: the holder does that, with rights of their own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Condition, Unit};
use crate::engine::attempt::JOB_OVERDUE;
use crate::engine::event::AttemptId;
use crate::engine::hold::{HoldId, Holder, HowEnded};
use crate::engine::stop;
use crate::engine::withheld::human_until;
use crate::time::{Mono, Now, Wall};

/// How long the start after a hold may be deferred by other jobs on the unit until the unit counts as down: longer than
/// systemd lets a stop take by default (`DefaultTimeoutStopSec=`, 90 s), as the holder may have been killed in one.
pub(in crate::engine) const DEFERRED_AT_MOST: Duration = Duration::from_secs(120);

/// A unit that is up when its hold ends may have been stopped in it all the same: the reading that shows it comes within
/// this time.
const STOP_READ_WITHIN: Duration = Duration::from_secs(2);

/// A holder that was killed may have requested its stop just before: systemd carries it out within this time.
const LAST_STOP_WITHIN: Duration = Duration::from_millis(200);

/// The hold on a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct UnitHold {
    id: HoldId,
    holder: Holder,
    since: Mono,
    ends: Mono,
    until: Wall,
    /// The unit was up when it began, or down against the operator's wish: it is started when the hold ends.
    start_after: bool,
    /// When it was over, an operator's stop took the place of a start that was queued.
    overruled: bool,
    stage: Stage,
}

/// Where a hold is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stage {
    /// The lease is open.
    Open,
    /// It is over; the unit is to be started. `stops_until`: a stop that began before then is of the hold. `since`: since
    /// when the start has been possible.
    Over { stops_until: Mono, since: Mono },
    /// Its start was requested.
    Starting { attempt: AttemptId, requested: Mono, stops_until: Mono },
    /// The start takes so long that the checks count again.
    Overdue { attempt: AttemptId, stops_until: Mono },
}

impl UnitHold {
    pub fn new(id: HoldId, holder: Holder, now: Now, lasting: Duration, start_after: bool) -> Self {
        Self {
            id,
            holder,
            since: now.mono,
            ends: now.mono.after(lasting),
            until: now.wall.after(lasting),
            start_after,
            overruled: false,
            stage: Stage::Open,
        }
    }

    pub fn id(&self) -> &HoldId {
        &self.id
    }

    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    pub fn since(&self) -> Mono {
        self.since
    }

    pub fn until(&self) -> Wall {
        self.until
    }

    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Its time has run out.
    pub fn is_expired(&self, now: Mono) -> bool {
        self.is_open() && self.ends <= now
    }

    /// The unit is to be started after it.
    pub fn starts_after(&self) -> bool {
        self.start_after
    }

    /// The lease is closed.
    pub fn end(&mut self, now: Mono, how: HowEnded) {
        let stops_until =
            if matches!(how, HowEnded::Gone | HowEnded::Lost) { now.after(LAST_STOP_WITHIN) } else { now };
        self.stage = Stage::Over { stops_until, since: now };
    }

    /// What stopped the unit later is no matter of the hold; `None`: it is open.
    pub fn stops_until(&self) -> Option<Mono> {
        match self.stage {
            Stage::Open => None,
            Stage::Over { stops_until, .. }
            | Stage::Starting { stops_until, .. }
            | Stage::Overdue { stops_until, .. } => Some(stops_until),
        }
    }

    /// An operator's stop took the place of a start of the unit, as it is read now. Once the hold is over, that stop is none
    /// of its own.
    pub fn record_stop(&mut self, now: Mono) {
        self.overruled |= self.stops_until().is_some_and(|until| until < now);
    }

    /// Such a stop was read.
    pub fn is_overruled(&self) -> bool {
        self.overruled
    }

    /// Since when the start has been possible, while it is not requested yet.
    pub fn over_since(&self) -> Option<Mono> {
        match self.stage {
            Stage::Over { since, .. } => Some(since),
            _ => None,
        }
    }

    /// Until when a unit that is up may have been stopped in the hold.
    pub fn stop_read_by(&self) -> Option<Mono> {
        self.over_since().map(|since| since.after(STOP_READ_WITHIN))
    }

    /// The start that was requested, and when; `None` once it is overdue.
    pub fn start_requested(&self) -> Option<Mono> {
        match self.stage {
            Stage::Starting { requested, .. } => Some(requested),
            _ => None,
        }
    }

    /// The start is not possible, and nothing says that it will not be: the time does not count.
    pub fn postpone(&mut self, now: Mono) {
        if let Stage::Over { since, .. } = &mut self.stage {
            *since = now;
        }
    }

    /// The start is requested now.
    pub fn record_start(&mut self, now: Mono, attempt: AttemptId) {
        if let Stage::Over { stops_until, .. } = self.stage {
            self.stage = Stage::Starting { attempt, requested: now, stops_until };
        }
    }

    /// The start takes too long.
    pub fn record_overdue(&mut self) {
        if let Stage::Starting { attempt, stops_until, .. } = self.stage {
            self.stage = Stage::Overdue { attempt, stops_until };
        }
    }

    /// Whether this is the start after the hold.
    pub fn starts_by(&self, id: AttemptId) -> bool {
        matches!(self.stage, Stage::Starting { attempt, .. } | Stage::Overdue { attempt, .. } if attempt == id)
    }

    /// It suppresses the unit's checks.
    pub fn suppresses(&self) -> bool {
        !matches!(self.stage, Stage::Overdue { .. })
    }

    /// When something is to be done about it although nothing happens.
    pub fn next_look(&self) -> Option<Mono> {
        match self.stage {
            Stage::Open => Some(self.ends),
            Stage::Over { since, .. } => Some(since.after(DEFERRED_AT_MOST)),
            Stage::Starting { requested, .. } => Some(requested.after(JOB_OVERDUE)),
            Stage::Overdue { .. } => None,
        }
    }

    /// After a restart of the daemon: the start that was requested may never have reached systemd, so it is requested
    /// again where the unit is not up. The wall clock may have been set.
    pub fn resume_after_restart(&mut self, now: Now) {
        match &mut self.stage {
            Stage::Open => self.until = now.wall.after(self.ends.since(now.mono)),
            Stage::Over { since, .. } => *since = now.mono,
            Stage::Starting { stops_until, .. } | Stage::Overdue { stops_until, .. } => {
                self.stage = Stage::Over { stops_until: *stops_until, since: now.mono };
            }
        }
    }

    /// One clause: what happens next.
    pub fn next_clause(&self, now: Now) -> String {
        let who = &self.holder.who;
        match self.stage {
            Stage::Open => format!("held by {who}, for {} at most", human_until(now.mono, self.ends)),
            Stage::Over { .. } => format!("to be started after the hold of {who}"),
            Stage::Starting { .. } | Stage::Overdue { .. } => {
                format!("being started after the hold of {who}")
            }
        }
    }
}

impl Unit {
    /// An operator has stopped it, down or on its way down as it was, when its hold was over.
    pub fn is_stopped_after_hold(&self) -> bool {
        let Some(hold) = self.hold() else { return false };
        let stop = self.stops().stop().filter(|_| self.stops().is_explicit());
        let later = hold.stops_until().zip(stop).is_some_and(|(over, stop)| stop.since().0 > over);
        later || hold.is_overruled()
    }

    /// Whether it is to be up again after a hold that begins now: not where it was stopped on purpose before, and not
    /// where it is at rest or cannot be started.
    pub fn is_wanted_up(&self) -> bool {
        let wanted_down = match self.condition() {
            Condition::Stopped | Condition::AtRest => true,
            Condition::Stopping => self.reading().is_some_and(|state| stop::is_operators_job(state)),
            _ => self.stops().is_by_step(),
        };
        self.id().can_be_started() && !wanted_down
    }
}
