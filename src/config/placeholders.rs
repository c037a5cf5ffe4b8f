//! Placeholders of other tools (`${TOKEN}`), which would be sent as they are written.
//!
//! In: the text of a key where an address, a header or a name to log in with is expected. Out: an error that says what to
//! write. Keys where `$` and brackets mean something of their own (commands, regular expressions, texts to send, notes) are
//! not looked at.

/// How shells, container tools, log shippers and template engines begin and end a placeholder.
const BRACKETS: [(&str, &str); 4] = [("${", "}"), ("$(", ")"), ("%{", "}"), ("{{", "}}")];

/// What to write where the value is no secret.
pub(super) const WRITE_VALUE: &str = "write the value itself";

/// Refuses `text` if there is a placeholder in it. `instead` says what to write: a clause.
///
/// # Errors
/// A sentence. It does not quote the text, which can have a default value in it.
pub(super) fn refuse(text: &str, instead: &str) -> Result<(), String> {
    let bracket = BRACKETS
        .iter()
        .find(|(open, close)| text.split_once(open).is_some_and(|(_, rest)| rest.contains(close)));
    let shown = match bracket {
        Some((open, close)) => format!("{open}…{close}"),
        None => match text
            .split(|c: char| !(c.is_ascii_alphanumeric() || "$_.-~+%".contains(c)))
            .find(is_variable)
        {
            Some(variable) => variable.to_owned(),
            None => return Ok(()),
        },
    };
    Err(format!("`{shown}` is not replaced by anything (no environment, no template): {instead}"))
}

/// Whether `text` stands for itself, without a placeholder in it.
#[must_use]
pub fn is_literal(text: &str) -> bool {
    refuse(text, "").is_ok()
}

/// `$TOKEN` alone. In a longer word `$` can belong to a password or a query (`$filter=`).
fn is_variable(word: &&str) -> bool {
    word.strip_prefix('$').is_some_and(|name| {
        name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
            && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_seen_and_what_only_looks_like_one_is_not() {
        for (text, shown) in [
            ("Bearer ${TOKEN}", "`${…}`"),
            ("Bearer ${TOKEN:-s3cret}", "`${…}`"),
            ("https://h/?t=$(cat /etc/token)", "`$(…)`"),
            ("%{TOKEN}", "`%{…}`"),
            ("Bearer {{ token }}", "`{{…}}`"),
            ("Bearer $TOKEN", "`$TOKEN`"),
            ("https://h/?token=$TOKEN&a=b", "`$TOKEN`"),
            ("https://$HOST/", "`$HOST`"),
            ("$HOST:5432", "`$HOST`"),
        ] {
            let error = refuse(text, "write it").unwrap_err();
            assert!(error.starts_with(shown) && error.ends_with(": write it"), "{text}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        for text in [
            "https://h/odata?$filter=a&$top=5",
            "Basic dXNlcjpwYXNz",
            "pa$$word",
            "pa$WORD",
            "$apr1$Ab",
            "$5",
            "$",
            "{\"a\":{\"b\":1}}",
            "a{{b",
            "100%",
            "https://h/%7Bx%7D",
        ] {
            assert_eq!(refuse(text, ""), Ok(()), "{text}");
        }
    }
}
