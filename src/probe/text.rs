//! Makes text from outside harmless: what a server says may stand in a mail, a terminal and a journal.
//!
//! In flow bytes from anywhere; out flows one short line without control characters. It never fails.

use std::fmt::Write;

/// `text` as one line of at most `max` characters: control characters, line and paragraph separators and the characters
/// that reverse or hide text are written out (`\n`, `\u{1b}`), and what does not fit is replaced by `…`.
#[must_use]
pub fn inert(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    // How much of `line` still leaves room for the ellipsis.
    let mut keep = 0;
    let mut count = 0;
    for c in text.chars() {
        let before = line.len();
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if unfit(c) => {
                // Writing to a String cannot fail.
                let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
            }
            c => line.push(c),
        }
        count += if line.len() - before == c.len_utf8() { 1 } else { line.len() - before };
        if count > max {
            line.truncate(keep);
            if max > 0 {
                line.push('…');
            }
            return line;
        }
        if count < max {
            keep = line.len();
        }
    }
    line
}

/// [`inert`] for bytes: what is not UTF-8 stands as `�`.
#[must_use]
pub fn inert_bytes(bytes: &[u8], max: usize) -> String {
    // No character has more than 4 bytes, and one too many makes the ellipsis.
    let enough = bytes.len().min(max.saturating_add(1).saturating_mul(4));
    inert(&String::from_utf8_lossy(&bytes[..enough]), max)
}

/// Controls, separators, and what changes the direction of text or cannot be seen.
fn unfit(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_as_it_is() {
        assert_eq!(inert("220 mail.example.org ESMTP ünï", 200), "220 mail.example.org ESMTP ünï");
        assert_eq!(inert("", 200), "");
    }

    #[test]
    fn nothing_that_acts_gets_through() {
        assert_eq!(inert("a\r\nBcc: x\t\u{1b}[2J\u{9b}31m\0", 200), r"a\r\nBcc: x\t\u{1b}[2J\u{9b}31m\u{0}");
        assert_eq!(inert("user\u{202e}txt\u{2028}\u{200b}", 200), r"user\u{202e}txt\u{2028}\u{200b}");
    }

    #[test]
    fn long_text_is_cut_to_its_length_and_says_so() {
        assert_eq!(inert("abcdef", 6), "abcdef");
        assert_eq!(inert("abcdefg", 6), "abcde…");
        assert_eq!(inert("üüüüüüü", 6), "üüüüü…");
        assert_eq!(inert("\n\n\n\n", 5), r"\n\n…");
        assert_eq!(inert("abc", 0), "");
        assert_eq!(inert_bytes(&vec![b'x'; 1 << 20], 10).chars().count(), 10);
    }

    #[test]
    fn bytes_that_are_no_text_are_marked() {
        assert_eq!(inert_bytes(b"ok\xff\xfe", 20), "ok\u{fffd}\u{fffd}");
    }
}
