//! `stealthctl authorize`: decides, as root, which configuration runs and what the daemon may ask systemd for.
//!
//! In: the configuration's files, which root owns, and from systemd the names behind aliases, for by those it asks polkit.
//! Out, where they are valid: a file of lines `VERB UNIT` that polkit's rule for the daemon looks into; the command lines of
//! `command` probes ([`probe_files`](super::probe_files)); the list as a rule ([`permitted_rule`](super::permitted_rule)); and the [`Record`] with a copy of the files, which is what the
//! daemon loads. They are replaced together or not at all, each in one rename. Where the files are not valid their problems
//! are in the record, for the daemon to report, and all the rest is that of the last valid configuration.
//!
//! In a user manager nobody asks polkit: there it is only about the command lines and the record.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use zbus::OwnedObjectPath;

use super::account::{self, Account};
use super::exit::{Exit, Failure};
use super::staged::{Staged, unwritten};
use super::text::sanitize;
use super::validate::default_file;
use super::{access, commands, permitted_rule, probe_files};
use crate::bus::Bus;
use crate::check::CheckName;
use crate::config::accepted::Record;
use crate::config::{self, Config, Problem, Sources};
use crate::unit::UnitName;

/// A systemd that takes longer is asked in vain, and the names stand as they are written.
const PATIENCE: Duration = Duration::from_secs(5);

/// A unit as `ListUnitsByNames` has it: its own name, description, states, what it follows, its object, its job.
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Systemd {
    fn list_units_by_names(&self, names: &[&str]) -> zbus::Result<Vec<Listed>>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
}

/// Where it is written; each as in the installed units unless named.
#[derive(Debug)]
pub(super) struct Places {
    /// The list for polkit.
    pub output: PathBuf,
    /// The directory of command lines.
    pub probes: Option<PathBuf>,
    /// The list as a rule of polkit's.
    pub rule: PathBuf,
    /// The record.
    pub accepted: Option<PathBuf>,
}

pub(super) async fn authorize(config: Option<PathBuf>, places: Places, bus: Bus) -> Result<Exit, Failure> {
    let no_home = || Failure::new(Exit::Usage, "neither XDG_STATE_HOME nor HOME is set");
    let file = config.map_or_else(|| default_file(bus), Ok)?;
    let writer = Writer {
        list: places.output,
        rule: places.rule,
        probes: places.probes.map_or_else(|| probe_files::directory(bus), Ok)?,
        record: places
            .accepted
            .or_else(|| config::default_accepted_path(bus == Bus::User))
            .ok_or_else(no_home)?,
        bus,
    };
    let before = Record::read(&writer.record).unwrap_or_else(|error| {
        say(&format!("{} is not usable: {error}", writer.record.display()));
        None
    });
    let sources = Sources::read(&file);
    // systemd gives each start of the service an id, to all its processes the same.
    let invocation = std::env::var("INVOCATION_ID").ok();
    match config::check(&sources) {
        Ok(config) => {
            for warning in access::warnings(&config, bus) {
                say(&format!("warning: {warning}"));
            }
            let record = Record::accept(sources, commands::now(), invocation);
            let written = writer.write(&config, Some(&record)).await;
            if written.is_err() {
                // After a boot there is no list, and the daemon runs what was accepted before.
                writer.restore(before.as_ref()).await;
            }
            written.map(|()| Exit::Ok)
        }
        Err(problems) => {
            let record = Record::reject(before.clone(), &problems, commands::now(), invocation);
            let written = writer.write_record(&record);
            writer.restore(before.as_ref()).await;
            written?;
            say(&rejection(&problems, record.config().is_some()));
            // The daemon reports it, refuses the reload with it, and does not start where there is nothing else to run.
            Ok(Exit::Ok)
        }
    }
}

/// What is said of files that are not valid; the daemon gives all problems.
fn rejection(problems: &[Problem], has_accepted: bool) -> String {
    let first = problems.first().map(ToString::to_string).unwrap_or_default();
    let more = match problems.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let then = if has_accepted { "; the configuration that was accepted last stays in force" } else { "" };
    format!("the configuration is not valid{then}: {first}{more}")
}

/// To the journal, as the service's own processes do. Nobody is left to tell where that fails.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "stealthctl: {}", sanitize(line));
}

struct Writer {
    list: PathBuf,
    rule: PathBuf,
    probes: PathBuf,
    record: PathBuf,
    bus: Bus,
}

