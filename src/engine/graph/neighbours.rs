//! Which units are around which monitored unit, and the reverse.

use std::collections::{BTreeMap, BTreeSet};

use crate::unit::UnitName;

/// Both directions, kept in step.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// For each monitored unit that has any: the units around it.
    around: BTreeMap<UnitName, BTreeSet<UnitName>>,
    /// The reverse: the monitored units that have this unit around them.
    of: BTreeMap<UnitName, BTreeSet<UnitName>>,
}

impl Neighbours {
    /// Sets the units around a monitored unit.
    pub fn set(&mut self, unit: &UnitName, around: BTreeSet<UnitName>) {
        for gone in self.around.remove(unit).unwrap_or_default().difference(&around) {
            if let Some(of) = self.of.get_mut(gone) {
                of.remove(unit);
                if of.is_empty() {
                    self.of.remove(gone);
                }
            }
        }
        for name in &around {
            self.of.entry(name.clone()).or_default().insert(unit.clone());
        }
        if !around.is_empty() {
            self.around.insert(unit.clone(), around);
        }
    }

    /// The units that have any around them.
    pub fn centres(&self) -> impl Iterator<Item = &UnitName> {
        self.around.keys()
    }

    /// The units around a monitored one; `None`: there are none.
    pub fn around(&self, unit: &UnitName) -> Option<&BTreeSet<UnitName>> {
        self.around.get(unit)
    }

    /// The monitored units that have this one around them.
    pub fn touched_by(&self, unit: &UnitName) -> impl Iterator<Item = &UnitName> {
        self.of.get(unit).into_iter().flatten()
    }

    /// The unit is around a monitored one.
    pub fn contains(&self, unit: &UnitName) -> bool {
        self.of.contains_key(unit)
    }
}
