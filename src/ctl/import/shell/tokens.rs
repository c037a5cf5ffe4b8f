//! A line as words, operators and redirections.
//!
//! In: the line. Out: its tokens, the words unquoted as bash(1) does it under QUOTING; anything that bash would expand
//! is an error. What the tokens say together is the business of the module above.

use std::iter::Peekable;
use std::str::CharIndices;

use super::Joint;

/// A token and where it stands.
#[derive(Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Unquoted text; where the value of an assignment begins, if its name and `=` are plain.
    Word {
        text: String,
        value: Option<usize>,
    },
    Joint(Joint),
    Redirect(Redirect),
}

/// A redirection; the file is the next word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    Input,
    /// Of descriptor 1 or 2.
    Output {
        descriptor: u32,
        append: bool,
    },
    /// `&>`, `&>>`, `>&`: both.
    Both {
        append: bool,
    },
    /// `N>&M`
    Copy {
        descriptor: u32,
        from: u32,
    },
}

/// Splits the line. Expansions of any kind are an error.
pub(super) fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = line.char_indices().peekable();
    while let Some(&(start, c)) = chars.peek() {
        let kind = match c {
            ' ' | '\t' => {
                chars.next();
                continue;
            }
            // A line that is continued.
            '\\' if line.get(start..).is_some_and(|rest| rest.starts_with("\\\n")) => {
                chars.next();
                chars.next();
                continue;
            }
            '\r' => return Err("a carriage return stands in it".to_owned()),
            '#' => return Err("it has a comment".to_owned()),
            '(' | ')' => return Err("it has a subshell".to_owned()),
            '\n' | ';' | '&' | '|' => operator(&mut chars)?,
            '<' | '>' => redirection(&mut chars, None)?,
            _ => match descriptor(line, start) {
                Some((number, digits)) => {
                    for _ in 0..digits {
                        chars.next();
                    }
                    redirection(&mut chars, Some(number))?
                }
                None => word(&mut chars)?,
            },
        };
        let end = chars.peek().map_or(line.len(), |(at, _)| *at);
        tokens.push(Token { kind, start, end });
    }
    Ok(tokens)
}

/// `2` in `2>file`: the number and how many digits it has.
fn descriptor(line: &str, start: usize) -> Option<(u32, usize)> {
    let rest = line.get(start..)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let followed = matches!(rest.as_bytes().get(digits), Some(b'<' | b'>'));
    (digits > 0 && followed).then(|| (rest[..digits].parse().unwrap_or(u32::MAX), digits))
}

type Chars<'l> = Peekable<CharIndices<'l>>;

fn next_is(chars: &mut Chars<'_>, wanted: char) -> bool {
    chars.next_if(|(_, c)| *c == wanted).is_some()
}

fn operator(chars: &mut Chars<'_>) -> Result<Kind, String> {
    let joint = match chars.next() {
        Some((_, ';')) if next_is(chars, ';') => return Err("it has a `case`".to_owned()),
        Some((_, '|')) if next_is(chars, '|') => Joint::Or,
        Some((_, '|')) => {
            next_is(chars, '&');
            Joint::Pipe
        }
        Some((_, '&')) if next_is(chars, '&') => Joint::And,
        Some((_, '&')) if next_is(chars, '>') => {
            return Ok(Kind::Redirect(Redirect::Both { append: next_is(chars, '>') }));
        }
        Some((_, '&')) => Joint::Background,
        _ => Joint::Next,
    };
    Ok(Kind::Joint(joint))
}

