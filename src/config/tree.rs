//! A YAML document as a tree of which every node knows where it stands.
//!
//! In: the text of a file. Out: a [`Node`], or why the text is not YAML. `serde_yaml` decides what the document is; its
//! own `Value` forgets positions and lets a duplicate key win, so this visitor keeps both. A position comes for free
//! where serde hands out a key or a text borrowed from the input. Where it does not (a number in a list, a text with
//! escapes), [`line_of`] reads the document once more and stops at that node: an error knows its position.
//! This module knows nothing of the configuration's schema.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess};
use serde::de::{SeqAccess, VariantAccess, Visitor};

/// No document has more nodes than this, aliases counted as often as they are used: a short file of aliases to aliases
/// can stand for a very long one.
const MOST_NODES: usize = 250_000;

/// Where a node stands: its number in reading order and, where it was borrowed from the text, its offset there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    number: usize,
    offset: Option<usize>,
}

impl Place {
    /// [`line_of`] has to read the document once more.
    pub fn needs_reading(self) -> bool {
        self.offset.is_none()
    }
}

/// A value.
#[derive(Debug)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    Tagged,
}

/// A key with its value. Duplicates are still both there.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    pub place: Place,
    pub value: Node,
}

/// Why a text is not a document.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub line: Option<usize>,
    pub message: String,
}

/// Reads `text`. An empty document is [`Value::Null`].
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let reader = Reader::new(text, None);
    Seed(&reader).deserialize(serde_yaml::Deserializer::from_str(text)).map_err(|error| {
        let line = error.location().map(|at| line_at(text, at.index()));
        let message = match error.to_string() {
            _ if reader.count.get() > MOST_NODES => {
                format!("more than {MOST_NODES} values, aliases counted as often as they are used")
            }
            said if said.contains("more than one document") => {
                "a second document begins (`---`); a file holds one".to_owned()
            }
            said if said.contains("recursion limit") => "nested deeper than 128 levels".to_owned(),
            said if said.contains(PLAIN_KEY) => "a list or a mapping cannot be a key".to_owned(),
            said if said.contains("cannot start any token")
                && line.is_some_and(|line| begins_with_tab(text, line)) =>
            {
                "YAML is indented with spaces, not with tabs".to_owned()
            }
            said => format!("not YAML: {said}"),
        };
        SyntaxError { line, message }
    })
}

/// Whether a line's indentation has a tab in it.
fn begins_with_tab(text: &str, line: usize) -> bool {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t')
}

/// The line on which the node stands; `None` only if it cannot be found again.
pub(super) fn line_of(text: &str, place: Place) -> Option<usize> {
    if let Some(offset) = place.offset {
        return Some(line_at(text, offset));
    }
    let reader = Reader::new(text, Some(place.number));
    let error = Seed(&reader).deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    error.location().map(|at| line_at(text, at.index()))
}

/// The line, from 1, that the byte at `offset` is on.
fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// One reading of a text: counts the nodes, and stops at one if told so.
struct Reader<'t> {
    text: &'t str,
    count: Cell<usize>,
    stop_at: Option<usize>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, stop_at: Option<usize>) -> Self {
        Self { text, count: Cell::new(0), stop_at }
    }

    fn place<E: Error>(&self, borrowed: Option<&str>) -> Result<Place, E> {
        let number = self.count.get();
        self.count.set(number + 1);
        if self.stop_at == Some(number) || number >= MOST_NODES {
            return Err(E::custom("stopped"));
        }
        let offset = borrowed
            .and_then(|part| part.as_ptr().addr().checked_sub(self.text.as_ptr().addr()))
            .filter(|offset| *offset <= self.text.len());
        Ok(Place { number, offset })
    }

    fn node<E: Error>(&self, value: Value) -> Result<Node, E> {
        Ok(Node { place: self.place(None)?, value })
    }
}

