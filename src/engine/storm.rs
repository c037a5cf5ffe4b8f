//! What is remembered of a storm: many checks on unrelated units fail together, so that it is the machine and not the
//! units (rule 14).
//!
//! Values and small questions about them; what begins and ends a storm, and what it holds back, stands in `brake`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::watch::Condition;
use crate::check::CheckName;
use crate::notification::IncidentId;
use crate::time::{Mono, Now, Wall};
use crate::unit::UnitName;

/// Fewer failures than this are never a storm (rule 14).
pub(super) const LEAST: usize = 5;

/// Failures that begin within this time of each other come together (rule 14).
pub(super) const TOGETHER: Duration = Duration::from_secs(30);

/// A check that begins to fail within this time of another may do so for the same reason: a reason to look at the rest
/// before a unit is restarted, and in a storm to count it in.
pub(super) const RELATED: Duration = Duration::from_mins(5);

/// A check that passes again for this long, and no other one begins to in that time: the machine is well again. Longer
/// than `timeout` and `retry_interval` together are by default, so that all that have recovered are seen to have.
pub(super) const SETTLED: Duration = Duration::from_secs(15);

/// The first reminder comes after this time, whatever `repeat_interval` says: nothing is restarted meanwhile, so somebody must
/// look.
pub(super) const LASTS: Duration = Duration::from_mins(30);

/// At least that many things must fail together, of so many. Things: units, and checks without one.
pub(super) fn threshold(things: usize) -> usize {
    LEAST.max(things.div_ceil(3))
}

/// systemd's own word about the unit explains why a check of it does not pass: it is not the machine.
pub(super) fn explained(condition: &Condition) -> bool {
    matches!(
        condition,
        Condition::Ended(_)
            | Condition::Failed(_)
            | Condition::Missing(_)
            | Condition::AutoRestart
            | Condition::Stopped
    )
}

/// What counts once, however many checks speak for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing<'a> {
    Unit(&'a UnitName),
    Check(&'a CheckName),
}

/// What holds recoveries back that would be right for one unit, and wrong for many.
#[derive(Debug, Default)]
pub(super) struct Brake {
    /// The storm that is on.
    pub storm: Option<Storm>,
    /// Checks of the last storm whose units wait to be recovered one after the other.
    pub convoy: BTreeSet<CheckName>,
    /// Whose turn it is, and since when: the next comes once the attempt on this unit is judged.
    pub turn: Option<(UnitName, Mono)>,
    /// Checks that wait for the end of a look-around, or for their turn.
    pub waiting: BTreeSet<CheckName>,
    /// The look-around that is under way.
    pub look: Option<LookAround>,
    /// When the last one ended without a storm.
    pub looked: Option<Mono>,
    /// When something is due here though nothing happens.
    pub due: Option<Mono>,
    /// When the storm that is on was last looked at as a whole.
    pub reviewed: Mono,
    /// The wall-clock second that the latest storm's id carries.
    pub last_storm: i64,
}

/// Other checks are probed before their time, to learn whether it is the machine.
#[derive(Debug)]
pub(super) struct LookAround {
    /// Those that were well when it began.
    pub sample: Vec<CheckName>,
    /// Those of them that have not been heard of.
    pub awaited: BTreeSet<CheckName>,
    /// It is not waited for longer.
    pub until: Mono,
}

/// A storm that is on.
#[derive(Debug)]
pub(super) struct Storm {
    pub id: IncidentId,
    pub since: Wall,
    pub opened: Mono,
    /// So many checks failed together when it began, of so many.
    pub failed: (usize, usize),
    /// The checks in it; with the moment since which they pass again, if they do.
    pub members: BTreeMap<CheckName, Option<Mono>>,
    /// When the latest of them began to fail.
    pub joined: Mono,
    /// Recoveries that were let through to see whether they help.
    pub trials: usize,
    /// Notices asked for.
    pub asked: u32,
    /// So many checks were concerned when it was first told, of so many.
    pub told: (usize, usize),
    /// When the last notification was asked for.
    pub last_notified: Mono,
    /// Everybody who was told.
    pub to: BTreeSet<Arc<str>>,
}

impl Storm {
    /// Why a recovery is held back; the same words for as long as the storm lasts, as each change of them is told.
    pub(super) fn why(&self) -> String {
        let (failed, of) = self.failed;
        format!(
            "storm brake: {failed} of {of} checks began to fail together; it looks like the machine, not the units"
        )
    }

    /// The members that pass again.
    pub(super) fn passing(&self) -> usize {
        self.members.values().flatten().count()
    }

    /// From when on what passes again counts as settled; `None` while nothing does.
    pub(super) fn settles(&self) -> Option<Mono> {
        self.members.values().flatten().max().map(|since| since.after(SETTLED))
    }

    /// A recovery may be tried although it is on: some checks pass again, and stay so. As many trials at most as there
    /// are such checks, so that one that does not help is not followed by another before anything else is better.
    /// `tells`: a check that reaches what it probes as most do; that one measures again what a unit uses says little.
    pub(super) fn permits_trial(&self, now: Mono, tells: impl Fn(&CheckName) -> bool) -> bool {
        // (Most fail, as a rule, and each of them asks this at each of its steps.)
        let passing = self.members.iter().filter_map(|(name, passes)| passes.filter(|_| tells(name)));
        let (count, latest) =
            passing.fold((0, None), |(count, latest), since| (count + 1, Some(since).max(latest)));
        latest.is_some_and(|since: Mono| since.after(SETTLED) <= now) && self.trials < count
    }
}

/// A storm on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedStorm {
    id: IncidentId,
    /// As it is told.
    since: Wall,
    /// The same by the wall clock as it was when this was saved: it may have been set meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opened: Option<Wall>,
    failed: (usize, usize),
    members: BTreeMap<CheckName, Option<Wall>>,
    joined: Wall,
    trials: usize,
    asked: u32,
    told: (usize, usize),
    last_notified: Wall,
    to: BTreeSet<Arc<str>>,
}

