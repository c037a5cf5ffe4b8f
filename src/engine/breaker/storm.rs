//! A storm: many checks on unrelated units fail together (rule 14).
//!
//! In: checks that begin to fail and pass again. Out: when it begins and ends, and how many trials it permits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Breaker, LEAST, Target, Vital, threshold};
use crate::check::CheckName;
use crate::engine::withheld::Withheld;
use crate::notification::{HostNotificationKind, IncidentId};
use crate::time::{Mono, Now, Wall, human};

/// When a check passes again for this long, and no other one begins to in that time, the machine is well again. Longer
/// than `timeout` and `retry_interval` together are by default, so that all that have recovered are seen to have.
const SETTLED: Duration = Duration::from_secs(15);

/// A storm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct Storm {
    id: IncidentId,
    since: Wall,
    opened: Mono,
    /// So many checks failed together when it began, of so many.
    failed: (usize, usize),
    /// The checks in it, with the moment since which they pass again, if they do.
    members: BTreeMap<CheckName, Option<Mono>>,
    /// When the latest of them began to fail.
    joined: Mono,
    /// Recoveries that were permitted to see whether they help.
    trials: usize,
    /// Notifications requested.
    requested: u32,
    /// So many checks were concerned when it was first reported, of so many.
    reported: (usize, usize),
    last_notified: Mono,
    /// All recipients so far.
    to: BTreeSet<Arc<str>>,
}

/// A storm began or ended.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) enum Report {
    Began { id: IncidentId, checks: usize, of: usize },
    Over { storm: Box<Storm>, passing: usize, failing: usize },
}

impl Storm {
    pub fn id(&self) -> &IncidentId {
        &self.id
    }

    pub fn since(&self) -> Wall {
        self.since
    }

    pub fn opened(&self) -> Mono {
        self.opened
    }

    pub fn has(&self, name: &CheckName) -> bool {
        self.members.contains_key(name)
    }

    pub fn members(&self) -> impl Iterator<Item = &CheckName> {
        self.members.keys()
    }

    /// The members that pass again.
    pub fn passing(&self) -> usize {
        self.members.values().flatten().count()
    }

    pub(super) fn withholds(&self) -> Withheld {
        let (failed, of) = self.failed;
        Withheld::Storm { failed, of }
    }

    pub(super) fn passed(&mut self, now: Mono, name: &CheckName) {
        if let Some(passes) = self.members.get_mut(name) {
            passes.get_or_insert(now);
        }
    }

    pub(super) fn leave(&mut self, name: &CheckName) {
        self.members.remove(name);
    }

    pub(super) fn add(&mut self, name: &CheckName) {
        self.members.insert(name.clone(), None);
    }

    /// A check that begins to fail belongs to it if it is a member, or soon after the latest.
    pub(super) fn takes(&mut self, now: Mono, name: &CheckName, related: Duration) -> bool {
        let belongs = self.members.contains_key(name) || now.since(self.joined) <= related;
        if belongs {
            self.members.insert(name.clone(), None);
            self.joined = now;
        }
        belongs
    }

    pub(super) fn record_trial(&mut self) {
        self.trials += 1;
    }

    /// From when on what passes again counts as settled; `None` while nothing does.
    pub(super) fn settles(&self) -> Option<Mono> {
        self.members.values().flatten().max().map(|since| since.after(SETTLED))
    }

    /// A recovery may be tried: some checks pass again, and stay so. As many trials at most as there are such checks, so
    /// that one that does not help is not followed by another before anything else is better.
    pub(super) fn permits_trial(&self, now: Mono, tells: impl Fn(&CheckName) -> bool) -> bool {
        let passing = self.members.iter().filter_map(|(name, passes)| passes.filter(|_| tells(name)));
        let (count, latest) =
            passing.fold((0, None), |(count, latest), since| (count + 1, Some(since).max(latest)));
        latest.is_some_and(|since: Mono| since.after(SETTLED) <= now) && self.trials < count
    }

    // --- notifications

    /// Whether people were notified of it.
    pub fn is_notified(&self) -> bool {
        self.requested > 0
    }

    pub fn requested(&self) -> u32 {
        self.requested
    }

    pub fn last_notified(&self) -> Mono {
        self.last_notified
    }

    /// Numbers a notification: its number, who receives it, and how many checks were concerned at first, of so many.
    pub(in crate::engine) fn number_notification(
        &mut self,
        now: Mono,
        concerned: (usize, usize),
        to: impl IntoIterator<Item = Arc<str>>,
    ) -> (u32, Vec<Arc<str>>, (usize, usize)) {
        if self.requested == 0 {
            self.reported = concerned;
        }
        self.to.extend(to);
        self.requested = self.requested.saturating_add(1);
        self.last_notified = now;
        (self.requested, self.to.iter().cloned().collect(), self.reported)
    }

