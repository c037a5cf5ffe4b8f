//! A reload of the configuration (rule 17).

use stealthcheck::check::{Check, CheckName};

use super::CheckBook;
use crate::config::real;
use crate::sim::Sim;

impl Sim {
    /// A check that is gone, or looks after another unit from now on, has no incident any more (rule 17).
    pub fn rules_reconfigures(&mut self) {
        let fresh: Vec<CheckName> = self.plan.checks.iter().map(|check| check.name.clone()).collect();
        for books in [&mut self.rules.checks, &mut self.rules.committed] {
            for name in &fresh {
                books.entry(name.clone()).or_default();
            }
        }
        let open =
            self.rules.checks.iter().filter_map(|(name, book)| Some((name.clone(), book.incident.clone()?)));
        self.rules.open_before_reload = open.collect();
        self.all_upset();
    }

    /// The reload has been handled.
    pub fn rules_reconfigured(&mut self, before: &[Check]) {
        for old in before {
            let new = self.plan.checks.iter().find(|check| check.name == old.name);
            // (An alias is the same unit.)
            let unit = |check: &Check| check.unit.as_ref().map(real);
            if new.is_some_and(|new| unit(new) == unit(old)) {
                if new != Some(old) {
                    // Its attempts so far are those of other settings.
                    for books in [&mut self.rules.checks, &mut self.rules.committed] {
                        if let Some(book) = books.get_mut(&old.name) {
                            (book.rested, book.reconfigured) = (false, true);
                        }
                    }
                }
                continue;
            }
            let open = self.rules.checks.get(&old.name).and_then(|book| book.incident.clone());
            // (One that is pointed to a unit that is down has a new one.)
            if let Some(open) = open.filter(|open| self.rules.open_before_reload.get(&old.name) == Some(open))
            {
                let what = format!("{open} of {}, which is gone", old.name);
                self.broken("the incident of a check that is gone is closed", &what);
            }
            for books in [&mut self.rules.checks, &mut self.rules.committed] {
                let known = books.remove(&old.name).unwrap_or_default();
                if new.is_some() {
                    // (A pause is the name's.)
                    let CheckBook { incident, down_since, paused, .. } = known;
                    let book = CheckBook { incident, down_since, paused, ..CheckBook::default() };
                    books.insert(old.name.clone(), book);
                }
            }
        }
    }
}
