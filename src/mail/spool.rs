//! Keeps emails on disk until the server has accepted them.
//!
//! One JSON file an email in `STATE/spool/`, mode 0600, replaced as a whole (temporary file, fsync, rename, fsync of
//! the directory), so that whatever a crash leaves behind is either a whole file or a temporary one that is thrown
//! away. File names begin with a number that grows: their order is the order in which emails were written. What cannot
//! be read goes to `spool/quarantine/`, never away. Blocking file work only; it knows no queue, no clock and no server.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::compose::Email;
use super::queue::Lost;
use super::text;
use crate::notification::NotificationId;
use crate::time::Wall;

/// The format of the files.
const VERSION: u32 = 1;

/// An email is capped well below this; a longer file is not one.
const FILE_MAX: u64 = 1 << 20;

/// An email and who still has to get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// When it was written.
    pub spooled: Wall,
    /// Recipients for whom the server has not yet accepted it.
    pub pending: Vec<String>,
    /// Earlier emails to these recipients that went because too many waited: they are told with this one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lost: BTreeMap<String, Lost>,
    /// The mail.
    pub email: Email,
}

impl Record {
    /// An email that nobody has got yet.
    #[must_use]
    pub fn new(email: Email, spooled: Wall) -> Self {
        let mut pending: Vec<String> = Vec::new();
        for to in &email.to {
            if !pending.contains(to) {
                pending.push(to.clone());
            }
        }
        Self { version: VERSION, spooled, pending, lost: BTreeMap::new(), email }
    }
}

/// What was found on disk.
#[derive(Debug, Default)]
pub struct Found {
    /// Emails with their numbers, oldest first.
    pub records: Vec<(u64, Record)>,
    /// What could not be read and what became of it, a sentence each.
    pub warnings: Vec<String>,
}

/// The directory.
#[derive(Clone, Debug)]
pub struct Spool {
    dir: PathBuf,
}

impl Spool {
    /// The spool of a state directory. Nothing is touched yet.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("spool") }
    }

    /// Reads what an earlier life has left. Never fails: what is wrong is in the warnings.
    #[must_use]
    pub fn load(&self) -> Found {
        let mut found = Found::default();
        let names = match self.names() {
            Ok(names) => names,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return found,
            Err(e) => {
                found.warnings.push(format!("the mail spool {} cannot be read: {e}", self.dir.display()));
                return found;
            }
        };
        let mut known: HashSet<NotificationId> = HashSet::new();
        for name in names {
            if name.ends_with(".tmp") {
                // A crash came before the rename: its email was never said to be safe.
                let _ = fs::remove_file(self.dir.join(&name));
                continue;
            }
            let read = self.read(&name);
            match (number(&name), read) {
                (_, Err(Unreadable::System(e))) => {
                    found.warnings.push(format!("the spooled mail {name} cannot be read: {e}"));
                }
                (None, _) => self.set_aside(&name, "it has no number", &mut found.warnings),
                (_, Err(Unreadable::Content(why))) => self.set_aside(&name, &why, &mut found.warnings),
                (Some(_), Ok(record)) if !known.insert(record.email.id.clone()) => {
                    self.set_aside(&name, "the same mail is there twice", &mut found.warnings);
                }
                (Some(number), Ok(record)) => found.records.push((number, record)),
            }
        }
        found.records.sort_by_key(|(number, _)| *number);
        found
    }

    /// Writes an email, or what has become of it, under its number. It is safe when this returns.
    ///
    /// # Errors
    /// What the file system says; then the file is as it was.
    pub fn write(&self, number: u64, record: &Record) -> io::Result<()> {
        self.ensure_dir()?;
        let name = file_name(number, &record.email.id);
        let temporary = self.dir.join(format!("{name}.tmp"));
        let written = Self::write_temporary(&temporary, record)
            .and_then(|()| fs::rename(&temporary, self.dir.join(&name)))
            .and_then(|()| sync_dir(&self.dir));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Removes an email that everybody has got. One that is not there is no error.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self, number: u64, id: &NotificationId) -> io::Result<()> {
        match fs::remove_file(self.dir.join(file_name(number, id))) {
            // Not even the directory need be there.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
            Ok(()) => sync_dir(&self.dir),
        }
    }

    fn write_temporary(path: &Path, record: &Record) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(record)?;
        let _ = fs::remove_file(path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&bytes)?;
        file.sync_all()
    }

    fn ensure_dir(&self) -> io::Result<()> {
        if self.dir.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        self.dir.parent().map_or(Ok(()), sync_dir)
    }

    /// Names of the files, in order.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Record, Unreadable> {
        let path = self.dir.join(name);
        // A link or a pipe is nothing that was written here, and opening one may do more than read.
        if !fs::symlink_metadata(&path).map_err(Unreadable::System)?.is_file() {
            return Err(Unreadable::Content("it is no regular file".to_owned()));
        }
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
            .map_err(Unreadable::System)?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(Unreadable::Content("it is too long".to_owned()));
        }
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|e| Unreadable::Content(text::line(&e.to_string(), 200)))?;
        if record.version != VERSION {
            return Err(Unreadable::Content(format!("its format {} is not known", record.version)));
        }
        Ok(record)
    }

    fn set_aside(&self, name: &str, why: &str, warnings: &mut Vec<String>) {
        let quarantine = self.dir.join("quarantine");
        let moved = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&quarantine)
            .and_then(|()| fs::rename(self.dir.join(name), quarantine.join(name)))
            .and_then(|()| sync_dir(&self.dir));
        let name = text::line(name, 300);
        warnings.push(match moved {
            Ok(()) => format!(
                "the spooled mail {name} cannot be used ({why}); it is now in {}",
                quarantine.display()
            ),
            Err(e) => format!("the spooled mail {name} cannot be used ({why}), nor moved to quarantine: {e}"),
        });
    }
}

/// Why a file gave no email.
enum Unreadable {
    /// The system did not let it be read; it may be good.
    System(io::Error),
    /// It was read and is no email.
    Content(String),
}

/// `000000000042-fibridge-1795345200.1.json`
fn file_name(number: u64, id: &NotificationId) -> String {
    let atom = text::atom(&id.to_string());
    format!("{number:012}-{atom}.json")
}

fn number(name: &str) -> Option<u64> {
    let (number, rest) = name.split_once('-')?;
    rest.ends_with(".json").then(|| number.parse().ok()).flatten()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
