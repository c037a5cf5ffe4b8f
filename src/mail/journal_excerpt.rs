//! What the journal says about the run of a unit that failed.
//!
//! In: a unit, the InvocationID of the run, the journal's directories. Out: its newest lines in the order of time,
//! worded like `journalctl -o short`, or one clause that says why there are none. It reads the journal's files with a
//! reader in Rust: it starts no process, needs no library, and writes nothing. It never fails a mail: a journal that
//! cannot be read, a reader that takes too long and even one that panics are each a clause in the mail.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sdjournal::{EntryRef, Journal, JournalConfig};

use super::text;
use crate::unit::UnitName;

/// A message that spans lines is shown with this many of them.
const LINES_PER_ENTRY: usize = 8;

/// Entries that cannot be read (being written, damaged) are passed over up to this number.
const ERRORS_MAX: usize = 64;

/// The clause that an administrator can act on.
const NO_PERMISSION: &str = "no permission to read the journal (is the user in group systemd-journal?)";

/// Which lines are wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The unit.
    pub unit: UnitName,
    /// InvocationID of the run, in hex; empty where unknown: then the unit's newest lines of any run.
    pub invocation: String,
    /// At most so many.
    pub lines: usize,
}

/// Reads the journal, one reading at a time.
#[derive(Clone, Debug)]
pub struct Reader {
    roots: Arc<[PathBuf]>,
    user: bool,
    limit: Duration,
    busy: Arc<AtomicBool>,
}

impl Reader {
    /// Reads the journals under `roots` (`/run/log/journal`, `/var/log/journal`), for at most `max_attempts` at a time;
    /// `user` for units of the user manager.
    #[must_use]
    pub fn new(roots: Vec<PathBuf>, user: bool, limit: Duration) -> Self {
        Self { roots: roots.into(), user, limit, busy: Arc::default() }
    }

    /// The lines that are `wanted`, oldest first.
    ///
    /// # Errors
    /// A clause that says why the journal cannot be shown.
    pub async fn read(&self, wanted: Wanted) -> Result<Vec<String>, String> {
        // A reading that has run over its time cannot be stopped. Another beside it would only make both slower.
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err("an earlier reading of the journal has not come back".to_owned());
        }
        let (this, limit) = (self.clone(), self.limit);
        let reading = tokio::task::spawn_blocking(move || {
            let _free = Free(Arc::clone(&this.busy));
            this.read_blocking(&wanted, &TimeZone::system())
        });
        match tokio::time::timeout(limit.saturating_add(Duration::from_millis(100)), reading).await {
            Ok(Ok(lines)) => lines,
            Ok(Err(_)) => Err("the journal's reader failed on these files".to_owned()),
            Err(_) => Err(self.out_of_time()),
        }
    }

    fn out_of_time(&self) -> String {
        format!("the journal could not be read within {}s", self.limit.as_secs_f32())
    }

    /// As [`Reader::read`], on the calling thread.
    ///
    /// # Errors
    /// A clause that says why the journal cannot be shown.
    pub fn read_blocking(&self, wanted: &Wanted, zone: &TimeZone) -> Result<Vec<String>, String> {
        let deadline = Instant::now().checked_add(self.limit);
        let config = JournalConfig {
            max_journal_files: 8192,
            max_decompressed_bytes: 8 << 20,
            ..JournalConfig::default()
        };
        let roots: Vec<PathBuf> = self.roots.iter().filter(|root| root.is_dir()).cloned().collect();
        if roots.is_empty() {
            return Err("there is no journal on this machine".to_owned());
        }
        let journal = Journal::open_dirs_with_config(&roots, config).map_err(|e| clause(&e))?;
        let mut found = Vec::new();
        if !wanted.invocation.is_empty() {
            found = self.newest(&journal, wanted, Some(&wanted.invocation), zone, deadline)?;
        }
        if found.is_empty() {
            found = self.newest(&journal, wanted, None, zone, deadline)?;
        }
        // The reader passes over files that it may not open, such as the system's for a user who has only their own.
        if found.is_empty() && roots.iter().any(|root| has_closed_file(root)) {
            return Err(NO_PERMISSION.to_owned());
        }
        found.reverse();
        // Many-line entries must not push the number of lines over what was asked for.
        let lines: Vec<String> = found.into_iter().flatten().collect();
        Ok(lines.get(lines.len().saturating_sub(wanted.lines)..).unwrap_or(&[]).to_vec())
    }

    /// The newest entries of a run, or of any run, newest first, each as its lines.
    fn newest(
        &self,
        journal: &Journal,
        wanted: &Wanted,
        run: Option<&str>,
        zone: &TimeZone,
        deadline: Option<Instant>,
    ) -> Result<Vec<Vec<String>>, String> {
        let unit = wanted.unit.as_str();
        let fields = if self.user { USER } else { SYSTEM };
        let mut query = journal.query();
        let of_unit = [(fields.unit, unit), (fields.about_unit, unit)];
        for (field, value) in of_unit.into_iter().chain(run.map(|run| (fields.run, run))) {
            query.or_group(|group| {
                group.match_exact(field, value.as_bytes());
            });
        }
        query.reverse(true);
        let mut lines = LinesOfRun::new(wanted.lines);
        let mut errors = 0;
        for entry in query.iter().map_err(|e| clause(&e))? {
            if deadline.is_some_and(|at| Instant::now() > at) {
                if lines.of_run.is_empty() {
                    return Err(self.out_of_time());
                }
                break;
            }
            let entry = match entry {
                Ok(entry) => entry,
                // Appended since the file was opened, or damaged: the rest is still worth having.
                Err(_) if errors < ERRORS_MAX => {
                    errors += 1;
                    continue;
                }
                Err(e) if lines.of_run.is_empty() => return Err(clause(&e)),
                Err(_) => break,
            };
            // Any process may write `UNIT=`: only the manager is believed when it speaks of another.
            let (field, value) = fields.manager;
            let from_manager = entry.get(field) == Some(value);
            let its_run = entry.get(if from_manager { fields.about_run } else { fields.run });
            let is_of_run = run.is_some_and(|run| its_run == Some(run.as_bytes()));
            if !from_manager && entry.get(fields.unit) != Some(unit.as_bytes()) && !is_of_run {
                continue;
            }
            let whose = match its_run {
                _ if run.is_none() || is_of_run => Whose::Run,
                Some(_) => Whose::AnotherRun,
                None => Whose::Unknown,
            };
            if lines.add(whose, || render(&entry, zone)).is_break() || lines.is_full() {
                break;
            }
        }
        Ok(lines.finish())
    }
}

