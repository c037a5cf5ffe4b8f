//! DNS messages, as far as a question with a few types of record needs them (RFC 1035, section 4).
//!
//! In flow bytes from the network; out flow a question's bytes, and of an answer the parts that it is asked for. It
//! reads no further than it is asked to, follows compressed names only backwards, and whatever bytes come it neither
//! panics nor takes memory beyond what it returns. What cannot be read is `None`.
//!
//! A reader of our own: a library would read every record of every section into memory, of types that nobody asked for
//! and that it may not know, before the answer could be told from a forged one.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::check::RecordKind;
use crate::text::inert_bytes;

/// The number of a record's type.
pub(super) fn number(kind: RecordKind) -> u16 {
    match kind {
        RecordKind::A => 1,
        RecordKind::Ns => 2,
        RecordKind::Cname => CNAME,
        RecordKind::Mx => 15,
        RecordKind::Txt => 16,
        RecordKind::Aaaa => 28,
    }
}

const CNAME: u16 = 5;
/// The class Internet.
const IN: u16 = 1;
const HEADER: usize = 12;
/// Bytes of a name as it stands in a message.
const LONGEST_NAME: usize = 255;
/// An alias of an alias of an alias: more of them than any resolver follows.
const ALIASES: usize = 16;
/// Characters of a value that are shown.
const VALUE: usize = 500;

/// The flags of a header.
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
const CODE: u16 = 0x000f;

/// A question as it goes over the wire. `name` is one that the configuration has accepted.
pub(super) fn question(id: u16, name: &str, kind: RecordKind) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + name.len() + 6);
    for field in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        bytes.extend(field.to_be_bytes());
    }
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(number(kind).to_be_bytes());
    bytes.extend(IN.to_be_bytes());
    bytes
}

/// A message whose header has been read.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    id: u16,
    flags: u16,
    questions: u16,
    answers: u16,
    authorities: u16,
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The last name of the chain of aliases, where the name asked for is one.
    pub(super) alias_of: Option<String>,
    /// Values, each as [`RecordKind`] says it is written, sorted: servers change the order with each answer.
    pub(super) values: Vec<String>,
}

/// One record.
struct Record {
    owner: String,
    kind: u16,
    class: u16,
    /// Where its data begin and end in the message.
    data: (usize, usize),
}

