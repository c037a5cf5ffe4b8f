//! Durations as they are written: `30s`, `5m`, `12h`, `14d`, `1h30m`, `250ms`.
//!
//! Text in, [`Duration`] or a sentence out. A day is 24 hours and a week seven days; months and years are refused,
//! because they are no durations.

use std::time::Duration;

use jiff::fmt::friendly::SpanParser;

/// Nothing here is meant to take longer.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a mistaken value is told was expected.
pub(super) const EXPECTED: &str = "a duration such as `30s`";

/// Reads a duration.
///
/// # Errors
/// A sentence that says what was expected.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(no_unit(text));
    }
    if text.starts_with('-') {
        return Err(format!("`{text}` is negative"));
    }
    let Ok(span) = SpanParser::new().parse_span(text) else {
        return Err(format!("expected a duration such as `30s`, `5m`, `12h` or `14d`, not `{text}`"));
    };
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(format!("`{text}`: months and years have no fixed length; write days, such as `30d`"));
    }
    if span.is_negative() {
        return Err(format!("`{text}` is negative"));
    }
    let nanoseconds = [
        (i128::from(span.get_weeks()), 7 * 86_400 * 1_000_000_000),
        (i128::from(span.get_days()), 86_400 * 1_000_000_000),
        (i128::from(span.get_hours()), 3_600 * 1_000_000_000),
        (i128::from(span.get_minutes()), 60 * 1_000_000_000),
        (i128::from(span.get_seconds()), 1_000_000_000),
        (i128::from(span.get_milliseconds()), 1_000_000),
        (i128::from(span.get_microseconds()), 1_000),
        (i128::from(span.get_nanoseconds()), 1_i128),
    ]
    .into_iter()
    .fold(0_i128, |sum, (n, unit)| sum.saturating_add(n.saturating_mul(unit)));
    match u64::try_from(nanoseconds).map(Duration::from_nanos) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err(format!("`{text}` is longer than a year")),
    }
}

/// The sentence for a bare number.
pub(super) fn no_unit(number: &str) -> String {
    format!("`{number}` needs its unit: `{number}s`?")
}

/// A duration for a sentence: `100ms`, `1m 30s`.
pub(super) fn show(duration: Duration) -> String {
    if duration < Duration::from_mins(1) && duration.subsec_nanos() != 0 {
        return format!("{}ms", duration.as_millis());
    }
    crate::time::human(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_administrators_write_is_read() {
        for (text, millis) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("12h", 43_200_000),
            ("14d", 1_209_600_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("250ms", 250),
            ("1.5s", 1_500),
            ("2w", 1_209_600_000),
            ("5 minutes", 300_000),
            ("0", 0),
            ("0s", 0),
            ("365d", 31_536_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn the_rest_is_refused_with_a_reason() {
        for (text, says) in [
            ("30", "`30` needs its unit: `30s`?"),
            ("1.5", "`1.5s`?"),
            ("-5m", "negative"),
            ("5m ago", "negative"),
            ("1mo", "fixed length"),
            ("2y", "fixed length"),
            ("366d", "longer than a year"),
            ("999999999999s", ""),
            ("", "expected a duration"),
            ("soon", "not `soon`"),
            ("30S", "expected"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
