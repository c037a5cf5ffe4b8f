//! Blocked: what a unit needs has an incident of its own, or is left alone while it is down (rule 9).
//!
//! In: the incidents of what a unit needs, by systemd's graph. Out: a mark on the unit, and what it means for each of its
//! checks: nothing is counted, nothing is done and nobody is told, since that is done for the root. When the root is
//! well again the unit has its grace to come back with it. It asks for nothing.

use super::Engine;
use super::state::{Aside, Base, CheckState};
use super::watch::{Condition, UnitWatch};
use crate::check::CheckName;
use crate::notification::Dependent;
use crate::time::{Mono, Now, Wall, human};
use crate::unit::UnitName;
use crate::verdict::Observation;

/// The mark on the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    /// The root: what must be well before this unit can be.
    pub by: UnitName,
    /// The root has an incident; otherwise it is down and left alone.
    pub incident: bool,
    /// Nobody is told of the root.
    pub silent: bool,
    /// When the root was well again, once it is.
    pub over: Option<(Mono, Wall)>,
}

/// What is the matter with a unit that others need.
#[derive(Clone, Debug)]
struct Root {
    by: UnitName,
    /// When its incident opened; `None`: it is down and left alone.
    opened: Option<Mono>,
    silent: bool,
}

impl UnitWatch {
    fn block(&mut self, now: Now, root: Option<Root>, fell_together: bool) {
        self.taken_down |= fell_together && !self.is_rising();
        match (root, &mut self.blocked) {
            (Some(root), mark) => {
                let incident = root.opened.is_some();
                *mark = Some(Blocked { by: root.by, incident, silent: root.silent, over: None });
            }
            (None, Some(mark)) if mark.over.is_none() => mark.over = Some((now.mono, now.wall)),
            (None, _) => {}
        }
    }

    /// The unit went down with a root whose incident is over, and nobody has started it again.
    pub(super) fn left_behind(&self) -> bool {
        self.taken_down && self.blocked.as_ref().is_some_and(|mark| mark.incident && mark.over.is_some())
    }

    /// Why a unit that is down counts as such, where it was blocked.
    pub(super) fn blocked_too_long(&self, now: Now) -> Option<String> {
        let Blocked { by, over, .. } = self.blocked.as_ref().filter(|_| self.left_behind())?;
        let ended = human(now.mono.since(over.as_ref()?.0));
        Some(format!("unit went down with {by}, which has been well for {ended}, and has not come back"))
    }

    /// Why there is no use in a job on the unit now.
    pub(super) fn needs_first(&self) -> Option<String> {
        let Blocked { by, incident, .. } = self.blocked.as_ref().filter(|mark| mark.over.is_none())?;
        let what = if *incident { "has an incident of its own" } else { "is down and left alone" };
        Some(format!("{by}, which the unit requires, {what}"))
    }
}

impl CheckState {
    /// Something that the unit needs has to be mended first.
    pub(super) fn blockade(&self, now: Now, watch: &UnitWatch) -> Option<Aside> {
        let mark = watch.blocked.as_ref()?;
        if self.is_well(watch) {
            return None;
        }
        let until = match mark.over {
            // Of a root that nobody hears of, those must hear who hear of this check.
            None if mark.silent && !self.check.alert.is_silent() => return None,
            None => None,
            Some((over, wall)) => {
                let grace = self.check.recovery.grace;
                let (at, until) = (over.after(grace), wall.after(grace));
                if now.mono >= at {
                    return None;
                }
                Some((at, until))
            }
        };
        Some(Aside::Blocked { by: mark.by.clone(), until })
    }

    /// Nothing is amiss with the check and its unit, as far as is known.
    pub(super) fn is_well(&self, watch: &UnitWatch) -> bool {
        let up = matches!(
            watch.condition,
            Condition::Unread | Condition::Up | Condition::Resting | Condition::Starting
        );
        let passed = self.history.last().is_none_or(|seen| !failed(&seen.observation));
        up && passed && self.failures == 0 && self.incident.is_none()
    }
}

fn failed(observation: &Observation) -> bool {
    matches!(observation, Observation::Failing { .. })
}

impl Engine {
    /// Something about the unit is another: those that have it around them are looked at again.
    pub(super) fn stir(&mut self, now: Now, unit: &UnitName) {
        for name in self.graph.touched_by(unit) {
            self.look_around(now, &name);
        }
    }

    /// Brings the marks of a guarded unit up to date. Where they change, its checks are settled before the event is over.
    pub(super) fn look_around(&mut self, now: Now, unit: &UnitName) {
        let in_the_way = self.graph.in_the_way_of(unit);
        let fell = self.graph.fell(unit);
        let root = self.root_for(now, unit);
        let fell_together = self.graph.fell_with_required(unit);
        let known = self.graph.is_known(unit);
        let Some(watch) = self.units.get_mut(unit) else { return };
        let before = (watch.displaced.clone(), watch.blocked.clone());
        // After a restart of the daemon: as long as what stood in the way is not read yet, nothing says that it has gone.
        if known || watch.condition != Condition::Unread {
            watch.displace(now, in_the_way, fell);
        }
        watch.block(now, root, fell_together);
        if before.0 != watch.displaced || before.1 != watch.blocked || watch.unplaced.is_some() {
            self.stirred.insert(unit.clone());
        }
    }

