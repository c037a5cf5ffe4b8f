//! Finds and reads the files: the main one and the drop-ins beside it.
//!
//! In: the main file's path. Out: [`Document`]s in the order in which they count, each with its tree; what cannot be
//! read goes to the report. Nothing here knows what the keys mean, and nothing is written.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::report::{At, Report, Spot};
use super::tree::{self, Node};

/// A file longer than this is not a configuration.
const LARGEST: u64 = 1 << 20;
/// Brackets left open at once. The YAML parser refuses deep nesting itself, but only after a time that grows with the
/// square of the depth.
const DEEPEST: usize = 500;

/// A file that was read.
#[derive(Debug)]
pub(super) struct Document {
    pub path: PathBuf,
    pub text: String,
    /// `None` where it was not read: the report says why.
    pub root: Option<Node>,
}

/// Reads `main` and `conf.d/*.yaml` beside it.
pub(super) fn read(main: &Path, report: &mut Report) -> Vec<Document> {
    let mut documents = Vec::new();
    let missing = || {
        "there is no such file; write one with a `checks:` section, such as `checks: { web: { unit: nginx.service } }`"
            .to_owned()
    };
    push(&mut documents, main.to_owned(), report, Some(&missing));

    let directory = main.parent().unwrap_or(Path::new("")).join("conf.d");
    let mut names = match names(&directory) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return documents,
        Err(error) => {
            let message = if error.kind() == io::ErrorKind::NotADirectory {
                "this is a file; a directory with drop-ins was expected".to_owned()
            } else {
                format!("the directory cannot be read: {}", reason(&error))
            };
            unusable(&mut documents, directory, report, Spot::File, message);
            return documents;
        }
    };
    names.sort();
    for path in names {
        if path.extension().is_some_and(|extension| extension == "yaml") {
            if !is_masked(&path) {
                push(&mut documents, path, report, None);
            }
        } else {
            report.warn(&At::file(documents.len()), "ignored: the name of a drop-in ends in `.yaml`");
            documents.push(Document { path, text: String::new(), root: None });
        }
    }
    documents
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

fn push(
    documents: &mut Vec<Document>,
    path: PathBuf,
    report: &mut Report,
    missing: Option<&dyn Fn() -> String>,
) {
    let text = match text(&path) {
        Ok(text) => text,
        Err(Unreadable::Missing) => {
            let message = missing.map_or_else(|| "the link leads nowhere".to_owned(), |say| say());
            return unusable(documents, path, report, Spot::File, message);
        }
        Err(Unreadable::Because(spot, message)) => return unusable(documents, path, report, spot, message),
    };
    let file = documents.len();
    let root = match nesting(&text).map_or_else(|| tree::parse(&text), Err) {
        Ok(root) => Some(root),
        Err(error) => {
            let spot = error.line.map_or(Spot::File, Spot::Line);
            report.error(&At { spot, ..At::file(file) }, error.message);
            None
        }
    };
    documents.push(Document { path, text, root });
}

fn unusable(documents: &mut Vec<Document>, path: PathBuf, report: &mut Report, spot: Spot, message: String) {
    report.error(&At { spot, ..At::file(documents.len()) }, message);
    documents.push(Document { path, text: String::new(), root: None });
}

enum Unreadable {
    Missing,
    Because(Spot, String),
}

fn text(path: &Path) -> Result<String, Unreadable> {
    let because = |said: &str| Unreadable::Because(Spot::File, said.to_owned());
    let refuse = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => Unreadable::Missing,
        _ => Unreadable::Because(Spot::File, format!("cannot be read: {}", reason(error))),
    };
    // Asked before it is opened: to open a FIFO waits for its writer.
    let kind = fs::metadata(path).map_err(|error| refuse(&error))?;
    if kind.is_dir() {
        return Err(because("this is a directory; a file was expected"));
    }
    if !kind.is_file() {
        return Err(because("this is not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| refuse(&error))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| refuse(&error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(because("larger than 1 MiB: this is not a configuration"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let sound = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes().iter().take(sound).filter(|byte| **byte == b'\n').count();
        Unreadable::Because(Spot::Line(line), "not UTF-8 text".to_owned())
    })?;
    // A byte order mark is no part of the document.
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
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
