//! Dependency: a unit that this one requires must be recovered first, or is down on purpose (rule 9).
//!
//! In: the root, by the graph. Out: a mark on the unit, and whether a check is suppressed for it. When the root is back,
//! the unit has a short time to come back with it; then it counts as down, and is started again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::conflict::Moment;
use crate::engine::graph::Root;
use crate::time::{Mono, Now, human};
use crate::unit::UnitName;

/// A unit that is down and that systemd brings back itself is on its way within this time after its root is back.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(10);

/// The mark on a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Dependency {
    by: UnitName,
    /// The root has (or had) failed; otherwise it is down on purpose.
    failed: bool,
    /// The root is (or was) held.
    held: bool,
    /// No notification is sent about the root.
    silent: bool,
    /// When the root was back, once it is.
    over: Option<Moment>,
}

impl Dependency {
    /// The mark of a unit that went down with another one, which is back already.
    pub fn back(by: UnitName, now: Now) -> Self {
        Self { by, failed: true, held: false, silent: false, over: Some((now.mono, now.wall)) }
    }

    /// Brings the mark up to date with the root.
    pub fn update(mark: &mut Option<Self>, now: Now, root: Option<Root>) {
        match (root, mark.as_mut()) {
            (Some(root), known) => {
                let held = root.held || known.is_some_and(|known| known.by == root.by && known.held);
                let Root { by, opened, silent, comes_back, .. } = root;
                *mark = Some(Self { by, failed: opened.is_some() || comes_back, held, silent, over: None });
            }
            (None, Some(known)) if known.over.is_none() => known.over = Some((now.mono, now.wall)),
            (None, _) => {}
        }
    }

    pub fn by(&self) -> &UnitName {
        &self.by
    }

    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// The root came back at this very moment.
    pub fn ends_now(&self, now: Now) -> bool {
        self.over == Some((now.mono, now.wall))
    }

    /// What stopped with the root is started again when the root is back: it had failed, or was held.
    pub fn brings_back(&self) -> bool {
        self.over.is_some() && (self.failed || self.held)
    }

    /// Why a unit that is still down after its root is back counts as down.
    pub fn too_long(&self, now: Mono) -> Option<String> {
        let (over, _) = self.over?;
        let ended = human(now.since(over));
        Some(format!(
            "unit went down with {}, which has been back for {ended}, and has not come back",
            self.by
        ))
    }

    /// Until when a check is suppressed (`Some(None)`: as long as the root is down); `None`: it is not.
    /// `up`: the unit is up, and has its grace to find its root again. `notifies`: the check has recipients, from whom a
    /// silent root would hide it.
    pub fn suppresses(&self, now: Mono, grace: Duration, up: bool, notifies: bool) -> Option<Option<Moment>> {
        match self.over {
            None if self.silent && notifies => None,
            None => Some(None),
            Some((over, wall)) => {
                let lasting = if up { grace } else { grace.min(COMES_BACK_WITHIN) };
                let at = over.after(lasting);
                (now < at).then_some(Some((at, wall.after(lasting))))
            }
        }
    }
}