impl Writer {
    /// Writes what `config` leads to, and the record last: what runs is never ahead of what is permitted.
    async fn write(&self, config: &Config, record: Option<&Record>) -> Result<(), Failure> {
        let mut staged = Staged::default();
        probe_files::stage(&self.probes, config, &mut staged)?;
        let permitted = match self.bus {
            Bus::System => Some(permitted(config, self.bus).await),
            Bus::User => None,
        };
        if let Some(pairs) = &permitted {
            let list: String = pairs.iter().map(|(verb, unit)| format!("{verb} {unit}\n")).collect();
            staged.add(&self.list, list.as_bytes(), 0o644, None)?;
        }
        if let Some(record) = record {
            self.stage_record(record, &mut staged)?;
        }
        staged.commit()?;
        if let Some(Err(sentence)) = permitted.map(|pairs| permitted_rule::write(&self.rule, &pairs)) {
            say(&sentence);
        }
        let gone = probe_files::remove_others(&self.probes, config)
            .map_err(|error| unwritten(&self.probes, &error))?;
        if !gone.is_empty() {
            // What they run is nobody's any more, and the daemon will not be permitted to end it.
            let _ = tokio::time::timeout(PATIENCE, stop(&gone, self.bus)).await;
        }
        Ok(())
    }

    fn write_record(&self, record: &Record) -> Result<(), Failure> {
        let mut staged = Staged::default();
        self.stage_record(record, &mut staged)?;
        staged.commit()
    }

    /// The daemon reads it as its group; it can hold whatever a configuration holds, which need not be for everybody.
    fn stage_record(&self, record: &Record, staged: &mut Staged) -> Result<(), Failure> {
        let failed = |error| unwritten(&self.record, &error);
        let group = match self.bus {
            Bus::System => account::named(account::DAEMON).map(|Account { gid, .. }| gid),
            Bus::User => {
                let directory = self.record.parent().unwrap_or(Path::new("/"));
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
                None
            }
        };
        staged.add(&self.record, &record.to_json().map_err(failed)?, 0o640, group)
    }

    /// The list and the command lines of what was accepted before, as /run is empty after a boot.
    async fn restore(&self, before: Option<&Record>) {
        let Some(Ok((config, _))) = before.and_then(Record::config) else { return };
        if let Err(failure) = self.write(&config, None).await {
            say(&failure.message);
        }
    }
}

/// What polkit is to permit: pairs of a verb and a unit.
async fn permitted(config: &Config, bus: Bus) -> BTreeSet<(&'static str, UnitName)> {
    let mut pairs = config::permitted(config);
    let units: BTreeSet<UnitName> = pairs.iter().map(|(_, unit)| unit.clone()).collect();
    let behind = tokio::time::timeout(PATIENCE, behind(&units, bus)).await.unwrap_or_default();
    let real: Vec<_> =
        pairs.iter().filter_map(|(verb, unit)| Some((*verb, behind.get(unit)?.clone()))).collect();
    pairs.extend(real);
    pairs
}

async fn connect(bus: Bus) -> zbus::Result<SystemdProxy<'static>> {
    let connection = match bus {
        Bus::System => zbus::Connection::system().await?,
        Bus::User => zbus::Connection::session().await?,
    };
    SystemdProxy::new(&connection).await
}

/// Ends the runs of commands that are not configured any more. Where systemd does not, they end by themselves.
async fn stop(checks: &[CheckName], bus: Bus) {
    let Ok(systemd) = connect(bus).await else { return };
    for unit in checks.iter().map(UnitName::of_probe) {
        let _ = systemd.stop_unit(unit.as_str(), "replace").await;
        let _ = systemd.reset_failed_unit(unit.as_str()).await;
    }
}

/// The units that have another name than they were asked for by. None where systemd cannot be asked: without a systemd
/// there is nobody to ask polkit either.
async fn behind(units: &BTreeSet<UnitName>, bus: Bus) -> BTreeMap<UnitName, UnitName> {
    let Ok(systemd) = connect(bus).await else { return BTreeMap::new() };
    let names: Vec<&str> = units.iter().map(UnitName::as_str).collect();
    let listed = match systemd.list_units_by_names(&names).await {
        Ok(listed) if listed.len() == names.len() => listed.into_iter().map(Some).collect(),
        // One name that systemd cannot load fails the question for all: then each by itself.
        _ => {
            let each = names.iter().map(async |name| systemd.list_units_by_names(&[name]).await.ok()?.pop());
            join_all(each).await
        }
    };
    let named = units.iter().zip(listed).filter_map(|(asked, listed)| {
        let real = UnitName::new(&listed?.0).ok()?;
        (real != *asked).then(|| (asked.clone(), real))
    });
    named.collect()
}
