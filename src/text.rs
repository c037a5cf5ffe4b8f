//! Makes text from outside harmless: what a server says may stand in a mail, a terminal and a journal.
//!
//! In flow bytes from anywhere; out flows one line without control characters. It never fails. Which characters are
//! dangerous is said here and nowhere else; how they are shown may differ by reader. A name becomes a part of an object path
//! here as well.

use std::borrow::Cow;

/// Whether a terminal, a mail header or a log would act on `c` instead of showing it: controls (C0, DEL, C1),
/// separators of lines and paragraphs, and what changes the direction of text (the "Trojan Source" set) or cannot be
/// seen.
#[must_use]
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` as one line: each character that [`acts`] is written out (`\n`, `\u{1b}`).
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) { line.extend(c.escape_default()) } else { line.push(c) }
    }
    Cow::Owned(line)
}

/// [`visible`], and at most `max` characters long: what does not fit is replaced by `…`.
#[must_use]
pub fn sanitize(text: &str, max: usize) -> String {
    // Writing out makes it only longer, so what does not fit before it will not fit after it.
    let enough = text.char_indices().nth(max.saturating_add(1)).map_or(text.len(), |(end, _)| end);
    let line = visible(text.get(..enough).unwrap_or(text));
    if line.chars().count() <= max {
        return line.into_owned();
    }
    let mut cut = String::new();
    let mut count = 0;
    for c in text.chars() {
        let one = if acts(c) { c.escape_default().to_string() } else { c.to_string() };
        count += one.chars().count();
        if count >= max {
            break;
        }
        cut.push_str(&one);
    }
    if max > 0 {
        cut.push('…');
    }
    cut
}

/// [`sanitize`] for bytes: what is not UTF-8 stands as `�`.
#[must_use]
pub fn inert_bytes(bytes: &[u8], max: usize) -> String {
    // No character has more than 4 bytes, and one too many makes the ellipsis.
    let enough = bytes.len().min(max.saturating_add(1).saturating_mul(4));
    sanitize(&String::from_utf8_lossy(&bytes[..enough]), max)
}

/// Stands for a backslash in a status text: U+FF3C FULLWIDTH REVERSE SOLIDUS.
const STATUS_BACKSLASH: char = '＼';

/// `text` for `STATUS=` of sd_notify(3). systemd takes a backslash there for the beginning of an escape, and drops it
/// (`strv_split_newlines` in systemd's src/core/manager.c, seen with 252): another character stands for it.
#[must_use]
pub fn to_status(text: &str) -> String {
    text.replace('\\', &STATUS_BACKSLASH.to_string())
}

/// What [`to_status`] was given, from a unit's `StatusText`.
#[must_use]
pub fn from_status(status: &str) -> String {
    status.replace(STATUS_BACKSLASH, "\\")
}

/// The last element of an object's path that stands for a name (bus_label_escape in systemd's src/basic/bus-label.c): letters,
/// and digits but for the first character, stand for themselves, anything else is `_` and two hexadecimal digits.
#[must_use]
pub fn bus_label(name: &str) -> String {
    use std::fmt::Write as _;
    if name.is_empty() {
        return "_".to_owned();
    }
    let mut label = String::with_capacity(name.len() + 16);
    for (i, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (i > 0 && byte.is_ascii_digit()) {
            label.push(char::from(byte));
        } else {
            let _ = write!(label, "_{byte:02x}");
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_text_has_no_backslash_and_gives_it_back() {
        let text = sanitize("C:\\x \u{1b}[1m", 50);
        assert!(!to_status(&text).contains('\\'), "{text}");
        assert_eq!(from_status(&to_status(&text)), text);
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        assert_eq!(sanitize("220 mail.example.org ESMTP ünï", 200), "220 mail.example.org ESMTP ünï");
        assert_eq!(sanitize("", 200), "");
    }

    #[test]
    fn nothing_that_acts_gets_through() {
        assert_eq!(
            sanitize("a\r\nBcc: x\t\u{1b}[2J\u{9b}31m\0", 200),
            r"a\r\nBcc: x\t\u{1b}[2J\u{9b}31m\u{0}"
        );
        assert_eq!(sanitize("user\u{202e}txt\u{2028}\u{200b}", 200), r"user\u{202e}txt\u{2028}\u{200b}");
    }

    #[test]
    fn long_text_is_cut_to_its_length_and_says_so() {
        assert_eq!(sanitize("abcdef", 6), "abcdef");
        assert_eq!(sanitize("abcdefg", 6), "abcde…");
        assert_eq!(sanitize("üüüüüüü", 6), "üüüüü…");
        assert_eq!(sanitize("\n\n\n\n", 5), r"\n\n…");
        assert_eq!(sanitize("abc", 0), "");
        assert_eq!(inert_bytes(&vec![b'x'; 1 << 20], 10).chars().count(), 10);
    }

    #[test]
    fn bytes_that_are_no_text_are_marked() {
        assert_eq!(inert_bytes(b"ok\xff\xfe", 20), "ok\u{fffd}\u{fffd}");
    }
}
