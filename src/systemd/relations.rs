//! The names in a unit's dependency properties, into [`Relations`]. Pure.

use std::sync::Arc;

use crate::unit::{Relations, UnitName};

/// Names that say nothing about a unit: nearly every unit has them (`DefaultDependencies=` in systemd.unit(5)).
const DEFAULT_DEPENDENCIES: [&str; 5] =
    ["shutdown.target", "umount.target", "sysinit.target", "basic.target", "-.mount"];

/// The names as systemd lists them.
#[derive(Debug, Default)]
pub(super) struct RelationProperties {
    /// `Requires`, `BindsTo`, `Requisite`.
    pub requires: Vec<String>,
    /// `BindsTo`, `StopPropagatedFrom`.
    pub binds_to: Vec<String>,
    /// `Wants`, `Upholds`.
    pub wants: Vec<String>,
    /// `PartOf`.
    pub part_of: Vec<String>,
    /// `ConsistsOf`.
    pub consists_of: Vec<String>,
    /// `RequiredBy`, `BoundBy`, `RequisiteOf`.
    pub required_by: Vec<String>,
    /// `Conflicts`, `ConflictedBy`.
    pub conflicts: Vec<String>,
    /// `OnFailure`, `OnSuccess`.
    pub at_end: Vec<String>,
}

impl RelationProperties {
    /// The relations of the unit `id`; `None` where it has none besides the default dependencies.
    pub fn into_relations(self, id: &UnitName) -> Option<Arc<Relations>> {
        let specific = |names: Vec<String>| {
            let mut names = unit_names(names);
            names.retain(|name| name != id && !is_default(name.as_str()));
            names.shrink_to_fit();
            names
        };
        let relations = Relations {
            requires: specific(self.requires),
            binds_to: specific(self.binds_to),
            wants: specific(self.wants),
            part_of: specific(self.part_of),
            consists_of: specific(self.consists_of),
            required_by: specific(self.required_by),
            conflicts: specific(self.conflicts),
            at_end: specific(self.at_end),
        };
        (!relations.is_empty()).then(|| Arc::new(relations))
    }
}

fn is_default(name: &str) -> bool {
    DEFAULT_DEPENDENCIES.contains(&name) || name.ends_with(".slice")
}

/// The names that are names of units here, each once, sorted.
pub(super) fn unit_names(names: Vec<String>) -> Vec<UnitName> {
    let mut names: Vec<UnitName> = names.iter().filter_map(|name| UnitName::new(name).ok()).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn default_dependencies_are_left_out() {
        let plain = RelationProperties {
            requires: owned(&["sysinit.target", "system.slice", "-.mount"]),
            conflicts: owned(&["shutdown.target"]),
            ..RelationProperties::default()
        };
        assert_eq!(plain.into_relations(&UnitName::new("web.service").unwrap()), None);
    }

    #[test]
    fn each_other_unit_is_listed_once() {
        let read = RelationProperties {
            requires: owned(&[
                "db.service",
                "basic.target",
                "db.service",
                "a.socket",
                "broken",
                "web.service",
            ]),
            binds_to: owned(&["vpn.service"]),
            wants: owned(&["cache.service", "network-online.target"]),
            part_of: owned(&["suite.target"]),
            consists_of: owned(&["web@1.service"]),
            required_by: owned(&["shop.service"]),
            conflicts: owned(&["renew.service", "umount.target", "renew.service"]),
            at_end: owned(&["fence.service"]),
        };
        let relations = read.into_relations(&UnitName::new("web.service").unwrap()).unwrap();
        let texts = |names: &[UnitName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&relations.requires), ["a.socket", "db.service"]);
        assert_eq!(texts(&relations.binds_to), ["vpn.service"]);
        assert_eq!(texts(&relations.wants), ["cache.service", "network-online.target"]);
        assert_eq!(texts(&relations.part_of), ["suite.target"]);
        assert_eq!(texts(&relations.consists_of), ["web@1.service"]);
        assert_eq!(texts(&relations.required_by), ["shop.service"]);
        assert_eq!(texts(&relations.conflicts), ["renew.service"]);
        assert_eq!(texts(&relations.at_end), ["fence.service"]);
    }
}
