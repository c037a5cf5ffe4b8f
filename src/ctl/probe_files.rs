//! The command lines of `command` probes, for their units to read: a part of `stealthctl authorize`.
//!
//! In: a checked configuration. Out: one file for each such check, named by the check, holding the words of its command
//! as a JSON list; files of others are removed. systemd opens a file when it starts the unit of the check
//! (`StandardInput=`) and hands it to that unit alone: a command line may hold secrets, so nobody but the owner may
//! look into the directory.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::authorize::replace;
use super::exit::{Exit, Failure};
use crate::bus::Bus;
use crate::check::{CheckName, Probe};
use crate::config::Config;

/// The directory's name in the runtime directory of the service manager, as in `%t/stealthcheck.probes/%i` of the unit.
const DIRECTORY: &str = "stealthcheck.probes";

/// Where the units of the service manager on `bus` look.
pub(super) fn directory(bus: Bus) -> Result<PathBuf, Failure> {
    let runtime = match bus {
        Bus::System => Some(PathBuf::from("/run")),
        Bus::User => std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute()),
    };
    runtime.map(|runtime| runtime.join(DIRECTORY)).ok_or_else(|| {
        Failure::new(Exit::Usage, "XDG_RUNTIME_DIR is not set: it is, in the user's session and units")
    })
}

/// Writes what `config` has, and removes the rest: the checks whose command is gone.
pub(super) fn write(directory: &Path, config: &Config) -> io::Result<Vec<CheckName>> {
    let commands: Vec<_> = config
        .checks
        .iter()
        .filter_map(|check| match &check.probe {
            Probe::Command(command) => Some((&check.name, command)),
            _ => None,
        })
        .collect();
    if commands.is_empty() && !directory.exists() {
        return Ok(Vec::new());
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => fs::set_permissions(directory, Permissions::from_mode(0o700))?,
    }
    for (name, command) in &commands {
        let words: Vec<&str> = command.argv().collect();
        replace(&directory.join(name.as_str()), &serde_json::to_vec(&words)?, 0o600)?;
    }
    let mut gone = Vec::new();
    for entry in fs::read_dir(directory)? {
        let file = entry?.file_name();
        let name = file.to_str().and_then(|name| CheckName::new(name).ok());
        if name.as_ref().is_some_and(|name| commands.iter().any(|(known, _)| *known == name)) {
            continue;
        }
        fs::remove_file(directory.join(&file))?;
        gone.extend(name);
    }
    Ok(gone)
}