    /// A sentence for the status.
    pub fn sentence(&self, now: Now, checks: usize) -> String {
        let lasting = human(Duration::from_secs(now.mono.since(self.opened).as_secs()));
        format!(
            "A storm, for {lasting}: {} of {checks} checks began to fail together, {} of them pass again. The cause is \
             probably the machine: no unit is restarted for a failing probe until checks pass again.",
            self.members.len(),
            self.passing()
        )
    }
}

impl Breaker {
    pub(super) fn begin_storm(&mut self, now: Now) {
        let second = now.wall.0.div_euclid(1000).max(self.memory.last_storm.saturating_add(1));
        self.memory.last_storm = second;
        let id = IncidentId::storm(second);
        self.memory.storm = Some(Storm {
            id: id.clone(),
            since: now.wall,
            opened: now.mono,
            failed: (0, self.vitals.len()),
            members: BTreeMap::new(),
            joined: now.mono,
            trials: 0,
            requested: 0,
            reported: (0, 0),
            last_notified: now.mono,
            to: BTreeSet::new(),
        });
        self.join_all(now.mono);
        let Some(storm) = &mut self.memory.storm else { return };
        storm.failed.0 = storm.members.len();
        let (checks, of) = storm.failed;
        let members: Vec<CheckName> = storm.members.keys().cloned().collect();
        self.reports.push(Report::Began { id, checks, of });
        self.memory.staggered.clear();
        self.survey = None;
        self.reviewed = Mono::default();
        self.waiting.extend(members);
    }

    /// Every check that fails, and began to not long ago, belongs to the storm.
    pub(super) fn join_all(&mut self, now: Mono) {
        let Some(storm) = &mut self.memory.storm else { return };
        storm.joined = now;
        for (name, vital) in &self.vitals {
            if vital.fails(now, super::RELATED) {
                storm.members.entry(name.clone()).or_insert(None);
            }
        }
    }

    pub(super) fn review_storm(&mut self, now: Now) {
        let Some(storm) = &mut self.memory.storm else { return };
        let vitals = &self.vitals;
        storm.members.retain(|name, _| vitals.contains_key(name));
        let Some(storm) = &self.memory.storm else { return };
        let failing = self
            .vitals
            .iter()
            .filter(|(name, vital)| storm.has(name) && vital.fails(now.mono, Duration::MAX));
        let still: BTreeSet<&Target> = failing.map(|(_, vital)| &vital.target).collect();
        let (still, settled) = (still.len(), storm.settles().is_some_and(|at| at <= now.mono));
        // All of it is suppressed, no longer configured, or down by systemd's account; or too few checks are watched.
        let pointless = (still == 0 && storm.passing() == 0) || self.watched() < LEAST;
        if pointless || (settled && still < threshold(self.watched())) {
            self.end_storm();
        } else if self.permits_trial(now.mono, storm) && !self.is_turn_taken(now.mono) {
            let members: Vec<CheckName> = storm.members.keys().cloned().collect();
            self.waiting.extend(members);
        }
    }

    /// The machine is well again. What is still down is recovered, one unit after the other.
    fn end_storm(&mut self) {
        let Some(storm) = self.memory.storm.take() else { return };
        let failing = |vital: &Vital| vital.failing_since.is_some();
        let members = || storm.members.keys().filter_map(|name| Some((name, self.vitals.get(name)?)));
        let still = members().filter(|(_, vital)| failing(vital)).count();
        let staggered =
            members().filter(|(_, vital)| failing(vital) && matches!(vital.target, Target::Unit(_)));
        self.memory.staggered = staggered.map(|(name, _)| name.clone()).collect();
        let passing = storm.members.len().saturating_sub(still);
        self.waiting.extend(storm.members.keys().cloned());
        self.reports.push(Report::Over { storm: Box::new(storm), passing, failing: still });
    }

    /// Storms that began or ended since this was last called.
    pub fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    pub fn storm_mut(&mut self) -> Option<&mut Storm> {
        self.memory.storm.as_mut()
    }
}

/// The kind of a storm's next notification.
pub(in crate::engine) fn next_kind(storm: &Storm) -> HostNotificationKind {
    if storm.is_notified() { HostNotificationKind::StillStorm } else { HostNotificationKind::Storm }
}