/// The brake on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedBrake {
    storm: Option<SavedStorm>,
    convoy: BTreeSet<CheckName>,
    last_storm: i64,
}

impl Brake {
    pub(super) fn save(&self, now: Now) -> SavedBrake {
        let storm = self.storm.as_ref().map(|storm| SavedStorm {
            id: storm.id.clone(),
            since: storm.since,
            opened: Some(now.wall_of(storm.opened)),
            failed: storm.failed,
            members: storm
                .members
                .iter()
                .map(|(name, passes)| (name.clone(), passes.map(|since| now.wall_of(since))))
                .collect(),
            joined: now.wall_of(storm.joined),
            trials: storm.trials,
            asked: storm.asked,
            told: storm.told,
            last_notified: now.wall_of(storm.last_notified),
            to: storm.to.clone(),
        });
        SavedBrake { storm, convoy: self.convoy.clone(), last_storm: self.last_storm }
    }

    /// `then`: a moment at which both clocks are known.
    pub(super) fn restore(now: Now, then: Now, saved: SavedBrake) -> Self {
        let mono = |at: Wall| then.mono_of(at).min(now.mono);
        let storm = saved.storm.map(|storm| Storm {
            id: storm.id,
            since: storm.since,
            opened: mono(storm.opened.unwrap_or(storm.since)),
            failed: storm.failed,
            members: storm.members.into_iter().map(|(name, passes)| (name, passes.map(mono))).collect(),
            joined: mono(storm.joined),
            trials: storm.trials,
            asked: storm.asked,
            told: storm.told,
            last_notified: mono(storm.last_notified),
            to: storm.to,
        });
        Self { storm, convoy: saved.convoy, last_storm: saved.last_storm, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_all_and_five_at_least() {
        assert_eq!([1, 5, 12, 15, 16, 200].map(threshold), [5, 5, 5, 5, 6, 67]);
    }
}
