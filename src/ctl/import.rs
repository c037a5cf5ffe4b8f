//! `stealthctl import`: moves over from the old tool of the same name, which ran shell commands in a loop.
//!
//! In: its config.json and checks.json. Out: a directory with the configuration, a unit for each fail command, the mail
//! password as a credential and a report of what to look at. It installs nothing, starts nothing, and
//! overwrites nothing: what it writes is for a person to read first.
//!
//! ```text
//! config.json, checks.json ─── old ─────▶ Old ──┐
//!                                               ├─ plan ─▶ Plan ─ write ─▶ a new directory, whole or not at all
//! the machine's programs, units ─ Surroundings ─┘    │
//!             check_command ─ probe (shell, curl), fail_command ─ recovery (shell), then names, yaml, unit_file, report
//! ```
//!
//! All but this file and `write` are pure.

use std::fs;
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
mod names;
mod old;
mod options;
mod plan;
mod probe;
mod recovery;
mod report;
mod shell;
mod unit_file;
mod write;
mod yaml;

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
    /// The directory to write, which is not there yet
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
    let config = read(&old, "config.json")?;
    let checks = read(&old, "checks.json")?;
    let usage = |message: &str| Err(Failure::new(Exit::Usage, message));
    let run_as = match (bus, &arguments.run_as) {
        (Bus::User, None) => None,
        (Bus::User, Some(_)) => return usage("with --user everything runs as that user: leave --run-as out"),
        (Bus::System, None) => Some(owner(&old)?),
        (Bus::System, Some(user)) if is_user(user) => Some(user.clone()),
        (Bus::System, Some(_)) => return usage("--run-as names a user of this machine, such as `ubuntu`"),
    };
    let out = std::path::absolute(&arguments.out).unwrap_or_default();
    let cwd = cwd.to_str().filter(|path| unit_file::fits_path(path));
    let Some(cwd) = cwd else { return usage("a unit file cannot have that directory: rename it") };
    let around = Surroundings {
        old: &old.to_string_lossy(),
        out: &out.to_string_lossy(),
        cwd,
        run_as: run_as.as_deref(),
        program_exists: &program_exists,
        unit_exists: &unit_exists,
    };
    let plan = plan(&config, &checks, &around).map_err(|problems| {
        let directory = sanitize(&arguments.dir.to_string_lossy());
        invalid(&format!("in {directory}"), &problems)
    })?;
    write::all(&arguments.out, &plan.files, |written| {
        // The daemon's own reading of it.
        config::load(&written.join("stealthcheck.yaml")).map(|_| ()).map_err(|problems| {
            let said: Vec<_> =
                problems.iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect();
            invalid("the configuration that would come of it is not valid", &said)
        })
    })?;
    print(&plan.summary)?;
    Ok(Exit::Ok)
}

fn invalid(what: &str, problems: &[String]) -> Failure {
    Failure::new(Exit::Config, format!("nothing was written; {what}:\n{}", lines(problems)))
}

/// A directory that is there, without links in its path.
fn directory(path: &Path) -> Result<PathBuf, Failure> {
    let shown = sanitize(&path.to_string_lossy());
    match fs::canonicalize(path) {
        Ok(real) if real.is_dir() => Ok(real),
        Ok(_) => Err(Failure::new(Exit::NoInput, format!("{shown} is no directory"))),
        Err(error) => Err(Failure::new(Exit::NoInput, format!("{shown} cannot be read: {error}"))),
    }
}

fn read(directory: &Path, name: &str) -> Result<String, Failure> {
    let path = directory.join(name);
    let failed = |why: &str| {
        let shown = sanitize(&path.to_string_lossy());
        Failure::new(Exit::NoInput, format!("{shown} cannot be read: {why}"))
    };
    // Asked before it is opened: to open a FIFO waits for its writer.
    let found = fs::metadata(&path).map_err(|error| failed(&error.to_string()))?;
    if !found.is_file() || found.len() > LARGEST {
        return Err(failed("it is not a regular file of at most 1 MiB, as the old tool's are"));
    }
    fs::read_to_string(&path).map_err(|error| failed(&error.to_string()))
}

/// The name of the directory's owner, or his number where the machine's own list has no name for it.
fn owner(directory: &Path) -> Result<String, Failure> {
    let uid = fs::metadata(directory).map_err(|error| Failure::new(Exit::NoInput, error.to_string()))?.uid();
    let named = account::all().into_iter().find(|account| account.uid == uid && is_user(&account.name));
    Ok(named.map_or_else(|| uid.to_string(), |account| account.name))
}

/// Whether `User=` takes it (systemd.exec(5)): a name, or a number.
fn is_user(name: &str) -> bool {
    let can = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && name.chars().all(can)
}

/// A path, or a name as systemd looks it up.
fn program_exists(program: &str) -> bool {
    // A path that is absolute takes the place of the directory.
    PROGRAMS.iter().any(|directory| Path::new(directory).join(program).is_file())
}

/// Of an instance, the template as well; also a link that leads nowhere, or to /dev/null.
fn unit_exists(unit: &str) -> bool {
    let template = unit.split_once('@').zip(unit.rsplit_once('.'));
    let template = template.map(|((stem, _), (_, suffix))| format!("{stem}@.{suffix}"));
    let exists = |name: &str| UNITS.iter().any(|at| fs::symlink_metadata(Path::new(at).join(name)).is_ok());
    exists(unit) || template.is_some_and(|template| exists(&template))
}
