//! The daemon: arguments in, [`stealthcheck::supervisor::run`], exit status out.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use stealthcheck::supervisor::{self, Fatal, Options, Origin};
use stealthcheck::{config, ctl, journal, listen};

/// sysexits.h: something is wrong with the configuration.
const EX_CONFIG: u8 = 78;

/// Guards systemd units: probes them, asks systemd to restart what fails, and mails about it.
///
/// Run by stealthcheck.service; `stealthctl status` shows what it sees.
#[derive(Debug, Parser)]
#[command(name = "stealthcheck", version)]
struct Arguments {
    /// Guard the units of the user manager (systemctl --user)
    #[arg(long)]
    user: bool,

    /// The configuration file; drop-ins are read from conf.d beside it
    ///
    /// [default: /etc/stealthcheck/stealthcheck.yaml; with --user the one in $XDG_CONFIG_HOME/stealthcheck]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Load the configuration that `stealthctl authorize` accepted last, as the installed service does
    ///
    /// Without a FILE: where that command writes it.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, conflicts_with = "config")]
    accepted: Option<Option<PathBuf>>,

    /// Where incidents and undelivered mails survive a restart
    ///
    /// [default: $STATE_DIRECTORY; with --user $XDG_STATE_HOME/stealthcheck]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The mail password passes through this process's memory. What cannot be dumped leaves no core file, whatever
    // kernel.core_pattern says (a limit of 0 does not count for those that are a pipe, core(5)), and other processes of
    // the same user can neither trace it nor look into its memory and environment in /proc. The call cannot fail.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // A second set-up is the only thing that can fail here, and this is the first.
    let _ = journal::init(journal::Verbosity::Normal, arguments.user);
    let Some(configuration) = origin(&arguments) else {
        journal::log_fatal("HOME is not set: name the file with --config or --accepted");
        return ExitCode::from(EX_CONFIG);
    };
    let options = Options {
        configuration,
        state_dir: arguments.state_dir.or_else(state_directory).or_else(|| users_state(arguments.user)),
        user: arguments.user,
        draw: listen::Draw { text: ctl::page::text, json: ctl::page::json },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Name look-ups, certificate stores, the journal, the state file: never many at once.
        .max_blocking_threads(16)
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(supervisor::run(options));
            // A blocking look-up that hangs must not hold up the end.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Fatal::Signals(error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            match &fatal {
                Fatal::Configuration(problems) => {
                    journal::log_problems(problems);
                    journal::log_fatal(
                        "the configuration has errors: nothing is monitored until they are corrected",
                    );
                }
                other => journal::log_fatal(&other.to_string()),
            }
            ExitCode::from(fatal.status())
        }
    }
}

/// Where the configuration is. `None`: a user without a home.
fn origin(arguments: &Arguments) -> Option<Origin> {
    match &arguments.accepted {
        Some(named) => {
            let path = named.clone().or_else(|| config::default_accepted_path(arguments.user));
            path.map(Origin::Accepted)
        }
        None => {
            let main = arguments.config.clone().or_else(|| config::default_path(arguments.user));
            main.map(Origin::Files)
        }
    }
}

/// The first of systemd's `StateDirectory=`s.
fn state_directory() -> Option<PathBuf> {
    let directories = std::env::var("STATE_DIRECTORY").ok()?;
    directories.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
}

/// A user's own state directory, which nobody makes for them: systemd's `StateDirectory=` is `$XDG_CONFIG_HOME` in a
/// user manager before systemd 254, where the configuration is.
fn users_state(user: bool) -> Option<PathBuf> {
    let directory = config::default_state_dir().filter(|_| user)?;
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory) {
        Ok(()) => Some(directory),
        Err(error) => {
            journal::log_trouble(&format!("{} cannot be made: {error}", directory.display()));
            None
        }
    }
}
