//! What is known of the watched units and of the jobs, from one connection to the next. No I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use zbus::message::Sequence;

use super::jobs::Jobs;
use super::state::unit_path;
use super::track::{Read, Track};
use crate::unit::UnitName;

/// It outlives the connection.
#[derive(Default)]
pub(super) struct Watched {
    pub units: BTreeMap<UnitName, Unit>,
    /// The names behind the object that signals come from: several where one is an alias.
    pub by_path: HashMap<String, Vec<UnitName>>,
    pub jobs: Jobs,
}

/// One watched name.
pub(super) struct Unit {
    pub path: String,
    pub track: Track,
    /// The latest signal about it on this connection.
    pub heard: Option<Sequence>,
}

impl Unit {
    fn new(name: &UnitName) -> Self {
        Self { path: unit_path(name.as_str()), track: Track::default(), heard: None }
    }
}

impl Watched {
    /// Watches exactly these.
    pub fn set(&mut self, names: &BTreeSet<UnitName>) {
        self.units.retain(|name, _| names.contains(name));
        for name in names {
            self.units.entry(name.clone()).or_insert_with(|| Unit::new(name));
        }
        self.index();
    }

    /// Where signals come from has changed.
    pub fn index(&mut self) {
        self.by_path.clear();
        for (name, unit) in &self.units {
            self.by_path.entry(unit.path.clone()).or_default().push(name.clone());
        }
    }

    /// The connection is lost: no answer will come any more.
    pub fn lost(&mut self) {
        for unit in self.units.values_mut() {
            unit.track.read = Read::Idle;
            unit.heard = None;
        }
        self.jobs.lost();
    }

    /// The run of a unit that was seen last, where it is watched.
    pub fn run_of(&self, name: &UnitName) -> Option<String> {
        self.units.get(name)?.track.current().map(|state| state.invocation_id)
    }

    /// The object of a unit, watched or not.
    pub fn path(&self, name: &UnitName) -> String {
        self.units.get(name).map_or_else(|| unit_path(name.as_str()), |unit| unit.path.clone())
    }
}
