//! Another configuration takes the place of the running one, or systemd resolves a name to another unit.
//!
//! In: valid checks; aliases. Out: what is known of a check under its name and unit is kept, what is no longer configured
//! is dropped, with its incident closed (rule 17).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::check::Check;
use super::group::{Group, GroupKey};
use super::{Effect, Engine};
use crate::check::{Check as Settings, CheckName};
use crate::time::Now;
use crate::unit::UnitName;

impl Engine {
    pub(super) fn configured(&mut self, now: Now, checks: Vec<Settings>, out: &mut Vec<Effect>) {
        let new: BTreeMap<CheckName, (GroupKey, Settings)> =
            checks.into_iter().map(|check| (check.name.clone(), (self.key_for(&check), check))).collect();
        let old: Vec<(CheckName, GroupKey)> =
            self.index.iter().map(|(name, key)| (name.clone(), key.clone())).collect();
        for (name, key) in &old {
            if new.get(name).is_none_or(|(now_in, _)| now_in != key) {
                self.with_group(now, key, out, |group, cx| group.close_removed(cx, name));
                self.breaker.forget(name);
            }
        }
        let mut known: BTreeMap<CheckName, (GroupKey, Check)> = BTreeMap::new();
        for (key, group) in &mut self.groups {
            for check in group.take_checks() {
                known.insert(check.name().clone(), (key.clone(), check));
            }
        }
        let used: BTreeSet<GroupKey> = new.values().map(|(key, _)| key.clone()).collect();
        let unused: Vec<GroupKey> = self.groups.keys().filter(|key| !used.contains(*key)).cloned().collect();
        for key in unused {
            self.with_group(now, &key, out, Group::drop_hold);
            // Another configuration may name it again: an operator's stop is no less one for that.
            if let Some(unit) = self.groups.get(&key).and_then(Group::unit) {
                self.graph.remember(unit.id(), unit.stops());
            }
            self.groups.remove(&key);
            self.timers.set(&key, None);
        }
        self.index.clear();
        for (name, (key, settings)) in new {
            let settings = Arc::new(settings);
            let check = match known.remove(&name) {
                Some((was_in, check)) if was_in == key => check.reconfigured(settings, now),
                Some((_, check)) => check.moved(settings, now),
                None => Check::new(settings, now),
            };
            let graph = &mut self.graph;
            let group = self.groups.entry(key.clone()).or_insert_with(|| {
                let mut group = Group::new(&key);
                if let Some(unit) = group.unit_mut()
                    && let Some(stops) = graph.recall(unit.id())
                {
                    unit.recall_stop(stops);
                }
                group
            });
            group.add(check);
            self.index.insert(name, key);
        }
        self.aliases.retain(|alias, _| {
            let configured = |check: &Check| check.settings().unit.as_ref() == Some(alias);
            self.groups.values().any(|group| group.checks().iter().any(configured))
        });
        self.monitor(now, out);
    }

    fn key_for(&self, check: &Settings) -> GroupKey {
        match &check.unit {
            Some(unit) => self.key_of(unit),
            None => GroupKey::Check(check.name.clone()),
        }
    }

    /// The graph and the groups are brought together: a unit that was read as a neighbour until now is not read again.
    fn monitor(&mut self, now: Now, out: &mut Vec<Effect>) {
        let units = self.groups.iter().filter_map(|(key, group)| match key {
            GroupKey::Unit(unit) => Some((unit.clone(), group.follows_trigger())),
            GroupKey::Check(_) => None,
        });
        let units: BTreeMap<UnitName, bool> = units.collect();
        let started = self
            .groups
            .values()
            .filter_map(|group| Some((group.unit()?.id().clone(), group.started_units())));
        let started = started.collect();
        self.graph.set_monitored(now, &units, started);
        for unit in units.into_keys() {
            let key = GroupKey::Unit(unit.clone());
            let unread =
                self.groups.get(&key).and_then(Group::unit).is_some_and(|unit| unit.reading().is_none());
            if let Some(state) = self.graph.reading(&unit).cloned().filter(|_| unread) {
                self.with_group(now, &key, out, |group, cx| group.unit_read(cx, state));
            }
        }
        self.dirty.extend(self.groups.keys().cloned());
    }

    /// systemd has resolved a configured name. The checks of an alias join the group of its unit; what is known of the unit
    /// comes along where the group is new.
    pub(super) fn unit_resolved(&mut self, now: Now, name: UnitName, id: UnitName, out: &mut Vec<Effect>) {
        let (from, to) = (self.key_of(&name), GroupKey::Unit(id.clone()));
        if name == id {
            self.aliases.remove(&name);
        } else {
            self.aliases.insert(name.clone(), id.clone());
        }
        if from == to {
            return;
        }
        let concerned = |check: &Check| check.settings().unit.as_ref() == Some(&name);
        let Some(mut group) = self.groups.remove(&from) else { return };
        let (moving, staying): (Vec<Check>, Vec<Check>) =
            group.take_checks().into_iter().partition(concerned);
        if moving.is_empty() {
            staying.into_iter().for_each(|check| group.add(check));
            self.groups.insert(from, group);
            return;
        }
        for check in &moving {
            self.index.insert(check.name().clone(), to.clone());
        }
        if staying.is_empty() && !self.groups.contains_key(&to) {
            if let Some(unit) = group.unit_mut() {
                unit.rename(id);
            }
            moving.into_iter().for_each(|check| group.add(check));
            self.groups.insert(to, group);
            self.timers.set(&from, None);
        } else {
            let joined = self.groups.entry(to.clone()).or_insert_with(|| Group::new(&to));
            if let (Some(unit), Some(other)) = (joined.unit_mut(), group.unit_mut())
                && unit.hold().is_none()
                && staying.is_empty()
            {
                *unit.hold_mut() = other.hold_mut().take();
            }
            moving.into_iter().for_each(|check| joined.add(check));
            if staying.is_empty() {
                self.timers.set(&from, None);
            } else {
                staying.into_iter().for_each(|check| group.add(check));
                self.groups.insert(from, group);
            }
        }
        self.monitor(now, out);
    }
}
