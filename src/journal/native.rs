//! Entries for journald, in its own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram each.
//!
//! In: `tracing` events. Out: datagrams. It never waits for journald, which may be stopped, restarted, or hang on a disk
//! that hangs: what is not taken is kept in memory, in order, and offered again. What is beyond that is lost, and the next
//! entry that gets through says how many were.

use std::collections::VecDeque;
use std::fmt;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::{SendFlags, SocketAddrUnix};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::NOTICE;

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// So much is kept of what journald does not take, some 3,000 entries: journald has a watchdog, too, of 3 minutes.
const KEPT: usize = 1024 * 1024;

/// A longer value is cut: what an entry may be, a datagram can hold.
const LONGEST: usize = 16 * 1024;

/// The way to journald.
pub(super) struct Journal {
    socket: UnixDatagram,
    address: SocketAddrUnix,
    kept: Mutex<Kept>,
}

/// What journald has not taken yet.
#[derive(Debug, Default)]
struct Kept {
    /// Oldest first.
    entries: VecDeque<Vec<u8>>,
    bytes: usize,
    /// So many came when there was no more room.
    lost: u64,
}

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// journald has it, or never will: there is no use in offering it again.
    Done,
    /// Not now.
    Later,
}

impl Journal {
    /// The way to the journald that listens at `path`; `None` where there is no such thing.
    pub(super) fn open(path: &str) -> Option<Self> {
        let journal = Self {
            socket: UnixDatagram::unbound().ok()?,
            address: SocketAddrUnix::new(path).ok()?,
            kept: Mutex::default(),
        };
        // An empty entry, which journald throws away. One that takes none just now is there all the same.
        match journal.send(&[]) {
            Ok(()) | Err(Errno::AGAIN | Errno::NOBUFS) => Some(journal),
            Err(_) => None,
        }
    }

    /// Offers what is kept.
    pub(super) fn catch_up(&self) {
        self.offer(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn write(&self, entry: Vec<u8>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.offer(&mut kept);
        if kept.entries.is_empty() && kept.lost == 0 && self.sent(&entry) == Sent::Done {
            return;
        }
        kept.keep(entry);
    }

    fn offer(&self, kept: &mut Kept) {
        while let Some(entry) = kept.entries.front() {
            if self.sent(entry) == Sent::Later {
                return;
            }
            kept.bytes -= entry.len();
            kept.entries.pop_front();
        }
        if kept.lost > 0 && self.sent(&lost(kept.lost)) == Sent::Done {
            kept.lost = 0;
        }
    }

    fn sent(&self, entry: &[u8]) -> Sent {
        match self.send(entry) {
            // journald's socket outlives it, and is made anew where somebody has stopped that as well.
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOENT | Errno::CONNREFUSED) => Sent::Later,
            Ok(()) | Err(_) => Sent::Done,
        }
    }

    fn send(&self, entry: &[u8]) -> Result<(), Errno> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::net::sendto(&self.socket, entry, flags, &self.address).map(|_| ())
    }
}

impl Kept {
    /// Once something is lost, all that follows is, until the loss is told: an entry must not stand before it.
    fn keep(&mut self, mut entry: Vec<u8>) {
        // journald stamps an entry when it gets it; this is when it was written.
        put(&mut entry, "SYSLOG_TIMESTAMP", &jiff::Zoned::now().strftime("%b %d %H:%M:%S ").to_string());
        if self.lost > 0 || self.bytes + entry.len() > KEPT {
            self.lost += 1;
        } else {
            self.bytes += entry.len();
            self.entries.push_back(entry);
        }
    }
}

/// The entry that stands for those that are not there.
fn lost(n: u64) -> Vec<u8> {
    let entries = if n == 1 { "entry is".to_owned() } else { format!("{n} entries are") };
    let mut entry = begin(4);
    put(
        &mut entry,
        "MESSAGE",
        &format!("{entries} missing here: journald took none, and there was no more room"),
    );
    entry
}

fn begin(priority: u8) -> Vec<u8> {
    let mut entry = Vec::with_capacity(512);
    put(&mut entry, "PRIORITY", &priority.to_string());
    put(&mut entry, "SYSLOG_IDENTIFIER", "stealthcheck");
    entry
}

/// `KEY=value`, or with the value's length where it has a line break.
fn put(entry: &mut Vec<u8>, key: &str, value: &str) {
    let value = &value.as_bytes()[..value.floor_char_boundary(LONGEST)];
    entry.extend_from_slice(key.as_bytes());
    if value.contains(&b'\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value);
    entry.push(b'\n');
}

/// The layer that writes the entries.
pub(super) struct Entries(pub(super) Arc<Journal>);

impl<S: Subscriber> Layer<S> for Entries {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields(begin(priority(metadata.target(), *metadata.level())));
        event.record(&mut fields);
        let mut entry = fields.0;
        // Which library says it.
        if !metadata.target().starts_with("stealthcheck") {
            put(&mut entry, "TARGET", metadata.target());
        }
        self.0.write(entry);
    }
}

/// syslog(3).
fn priority(target: &str, level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO if target == NOTICE => 5,
        Level::INFO => 6,
        _ => 7,
    }
}

/// The fields of an event as the journal's: in upper case, of letters, digits and `_`, beginning with a letter.
struct Fields(Vec<u8>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        put(&mut self.0, &key(field.name()), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

fn key(name: &str) -> String {
    let upper = name.chars().map(|c| if c == '.' { '_' } else { c.to_ascii_uppercase() });
    let key: String = upper.filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    key.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).to_owned()
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
