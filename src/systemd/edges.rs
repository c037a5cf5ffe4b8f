//! The edges of systemd's graph, from its words on the bus into [`Relations`].
//!
//! In: the names in a unit's properties. Out: those that say something about this unit. Nothing here waits, calls or
//! remembers.

use std::sync::Arc;

use crate::unit::{Relations, UnitName};

/// What every unit has to do with (DefaultDependencies= of systemd.service(5), systemd.mount(5), …), and what says nothing
/// of it: that it is stopped at the shutdown, and started after the basics.
const EVERYBODYS: [&str; 5] =
    ["shutdown.target", "umount.target", "sysinit.target", "basic.target", "-.mount"];

/// The names as systemd tells them.
#[derive(Debug, Default)]
pub(super) struct Edges {
    pub id: Option<String>,
    pub requires: Vec<String>,
    pub conflicts: Vec<String>,
}

impl Edges {
    /// What they say of the unit that is watched by this name; `None` for nothing.
    pub fn relations(self, name: &UnitName) -> Option<Arc<Relations>> {
        let id = self.id.filter(|id| id != name.as_str()).and_then(|id| UnitName::new(&id).ok());
        let itself = |other: &UnitName| other == name || id.as_ref() == Some(other);
        let (requires, conflicts) = (telling(&self.requires, itself), telling(&self.conflicts, itself));
        let relations = Relations { requires, conflicts, id, ..Relations::default() };
        (!relations.is_empty()).then(|| Arc::new(relations))
    }
}

/// The names that say something of the unit, each once, in order of name. One that no check could have either (a
/// template, or a kind of unit that is none of ours) is left out.
fn telling(names: &[String], itself: impl Fn(&UnitName) -> bool) -> Vec<UnitName> {
    let says = |name: &&String| !EVERYBODYS.contains(&name.as_str()) && !name.ends_with(".slice");
    let parsed = names.iter().filter(says).filter_map(|name| UnitName::new(name).ok());
    let mut names: Vec<UnitName> = parsed.filter(|name| !itself(name)).collect();
    names.sort();
    names.dedup();
    names.shrink_to_fit();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(id: &str, requires: &[&str], conflicts: &[&str]) -> Edges {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Edges { id: Some(id.to_owned()), requires: owned(requires), conflicts: owned(conflicts) }
    }

    #[test]
    fn what_every_unit_has_is_nothing() {
        let web = UnitName::new("web.service").unwrap();
        let plain =
            edges("web.service", &["sysinit.target", "system.slice", "-.mount"], &["shutdown.target"]);
        assert_eq!(plain.relations(&web), None);
    }

    #[test]
    fn each_other_unit_is_told_once_and_an_alias_with_its_own_name() {
        let web = UnitName::new("web.service").unwrap();
        let read = edges(
            "nginx.service",
            &["db.service", "basic.target", "db.service", "a.socket", "broken", "web.service"],
            &["renew.service", "nginx.service", "umount.target", "renew.service"],
        );
        let relations = read.relations(&web).unwrap();
        let texts = |names: &[UnitName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&relations.requires), ["a.socket", "db.service"]);
        assert_eq!(texts(&relations.conflicts), ["renew.service"]);
        assert_eq!(relations.id.as_ref().map(UnitName::as_str), Some("nginx.service"));
    }
}
