//! The near miss: what somebody probably meant who wrote a key that does not exist.
//!
//! Pure, texts in and a sentence out. It offers a key only when it is near; otherwise it lists what can stand there.

/// Words from other tools and other habits, each with the key that says the same here.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("interval", "every"),
    ("interval_ms", "every"),
    ("period", "every"),
    ("deadline", "timeout"),
    ("retries", "fail_after"),
    ("threshold", "fail_after"),
    ("failures", "fail_after"),
    ("successes", "pass_after"),
    ("retry_interval", "retry"),
    ("service", "unit"),
    ("on_failure", "recover"),
    ("recovery", "recover"),
    ("fail_command", "recover"),
    ("action", "recover"),
    ("restart", "recover"),
    ("attempts", "limit"),
    ("max_attempts", "limit"),
    ("alert_emails", "alert"),
    ("alerts", "alert"),
    ("notify", "alert"),
    ("email", "mail"),
    ("recipients", "to"),
    ("sender", "from"),
    ("server", "host"),
    ("user", "username"),
    ("credential", "password_credential"),
    ("uri", "url"),
    ("https", "http"),
    ("verify", "verify_tls"),
    ("insecure", "verify_tls"),
    ("redirects", "follow_redirects"),
    ("contains", "body_contains"),
    ("body", "body_contains"),
    ("regex", "body_matches"),
    ("matches", "body_matches"),
    ("code", "status"),
    ("expected_status", "status"),
    ("certificate", "tls"),
    ("cert", "tls"),
    ("ssl", "tls"),
    ("sni", "server_name"),
    ("servername", "server_name"),
    ("min_days", "valid_for"),
    ("days", "valid_for"),
    ("cafile", "ca_file"),
    ("ca", "ca_file"),
    ("resolver", "server"),
    ("nameserver", "server"),
    ("record", "type"),
    ("max_latency", "slower_than"),
    ("latency", "slower_than"),
    ("response_time", "slower_than"),
    ("mute", "off"),
    ("reminder", "remind"),
    ("repeat", "remind"),
    ("delay", "after"),
    ("ram", "memory"),
    ("mem", "memory"),
    ("load", "cpu"),
    ("max_age", "ran_within"),
    ("last_run", "ran_within"),
    ("max_runtime", "runtime_max"),
    ("max", "below"),
    ("above", "below"),
    ("for", "over"),
    ("window", "over"),
    ("notes", "runbook"),
    ("documentation", "runbook"),
    ("bind", "listen"),
    ("http_port", "listen"),
];

/// The sentence for the unknown key `written` where only `known` can stand.
pub(super) fn unknown_key(written: &str, known: &[&str]) -> String {
    if matches!(written, "password" | "passwd" | "pass") && known.contains(&"password_credential") {
        return "a password never stands in this file; `password_credential` names the systemd credential that holds it"
            .to_owned();
    }

    match nearest(written, known) {
        Some(meant) => format!("unknown key; did you mean `{meant}`?"),
        None => format!("unknown key; here can stand {}", listed(known)),
    }
}

/// The sentence for the word `written` where only `known` can stand.
pub(super) fn unknown_word(written: &str, known: &[&str]) -> String {
    let expected = known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    match nearest(written, known) {
        Some(meant) => format!("`{written}` is none of {expected}; did you mean `{meant}`?"),
        None => format!("`{written}` is none of {expected}"),
    }
}

/// `a`, `b` and `c`, each in backquotes.
fn listed(known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// What is written almost like `written`: a known key, or another tool's word for one.
fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    /// No key is nearly as long, and the comparison takes the product of both lengths.
    const LONGEST: usize = 40;
    if written.len() > LONGEST {
        return None;
    }
    let plain = written.to_lowercase().replace(['-', ' ', '.'], "_");
    let others = OTHER_WORDS
        .iter()
        .filter_map(|(other, key)| known.iter().find(|known| *known == key).map(|known| (*other, *known)));
    known
        .iter()
        .map(|key| (*key, *key))
        .chain(others)
        .map(|(word, key)| (strsim::damerau_levenshtein(&plain, word), word.len(), key))
        .filter(|(distance, length, _)| *distance * 3 <= *length || (*distance == 1 && *length == 2))
        .min_by_key(|(distance, ..)| *distance)
        .map(|(_, _, key)| key)
        .or_else(|| known.iter().find(|key| key.len() >= 3 && plain.starts_with(**key)).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[&str] = &["every", "timeout", "unit", "recover"];

    #[test]
    fn a_near_miss_is_offered_and_a_far_one_is_not() {
        for (written, meant) in [
            ("evry", "every"),
            ("intervall", "every"),
            ("time-out", "timeout"),
            ("Unit", "unit"),
            ("recvoer", "recover"),
            ("on_failure", "recover"),
            ("timeout_in_seconds", "timeout"),
        ] {
            assert_eq!(nearest(written, KEYS), Some(meant), "{written}");
        }
        for written in ["ping", "disk", "cpu", "memory", "command", "", "x", &"every".repeat(100)] {
            assert_eq!(nearest(written, KEYS), None, "{written}");
        }
        assert_eq!(unknown_key("tls", &["a", "b", "c"]), "unknown key; here can stand `a`, `b` and `c`");
    }
}
