//! The near miss: what somebody probably meant who wrote a key that does not exist.
//!
//! Pure, texts in and a sentence out. It offers a key only when it is near; otherwise it lists what can stand there.

/// Words from other tools and other habits, each with the key that says the same here.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("every", "interval"),
    ("interval_ms", "interval"),
    ("period", "interval"),
    ("period_seconds", "interval"),
    ("check_interval", "interval"),
    ("deadline", "timeout"),
    ("timeout_seconds", "timeout"),
    ("fail_after", "failure_threshold"),
    ("retries", "failure_threshold"),
    ("threshold", "failure_threshold"),
    ("failures", "failure_threshold"),
    ("max_check_attempts", "failure_threshold"),
    ("pass_after", "success_threshold"),
    ("successes", "success_threshold"),
    ("retry", "retry_interval"),
    ("service", "unit"),
    ("on_failure", "recover"),
    ("recovery", "recover"),
    ("fail_command", "recover"),
    ("action", "recover"),
    ("restart", "recover"),
    ("limit", "max_attempts"),
    ("attempts", "max_attempts"),
    ("max_restarts", "max_attempts"),
    ("after_stop", "respect_stop"),
    ("after_displaced", "respect_conflict"),
    ("start_period", "grace"),
    ("initial_delay", "grace"),
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
    ("slower_than", "max_response_time"),
    ("max_latency", "max_response_time"),
    ("latency", "max_response_time"),
    ("response_time", "max_response_time"),
    ("mute", "off"),
    ("remind", "repeat_interval"),
    ("reminder", "repeat_interval"),
    ("repeat", "repeat_interval"),
    ("notification_interval", "repeat_interval"),
    ("unmeasured_after", "unknown_after"),
    ("delay", "after"),
    ("ram", "memory"),
    ("mem", "memory"),
    ("load", "cpu"),
    ("ran_within", "job"),
    ("max_age", "job"),
    ("last_run", "job"),
    ("runtime_max", "job"),
    ("within", "succeeded_within"),
    ("ran_within", "succeeded_within"),
    ("max_age", "succeeded_within"),
    ("runtime_max", "max_runtime"),
    ("max", "below"),
    ("above", "below"),
    ("for", "over"),
    ("window", "over"),
    ("notes", "runbook"),
    ("documentation", "runbook"),
    ("bind", "listen"),
    ("http_port", "listen"),
];

/// Keys of other tools that have no counterpart here, although a known key is spelled almost the same.
const OTHER_CONCEPTS: &[&str] = &["unix", "body"];

/// The sentence for the unknown key `written` where only `known` can stand.
pub(super) fn unknown_key(written: &str, known: &[&str]) -> String {
    if matches!(written, "password" | "passwd" | "pass") && known.contains(&"password_credential") {
        return "a password cannot be written in this file; `password_credential` names the systemd credential that contains it"
            .to_owned();
    }

    match nearest(written, known) {
        Some(meant) => format!("unknown key, did you mean `{meant}`?"),
        None => format!("unknown key, expected one of {}", listed(known)),
    }
}

/// The sentence for the word `written` where only `known` can stand.
pub(super) fn unknown_word(written: &str, known: &[&str]) -> String {
    let expected = listed(known);
    match nearest(written, known) {
        Some(meant) => format!("unknown value `{written}`, did you mean `{meant}`?"),
        None => format!("unknown value `{written}`, expected one of {expected}"),
    }
}

/// `a`, `b`, `c`, each in backquotes.
fn listed(known: &[&str]) -> String {
    known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// What is written almost like `written`: a known key, or another tool's word for one.
fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    /// No key is nearly as long, and the comparison takes the product of both lengths.
    const LONGEST: usize = 40;
    if written.len() > LONGEST {
        return None;
    }
    if OTHER_CONCEPTS.contains(&written) {
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

    const KEYS: &[&str] = &["interval", "timeout", "unit", "recover"];

    #[test]
    fn a_near_miss_is_offered_and_a_far_one_is_not() {
        for (written, meant) in [
            ("intervl", "interval"),
            ("every", "interval"),
            ("evry", "interval"),
            ("time-out", "timeout"),
            ("Unit", "unit"),
            ("recvoer", "recover"),
            ("on_failure", "recover"),
            ("timeout_in_seconds", "timeout"),
        ] {
            assert_eq!(nearest(written, KEYS), Some(meant), "{written}");
        }
        for written in ["ping", "disk", "cpu", "memory", "command", "", "x", &"interval".repeat(100)] {
            assert_eq!(nearest(written, KEYS), None, "{written}");
        }
        assert_eq!(unknown_key("tls", &["a", "b"]), "unknown key, expected one of `a`, `b`");
        assert_eq!(unknown_key("every", KEYS), "unknown key, did you mean `interval`?");
    }
}
