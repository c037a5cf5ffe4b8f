//! A service that runs a line of the old tool's: what `unit_file` writes and `report` tells of.
//!
//! Values only.

use std::path::{Component, Path, PathBuf};

/// What a service runs, where and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    /// Which line it comes from, as a sentence.
    pub origin: String,
    /// The line.
    pub line: String,
    pub description: String,
    pub kind: Kind,
    /// `None` in a user manager, where everything runs as its user.
    pub user: Option<String>,
    pub directory: String,
    pub environment: Vec<(String, String)>,
    /// The program, absolute or a name, and its arguments.
    pub words: Vec<String>,
    /// The command as it was written, without `sudo`, `nohup` and the like; empty where bash is left the whole line.
    pub argv: Vec<String>,
    /// `None`: the journal.
    pub output: Option<Output>,
    pub error: Option<Output>,
    /// What it might be called, if that can be told.
    pub called: Option<String>,
    /// It starts another instance of the old tool.
    pub old_instance: bool,
    /// What was made of the line, for the report: sentences.
    pub said: Vec<String>,
    /// What a person must look at: sentences.
    pub look: Vec<String>,
}

/// Whether systemd can tell that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The line says that its program keeps running: a service like any other.
    Kept,
    /// Whether it ends or not cannot be told: each start runs it once, as the old tool did.
    Launched,
}

/// Where an output goes that is not the journal's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Null,
    /// Standard error: where standard output goes.
    Same,
    /// Standard error: to the journal, although standard output is not.
    Journal,
    Append(String),
    Truncate(String),
}

/// `path` as seen from `directory`, without `.`, `..` and doubled slashes. `directory` has no links in it, so that `..`
/// is what it looks like.
pub(super) fn absolute(directory: &str, path: &str) -> String {
    let mut out = PathBuf::from("/");
    for part in Path::new(directory).join(path).components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::Normal(part) => out.push(part),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out.to_string_lossy().into_owned()
}

/// The last part of a path.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_a_directory() {
        for (path, seen) in [
            ("./x", "/srv/old/x"),
            ("../stealth2/log.txt", "/srv/stealth2/log.txt"),
            ("/bin//y/", "/bin/y"),
            ("../../../..", "/"),
            (".", "/srv/old"),
        ] {
            assert_eq!(absolute("/srv/old", path), seen, "{path}");
        }
    }
}
