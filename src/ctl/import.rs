//! `stealthctl import`: moves over from the old tool of the same name, which ran shell commands in a loop.
//!
//! In: its config.json and checks.json. Out: a directory with the configuration, a unit for each fail command, the mail
//! password as a credential and a report of what was made of each line. It installs nothing, starts nothing, and
//! overwrites nothing: what it writes is for a person to read first.
//!
//! ```text
//! config.json, checks.json ─ old (json) ─▶ Old ─┐
//!                                               ├─ plan ─▶ Plan ─ write ─▶ a new directory, whole or not at all
//! the machine's programs, units ─ Surroundings ─┘    │
//!                 check_command ─ probe (shell, curl), fail_command ─ recovery (shell), then names, yaml, unit_file, report
//! ```
//!
//! All but this file and `write` are pure.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::account;
use super::exit::{Exit, Failure, lines};
use super::print;
use super::text::sanitize;
use crate::bus::Bus;
use crate::config;

mod curl;
mod json;
mod names;
mod old;
mod plan;
mod probe;
mod recovery;
mod report;
mod secrets;
mod service;
mod shell;
mod strip_wrappers;
mod unit_file;
mod write;
mod yaml;

pub use json::Problem;
pub use plan::{Plan, PlannedFile, Surroundings, plan};

/// A file that is larger is not the old tool's.
const LARGEST: u64 = 1 << 20;
/// Where systemd looks for programs that are named without a path (systemd.exec(5), ExecSearchPath=).
const PROGRAMS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Where unit files are (systemd.unit(5)), by hand and from packages.
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The command's arguments.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The old tool's directory, with its config.json and checks.json
    #[arg(long, value_name = "OLD")]
    dir: PathBuf,
    /// The directory to write: a new or an empty one
    #[arg(long, value_name = "NEW")]
    out: PathBuf,
    /// Where the old tool was started, which its lines were relative to [default: OLD]
    #[arg(long, value_name = "DIRECTORY")]
    cwd: Option<PathBuf>,
    /// The user that the old tool ran as [default: the owner of OLD]
    #[arg(long, value_name = "USER")]
    run_as: Option<String>,
}

pub(super) fn import(arguments: &Arguments, bus: Bus) -> Result<Exit, Failure> {
    let old = directory(&arguments.dir)?;
    let cwd = arguments.cwd.as_deref().map_or_else(|| Ok(old.clone()), directory)?;
    let out = write::free(&arguments.out)?;
    let config = read(&old, "config.json")?;
    let checks = read(&old, "checks.json")?;
    let run_as = match bus {
        Bus::System => Some(arguments.run_as.clone().map_or_else(|| owner(&old), Ok)?),
        Bus::User if arguments.run_as.is_some() => {
            return Err(Failure::new(
                Exit::Usage,
                "with --user everything runs as that user: leave --run-as out",
            ));
        }
        Bus::User => None,
    };
    if run_as.as_deref().is_some_and(|user| !is_user(user)) {
        return Err(Failure::new(Exit::Usage, "--run-as names a user of this machine, such as `ubuntu`"));
    }
    let around = Surroundings {
        old: text(&old)?,
        out: text(&out)?,
        cwd: text(&cwd)?,
        run_as: run_as.as_deref(),
        program_exists: &program_exists,
        unit_exists: &unit_exists,
    };
    let plan = plan(&config, &checks, &around)
        .map_err(|problems| Failure::new(Exit::Config, refused(&arguments.dir, &problems)))?;
    write::all(&out, &plan.files, |draft| validate(&draft.join("stealthcheck.yaml")))?;
    print(&plan.summary)?;
    Ok(Exit::Ok)
}

fn refused(directory: &Path, problems: &[Problem]) -> String {
    let directory = sanitize(&directory.to_string_lossy());
    format!("nothing was written; in {directory}:\n{}", lines(problems))
}

/// The daemon's own reading of what would be written.
fn validate(file: &Path) -> Result<(), Failure> {
    config::load(file).map(|_| ()).map_err(|problems| {
        let said: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect();
        Failure::new(
            Exit::Config,
            format!(
                "nothing was written, as the configuration that would come of it is not valid:\n{}",
                lines(&said)
            ),
        )
    })
}

/// A directory that is there, without links in its path.
fn directory(path: &Path) -> Result<PathBuf, Failure> {
    let shown = sanitize(&path.to_string_lossy());
    let real = fs::canonicalize(path)
        .map_err(|error| Failure::new(Exit::NoInput, format!("{shown} cannot be read: {error}")))?;
    if real.is_dir() {
        Ok(real)
    } else {
        Err(Failure::new(Exit::NoInput, format!("{shown} is no directory")))
    }
}

/// A path that can stand in a unit file.
fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().filter(|path| unit_file::fits_path(path)).ok_or_else(|| {
        let path = sanitize(&path.to_string_lossy());
        Failure::new(
            Exit::Usage,
            format!("the name {path} cannot stand in a unit file; rename the directory"),
        )
    })
}

fn read(directory: &Path, name: &str) -> Result<String, Failure> {
    let path = directory.join(name);
    let shown = sanitize(&path.to_string_lossy());
    let failed = |why: String| Failure::new(Exit::NoInput, format!("{shown} cannot be read: {why}"));
    // Asked before it is opened: to open a FIFO waits for its writer.
    let kind = fs::metadata(&path).map_err(|error| failed(error.to_string()))?;
    if !kind.is_file() {
        return Err(failed("it is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    let opened = fs::File::open(&path).map_err(|error| failed(error.to_string()))?;
    opened.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > LARGEST {
        return Err(failed("it is larger than 1 MiB, which is not the old tool's".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let sound = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes().iter().take(sound).filter(|byte| **byte == b'\n').count();
        Failure::new(Exit::Config, format!("{shown}:{line}: not UTF-8 text"))
    })
}

/// The name of the directory's owner, or his number where the machine's own list has no name for it.
fn owner(directory: &Path) -> Result<String, Failure> {
    let uid = fs::metadata(directory)
        .map_err(|error| {
            Failure::new(Exit::NoInput, format!("{} cannot be read: {error}", directory.display()))
        })?
        .uid();
    let named = account::all().into_iter().find(|account| account.uid == uid && is_user(&account.name));
    Ok(named.map_or_else(|| uid.to_string(), |account| account.name))
}

/// Whether `User=` takes it (systemd.exec(5)): a name, or a number.
fn is_user(name: &str) -> bool {
    let number = !name.is_empty() && name.len() < 11 && name.bytes().all(|byte| byte.is_ascii_digit());
    let can = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.len() < 32;
    number || (named && name.chars().all(can))
}

/// A path, or a name as systemd looks it up.
fn program_exists(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    PROGRAMS.iter().any(|directory| Path::new(directory).join(program).is_file())
}

fn unit_exists(unit: &str) -> bool {
    let template = unit.split_once('@').map(|(stem, rest)| {
        let suffix = rest.rsplit_once('.').map_or("", |(_, suffix)| suffix);
        format!("{stem}@.{suffix}")
    });
    let names = std::iter::once(unit).chain(template.as_deref());
    names.into_iter().any(|name| {
        // Also a link that leads nowhere, or to /dev/null.
        UNITS.iter().any(|directory| fs::symlink_metadata(Path::new(directory).join(name)).is_ok())
    })
}

/// Whether an error means that somebody else may do it.
fn exit_of(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Denied,
        _ => Exit::CannotCreate,
    }
}
