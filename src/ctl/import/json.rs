//! The old tool's JSON, with the place of everything in it.
//!
//! In: a file's text. Out: values that know their line and column, read member by member, and every problem with them.
//! It accepts what Go's `encoding/json` accepted (keys in any case of letters, `null` for "not there"), but for a key
//! that stands twice. Nesting costs nothing: what nobody asks for is skipped, not built.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::text::visible;

/// Nobody reads more.
const MOST_PROBLEMS: usize = 100;

/// What is wrong with one of the files, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `config.json` or `checks.json`.
    pub file: &'static str,
    /// From 1; `None` for the file as a whole.
    pub place: Option<(usize, usize)>,
    /// A sentence.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A file that is read, and what is wrong with it.
#[derive(Debug)]
pub(super) struct File<'t> {
    name: &'static str,
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
    pub problems: Vec<Problem>,
}

/// A value, as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'t>(&'t RawValue);

/// An object's members in their order.
#[derive(Debug)]
pub(super) struct Object<'t> {
    at: Value<'t>,
    members: Vec<(String, Value<'t>)>,
}

impl<'t> File<'t> {
    pub(super) fn new(name: &'static str, text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { name, text, lines, problems: Vec::new() }
    }

    /// The whole file as a value; `None` where it is no JSON.
    pub(super) fn root(&mut self) -> Option<Value<'t>> {
        match serde_json::from_str::<&RawValue>(self.text) {
            Ok(raw) => Some(Value(raw)),
            Err(error) => {
                let place = (error.line() > 0).then(|| (error.line(), error.column().max(1)));
                // Its own words end in " at line 3 column 5", which stands in front already.
                let said = error.to_string();
                let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
                self.problems.push(Problem { file: self.name, place, message: format!("no JSON: {said}") });
                None
            }
        }
    }

    /// Line and column of a value, from 1.
    pub(super) fn place(&self, value: Value<'t>) -> (usize, usize) {
        let offset = (value.0.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        (line, self.text.get(start..offset).unwrap_or_default().chars().count() + 1)
    }

    /// It has as many problems as anybody reads.
    pub(super) fn hopeless(&self) -> bool {
        self.problems.len() >= MOST_PROBLEMS
    }

    pub(super) fn wrong(&mut self, at: Value<'t>, message: impl Into<String>) {
        if self.hopeless() {
            return;
        }
        let place = Some(self.place(at));
        // One mistake has one message: what follows from it says nothing new.
        if self.problems.iter().any(|known| known.place == place) {
            return;
        }
        // What stands in the files is quoted in places.
        let message = visible(&message.into()).into_owned();
        self.problems.push(Problem { file: self.name, place, message });
    }

    /// An object with these members and no near misses of them. Others, which the old tool ignored, are in `ignored`.
    pub(super) fn object(
        &mut self,
        value: Value<'t>,
        what: &str,
        known: &[&str],
        ignored: &mut Vec<String>,
    ) -> Option<Object<'t>> {
        let Some(members) = members(value.0) else {
            self.wrong(value, format!("{what} should be an object, {{ ... }}"));
            return None;
        };
        let mut kept: Vec<(String, Value<'t>)> = Vec::new();
        for (key, member) in members {
            let lower = key.to_lowercase();
            if known.contains(&lower.as_str()) {
                if kept.iter().any(|(other, _)| *other == lower) {
                    self.wrong(member, format!("`{key}` stands twice in {what}"));
                } else {
                    kept.push((lower, member));
                }
            } else if let Some(meant) = near(&lower, known) {
                self.wrong(
                    member,
                    format!("`{key}`, which the old tool ignored: did you mean `{meant}`? Correct it or take it out"),
                );
            } else {
                ignored.push(key);
            }
        }
        Some(Object { at: value, members: kept })
    }

    /// The elements of a list; none for `null` or nothing.
    pub(super) fn list(&mut self, value: Option<Value<'t>>, what: &str) -> Vec<Value<'t>> {
        let Some(value) = value else { return Vec::new() };
        match serde_json::from_str::<Vec<&'t RawValue>>(value.0.get()) {
            Ok(items) => items.into_iter().map(Value).collect(),
            Err(_) => {
                self.wrong(value, format!("{what} should be a list, [ ... ]"));
                Vec::new()
            }
        }
    }

    /// Text; empty for `null` or nothing, as for the old tool.
    pub(super) fn text(&mut self, value: Option<Value<'t>>, what: &str) -> String {
        let Some(value) = value else { return String::new() };
        match serde_json::from_str::<String>(value.0.get()) {
            Ok(text) if text.contains('\0') => {
                self.wrong(value, format!("{what} has a NUL character in it"));
                String::new()
            }
            Ok(text) => text,
            Err(_) => {
                self.wrong(value, format!("{what} should be text in quotes"));
                String::new()
            }
        }
    }

    /// A whole number within bounds; `None` for `null`, nothing, or what is wrong and reported.
    pub(super) fn number(
        &mut self,
        value: Option<Value<'t>>,
        what: &str,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = value?;
        match serde_json::from_str::<u64>(value.0.get()) {
            Ok(number) if bounds.contains(&number) => Some(number),
            _ => {
                let (least, most) = bounds.into_inner();
                self.wrong(value, format!("{what} should be a whole number from {least} to {most}"));
                None
            }
        }
    }
}

impl<'t> Object<'t> {
    /// The member of this name, unless it is `null`.
    pub(super) fn get(&self, key: &str) -> Option<Value<'t>> {
        let found = self.members.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| *value).filter(|value| value.0.get() != "null")
    }

    pub(super) fn value(&self) -> Value<'t> {
        self.at
    }
}

/// The members of an object, also where a key stands twice; `None` for anything else.
fn members(raw: &RawValue) -> Option<Vec<(String, Value<'_>)>> {
    struct Members;
    impl<'t> Visitor<'t> for Members {
        type Value = Vec<(String, Value<'t>)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((key, value)) = map.next_entry::<String, &'t RawValue>()? {
                members.push((key, Value(value)));
            }
            Ok(members)
        }
    }
    serde_json::Deserializer::from_str(raw.get()).deserialize_map(Members).ok()
}

/// The key that was probably meant.
fn near<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    /// No key is nearly as long, and the comparison takes the product of both lengths.
    const LONGEST: usize = 40;
    if written.len() > LONGEST {
        return None;
    }
    let plain = written.replace(['-', ' ', '.'], "_");
    let distance = |known: &str| strsim::damerau_levenshtein(&plain, known);
    let close = known.iter().map(|key| (distance(key), *key)).min();
    match close {
        Some((distance, key)) if distance * 3 <= key.len() => Some(key),
        // `interval` for `interval_ms`, `emails` for `alert_emails`.
        _ => known
            .iter()
            .find(|key| {
                plain.len() >= 4 && key.split_once('_').is_some_and(|(a, b)| plain == a || plain == b)
            })
            .copied(),
    }
}
