//! `stealthctl validate`: the reading of a configuration as for the daemon, without the daemon.

use std::io::Write as _;
use std::path::PathBuf;

use super::exit::{Exit, Failure, lines};
use super::reload::plural;
use super::{access, print};
use crate::bus::Bus;
use crate::config::{self, Config};

/// Where the configuration is that the daemon on `bus` reads.
pub(super) fn default_file(bus: Bus) -> Result<PathBuf, Failure> {
    config::default_path(bus == Bus::User)
        .ok_or_else(|| Failure::new(Exit::Usage, "neither XDG_CONFIG_HOME nor HOME is set: name the file"))
}

pub(super) fn validate(file: Option<PathBuf>, bus: Bus) -> Result<Exit, Failure> {
    let file = file.map_or_else(|| default_file(bus), Ok)?;
    match config::load(&file) {
        Ok(config) => {
            warn(&config, bus);
            print(&summary(&config))?;
            Ok(Exit::Ok)
        }
        Err(problems) => {
            let _ = writeln!(std::io::stderr(), "{}", lines(&problems));
            Ok(Exit::Config)
        }
    }
}

/// Its warnings, to standard error. Nobody is left to be told where that cannot be written: the exit code says it all the
/// same.
pub(super) fn warn(config: &Config, bus: Bus) {
    let warnings = config.warnings.iter().map(ToString::to_string);
    for warning in warnings.chain(access::warnings(config, bus)) {
        let _ = writeln!(std::io::stderr(), "warning: {}", super::text::sanitize(&warning));
    }
}

fn summary(config: &Config) -> String {
    format!("OK: {} in {}\n", plural(config.checks.len(), "check"), plural(config.files.len(), "file"))
}
