//! The output of a command: copied so far as it is bounded, and its last line remembered.
//!
//! In: chunks of bytes. Out: the same bytes on standard output, which is the unit's journal, but never more than
//! [`MOST_COPIED`]; and at the end the last line that is not blank, as sanitized text. A journal that does not take
//! them holds up nothing: the verdict does not depend on it.

use std::io::Write as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::text::inert_bytes;

/// The most of a command's output that is copied, in bytes: some thousand lines, and no disk is filled by it.
const MOST_COPIED: usize = 64 * 1024;
/// The most of the last line that is told, in characters. At 4 bytes each they have room in one message to the service
/// manager, which takes a page (NOTIFY_BUFFER_MAX in systemd's src/core/manager.c).
const LONGEST_LINE: usize = 500;
/// How long the end waits for the copy. It is taken from the command's own time.
const PATIENCE: Duration = Duration::from_millis(200);

/// The output so far.
pub(super) struct Output {
    last: LastLine,
    room: usize,
    cut: bool,
    /// To the thread that copies. What waits in between is bounded by [`MOST_COPIED`].
    copy: Sender<Vec<u8>>,
    /// Closed when the thread has copied everything.
    copied: Receiver<()>,
}

impl Output {
    /// Copies to standard output.
    pub fn to_stdout() -> Self {
        let (copy, chunks) = channel::<Vec<u8>>();
        let (done, copied) = channel();
        // On a machine that has no thread left nothing is copied, and the verdict is told all the same.
        let _ = thread::Builder::new().spawn(move || {
            let mut out = std::io::stdout().lock();
            for chunk in chunks {
                // A journal that has gone away: the verdict is told all the same.
                let _ = out.write_all(&chunk).and_then(|()| out.flush());
            }
            drop::<Sender<()>>(done);
        });
        Self { last: LastLine::default(), room: MOST_COPIED, cut: false, copy, copied }
    }

    pub fn take(&mut self, chunk: &[u8]) {
        self.last.take(chunk);
        let fits = chunk.len().min(self.room);
        self.room -= fits;
        self.cut |= fits < chunk.len();
        if fits > 0 {
            // The thread lives until this value goes.
            let _ = self.copy.send(chunk[..fits].to_vec());
        }
    }

    /// No more comes: the last line.
    pub fn finish(self) -> String {
        let line = self.last.text();
        if self.cut {
            let end =
                format!("\n(more than {} KiB: left out but for its last line)\n{line}\n", MOST_COPIED / 1024);
            let _ = self.copy.send(end.into_bytes());
        }
        drop(self.copy);
        let _ = self.copied.recv_timeout(PATIENCE);
        line
    }
}

/// The last line that is not blank. A carriage return ends a line as well: what it overwrites on a terminal is over.
#[derive(Debug, Default)]
struct LastLine {
    complete: Vec<u8>,
    current: Vec<u8>,
}

impl LastLine {
    fn take(&mut self, chunk: &[u8]) {
        for byte in chunk {
            match byte {
                b'\n' | b'\r' if self.current.is_empty() => {}
                b'\n' | b'\r' => {
                    self.complete.clear();
                    std::mem::swap(&mut self.complete, &mut self.current);
                }
                blank if blank.is_ascii_whitespace() && self.current.is_empty() => {}
                // One more than is told, so that the cut shows.
                byte if self.current.len() < (LONGEST_LINE + 1) * 4 => self.current.push(*byte),
                _ => {}
            }
        }
    }

    fn text(&self) -> String {
        let line = if self.current.is_empty() { &self.complete } else { &self.current };
        inert_bytes(line.trim_ascii_end(), LONGEST_LINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(chunks: &[&[u8]]) -> String {
        let mut line = LastLine::default();
        for chunk in chunks {
            line.take(chunk);
        }
        line.text()
    }

    #[test]
    fn the_last_line_that_is_not_blank_is_told() {
        assert_eq!(last(&[]), "");
        assert_eq!(last(&[b"one\ntwo"]), "two");
        assert_eq!(last(&[b"one\nDISK ", b"OK \n", b"\n  \r\n"]), "DISK OK");
        assert_eq!(last(&[b"10%\r50%\r", b"100% done\r\n"]), "100% done");
        assert_eq!(last(&[b"one\n  two"]), "two");
    }

    #[test]
    fn it_is_inert_and_short() {
        assert_eq!(last(&[b"\x1b[2Jx\x00\xff"]), "\\u{1b}[2Jx\\u{0}\u{fffd}");
        let long = "ü".repeat(100_000);
        let told = last(&[long.as_bytes(), b"\n"]);
        assert_eq!((told.chars().count(), told.chars().last()), (LONGEST_LINE, Some('…')));
        let mut line = LastLine::default();
        line.take(&vec![b'x'; 1 << 20]);
        assert!(line.current.len() < 3_000, "it grows with the line");
    }
}