/// The journal's fields for units of a manager (systemd.journal-fields(7)).
#[derive(Clone, Copy)]
struct Fields {
    /// What journald adds to the lines of a unit's processes: the unit, and its run.
    unit: &'static str,
    run: &'static str,
    /// What the manager adds to its lines about a unit.
    about_unit: &'static str,
    about_run: &'static str,
    /// By what the manager's own lines are recognized.
    manager: (&'static str, &'static [u8]),
}

const SYSTEM: Fields = Fields {
    unit: "_SYSTEMD_UNIT",
    run: "_SYSTEMD_INVOCATION_ID",
    about_unit: "UNIT",
    about_run: "INVOCATION_ID",
    manager: ("_PID", b"1"),
};

const USER: Fields = Fields {
    unit: "_SYSTEMD_USER_UNIT",
    run: "_SYSTEMD_INVOCATION_ID",
    about_unit: "USER_UNIT",
    about_run: "USER_INVOCATION_ID",
    manager: ("_COMM", b"systemd"),
};

/// Which run of the unit an entry is from.
#[derive(Clone, Copy)]
enum Whose {
    /// The one that is wanted.
    Run,
    AnotherRun,
    /// The entry names no run: the process had ended before journald looked it up.
    Unknown,
}

/// The entries of a run, newest first. One that names no run belongs to that of its neighbours.
struct LinesOfRun {
    at_most: usize,
    of_run: Vec<Vec<String>>,
    /// Entries that name no run, until an older one tells which they belong to.
    unknown: Vec<Vec<String>>,
}

impl LinesOfRun {
    /// The newest of them, at most so many.
    const fn new(at_most: usize) -> Self {
        Self { at_most, of_run: Vec::new(), unknown: Vec::new() }
    }

    /// Takes the next entry, which is older than all before it; breaks where the run has begun after it.
    fn add(&mut self, whose: Whose, lines: impl FnOnce() -> Vec<String>) -> ControlFlow<()> {
        match whose {
            Whose::Run => {
                self.of_run.append(&mut self.unknown);
                self.of_run.push(lines());
            }
            Whose::AnotherRun => {
                self.unknown.clear();
                if !self.of_run.is_empty() {
                    return ControlFlow::Break(());
                }
            }
            Whose::Unknown if self.unknown.len() < self.at_most => self.unknown.push(lines()),
            Whose::Unknown => {}
        }
        ControlFlow::Continue(())
    }

    fn is_full(&self) -> bool {
        self.of_run.len() >= self.at_most
    }

    fn finish(mut self) -> Vec<Vec<String>> {
        self.of_run.append(&mut self.unknown);
        self.of_run.truncate(self.at_most);
        self.of_run
    }
}

/// Whether there is a journal file below `root` that this process may not read.
fn has_closed_file(root: &Path) -> bool {
    let is_closed = |path: &Path| File::open(path).is_err_and(|e| e.kind() == ErrorKind::PermissionDenied);
    let Ok(directories) = std::fs::read_dir(root) else { return true };
    directories
        .flatten()
        .filter_map(|directory| std::fs::read_dir(directory.path()).ok())
        .flatten()
        .flatten()
        .any(|file| {
            let path = file.path();
            path.extension().is_some_and(|extension| extension == "journal") && is_closed(&path)
        })
}

