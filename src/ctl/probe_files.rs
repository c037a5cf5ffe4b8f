//! The command lines of `command` probes, for their units to read: a part of `stealthctl authorize`.
//!
//! In: a checked configuration. Out: one file for each such check, named by the check, holding the words of its command
//! as a JSON list; files of others are removed. systemd opens a file when it starts the unit of the check
//! (`StandardInput=`) and hands it to that unit alone: a command line may hold secrets, so nobody but the owner may
//! look into the directory.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use super::staged::{Staged, unwritten};
use crate::bus::Bus;
use crate::check::{CheckName, CommandProbe, Probe};
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

/// Writes what `config` has, for `staged` to put in place.
pub(super) fn stage(directory: &Path, config: &Config, staged: &mut Staged) -> Result<(), Failure> {
    let commands: Vec<_> = commands(config).collect();
    if commands.is_empty() && !directory.exists() {
        return Ok(());
    }
    let failed = |error: &io::Error| unwritten(directory, error);
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&error)),
        _ => fs::set_permissions(directory, Permissions::from_mode(0o700)).map_err(|error| failed(&error))?,
    }
    for (name, command) in commands {
        let words: Vec<&str> = command.argv().collect();
        let words = serde_json::to_vec(&words).map_err(|error| failed(&error.into()))?;
        staged.add(&directory.join(name.as_str()), &words, 0o600, None)?;
    }
    Ok(())
}

/// Removes whatever else is there; the checks among it whose command is gone.
pub(super) fn remove_others(directory: &Path, config: &Config) -> io::Result<Vec<CheckName>> {
    let known: BTreeSet<&CheckName> = commands(config).map(|(name, _)| name).collect();
    let mut gone = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(gone),
        other => other?,
    };
    for entry in entries {
        let file = entry?.file_name();
        let name = file.to_str().and_then(|name| CheckName::new(name).ok());
        if name.as_ref().is_some_and(|name| known.contains(name)) {
            continue;
        }
        fs::remove_file(directory.join(&file))?;
        gone.extend(name);
    }
    Ok(gone)
}

fn commands(config: &Config) -> impl Iterator<Item = (&CheckName, &CommandProbe)> {
    config.checks.iter().filter_map(|check| match &check.probe {
        Probe::Command(command) => Some((&check.name, &**command)),
        _ => None,
    })
}