    /// What must be well before this unit can be, and is not blocked itself.
    fn root_for(&self, now: Now, unit: &UnitName) -> Option<Root> {
        let mut roots = self.troubles_of_required(now, unit);
        // In a circle the one that was first is the root of the others.
        let own = self.trouble(now, unit);
        let before_own = |root: &Root| {
            let circle = self.graph.required(&root.by).contains(unit);
            !circle || own.as_ref().is_none_or(|own| precedes(root, own))
        };
        roots.retain(before_own);
        let is_root = |root: &&Root| {
            let deeper = self.troubles_of_required(now, &root.by);
            let circle = |other: &Root| self.graph.required(&other.by).contains(&root.by);
            !deeper.iter().any(|other| !circle(other) || precedes(other, root))
        };
        let first = |roots: &mut dyn Iterator<Item = &Root>| {
            roots.min_by_key(|root| (root.opened.is_none(), root.opened, root.by.clone())).cloned()
        };
        first(&mut roots.iter().filter(is_root)).or_else(|| first(&mut roots.iter()))
    }

    fn troubles_of_required(&self, now: Now, unit: &UnitName) -> Vec<Root> {
        self.graph.required(unit).iter().filter_map(|name| self.trouble(now, name)).collect()
    }

    /// What is the matter with a guarded unit itself, whatever it needs.
    fn trouble(&self, now: Now, unit: &UnitName) -> Option<Root> {
        let watch = self.units.get(unit)?;
        let states = || watch.checks.iter().filter_map(|name| self.checks.get(name));
        let open = states().filter_map(|state| Some((state.incident.as_ref()?.opened, state)));
        if let Some((opened, _)) = open.clone().min_by_key(|(opened, _)| *opened) {
            // It is enough if one of them is told.
            let silent = open.clone().all(|(_, state)| state.check.alert.is_silent() || state.paused());
            return Some(Root { by: unit.clone(), opened: Some(opened), silent });
        }
        if !self.graph.is_down(unit) {
            return None;
        }
        // What blocks this unit in turn is a root further down.
        let own = |aside: &Aside| !matches!(aside, Aside::Blocked { until: None, .. });
        let mut asides = states().filter_map(|state| state.aside(now, Some(watch))).filter(own);
        let aside = asides.next()?;
        let paused = |aside: Aside| matches!(aside, Aside::Paused { .. });
        // What somebody stopped or displaced is nobody's news; what is paused may be down for any reason.
        let silent = paused(aside) && asides.all(paused);
        Some(Root { by: unit.clone(), opened: None, silent })
    }

    /// What the unit takes down with it: the checks of the guarded units that require it.
    pub(super) fn taken_down_by(&self, unit: &UnitName) -> Vec<Dependent> {
        let mut taken = Vec::new();
        for name in self.graph.requiring(unit) {
            let Some(watch) = self.units.get(&name) else { continue };
            for state in watch.checks.iter().filter_map(|check| self.checks.get(check)) {
                let well = state.is_well(watch);
                taken.push(Dependent { check: state.check.name.clone(), unit: name.clone(), well });
            }
        }
        taken
    }

    /// A check of something that the unit needs fails, and it is not settled yet whether that is down: a failure of this
    /// check is probably the same trouble.
    pub(super) fn suspect(&self, name: &CheckName) -> Option<CheckName> {
        let unit = self.checks.get(name)?.check.unit.as_ref()?;
        let required = self.graph.required(unit);
        let checks = required.iter().filter_map(|name| self.units.get(name)).flat_map(|watch| &watch.checks);
        let failing =
            |name: &&CheckName| self.checks.get(*name).is_some_and(|state| state.base == Base::Failing);
        checks.into_iter().find(failing).cloned()
    }

    /// A check has failed: what its unit needs is probed now, since it may be what fails.
    pub(super) fn look_at_required(&mut self, now: Now, name: &CheckName) {
        let Some(unit) = self.checks.get(name).and_then(|state| state.check.unit.clone()) else { return };
        let required = self.graph.required(&unit);
        let checks = required.iter().filter_map(|name| self.units.get(name)).flat_map(|watch| &watch.checks);
        for name in checks.cloned().collect::<Vec<_>>() {
            let Some(state) = self.checks.get_mut(&name) else { continue };
            let at_rest = state.failures == 0 && state.incident.is_none() && state.running.is_none();
            if at_rest && !state.paused() {
                state.next_probe = state.next_probe.min(now.mono);
                // In the next turn: this one is in the midst of another check.
                self.wakeups.set(&name, Some(now.mono));
            }
        }
    }

    /// Settles the units whose surroundings have changed in this event, and those that this changes in turn.
    pub(super) fn settle_stirred(&mut self, now: Now, out: &mut Vec<super::Effect>) {
        // A root settles in one round and what it blocks in the next; each unit has its turn, whatever the graph.
        for _ in 0..2 * self.units.len() {
            let Some(unit) = self.stirred.pop_first() else { return };
            self.place_reading(now, &unit, out);
            let Some(watch) = self.units.get(&unit) else { continue };
            let names = watch.checks.clone();
            if watch.blocked.as_ref().is_some_and(|mark| mark.over == Some((now.mono, now.wall))) {
                self.look_now(now, &unit);
            }
            for name in &names {
                self.overdue(now, name, out);
            }
            self.settle_unit(now, &unit, out);
        }
    }
}

/// Of two that need each other, whose trouble came first. One without an incident is down on purpose: that is why the
/// other is.
fn precedes(one: &Root, other: &Root) -> bool {
    (one.opened, &one.by) < (other.opened, &other.by)
}
