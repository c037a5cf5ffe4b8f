//! A line of the old tool's, which bash ran, taken apart as far as it is simple.
//!
//! In: the line. Out: its commands with their words unquoted and their redirections settled, or the reason why only
//! bash can say what the line means (expansions, loops, substitutions). It expands nothing, guesses nothing and runs
//! nothing: a line is either understood whole or not at all. The grammar is that of bash(1), QUOTING and SHELL GRAMMAR.

mod tokens;

use tokens::{Kind, Redirect, tokens};

/// Words that begin something other than a command with arguments, or that only bash itself can do.
const BASH_ONLY: &[&str] = &[
    "!", "[[", "{", "}", "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function",
    "if", "in", "select", "then", "time", "until", "while", ".", ":", "alias", "bg", "bind", "break",
    "builtin", "command", "continue", "declare", "dirs", "disown", "enable", "eval", "export", "fc", "fg",
    "getopts", "hash", "history", "jobs", "let", "local", "logout", "popd", "pushd", "read", "readonly",
    "return", "set", "shift", "shopt", "source", "suspend", "trap", "type", "typeset", "ulimit", "umask",
    "unalias", "unset", "wait",
];

/// A line that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// In order; none where the line is empty.
    pub steps: Vec<Step>,
}

/// A command and what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub command: Command,
    /// `None`: the line ends.
    pub then: Option<Joint>,
}

/// What joins a command with the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joint {
    /// `&&`
    And,
    /// `||`
    Or,
    /// `;` or a new line
    Next,
    /// `|` or `|&`
    Pipe,
    /// `&`
    Background,
}

/// A command with its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    /// `NAME=value` before the first word.
    pub environment: Vec<(String, String)>,
    /// Unquoted.
    pub words: Vec<String>,
    pub input: Source,
    pub output: Sink,
    pub error: Sink,
    /// As it stands in the line, without the assignments in front.
    pub text: String,
}

/// Where a command reads from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Source {
    /// What the old tool gave it: /dev/null.
    #[default]
    Null,
    File(String),
}

/// Where one of a command's outputs goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Sink {
    /// Where whoever started it has it go.
    #[default]
    Inherited,
    /// /dev/null
    Null,
    File {
        path: String,
        append: bool,
    },
}

impl Sink {
    fn file(path: String, append: bool) -> Self {
        if path == "/dev/null" { Self::Null } else { Self::File { path, append } }
    }
}

/// Takes `line` apart.
///
/// # Errors
/// A clause that says what only bash understands.
pub(super) fn parse(line: &str) -> Result<Line, String> {
    let tokens = tokens(line)?;
    let mut steps = Vec::new();
    let mut command = Building::default();
    for token in tokens {
        match token.kind {
            Kind::Joint(joint) => {
                if let Some(done) = command.finish(line)? {
                    steps.push(Step { command: done, then: Some(joint) });
                } else if joint != Joint::Next || !steps.last().is_none_or(may_end) {
                    return Err("an operator stands where a command was expected".to_owned());
                }
                command = Building::default();
            }
            kind => command.add(kind, token.start, token.end)?,
        }
    }
    if let Some(done) = command.finish(line)? {
        steps.push(Step { command: done, then: None });
    }
    match steps.last_mut() {
        Some(last) if !may_end(last) => Err("the line ends in the middle".to_owned()),
        Some(last) => {
            last.then = last.then.filter(|joint| *joint == Joint::Background);
            Ok(Line { steps })
        }
        None => Ok(Line { steps }),
    }
}

fn may_end(step: &Step) -> bool {
    matches!(step.then, None | Some(Joint::Next | Joint::Background))
}

/// A command that is being read.
#[derive(Debug, Default)]
struct Building {
    command: Command,
    waiting: Option<Redirect>,
    redirected: bool,
    /// From its first word or redirection to its last.
    span: Option<(usize, usize)>,
}

impl Building {
    fn add(&mut self, kind: Kind, start: usize, end: usize) -> Result<(), String> {
        if let Some(redirect) = self.waiting.take() {
            let Kind::Word { text, .. } = kind else { return Err("a redirection has no file".to_owned()) };
            if matches!(redirect, Redirect::Both { .. })
                && text.bytes().all(|b| b.is_ascii_digit() || b == b'-')
            {
                // `>& 2` copies a descriptor.
                return Err("it has an unusual redirection".to_owned());
            }
            self.redirect(redirect, text);
        } else {
            match kind {
                Kind::Redirect(redirect) => {
                    self.redirected = true;
                    match redirect {
                        Redirect::Copy { .. } => self.redirect(redirect, String::new()),
                        _ => self.waiting = Some(redirect),
                    }
                }
                Kind::Word { text, value: Some(value) } if self.command.words.is_empty() => {
                    if self.redirected {
                        return Err("an assignment stands behind a redirection".to_owned());
                    }
                    let (name, value) = (&text[..value - 1], &text[value..]);
                    self.command.environment.push((name.to_owned(), value.to_owned()));
                    return Ok(());
                }
                Kind::Word { text, .. } => self.command.words.push(text),
                Kind::Joint(_) => {}
            }
        }
        self.span = Some((self.span.map_or(start, |(first, _)| first), end));
        Ok(())
    }

    fn redirect(&mut self, redirect: Redirect, path: String) {
        let command = &mut self.command;
        match redirect {
            Redirect::Input if path == "/dev/null" => command.input = Source::Null,
            Redirect::Input => command.input = Source::File(path),
            Redirect::Output { descriptor: 2, append } => command.error = Sink::file(path, append),
            Redirect::Output { append, .. } => command.output = Sink::file(path, append),
            Redirect::Both { append } => {
                command.output = Sink::file(path, append);
                command.error = command.output.clone();
            }
            Redirect::Copy { descriptor: 2, from: 1 } => command.error = command.output.clone(),
            Redirect::Copy { descriptor: 1, from: 2 } => command.output = command.error.clone(),
            Redirect::Copy { .. } => {}
        }
    }

    /// The command; `None` where there is nothing.
    fn finish(&mut self, line: &str) -> Result<Option<Command>, String> {
        if self.waiting.is_some() {
            return Err("a redirection has no file".to_owned());
        }
        let Some((start, end)) = self.span else {
            return match self.command.environment.is_empty() {
                true => Ok(None),
                false => Err("it sets a variable for what follows".to_owned()),
            };
        };
        let Some(first) = self.command.words.first() else {
            return Err("a redirection stands without a command".to_owned());
        };
        if BASH_ONLY.contains(&first.as_str()) {
            return Err(format!("`{first}` is bash's own"));
        }
        let mut command = std::mem::take(&mut self.command);
        command.text = line.get(start..end).unwrap_or_default().to_owned();
        Ok(Some(command))
    }
}

#[cfg(test)]
mod tests;
