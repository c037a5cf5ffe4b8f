//! The watched units and the pending jobs: what outlives a connection. Pure.
//!
//! The configuration names units, also by an alias. Everything else here is kept by the unit's primary name (`Id`), which
//! systemd's list of units resolves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use zbus::message::Sequence;

use super::names::unit_path;
use super::pending_jobs::PendingJobs;
use super::unit_tracker::{Read, UnitTracker};
use crate::unit::UnitName;

#[derive(Default)]
pub(super) struct Watched {
    /// Each watched name, and the unit that it names, once that is known.
    names: BTreeMap<UnitName, Option<UnitName>>,
    units: BTreeMap<UnitName, Unit>,
    by_path: HashMap<String, UnitName>,
    pub jobs: PendingJobs,
}

/// One watched unit.
#[derive(Default)]
pub(super) struct Unit {
    pub track: UnitTracker,
    /// The latest signal about it on this connection.
    pub latest_signal: Option<Sequence>,
}

impl Watched {
    /// Watches exactly these names.
    pub fn set(&mut self, names: &BTreeSet<UnitName>) {
        self.names.retain(|name, _| names.contains(name));
        for name in names {
            self.names.entry(name.clone()).or_default();
        }
        self.drop_unnamed();
    }

    /// The watched names.
    pub fn names(&self) -> Vec<UnitName> {
        self.names.keys().cloned().collect()
    }

    /// The name belongs to the unit `id`. Returns whether that must be reported: an alias is new, or names another unit
    /// than before.
    pub fn resolve(&mut self, name: &UnitName, id: &UnitName) -> bool {
        let Some(known) = self.names.get_mut(name) else { return false };
        let before = known.replace(id.clone());
        if before.as_ref() == Some(id) {
            return false;
        }
        self.units.entry(id.clone()).or_default();
        self.by_path.insert(unit_path(id.as_str()), id.clone());
        if before.is_some() {
            self.drop_unnamed();
        }
        before.is_some() || name != id
    }

    /// Lets go of the units that no watched name belongs to.
    fn drop_unnamed(&mut self) {
        let named: BTreeSet<&UnitName> = self.names.values().flatten().collect();
        self.units.retain(|id, _| named.contains(id));
        self.by_path.retain(|_, id| named.contains(id));
    }

    /// The unit that the name belongs to, as far as is known; watched or not.
    pub fn id(&self, name: &UnitName) -> UnitName {
        self.names.get(name).and_then(Option::as_ref).unwrap_or(name).clone()
    }

    pub fn unit(&self, id: &UnitName) -> Option<&Unit> {
        self.units.get(id)
    }

    pub fn unit_mut(&mut self, id: &UnitName) -> Option<&mut Unit> {
        self.units.get_mut(id)
    }

    pub fn units_mut(&mut self) -> impl Iterator<Item = &mut Unit> {
        self.units.values_mut()
    }

    /// The watched unit whose signals come from this object.
    pub fn by_path(&self, path: &str) -> Option<&UnitName> {
        self.by_path.get(path)
    }

    /// The connection is lost: no reply will come any more.
    pub fn lost(&mut self) {
        for unit in self.units.values_mut() {
            unit.track.read = Read::Idle;
            unit.latest_signal = None;
            unit.track.jobs.lose_signals();
        }
        self.jobs.lost();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UnitName {
        UnitName::new(text).unwrap()
    }

    fn watching(names: &[&str]) -> Watched {
        let mut watched = Watched::default();
        watched.set(&names.iter().map(|text| name(text)).collect());
        watched
    }

    #[test]
    fn alias_and_primary_name_are_one_unit() {
        let mut watched = watching(&["mysql.service", "mariadb.service"]);
        let id = name("mariadb.service");
        assert!(!watched.resolve(&id, &id), "its own name is no news");
        assert!(watched.resolve(&name("mysql.service"), &id));
        assert!(!watched.resolve(&name("mysql.service"), &id), "reported once");
        assert_eq!(watched.units.len(), 1);
        assert_eq!(watched.id(&name("mysql.service")), id);
        assert_eq!(watched.by_path(&unit_path("mariadb.service")), Some(&id));
        watched.set(&BTreeSet::from([name("mysql.service")]));
        assert!(watched.unit(&id).is_some(), "the alias names it still");
    }

    #[test]
    fn alias_that_changes_leaves_the_unit_it_named() {
        let mut watched = watching(&["mysql.service"]);
        let alias = name("mysql.service");
        assert!(watched.resolve(&alias, &name("mariadb.service")));
        assert!(watched.resolve(&alias, &name("percona.service")));
        assert!(watched.unit(&name("mariadb.service")).is_none());
        assert_eq!(watched.by_path(&unit_path("mariadb.service")), None);
        assert!(watched.resolve(&alias, &alias), "it is an alias no longer");
        assert!(watched.unit(&alias).is_some());
    }
}
