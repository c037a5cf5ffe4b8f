//! Text on its way to a terminal: sanitized, measured, fitted, coloured. Pure.
//!
//! What probes saw and what runbooks say is data from elsewhere. Nothing of it may move a cursor, change a title, or
//! turn the reading direction of what stands beside it.

use std::time::Duration;

use crate::text::acts;
use crate::time::human;

/// How long ago something was: nobody wants the milliseconds of an age.
#[must_use]
pub fn age(duration: Duration) -> String {
    human(Duration::from_secs(duration.as_secs()))
}

/// How long something has still to go, rounded up, as the engine rounds it: what is due in 1.2 s is not there after
/// one.
#[must_use]
pub fn due(duration: Duration) -> String {
    human(Duration::from_secs(duration.as_secs() + u64::from(duration.subsec_nanos() > 0)))
}

/// A colour with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// All is well.
    Good,
    /// Look at it.
    Warn,
    /// Act.
    Bad,
    /// Set aside on purpose.
    Aside,
    /// Beside the point.
    Faint,
    /// A heading.
    Strong,
}

impl Paint {
    /// The SGR parameters. The plain colours of the terminal's own palette, so that every theme keeps its contrast.
    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "1;31",
            Self::Aside => "36",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }
}

/// `text` in colour, where `colour` is on.
#[must_use]
pub fn paint(text: &str, paint: Paint, colour: bool) -> String {
    if colour && !text.is_empty() { format!("\x1b[{}m{text}\x1b[0m", paint.code()) } else { text.to_owned() }
}

/// `text` as one line that does nothing but stand there: line ends and tabs become spaces, whatever else a terminal
/// would act on becomes visible (`\u{1b}`).
#[must_use]
pub fn sanitize(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            c if acts(c) => line.extend(c.escape_unicode()),
            c => line.push(c),
        }
    }
    line
}

/// JSON text as itself, with what a terminal would act on written as JSON escapes. (Below U+0020 JSON has no raw
/// characters but those between values.)
#[must_use]
pub fn sanitize_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if acts(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// The columns that `text` takes: two for East Asian wide characters and emoji, none for combining marks.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x1ab0..=0x1aff | 0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// `text` in at most `room` columns; what is cut off is marked by an ellipsis.
#[must_use]
pub fn fit(text: &str, room: usize, unicode: bool) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let ellipsis = match (unicode, room) {
        (true, _) => "…",
        (false, 0..=3) => "~",
        (false, _) => "...",
    };
    let mut left = room.saturating_sub(width(ellipsis));
    let mut cut = String::new();
    for c in text.chars() {
        let Some(rest) = left.checked_sub(char_width(c)) else { break };
        left = rest;
        cut.push(c);
    }
    cut.truncate(cut.trim_end().len());
    if room > 0 {
        cut.push_str(ellipsis);
    }
    cut
}

/// `text` broken between words into lines of at most `room` columns; its own line ends stay. Words longer than that are
/// left whole, so that a long command can be copied.
#[must_use]
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let word = sanitize(word);
            if !line.is_empty() && width(&line) + 1 + width(&word) > room {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_dues_have_no_milliseconds() {
        let ms = Duration::from_millis;
        assert_eq!(
            [age(ms(188)), age(ms(1_900)), due(ms(0)), due(ms(987)), due(ms(1_900))],
            ["0s", "1s", "0s", "1s", "2s"]
        );
    }

    #[test]
    fn hostile_text_only_stands_there() {
        assert_eq!(sanitize("a\x1b]0;owned\x07b\nc\u{9b}2J"), "a\\u{1b}]0;owned\\u{7}b c\\u{9b}2J");
        assert_eq!(sanitize("\u{202e}txt.exe\u{2066}"), "\\u{202e}txt.exe\\u{2066}");
        assert_eq!(sanitize("überall 日本"), "überall 日本");
        let json = serde_json::to_string("a\u{9b}\u{202e}\x1b\u{7f}").unwrap();
        assert_eq!(sanitize_json(&json), r#""a\u009b\u202e\u001b\u007f""#);
        assert_eq!(
            serde_json::from_str::<String>(&sanitize_json(&json)).unwrap(),
            "a\u{9b}\u{202e}\x1b\u{7f}"
        );
    }

    #[test]
    fn text_is_cut_to_the_columns_it_has() {
        assert_eq!(fit("connection refused", 18, true), "connection refused");
        assert_eq!(fit("connection refused", 12, true), "connection…");
        assert_eq!(fit("connection refused", 12, false), "connectio...");
        assert_eq!(fit("日本語", 4, true), "日…");
        assert_eq!(fit("abc", 1, true), "…");
        assert_eq!(fit("abc", 0, true), "");
        for room in 0..20 {
            assert!(width(&fit("日本語 connection", room, false)) <= room, "{room}");
        }
    }

    #[test]
    fn runbooks_are_wrapped_between_words() {
        assert_eq!(wrap("ssh in, look\n\nthen restart", 8), ["ssh in,", "look", "", "then", "restart"]);
        assert_eq!(wrap("averyveryverylongword x", 8), ["averyveryverylongword", "x"]);
    }
}
