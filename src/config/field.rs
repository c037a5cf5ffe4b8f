//! The first stage: a value where it stands, and what it must be.
//!
//! In: nodes of the tree. Out: texts, durations, numbers, lists and tables, or a problem in the report that says what
//! was expected and what was found. A [`Table`] is a mapping of which only known keys can be asked for: unknown and
//! duplicate keys are reported when it is made, so none can be forgotten. What values *mean* is decided elsewhere.

use std::collections::HashMap;
use std::time::Duration;

use super::report::{At, Report, Spot};
use super::source::Document;
use super::tree::{Entry, Node, Value};
use super::{duration, suggestions};

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Field<'t> {
    pub at: At,
    pub node: &'t Node,
}

/// A duration's limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct AtLeast(pub Duration);

impl<'t> Field<'t> {
    /// The whole document.
    pub fn root(file: usize, document: &'t Document) -> Option<Self> {
        let node = document.root.as_ref()?;
        Some(Self { at: At { spot: Spot::Node(node.place), ..At::file(file) }, node })
    }

    /// Nothing is written after the key.
    pub fn is_null(&self) -> bool {
        matches!(self.node.value, Value::Null)
    }

    /// It is a mapping.
    pub fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// It is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// It is a whole number.
    pub fn is_integer(&self) -> bool {
        matches!(self.node.value, Value::Integer(_))
    }

    /// The whole number that it is.
    pub fn as_integer(&self) -> Option<i128> {
        match self.node.value {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// It is the number 0.
    pub fn is_zero(&self) -> bool {
        matches!(self.node.value, Value::Integer(0))
    }

    /// Reports that something else was expected. `None`, so that it can stand at a function's end.
    pub fn expected<T>(&self, what: &str, report: &mut Report) -> Option<T> {
        let found = match &self.node.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Integer(value) => format!("the number {value}"),
            // `1e3` is a float as well, and would be shown like the integer 1000.
            Value::Float(value) => format!("the decimal number {value:?}"),
            Value::Text(_) => "text".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Tagged => "a value with a tag (`!`)".to_owned(),
        };
        report.error(&self.at, format!("expected {what}, found {found}"));
        None
    }

    /// The text, if it is one; nothing is reported.
    pub fn as_text(&self) -> Option<&'t str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A text that is not empty. `what` is the clause for the report: `a host name`.
    pub fn text(&self, what: &str, report: &mut Report) -> Option<&'t str> {
        match &self.node.value {
            Value::Text(text) if text.is_empty() => {
                report.error(&self.at, format!("expected {what}, found an empty text"));
                None
            }
            Value::Text(text) => Some(text),

            _ => self.expected(what, report),
        }
    }

    /// A text that `parse` understands; its error is the problem's sentence.
    pub fn parsed<T>(
        &self,
        what: &str,
        report: &mut Report,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(what, report)?;
        parse(text).map_err(|message| report.error(&self.at, message)).ok()
    }