/// Lets the next reading in, also after a panic.
struct Free(Arc<AtomicBool>);

impl Drop for Free {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// An entry as `journalctl -o short` shows it, without the host's name; further lines of a message are indented.
fn render(entry: &EntryRef, zone: &TimeZone) -> Vec<String> {
    let field = |name: &str| entry.get(name).map(String::from_utf8_lossy);
    let when = i64::try_from(entry.realtime_usec())
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok())
        .map_or_else(
            || "?".to_owned(),
            |at| at.to_zoned(zone.clone()).strftime("%b %d %H:%M:%S").to_string(),
        );
    let who = field("SYSLOG_IDENTIFIER").or_else(|| field("_COMM")).unwrap_or("unknown".into());
    let pid =
        field("_PID").or_else(|| field("SYSLOG_PID")).map_or_else(String::new, |pid| format!("[{pid}]"));
    let message = field("MESSAGE").unwrap_or("(no message)".into());
    let mut lines = text::block(&message, LINES_PER_ENTRY);
    let head = format!("{when} {}: ", text::line(&format!("{who}{pid}"), 64));
    match lines.first_mut() {
        Some(first) => first.insert_str(0, &head),
        None => lines.push(head.trim_end().to_owned()),
    }
    for more in lines.iter_mut().skip(1) {
        more.insert_str(0, "    ");
    }
    lines
}

/// An error of the reader as a clause.
fn clause(error: &sdjournal::SdJournalError) -> String {
    use sdjournal::SdJournalError as E;
    match error {
        E::PermissionDenied { .. } => NO_PERMISSION.to_owned(),
        E::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => NO_PERMISSION.to_owned(),
        E::NotFound => "there is no journal on this machine".to_owned(),
        other => format!("the journal could not be read: {}", text::line(&other.to_string(), 200)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "c48ae917d83f4bc395f9c5858c67d099";

    fn wanted() -> Wanted {
        Wanted { unit: UnitName::new("x.service").unwrap(), invocation: String::new(), lines: 20 }
    }

    fn reader(root: &Path) -> Reader {
        Reader::new(vec![root.to_owned()], false, Duration::from_secs(2))
    }

    /// What is taken of entries, newest first: `1` and `2` are runs (1 is wanted), `?` names none.
    fn taken(entries: &str) -> String {
        let mut lines = LinesOfRun::new(20);
        for (i, entry) in entries.chars().enumerate() {
            let whose = match entry {
                '1' => Whose::Run,
                '2' => Whose::AnotherRun,
                _ => Whose::Unknown,
            };
            if lines.add(whose, || vec![i.to_string()]).is_break() {
                break;
            }
        }
        lines.finish().concat().concat()
    }

    #[test]
    fn an_entry_that_names_no_run_belongs_to_that_of_its_neighbours() {
        assert_eq!(taken("111"), "012");
        assert_eq!(taken("2??2?11?12"), "45678", "a later run, and what it said last");
        assert_eq!(taken("?1?2?1"), "01", "an earlier run, and what it said last");
        assert_eq!(taken("??"), "01", "nothing names a run");
        assert_eq!(taken("?2"), "", "not that of the run that is wanted");
    }

    #[tokio::test]
    async fn no_journal_is_a_clause() {
        let root = tempfile::tempdir().unwrap();
        let none = Err("there is no journal on this machine".to_owned());
        assert_eq!(reader(root.path()).read(wanted()).await, none);
        assert_eq!(reader(&root.path().join("missing")).read(wanted()).await, none);
    }

    #[tokio::test]
    async fn files_that_are_no_journals_are_a_clause() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(MACHINE)).unwrap();
        for (name, content) in
            [("system.journal", vec![0; 4096]), ("user-1000.journal", b"LPKSHHRH".to_vec())]
        {
            std::fs::write(root.path().join(MACHINE).join(name), content).unwrap();
            let error = reader(root.path()).read(wanted()).await.unwrap_err();
            assert!(error.starts_with("the journal could not be read: "), "{error}");
        }
    }

    #[tokio::test]
    async fn one_reading_at_a_time_and_the_next_after_it() {
        let root = tempfile::tempdir().unwrap();
        let reader = reader(root.path());
        let running = Free(Arc::clone(&reader.busy));
        running.0.store(true, Ordering::Release);
        let error = reader.read(wanted()).await.unwrap_err();
        assert_eq!(error, "an earlier reading of the journal has not come back");
        drop(running);
        assert!(reader.read(wanted()).await.unwrap_err().starts_with("there is no journal"));
    }
}
