//! A command line as one text, split into words by the shell's rules of quoting (POSIX.1-2017, Shell Command Language,
//! 2.2), and without a shell.
//!
//! In: the text. Out: the words, or a sentence. What only a shell could do is an error and not a literal character:
//! whoever writes `a | b` would otherwise get a command that is not the one that was meant. The text is never quoted in
//! a sentence, for it may hold a secret.

/// What a shell acts on where it is not quoted.
const OPERATORS: &str = "|&;<>()$`*";
/// What a shell acts on between double quotes.
const EXPANSIONS: &str = "$`";
/// What a backslash takes its meaning between double quotes.
const ESCAPED: &str = "$`\"\\";

/// Splits `text` into words. There may be none.
///
/// # Errors
/// A sentence that says what is not understood, and what to write.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.trim().chars();
    while let Some(c) = rest.next() {
        match c {
            '\n' => return Err("a second line needs a shell: write `[sh, -c, '...']`".to_owned()),
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => quoted(&mut rest, word.get_or_insert_default())?,
            '"' => double_quoted(&mut rest, word.get_or_insert_default())?,
            '\\' => match rest.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err("nothing follows the backslash at the end".to_owned()),
            },
            c if OPERATORS.contains(c) => return Err(needs_a_shell(c)),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// To the closing quote; everything in between stands for itself.
fn quoted(rest: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    for c in rest {
        match c {
            '\'' => return Ok(()),
            c => word.push(c),
        }
    }
    Err("a single quote (') is not closed".to_owned())
}

fn double_quoted(rest: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    while let Some(c) = rest.next() {
        match c {
            '"' => return Ok(()),
            c if EXPANSIONS.contains(c) => return Err(needs_a_shell(c)),
            '\\' => match rest.next() {
                Some(next) if ESCAPED.contains(next) => word.push(next),
                Some(next) => word.extend(['\\', next]),
                None => break,
            },
            c => word.push(c),
        }
    }
    Err("a double quote (\") is not closed".to_owned())
}

fn needs_a_shell(c: char) -> String {
    format!("`{c}` needs a shell: write `[sh, -c, '...']`; if none is meant, put it in single quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        assert_eq!(words("check_disk -w  10%\t-c 5%\n"), ["check_disk", "-w", "10%", "-c", "5%"]);
        assert_eq!(words(r#"a 'b c' "d e" f\ g h"i"'j'k"#), ["a", "b c", "d e", "f g", "hijk"]);
        assert_eq!(words(r#"a '' "" b"#), ["a", "", "", "b"]);
        assert_eq!(words(r#"'$x | *' "a\"b\$c\\d\e" 'it'\''s'"#), ["$x | *", r#"a"b$c\d\e"#, "it's"]);
        assert_eq!(words("url http://x/?a=1#b ~ {a,b} !"), ["url", "http://x/?a=1#b", "~", "{a,b}", "!"]);
        assert_eq!(words("grüße \\ü"), ["grüße", "ü"]);
        assert!(words("  \n").is_empty());
    }

    #[test]
    fn what_only_a_shell_can_do_is_refused() {
        for c in OPERATORS.chars() {
            let error = split(&format!("a {c} b")).unwrap_err();
            assert!(error.starts_with(&format!("`{c}` needs a shell")), "{error}");
            assert_eq!(words(&format!("a '{c}' \\{c}")), ["a".to_owned(), c.to_string(), c.to_string()]);
        }
        assert!(split("a \"$HOME\"").is_err());
        assert!(split("a \"`id`\"").is_err());
        assert_eq!(words("a \"|&;<>()*\""), ["a", "|&;<>()*"]);
        assert!(split("a\nb").unwrap_err().contains("second line"));
    }

    #[test]
    fn what_is_opened_is_closed() {
        for (text, says) in [
            ("a 'b", "single quote"),
            ("a \"b", "double quote"),
            ("a \"b\\", "double quote"),
            ("a \\", "backslash"),
        ] {
            assert!(split(text).unwrap_err().contains(says), "{text}");
        }
    }
}