impl<'a> Message<'a> {
    /// Reads the header.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let field = |n: usize| u16_at(bytes, 2 * n);
        let (id, flags) = (field(0)?, field(1)?);
        Some(Self { bytes, id, flags, questions: field(2)?, answers: field(3)?, authorities: field(4)? })
    }

    /// Whether this is the answer to that question, and not something that somebody else sent. Servers that could make
    /// nothing of the question may leave it out.
    pub(super) fn answers(&self, id: u16, name: &str, kind: RecordKind) -> bool {
        let same_question = || {
            let (asked, at) = self.name(HEADER)?;
            let right = asked.eq_ignore_ascii_case(name)
                && u16_at(self.bytes, at)? == number(kind)
                && u16_at(self.bytes, at + 2)? == IN;
            Some(right && self.questions == 1)
        };
        self.id == id
            && self.flags & (RESPONSE | OPCODE) == RESPONSE
            && ((self.questions == 0 && self.code() != 0) || same_question().unwrap_or(false))
    }

    /// The response code: 0 is none, 3 a name that does not exist.
    pub(super) fn code(&self) -> u16 {
        self.flags & CODE
    }

    /// Whether there is more of it than UDP takes.
    pub(super) fn truncated(&self) -> bool {
        self.flags & TRUNCATED != 0
    }

    /// Whether it only says who may know: a server that neither has the name nor asks others.
    pub(super) fn refers_elsewhere(&self) -> bool {
        self.flags & (AUTHORITATIVE | RECURSION_AVAILABLE) == 0
            && self.code() == 0
            && self.answers == 0
            && self.authorities > 0
    }

    /// What it says of `name`, aliases followed as far as the answer itself has them. The error is a clause.
    pub(super) fn find(&self, name: &str, kind: RecordKind) -> Result<Found, &'static str> {
        const UNREADABLE: &str = "cannot be read";
        let mut owner = name.to_ascii_lowercase();
        for aliases in 0..ALIASES {
            let mut values = Vec::new();
            let mut target = None;
            self.records(|record| {
                if record.class != IN || record.owner != owner {
                    return Some(());
                }
                if record.kind == number(kind) {
                    values.push(self.value(kind, record.data)?);
                } else if record.kind == CNAME {
                    target = Some(self.name(record.data.0)?.0);
                }
                Some(())
            })
            .ok_or(UNREADABLE)?;
            match target {
                Some(target) if values.is_empty() => owner = target,
                _ => {
                    values.sort_unstable();
                    values.dedup();
                    return Ok(Found { alias_of: (aliases > 0).then_some(owner), values });
                }
            }
        }
        Err("leads from one alias to the next without an end")
    }

    /// Shows each record of the answer section; `None` where one cannot be read.
    fn records(&self, mut each: impl FnMut(Record) -> Option<()>) -> Option<()> {
        let mut at = HEADER;
        for _ in 0..self.questions {
            at = self.name(at)?.1 + 4;
        }
        for _ in 0..self.answers {
            let (owner, after) = self.name(at)?;
            let (kind, class) = (u16_at(self.bytes, after)?, u16_at(self.bytes, after + 2)?);
            let length = usize::from(u16_at(self.bytes, after + 8)?);
            let data = after + 10;
            at = data + length;
            self.bytes.get(data..at)?;
            each(Record { owner, kind, class, data: (data, at) })?;
        }
        Some(())
    }

    /// The value of a record, as people write it.
    fn value(&self, kind: RecordKind, (from, to): (usize, usize)) -> Option<String> {
        let data = self.bytes.get(from..to)?;
        // A name may be compressed and go on elsewhere, but where it stands it fills the rest of the data.
        let name = |at: usize| self.name(at).filter(|(_, end)| *end == to).map(|(name, _)| name);
        match kind {
            RecordKind::A => <[u8; 4]>::try_from(data).ok().map(|octets| Ipv4Addr::from(octets).to_string()),
            RecordKind::Aaaa => {
                <[u8; 16]>::try_from(data).ok().map(|octets| Ipv6Addr::from(octets).to_string())
            }
            RecordKind::Cname | RecordKind::Ns => name(from),
            RecordKind::Mx => {
                let host = name(from + 2)?;
                let host = if host.is_empty() { "." } else { &host };
                Some(format!("{} {host}", u16_at(data, 0)?))
            }
            RecordKind::Txt => {
                let mut text = Vec::new();
                let mut rest = data;
                while let Some((length, after)) = rest.split_first() {
                    let (string, after) = after.split_at_checked(usize::from(*length))?;
                    text.extend_from_slice(string);
                    rest = after;
                }
                // Compared with what the configuration expects, so it is not cut where it is shown.
                Some(inert_bytes(&text, usize::MAX))
            }
        }
    }

    /// The name at `at`, in small letters and without the dot at its end (the root is empty), and where it ends.
    /// What would be mistaken for something else is written as master files have it, `\046`.
    fn name(&self, at: usize) -> Option<(String, usize)> {
        let mut text = String::new();
        let (mut at, mut end, mut lowest) = (at, None, at);
        let mut length = 0;
        loop {
            let size = usize::from(*self.bytes.get(at)?);
            match size {
                0 => return Some((text, end.unwrap_or(at + 1))),
                1..=63 => {
                    length += size + 1;
                    if length >= LONGEST_NAME {
                        return None;
                    }
                    if !text.is_empty() {
                        text.push('.');
                    }
                    for byte in self.bytes.get(at + 1..at + 1 + size)? {
                        match byte {
                            b'.' | b'\\' => text.push_str(&format!("\\{byte:03}")),
                            _ if byte.is_ascii_graphic() => text.push(char::from(byte.to_ascii_lowercase())),
                            _ => text.push_str(&format!("\\{byte:03}")),
                        }
                    }
                    at += size + 1;
                }
                // A pointer, and only to what stands before everything that this name has been read from so far, so
                // that there is an end of it.
                0xc0.. => {
                    let to = usize::from(u16_at(self.bytes, at)? & 0x3fff);
                    end = end.or(Some(at + 2));
                    if to >= lowest {
                        return None;
                    }
                    (at, lowest) = (to, to);
                }
                _ => return None,
            }
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(<[u8; 2]>::try_from(pair).ok()?))
}

/// A value for a sentence.
pub(super) fn shown(value: &str) -> String {
    crate::text::sanitize(value, VALUE)
}