    /// One of `known`.
    pub fn word(&self, what: &str, known: &[&str], report: &mut Report) -> Option<&'t str> {
        let text = self.text(what, report)?;
        if known.contains(&text) {
            return Some(text);
        }
        report.error(&self.at, suggestions::unknown_word(text, known));
        None
    }

    /// `true` or `false`.
    pub fn truth(&self, report: &mut Report) -> Option<bool> {
        match &self.node.value {
            Value::Bool(value) => Some(*value),
            Value::Text(text) => {
                report.error(&self.at, format!("expected `true` or `false`, found `{text}`"));
                None
            }
            _ => self.expected("`true` or `false`", report),
        }
    }

    /// A whole number in the range.
    pub fn number(&self, least: u32, most: u32, report: &mut Report) -> Option<u32> {
        let expected = format!("a whole number from {least} to {most}");
        let found = match &self.node.value {
            Value::Integer(value) => match u32::try_from(*value) {
                Ok(value) if (least..=most).contains(&value) => return Some(value),
                _ => value.to_string(),
            },
            Value::Text(text) => format!("the text `{text}`"),
            _ => return self.expected(&expected, report),
        };
        report.error(&self.at, format!("expected {expected}, not {found}"));
        None
    }

    /// A duration that is not shorter than `least`.
    pub fn duration(&self, AtLeast(least): AtLeast, report: &mut Report) -> Option<Duration> {
        let parsed = match &self.node.value {
            Value::Text(text) => duration::parse(text),
            Value::Integer(0) => Ok(Duration::ZERO),
            Value::Integer(number) if *number < 0 => Err(format!("`{number}` is negative")),
            Value::Integer(number) => Err(duration::no_unit(&number.to_string())),
            Value::Float(number) => Err(duration::no_unit(&number.to_string())),
            _ => return self.expected(duration::EXPECTED, report),
        };
        let sentence = match parsed {
            Ok(duration) if duration >= least => return Some(duration),
            Ok(duration) => format!("at least {}, not {}", duration::show(least), duration::show(duration)),
            Err(sentence) => sentence,
        };
        report.error(&self.at, sentence);
        None
    }

    /// The items of a list; a value that is no list counts as a list of one.
    pub fn items(&self) -> Vec<Self> {
        let Value::List(nodes) = &self.node.value else { return vec![self.clone()] };
        let items = nodes.iter().enumerate().map(|(n, node)| {
            let at =
                At { file: self.at.file, spot: Spot::Node(node.place), key: format!("{}[{n}]", self.at.key) };
            Field { at, node }
        });
        items.collect()
    }

    /// A mapping with these keys only.
    pub fn table(&self, known: &'static [&'static str], report: &mut Report) -> Option<Table<'t>> {
        let table = self.open_table("a mapping", report)?;
        for (key, field) in &table.fields {
            if !known.contains(key) {
                report.error(&field.at, suggestions::unknown_key(key, known));
            }
        }
        Some(table)
    }

    /// A mapping with any keys.
    pub fn open_table(&self, what: &str, report: &mut Report) -> Option<Table<'t>> {
        let Value::Map(entries) = &self.node.value else { return self.expected(what, report) };
        let mut table = Table { at: self.at.clone(), fields: Vec::new(), seen: HashMap::new() };
        let mut merged = Vec::new();
        for entry in entries {
            let field = Field { at: self.at_key(entry), node: &entry.value };
            if let Some(first) = table.seen.get(entry.key.as_str()).and_then(|n| table.fields.get(*n)) {
                report.duplicate(&field.at, &first.1.at);
            } else if entry.key == MERGE && merged.is_empty() {
                merged.push(field);
            } else if entry.key == MERGE {
                report.error(&field.at, "duplicate key; merge several mappings as a list: `<<: [*a, *b]`");
            } else {
                table.add(&entry.key, field);
            }
        }
        for field in merged.iter().flat_map(Field::items) {
            let Value::Map(entries) = &field.node.value else {
                return field.expected("a mapping to merge, such as `<<: *name`", report);
            };
            for entry in entries {
                if !table.seen.contains_key(entry.key.as_str()) {
                    table.add(&entry.key, Field { at: self.at_key(entry), node: &entry.value });
                }
            }
        }
        Some(table)
    }

    fn at_key(&self, entry: &Entry) -> At {
        let plain = !entry.key.is_empty()
            && entry.key.len() <= 64
            && entry.key.chars().all(|c| c.is_alphanumeric() || "_-@:<".contains(c));
        let short: String = entry.key.chars().take(64).collect();
        let key = match (self.at.key.as_str(), plain) {
            ("", true) => entry.key.clone(),
            ("", false) => format!("\"{short}\""),
            (parent, true) => format!("{parent}.{}", entry.key),
            (parent, false) => format!("{parent}.\"{short}\""),
        };
        At { file: self.at.file, spot: Spot::Node(entry.place), key }
    }
}

/// YAML's merge key: the entries of another mapping, unless they are written here.
const MERGE: &str = "<<";

/// A mapping.
#[derive(Debug)]
pub(super) struct Table<'t> {
    pub at: At,
    fields: Vec<(&'t str, Field<'t>)>,
    seen: HashMap<&'t str, usize>,
}

impl<'t> Table<'t> {
    fn add(&mut self, key: &'t str, field: Field<'t>) {
        self.seen.insert(key, self.fields.len());
        self.fields.push((key, field));
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Field<'t>> {
        self.seen.get(key).and_then(|n| self.fields.get(*n)).map(|(_, field)| field)
    }

    /// The value of `key`; its absence is reported.
    pub fn need(&self, key: &str, report: &mut Report) -> Option<&Field<'t>> {
        let field = self.get(key);
        if field.is_none() {
            report.error(&self.at, format!("`{key}` is missing"));
        }
        field
    }

    /// All keys with their values, as written.
    pub fn into_fields(self) -> Vec<(&'t str, Field<'t>)> {
        self.fields
    }
}
