//! The accepted configuration: what `stealthctl authorize` leaves for the daemon.
//!
//! In and out: one JSON file that only root can write (a user's own, in a user manager). It has the sources of the last
//! valid configuration, and the problems of the files in place now, where they are not valid. One file, so that one rename
//! changes both. The daemon runs the former and reports the latter: an edit with an error in it never ends the monitoring,
//! and what polkit permits is always of the same configuration as what runs. Writing the file is `stealthctl`'s.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::source::Sources;
use super::{Config, Problem};
use crate::time::Wall;

/// The version that this program writes; it reads no other.
const VERSION: u32 = 1;

/// A file longer than this is none of ours.
const LARGEST: u64 = 256 << 20;

/// What root has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// The start of the service (systemd's invocation id) or whatever else it was written for last.
    invocation: Option<String>,
    accepted: Option<Accepted>,
    rejected: Option<Rejected>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Accepted {
    at: Wall,
    sources: Sources,
}

/// A configuration that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// When these problems were found first.
    pub since: Wall,
    /// When they were found last.
    pub at: Wall,
    /// A line each.
    pub problems: Vec<String>,
}

impl Record {
    /// The files are valid. `invocation`: of the service for which they were read.
    #[must_use]
    pub fn accept(sources: Sources, at: Wall, invocation: Option<String>) -> Self {
        let accepted = Some(Accepted { at, sources });
        Self { version: VERSION, invocation, accepted, rejected: None }
    }

    /// The files are not valid: what was accepted `before` stays in force.
    #[must_use]
    pub fn reject(before: Option<Self>, problems: &[Problem], at: Wall, invocation: Option<String>) -> Self {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let (accepted, known) = before.map(|before| (before.accepted, before.rejected)).unwrap_or_default();
        let since = known.filter(|known| known.problems == problems).map_or(at, |known| known.since);
        Self { version: VERSION, invocation, accepted, rejected: Some(Rejected { since, at, problems }) }
    }

    /// Reads the file at `path`; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is not what this program writes.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut text = Vec::new();
        file.take(LARGEST).read_to_end(&mut text)?;
        let record: Self = serde_json::from_slice(&text)?;
        if record.version != VERSION {
            let why = format!("it has version {}, this program reads {VERSION}", record.version);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Some(record))
    }

    /// What the file has.
    ///
    /// # Errors
    /// None that is known: it is text and numbers.
    pub fn to_json(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }

    /// The last configuration that was valid, and when it was found so last. `None`: there never was one.
    ///
    /// # Errors
    /// This version of the program has other rules than the one that accepted it.
    pub fn config(&self) -> Option<Result<(Config, Wall), Vec<Problem>>> {
        let accepted = self.accepted.as_ref()?;
        Some(super::check(&accepted.sources).map(|config| (config, accepted.at)))
    }

    /// The problems of the files that are in place now; `None` where they are valid.
    #[must_use]
    pub fn rejected(&self) -> Option<&Rejected> {
        self.rejected.as_ref()
    }

    /// Whether it was written for this start of the service.
    #[must_use]
    pub fn is_of(&self, invocation: &str) -> bool {
        self.invocation.as_deref() == Some(invocation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(directory: &Path, yaml: &str) -> Sources {
        let main = directory.join("stealthcheck.yaml");
        std::fs::write(&main, yaml).unwrap();
        Sources::read(&main)
    }

    #[test]
    fn the_copy_makes_the_same_configuration_and_warnings() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("conf.d")).unwrap();
        for (name, text) in [("10.yaml", "checks: { other: { unit: o.service } }\n"), ("notes.txt", "?")] {
            std::fs::write(directory.path().join("conf.d").join(name), text).unwrap();
        }
        let sources = sources(directory.path(), "\u{feff}checks:\n  web: { unit: web.service }\n");
        let record = Record::accept(sources.clone(), Wall(5), Some("a".to_owned()));
        let path = directory.path().join("record");
        std::fs::write(&path, record.to_json().unwrap()).unwrap();
        let read = Record::read(&path).unwrap().unwrap();
        assert_eq!(read, record);
        assert!(read.is_of("a") && !read.is_of("b") && read.rejected().is_none());
        std::fs::remove_dir_all(directory.path().join("conf.d")).unwrap();
        let (config, at) = read.config().unwrap().unwrap();
        assert_eq!((Ok(&config), at), (super::super::check(&sources).as_ref(), Wall(5)));
        assert_eq!((config.checks.len(), config.files.len(), config.warnings.len()), (2, 2, 2));
    }

    #[test]
    fn a_rejection_keeps_what_was_accepted_and_since_when_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let good = Record::accept(sources(directory.path(), "checks: {}\n"), Wall(1), None);
        let problems = super::super::check(&sources(directory.path(), "chekcs: {}\n")).unwrap_err();
        let first = Record::reject(Some(good.clone()), &problems, Wall(2), None);
        let again = Record::reject(Some(first.clone()), &problems, Wall(3), None);
        let rejected = again.rejected().unwrap();
        assert_eq!((rejected.since, rejected.at), (Wall(2), Wall(3)));
        assert_eq!(rejected.problems, [problems[0].to_string()]);
        assert_eq!(again.config().unwrap().unwrap().1, Wall(1));
        let other = Record::reject(Some(again), &[], Wall(4), None);
        assert_eq!(other.rejected().unwrap().since, Wall(4));
        assert!(Record::reject(None, &problems, Wall(2), None).config().is_none());
    }

    #[test]
    fn what_is_not_a_record_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        assert_eq!(Record::read(&path).unwrap(), None);
        let future = Record { version: 9, ..Record::reject(None, &[], Wall(0), None) };
        for text in [&b""[..], b"{", b"[]", &future.to_json().unwrap()] {
            std::fs::write(&path, text).unwrap();
            assert!(Record::read(&path).is_err());
        }
    }
}
