//! Settings that may come from a systemd credential instead of the configuration, which every local user may read.

use std::fmt;

/// The name of a systemd credential (systemd.exec(5), LoadCredential=).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CredentialName(String);

impl CredentialName {
    /// systemd takes what can be the name of a file. `$` and brackets are what is left of a placeholder.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn new(text: &str) -> Result<Self, String> {
        let sound = !text.is_empty()
            && text.len() <= 200
            && !text.starts_with('.')
            && text.chars().all(|c| c.is_ascii_graphic() && !"/:${}()%".contains(c));
        if sound {
            Ok(Self(text.to_owned()))
        } else {
            Err("the name of a systemd credential is a file name, such as `smtp-password`".to_owned())
        }
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<T> {
    /// It is in the configuration.
    Written(T),
    /// The credential of this name contains it. It is read when it is needed.
    Credential(CredentialName),
}

impl<T: fmt::Display> fmt::Display for Source<T> {
    /// Of a credential only its name is ever shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(value) => value.fmt(f),
            Self::Credential(name) => write!(f, "(credential {name})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_systemd_takes() {
        for name in ["smtp-password", "a", "health.url", "API_KEY"] {
            assert_eq!(CredentialName::new(name).unwrap().as_str(), name);
        }
        for bad in ["", ".x", "a/b", "a:b", "a b", "ü", "${TOKEN}", "$TOKEN", &"x".repeat(300)] {
            assert!(CredentialName::new(bad).is_err(), "{bad}");
        }
    }
}
