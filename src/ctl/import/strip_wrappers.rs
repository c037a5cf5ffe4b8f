//! What stands in front of a command because it was meant for a terminal, or for another user: `nohup`, `setsid`,
//! `exec`, `sudo`.
//!
//! In: a command. Out: what is left of it, and what was said by the rest. What it does not know for sure stays.

use super::shell::{Command, Sink, Source};
use super::{Surroundings, is_user};

/// A command without what only a shell in a terminal needs.
#[derive(Debug)]
pub(super) struct Peeled {
    pub words: Vec<String>,
    /// An `&` is behind it.
    pub background: bool,
    /// `nohup` is in front: it is meant to outlive who starts it.
    pub nohup: bool,
    /// `sudo` was in front: as whom the rest runs.
    pub user: Option<String>,
}

/// Takes off what is in front of a command. `background`: an `&` is behind it.
pub(super) fn strip_wrappers(command: &Command, background: bool, around: &Surroundings<'_>) -> Peeled {
    let mut words = command.words.as_slice();
    let mut peeled = Peeled { words: Vec::new(), background, nohup: false, user: None };
    let to_files = |sink: &Sink| matches!(sink, Sink::File { .. });
    // With `sudo ./x >> log` the log is opened by the old user: then it is left to sudo itself. A user manager has no
    // other users.
    let may_sudo = around.run_as.is_some()
        && !to_files(&command.output)
        && !to_files(&command.error)
        && command.input == Source::Null
        && command.environment.is_empty();
    loop {
        words = match words {
            [first, rest @ ..] if first == "nohup" && !rest.is_empty() => {
                peeled.nohup = true;
                rest
            }
            [first, rest @ ..]
                if first == "exec" && rest.first().is_some_and(|word| !word.starts_with('-')) =>
            {
                rest
            }
            [first, rest @ ..]
                if first == "setsid" && rest.first().is_some_and(|word| !word.starts_with('-')) =>
            {
                rest
            }
            [first, rest @ ..] if first == "sudo" && may_sudo && peeled.user.is_none() => match sudo(rest) {
                Some((user, rest)) => {
                    peeled.user = Some(user);
                    rest
                }
                None => break,
            },
            _ => break,
        };
    }
    peeled.words = words.to_vec();
    peeled
}

/// What is behind `sudo`, and as whom it runs; `None` where sudo itself must see to it.
fn sudo(mut words: &[String]) -> Option<(String, &[String])> {
    let mut user = "root".to_owned();
    loop {
        match words {
            [option, rest @ ..]
                if matches!(option.as_str(), "-n" | "-H" | "--non-interactive" | "--set-home") =>
            {
                words = rest;
            }
            [option, name, rest @ ..] if matches!(option.as_str(), "-u" | "--user") => {
                name.clone_into(&mut user);
                words = rest;
            }
            [option, rest @ ..] if option == "--" => {
                words = rest;
                break;
            }
            _ => break,
        }
    }
    let program = words.first()?;
    (is_user(&user) && !program.starts_with('-') && !program.contains('=')).then_some((user, words))
}
