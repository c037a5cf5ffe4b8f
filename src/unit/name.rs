//! The names of units: what systemd takes for one, and nothing else. Nothing here performs I/O.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::check::CheckName;

/// The name of a systemd unit with its suffix, such as `fibridge.service`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName(Arc<str>);

/// The suffixes of units that a check can speak for (systemd.unit(5)).
const SUFFIXES: [&str; 11] = [
    "service",
    "socket",
    "target",
    "device",
    "mount",
    "automount",
    "swap",
    "timer",
    "path",
    "slice",
    "scope",
];

/// systemd's UNIT_NAME_MAX: a unit name is a file name.
const UNIT_NAME_MAX: usize = 255;

impl UnitName {
    /// Checks `name` by the rules of systemd.unit(5): a known suffix, at most 255 characters of
    /// `A-Z a-z 0-9 : - _ . \ @`, and an instance where there is an `@` (a template cannot be started).
    ///
    /// # Errors
    /// A sentence that says what is wrong with the name.
    pub fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Err("a unit name cannot be empty".to_owned());
        }
        if name.len() > UNIT_NAME_MAX {
            return Err(format!("a unit name has at most {UNIT_NAME_MAX} characters"));
        }
        if let Some(bad) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || ":-_.\\@".contains(*c))) {
            return Err(format!("{bad:?} is not allowed in a unit name"));
        }
        let Some((stem, suffix)) = name.rsplit_once('.') else {
            return Err(format!("a unit name needs a suffix, did you mean `{name}.service`?"));
        };
        if !SUFFIXES.contains(&suffix) {
            // systemd's suffixes are in lower case: `NGINX.SERVICE` misses only that, `nginx.servce` a letter.
            let lower = suffix.to_ascii_lowercase();
            let near = |known: &&&str| strsim::damerau_levenshtein(&lower, known) <= 2;
            let meant = match SUFFIXES.iter().find(near) {
                Some(known) => format!("{stem}.{known}"),
                None => format!("{name}.service"),
            };
            return Err(format!("`.{suffix}` is not a unit type, did you mean `{meant}`?"));
        }
        if stem.is_empty() || stem.starts_with('@') {
            return Err("a unit name needs something before its suffix".to_owned());
        }
        // The first `@` ends the template's name; whatever follows is the instance, also more of them.
        if stem.find('@').is_some_and(|at| at + 1 == stem.len()) {
            return Err(format!("`{name}` is a template; name an instance, such as `{stem}NAME.{suffix}`"));
        }
        Ok(Self(Arc::from(name)))
    }

    /// The unit that runs the `command` probe of a check: an instance of the package's template, named by the check.
    /// Nothing is escaped, and so the unit file's `%i` is the check's name: all that can stand in that can stand in
    /// an instance, and at its 64 characters the whole is short enough.
    #[must_use]
    pub fn of_probe(check: &CheckName) -> Self {
        Self(Arc::from(format!("stealthcheck-probe@{check}.service")))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The suffix, which is the kind of unit: `service`, `timer`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(_, kind)| kind)
    }

    /// Whether systemd has start jobs for this kind of unit: a device comes by itself, and a scope's processes are
    /// started by others.
    #[must_use]
    pub fn can_be_started(&self) -> bool {
        !self.0.ends_with(".device") && !self.0.ends_with(".scope")
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for UnitName {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        Self::new(&name)
    }
}

impl From<UnitName> for String {
    fn from(name: UnitName) -> Self {
        name.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_names_are_checked_by_the_rules_of_systemd() {
        for good in
            ["a.service", "getty@tty1.service", "a@@.service", "dev-sda.device", "a:b-c_d.e\\x20.timer"]
        {
            assert!(UnitName::new(good).is_ok(), "{good}");
        }
        for (bad, says) in [
            ("", "empty"),
            ("fibridge", "did you mean `fibridge.service`"),
            ("fibridge.conf", "did you mean `fibridge.conf.service`"),
            ("fibridge.servce", "did you mean `fibridge.service`"),
            ("nginx.SERVICE", "did you mean `nginx.service`"),
            ("a b.service", "' '"),
            ("x\n.service", "'\\n'"),
            (".service", "something before"),
            ("getty@.service", "template"),
        ] {
            let error = UnitName::new(bad).unwrap_err();
            assert!(error.contains(says), "{bad:?}: {error}");
        }
        assert!(UnitName::new(&format!("{}.service", "x".repeat(250))).is_err());
    }

    #[test]
    fn every_check_has_a_unit_for_its_probe() {
        let longest = format!("a@b:c.d_e-f{}", "x".repeat(53));
        for name in ["disk", "A.b@c:d_e-f", "0", "@", &longest] {
            let unit = UnitName::of_probe(&CheckName::new(name).unwrap());
            assert_eq!(unit.as_str(), format!("stealthcheck-probe@{name}.service"));
            assert_eq!(UnitName::new(unit.as_str()), Ok(unit));
        }
    }
}