fn redirection(chars: &mut Chars<'_>, descriptor: Option<u32>) -> Result<Kind, String> {
    let unusual = || Err("it has an unusual redirection".to_owned());
    let input = chars.next().is_some_and(|(_, c)| c == '<');
    let redirect = if input {
        if descriptor.unwrap_or(0) != 0 || matches!(chars.peek(), Some((_, '<' | '>' | '&' | '('))) {
            return unusual();
        }
        Redirect::Input
    } else {
        let known = descriptor.unwrap_or(1);
        if !matches!(known, 1 | 2) || matches!(chars.peek(), Some((_, '('))) {
            return unusual();
        }
        if next_is(chars, '>') {
            Redirect::Output { descriptor: known, append: true }
        } else if next_is(chars, '&') {
            match chars.next_if(|(_, c)| c.is_ascii_digit()) {
                Some((_, digit @ ('1' | '2'))) if chars.peek().is_none_or(|(_, c)| ends_word(*c)) => {
                    Redirect::Copy { descriptor: known, from: if digit == '1' { 1 } else { 2 } }
                }
                Some(_) => return unusual(),
                None if descriptor.is_none() && !matches!(chars.peek(), Some((_, '-'))) => {
                    Redirect::Both { append: false }
                }
                None => return unusual(),
            }
        } else {
            next_is(chars, '|');
            Redirect::Output { descriptor: known, append: false }
        }
    };
    Ok(Kind::Redirect(redirect))
}

fn ends_word(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')')
}

fn word(chars: &mut Chars<'_>) -> Result<Kind, String> {
    let mut text = String::new();
    // The name of an assignment counts only while nothing of it is quoted.
    let mut plain = true;
    let mut value = None;
    while let Some(&(_, c)) = chars.peek() {
        if ends_word(c) {
            break;
        }
        chars.next();
        match c {
            '\'' => {
                plain = false;
                single_quoted(chars, &mut text)?;
            }
            '"' => {
                plain = false;
                double_quoted(chars, &mut text)?;
            }
            '\\' => {
                plain = false;
                match chars.next() {
                    Some((_, '\n')) => {}
                    Some((_, escaped)) => text.push(escaped),
                    None => return Err("it ends in a backslash".to_owned()),
                }
            }
            '$' | '`' => return Err("it has a variable or a substitution".to_owned()),
            // In a URL as well, but there is no file of such a name, and then bash leaves the word as it is.
            '*' | '?' | '[' if !text.contains("://") && !alone(c, &text, chars) => {
                return Err("it has a pattern for file names".to_owned());
            }
            '{' => return Err("it has braces".to_owned()),
            '~' if text.is_empty() || text.ends_with(['=', ':']) => {
                return Err("it has a `~` for a home directory".to_owned());
            }
            '\r' => return Err("a carriage return stands in it".to_owned()),
            '=' => {
                if plain && text.strip_suffix('+').is_some_and(is_name) {
                    return Err("it adds to a variable".to_owned());
                }
                let assigns = plain && value.is_none() && is_name(&text);
                text.push(c);
                if assigns {
                    value = Some(text.len());
                }
            }
            c => text.push(c),
        }
    }
    Ok(Kind::Word { text, value })
}

/// `[` by itself is the program of that name.
fn alone(c: char, before: &str, chars: &mut Chars<'_>) -> bool {
    c == '[' && before.is_empty() && chars.peek().is_none_or(|(_, next)| ends_word(*next))
}

fn single_quoted(chars: &mut Chars<'_>, text: &mut String) -> Result<(), String> {
    for (_, c) in chars.by_ref() {
        if c == '\'' {
            return Ok(());
        }
        text.push(c);
    }
    Err("a quote is not closed".to_owned())
}

fn double_quoted(chars: &mut Chars<'_>, text: &mut String) -> Result<(), String> {
    while let Some((_, c)) = chars.next() {
        match c {
            '"' => return Ok(()),
            '$' | '`' => return Err("it has a variable or a substitution".to_owned()),
            '\\' => match chars.next() {
                Some((_, '\n')) => {}
                Some((_, escaped @ ('$' | '`' | '"' | '\\'))) => text.push(escaped),
                Some((_, other)) => text.extend(['\\', other]),
                None => break,
            },
            c => text.push(c),
        }
    }
    Err("a quote is not closed".to_owned())
}

/// Whether this can be a variable's name.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
