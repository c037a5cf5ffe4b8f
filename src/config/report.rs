//! Collects what is wrong, wherever it is found, and puts it in the order of files and lines.
//!
//! In: a place and a sentence. Out: [`Problem`]s of one line each, whatever the files contain. It never decides what
//! is wrong.

use super::Problem;
use super::source::Document;
use super::tree::{self, Place};
use crate::check::url::redact_urls;
use crate::text::sanitize;

/// More than this many are not a list that anybody reads.
const MOST_PROBLEMS: usize = 500;
/// Some positions need another reading of the file (see [`tree::line_of`]). So many bytes are read for them, about a second;
/// what is left then names the file and the key.
const MOST_READ: usize = 50 << 20;
/// Longer sentences are cut: they can quote what stands in the file.
const LONGEST: usize = 400;

/// Where something stands: the document's number, the place in it, the key's path.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub file: usize,
    pub spot: Spot,
    pub key: String,
}

impl At {
    /// The file as a whole.
    pub fn file(file: usize) -> Self {
        Self { file, spot: Spot::File, key: String::new() }
    }

    /// The line on which this is, where it has one.
    pub fn line(&self, documents: &[Document]) -> Option<usize> {
        match self.spot {
            Spot::File => None,
            Spot::Line(line) => Some(line),
            Spot::Node(place) => tree::line_of(documents.get(self.file)?.text, place),
        }
    }
}

/// A place in a document.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spot {
    File,
    Line(usize),
    Node(Place),
}

/// Errors and warnings so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    errors: Vec<Found>,
    warnings: Vec<Found>,
}

/// One of them; `first` is the other place, where two are involved.
#[derive(Debug)]
struct Found {
    at: At,
    message: String,
    first: Option<At>,
}

impl Report {
    /// The configuration cannot be used.
    pub fn error(&mut self, at: &At, message: impl Into<String>) {
        self.errors.push(Found { at: at.clone(), message: message.into(), first: None });
    }

    /// What stands at `at` stands at `first` already.
    pub fn duplicate(&mut self, at: &At, first: &At) {
        self.errors.push(Found { at: at.clone(), message: String::new(), first: Some(first.clone()) });
    }

    /// It can, but is probably not meant so.
    pub fn warn(&mut self, at: &At, message: impl Into<String>) {
        self.warnings.push(Found { at: at.clone(), message: message.into(), first: None });
    }

    /// Errors and warnings, each in the order of files and lines.
    pub fn finish(self, documents: &[Document]) -> (Vec<Problem>, Vec<Problem>) {
        (arrange(self.errors, documents), arrange(self.warnings, documents))
    }
}

fn arrange(mut found: Vec<Found>, documents: &[Document]) -> Vec<Problem> {
    let unseen = found.len().saturating_sub(MOST_PROBLEMS);
    found.truncate(MOST_PROBLEMS);
    let mut read = 0;
    let mut problems: Vec<(usize, Problem)> = found
        .into_iter()
        .filter_map(|Found { at, message, first }| {
            let document = documents.get(at.file)?;
            if let Spot::Node(place) = at.spot {
                read += if place.needs_reading() { document.text.len() } else { 0 };
            }
            let line = if read <= MOST_READ { at.line(documents) } else { None };
            let message = match first {
                Some(first) => already(&at, &first, documents),
                None => message,
            };
            let problem = Problem {
                file: document.path.to_owned(),
                line,
                key: one_line(&at.key),
                message: one_line(&message),
            };
            Some((at.file, problem))
        })
        .collect();
    problems.sort_by(|(file, a), (other, b)| {
        (file, a.line, &a.key, &a.message).cmp(&(other, b.line, &b.key, &b.message))
    });
    problems.dedup();
    let mut problems: Vec<Problem> = problems.into_iter().map(|(_, problem)| problem).collect();
    if unseen > 0
        && let Some(last) = problems.last().cloned()
    {
        let message = format!("{unseen} more errors are not shown");
        problems.push(Problem { line: None, key: String::new(), message, ..last });
    }
    problems
}

/// The sentence for what stands at two places.
fn already(at: &At, first: &At, documents: &[Document]) -> String {
    let line = first.line(documents).map(|line| line.to_string());
    match (documents.get(first.file), line) {
        (_, Some(line)) if at.file == first.file => {
            format!("duplicate key, first written on line {line}")
        }
        (Some(document), line) => {
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            format!("duplicate key, first written in {}{line}", document.path.display())
        }
        (None, _) => "duplicate key".to_owned(),
    }
}

/// `text` on one line, not longer than people read, and without the secrets of URLs: journal, status and mail show it.
fn one_line(text: &str) -> String {
    sanitize(&redact_urls(text), LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_never_breaks_the_line() {
        assert_eq!(one_line("a\nb\r\u{1b}[31m\u{2028}é`x`"), "a\\nb\\r\\u{1b}[31m\\u{2028}é`x`");
        assert_eq!(one_line(&"x".repeat(1000)).chars().count(), LONGEST);
    }
}