/// Reads a node.
#[derive(Clone, Copy)]
struct Seed<'r, 't>(&'r Reader<'t>);

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Node;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        self.0.node(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        self.0.node(Value::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        self.0.node(Value::Integer(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Node, E> {
        self.0.node(Value::Integer(value))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Node, E> {
        self.0.node(Value::Integer(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        self.0.node(Value::Float(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        self.0.node(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        self.0.node(Value::Null)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        self.0.node(Value::Text(text.to_owned()))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Node, E> {
        Ok(Node { place: self.0.place(Some(text))?, value: Value::Text(text.to_owned()) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let place = self.0.place(None)?;
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element_seed(self)? {
            nodes.push(node);
        }
        Ok(Node { place, value: Value::List(nodes) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let place = self.0.place(None)?;
        let mut entries = Vec::new();
        while let Some((key, place)) = map.next_key_seed(KeySeed(self.0))? {
            entries.push(Entry { key, place, value: map.next_value_seed(self)? });
        }
        Ok(Node { place, value: Value::Map(entries) })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        let place = self.0.place(None)?;
        let (IgnoredAny, content) = tagged.variant()?;
        let IgnoredAny = content.newtype_variant()?;
        Ok(Node { place, value: Value::Tagged })
    }
}

/// What serde is told was expected of a key.
const PLAIN_KEY: &str = "a key that is a text";

/// Reads a key as the text that was written: `8080:` is a key as well.
struct KeySeed<'r, 't>(&'r Reader<'t>);

impl<'de> DeserializeSeed<'de> for KeySeed<'_, '_> {
    type Value = (String, Place);
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed<'_, '_> {
    type Value = (String, Place);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PLAIN_KEY)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok((text.to_owned(), self.0.place(None)?))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok((text.to_owned(), self.0.place(Some(text))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_and_lines(text: &str) -> Vec<(String, usize)> {
        fn walk(text: &str, node: &Node, out: &mut Vec<(String, usize)>) {
            match &node.value {
                Value::Map(entries) => {
                    for entry in entries {
                        out.push((entry.key.clone(), line_of(text, entry.place).unwrap()));
                        walk(text, &entry.value, out);
                    }
                }
                Value::List(nodes) => {
                    for node in nodes {
                        out.push(("-".to_owned(), line_of(text, node.place).unwrap()));
                        walk(text, node, out);
                    }
                }
                _ => {}
            }
        }
        let mut out = Vec::new();
        walk(text, &parse(text).unwrap(), &mut out);
        out
    }

    #[test]
    fn every_key_and_item_knows_its_line() {
        let text = "# ümläut €\r\na: |\n  text: not a key\n  - nor an item\n\"q\\x71\": 'x'\n? plain\n: 1\nlist:\n  - 1\n  - \
                    \"e\\n\"\n\n  - {f: [2,\n    3]}\n'été': {g: 1, g: 2}\n";
        let expected = [
            ("a", 2),
            ("qq", 5),
            ("plain", 6),
            ("list", 8),
            ("-", 9),
            ("-", 10),
            ("-", 12),
            ("f", 12),
            ("-", 12),
            ("-", 13),
            ("été", 14),
            ("g", 14),
            ("g", 14),
        ];
        assert_eq!(keys_and_lines(text), expected.map(|(key, line)| (key.to_owned(), line)));
    }

    #[test]
    fn an_alias_bomb_is_refused_quickly() {
        let began = std::time::Instant::now();
        let long = "x, ".repeat(50_000);
        let bomb = format!("a: &a [{long}]\nb: [{}]\n", "*a, ".repeat(50_000));
        assert!(parse(&bomb).unwrap_err().message.contains("more than 250000 values"));
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }

    #[test]
    fn a_document_is_one_and_may_be_empty() {
        for empty in ["", "# nothing\n", "---\n", "---\n# nothing\n...\n"] {
            assert!(matches!(parse(empty).unwrap().value, Value::Null), "{empty:?}");
        }
        assert!(parse("a: 1\n---\nb: 2\n").unwrap_err().message.contains("second document"));
    }
}
