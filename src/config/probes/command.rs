//! `command:`.
//!
//! In: its field, a list of words or one text. Out: a probe whose program can be looked up and whose words the kernel
//! takes. Whether there is such a program is found out when it runs: it may be installed later. Arguments may be
//! secrets, and are never quoted in a problem.

use std::time::Duration;

use super::words;
use crate::check::CommandProbe;
use crate::config::duration::show;
use crate::config::field::{Field, Table};
use crate::config::report::Report;

/// What is expected of the whole.
const COMMAND: &str = "a command such as `[/usr/lib/nagios/plugins/check_disk, -w, 10%]`";
/// What is expected of one word.
const WORD: &str = "a word of the command (a number in quotes)";
/// The most bytes of a command line: Linux's limit for one argument (MAX_ARG_STRLEN in linux/binfmts.h).
const LONGEST: usize = 128 * 1024;
/// The longest deadline; systemd's own in the template of the unit (TimeoutStartSec=) is a little later.
const LONGEST_TIMEOUT: Duration = Duration::from_hours(1);

/// Checks `command:`, a list of words, or a text to be split into words.
pub(super) fn probe(field: &Field<'_>, report: &mut Report) -> Option<CommandProbe> {
    let argv = if field.as_text().is_some() {
        field.parsed(COMMAND, report, words::split)?
    } else if field.is_list() {
        let words: Vec<_> = field.items().iter().map(|item| word(item, report)).collect();
        words.into_iter().collect::<Option<Vec<_>>>()?
    } else {
        return field.expected(COMMAND, report);
    };
    let mut argv = argv.into_iter();
    let Some(program) = argv.next() else {
        report.error(&field.at, format!("expected {COMMAND}, found no word"));
        return None;
    };
    let probe = CommandProbe { program, arguments: argv.collect() };
    sound(&probe).map_err(|message| report.error(&field.at, message)).ok().map(|()| probe)
}

/// One word of a list; but for the program it may be empty.
fn word(field: &Field<'_>, report: &mut Report) -> Option<String> {
    match field.as_text() {
        Some(text) => Some(text.to_owned()),
        None => field.expected(WORD, report),
    }
}

/// What the words must be like to be run by anybody.
fn sound(probe: &CommandProbe) -> Result<(), String> {
    let program = probe.program.as_str();
    if program.is_empty() {
        return Err("the first word is the program, and cannot be empty".to_owned());
    }
    if let Some((variable, _)) = program.split_once('=')
        && !variable.contains('/')
    {
        return Err(format!(
            "`{variable}=` sets a variable only in a shell; begin with `env`: `[env, '{variable}=...', ...]`"
        ));
    }
    if program.contains('/') && !program.starts_with('/') {
        return Err("the program is an absolute path, or a name that is looked for in PATH".to_owned());
    }
    if program.ends_with('/') {
        return Err("the program is a directory".to_owned());
    }
    if probe.argv().any(|word| word.contains('\0')) {
        return Err("no word of a command can have a NUL in it".to_owned());
    }
    if probe.argv().map(|word| word.len() + 1).sum::<usize>() > LONGEST {
        return Err(format!("longer than {} KiB; put it into a script", LONGEST / 1024));
    }
    Ok(())
}

/// Refuses a deadline that is longer than a command may have.
pub(in crate::config) fn bound_timeout(table: &Table<'_>, timeout: Duration, report: &mut Report) {
    if timeout > LONGEST_TIMEOUT {
        let at = table.get("timeout").map_or(&table.at, |field| &field.at);
        let (timeout, longest) = (show(timeout), show(LONGEST_TIMEOUT));
        report.error(at, format!("the `timeout` of a command is {longest} at most, not {timeout}"));
    }
}
