//! A line that bash ran, taken apart as far as it is simple.
//!
//! In: the line. Out: its commands, with their words unquoted; or the reason why only bash can say what the line means
//! (expansions, pipes, unusual redirections). It expands nothing, guesses nothing and runs nothing: a line is either
//! understood whole or not at all. The grammar is that of bash(1), QUOTING and SHELL GRAMMAR.

/// Operators that join commands; a longer one stands before its beginning.
const JOINTS: [&str; 5] = ["&&", "||", "&", ";", "\n"];
/// Redirections of an output to where the other one goes.
const COPIES: [&str; 3] = ["2>&1", "1>&2", ">&2"];
/// Redirections that a file follows; a longer one stands before its beginning.
const REDIRECTIONS: [&str; 9] = ["&>>", "&>", "1>>", "2>>", ">>", "1>", "2>", ">", "<"];
/// What ends a word.
const ENDS_WORD: [char; 10] = [' ', '\t', '\n', ';', '&', '|', '<', '>', '(', ')'];

/// A command with its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    /// Unquoted, without assignments in front; at least one.
    pub words: Vec<String>,
    pub around: Around,
    /// As it stands in the line.
    pub text: String,
    /// The operator that follows: `&&`, `||`, `;` or `&`; nothing at the end of the line.
    pub then: &'static str,
}

/// What stands around the words of a command: the last of these that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Around {
    /// Nothing that matters: its input is /dev/null, as the old tool had it.
    #[default]
    Nothing,
    /// An output goes to /dev/null.
    NullOutput,
    /// It reads or writes a file.
    Files,
    /// `NAME=value` stands in front of it.
    Variables,
}

/// Whether the line does nothing, and does it well.
pub(super) fn does_nothing(line: &str) -> bool {
    matches!(line.trim(), "" | "true" | ":")
}

/// Takes `line` apart.
///
/// # Errors
/// A clause that says what only bash understands.
pub(super) fn parse(line: &str) -> Result<Vec<Command>, String> {
    let mut commands: Vec<Command> = Vec::new();
    let mut command = Command::default();
    // Where the command begins, if it has begun.
    let mut begin = None;
    let mut rest = line;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix([' ', '\t']).or_else(|| rest.strip_prefix("\\\n")) {
            rest = after;
            continue;
        }
        let start = line.len() - rest.len();
        let copy =
            beginning(&COPIES, rest).filter(|(_, after)| after.is_empty() || after.starts_with(ENDS_WORD));
        if let Some((_, after)) = copy {
            rest = after;
        } else if let Some((redirection, after)) = beginning(&REDIRECTIONS, rest) {
            let (file, after) = word(after.trim_start_matches([' ', '\t']))?;
            command.around = command.around.max(match (file.as_str(), redirection) {
                ("/dev/null", "<") => Around::Nothing,
                ("/dev/null", _) => Around::NullOutput,
                _ => Around::Files,
            });
            rest = after;
        } else if let Some((joint, after)) = beginning(&JOINTS, rest) {
            // Lines may be empty.
            if joint != "\n" || begin.is_some() {
                command.then = if joint == "\n" { ";" } else { joint };
                commands.push(std::mem::take(&mut command));
            }
            (rest, begin) = (after, None);
            continue;
        } else {
            let (text, after) = word(rest)?;
            if text.bytes().all(|byte| byte.is_ascii_digit()) && after.starts_with(['<', '>']) {
                return Err("it has an unusual redirection".to_owned());
            }
            if command.words.is_empty() && is_assignment(rest) {
                command.around = Around::Variables;
            } else {
                command.words.push(text);
            }
            rest = after;
        }
        let begin = *begin.get_or_insert(start);
        command.text = line.get(begin..line.len() - rest.len()).unwrap_or_default().to_owned();
    }
    commands.extend(begin.map(|_| command));
    if let Some(last) = commands.last_mut().filter(|last| last.then == ";") {
        last.then = "";
    }
    let in_the_middle = commands.last().is_some_and(|last| matches!(last.then, "&&" | "||"));
    if in_the_middle || commands.iter().any(|command| command.words.is_empty()) {
        return Err("a command is missing in it".to_owned());
    }
    Ok(commands)
}

/// Which of `all` the text begins with, and what follows.
fn beginning<'l>(all: &[&'static str], text: &'l str) -> Option<(&'static str, &'l str)> {
    all.iter().find_map(|one| Some((*one, text.strip_prefix(one)?)))
}

fn is_assignment(text: &str) -> bool {
    let name = text.split('=').next().unwrap_or_default();
    text.contains('=')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The word at the beginning of `line`, unquoted, and what follows it.
fn word(line: &str) -> Result<(String, &str), String> {
    let mut text = String::new();
    let mut quote = None;
    let mut chars = line.char_indices();
    if line.starts_with('#') {
        return Err("it has a comment".to_owned());
    }
    if line.is_empty() || line.starts_with(ENDS_WORD) {
        return Err("it has a pipe, a subshell or an unusual redirection".to_owned());
    }
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => text.push(c),
            (_, '$' | '`') => return Err("it has a variable or a substitution".to_owned()),
            (_, '\\') => match chars.next() {
                Some((_, '\n')) => {}
                Some((_, c)) if quote.is_none() || "$`\"\\".contains(c) => text.push(c),
                Some((_, c)) => text.extend(['\\', c]),
                None => return Err("it ends in a backslash".to_owned()),
            },
            (Some(_), c) => text.push(c),
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if ENDS_WORD.contains(&c) => return Ok((text, line.get(at..).unwrap_or_default())),
            // In a URL as well, but there is no file of such a name, and then bash leaves the word as it is.
            (None, '*' | '?' | '[') if !text.contains("://") => {
                return Err("it has a pattern for file names".to_owned());
            }
            (None, '~') if text.is_empty() || text.ends_with(['=', ':']) => {
                return Err("it has a `~` for a home directory".to_owned());
            }
            (None, '{' | '\r') => return Err("it has braces or a carriage return".to_owned()),
            (None, c) => text.push(c),
        }
    }
    if quote.is_some() { Err("a quote is not closed".to_owned()) } else { Ok((text, "")) }
}

#[cfg(test)]
mod tests;
