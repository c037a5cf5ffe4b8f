//! Finds and reads the files: the main one and the drop-ins beside it.
//!
//! In: the main file's path. Out: [`Sources`], the files in the order in which they count, exactly as they were read or
//! with the reason why not; and of these, [`Document`]s with their trees. Nothing here knows what the keys mean, and
//! nothing is written.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use super::report::{At, Report, Spot};
use super::tree::{self, Node};

/// A file longer than this is not a configuration.
const LARGEST: u64 = 1 << 20;
/// Brackets left open at once. The YAML parser refuses deep nesting itself, but only after a time that grows with the
/// square of the depth.
const DEEPEST: usize = 500;

/// The files of a configuration at one moment. They can be kept and checked again later, with the same result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources(Vec<Source>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Source {
    #[serde(serialize_with = "as_text")]
    path: PathBuf,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Content {
    Text(String),
    /// The name is not that of a drop-in.
    Ignored,
    Unusable {
        line: Option<usize>,
        message: String,
    },
}

/// JSON has no other: a name that is not UTF-8 is shown so in any case.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Document<'s> {
    pub path: &'s Path,
    pub text: &'s str,
    /// `None` where it was not read: the report says why.
    pub root: Option<Node>,
}

impl Sources {
    /// Reads `main` and `conf.d/*.yaml` beside it. What cannot be read is an error when the sources are checked.
    #[must_use]
    pub fn read(main: &Path) -> Self {
        let missing = "there is no such file; write one with a `checks:` section, such as `checks: { web: { unit: \
                       nginx.service } }`";
        let mut sources = vec![source(main.to_owned(), missing)];
        let directory = main.parent().unwrap_or(Path::new("")).join("conf.d");
        let mut names = match names(&directory) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self(sources),
            Err(error) => {
                let message = if error.kind() == io::ErrorKind::NotADirectory {
                    "this is a file; a directory with drop-ins was expected".to_owned()
                } else {
                    format!("the directory cannot be read: {}", reason(&error))
                };
                let content = Content::Unusable { line: None, message };
                sources.push(Source { path: directory, content });
                return Self(sources);
            }
        };
        names.sort();
        for path in names {
            if path.extension().is_none_or(|extension| extension != "yaml") {
                sources.push(Source { path, content: Content::Ignored });
            } else if !is_masked(&path) {
                sources.push(source(path, "the link leads nowhere"));
            }
        }
        Self(sources)
    }

    /// Each file with its tree; what is no YAML goes to the report.
    pub(super) fn parse(&self, report: &mut Report) -> Vec<Document<'_>> {
        let documents = self.0.iter().enumerate().map(|(file, source)| {
            let (text, root) = match &source.content {
                Content::Text(text) => {
                    // A byte order mark is no part of the document.
                    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
                    (text, parse(text, file, report))
                }
                Content::Ignored => {
                    report.warn(&At::file(file), "ignored: the name of a drop-in ends in `.yaml`");
                    ("", None)
                }
                Content::Unusable { line, message } => {
                    let spot = line.map_or(Spot::File, Spot::Line);
                    report.error(&At { spot, ..At::file(file) }, message.clone());
                    ("", None)
                }
            };
            Document { path: &source.path, text, root }
        });
        documents.collect()
    }
}

fn parse(text: &str, file: usize, report: &mut Report) -> Option<Node> {
    match nesting(text).map_or_else(|| tree::parse(text), Err) {
        Ok(root) => Some(root),
        Err(error) => {
            let spot = error.line.map_or(Spot::File, Spot::Line);
            report.error(&At { spot, ..At::file(file) }, error.message);
            None
        }
    }
}

/// What is in the directory, without hidden files (editors leave them) and READMEs.
fn names(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && !name.starts_with("README") {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

/// A drop-in that is a link to /dev/null is switched off, as systemd has it.
fn is_masked(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
}

fn source(path: PathBuf, missing: &str) -> Source {
    let content = text(&path, missing).map_or_else(|unusable| unusable, Content::Text);
    Source { path, content }
}

/// What the file has, or why it is unusable.
fn text(path: &Path, missing: &str) -> Result<String, Content> {
    let because = |message: String| Content::Unusable { line: None, message };
    let refuse = |error: &io::Error| {
        because(match error.kind() {
            io::ErrorKind::NotFound => missing.to_owned(),
            _ => format!("cannot be read: {}", reason(error)),
        })
    };
    // Asked before it is opened: to open a FIFO waits for its writer.
    let kind = fs::metadata(path).map_err(|error| refuse(&error))?;
    if kind.is_dir() {
        return Err(because("this is a directory; a file was expected".to_owned()));
    }
    if !kind.is_file() {
        return Err(because("this is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| refuse(&error))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| refuse(&error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(because("larger than 1 MiB: this is not a configuration".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let sound = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes().iter().take(sound).filter(|byte| **byte == b'\n').count();
        Content::Unusable { line: Some(line), message: "not UTF-8 text".to_owned() }
    })
}

/// The error as a sentence, without the number that `io::Error` adds.
fn reason(error: &io::Error) -> String {
    let said = error.to_string();
    said.split(" (os error").next().unwrap_or(&said).to_lowercase()
}

/// Refuses brackets nested absurdly deep. They are counted wherever they stand, also in a text: a runbook that leaves
/// this many open does not exist.
fn nesting(text: &str) -> Option<tree::SyntaxError> {
    let mut open = 0_usize;
    let mut line = 1;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            b'\n' => line += 1,
            _ => {}
        }
        if open > DEEPEST {
            let message = format!("more than {DEEPEST} brackets are open at once");
            return Some(tree::SyntaxError { line: Some(line), message });
        }
    }
    None
}
