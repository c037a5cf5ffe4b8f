//! Makes foreign text harmless: what probes, journals, servers and runbooks say goes into mails as data.
//!
//! Any text flows in, printable text flows out: no CR, LF, NUL or other control character, no terminal escape, no
//! character that reorders or hides others. It never interprets what it is given.

use crate::text::acts;

/// The longest line that is passed on, in characters; the rest is cut.
pub const LINE_MAX: usize = 1000;

/// One printable line of at most `max` characters. Line ends and tabs become spaces, colours and other terminal
/// sequences vanish, what else cannot be printed becomes U+FFFD.
#[must_use]
pub fn line(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max.saturating_mul(4)));
    let mut count = 0;
    let mut chars = text.trim_end().chars().peekable();
    while let Some(c) = chars.next() {
        let c = match c {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                skip_csi(&mut chars);
                continue;
            }
            '\t' | '\n' => ' ',
            '\r' if chars.peek() == Some(&'\n') => continue,
            '\r' => ' ',
            c if acts(c) => '\u{fffd}',
            c => c,
        };
        if count == max {
            // One character gives way to the mark that something is missing.
            if out.pop().is_some() {
                out.push('…');
            }
            return out;
        }
        out.push(c);
        count += 1;
    }
    out
}

/// The lines of `text`, each made harmless and cut as by [`line()`], at most `max_lines` of them.
#[must_use]
pub fn block(text: &str, max_lines: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut rest = text.trim_end().lines();
    for each in rest.by_ref().take(max_lines) {
        lines.push(line(each, LINE_MAX));
    }
    if rest.next().is_some() {
        lines.push("…".to_owned());
    }
    lines
}

/// `text` with everything but `A-Z a-z 0-9 - _` and single dots written as `%XX`: two different texts stay different,
/// and the result may stand in a Message-ID (an RFC 5322 dot-atom) and in a file name. Longer ones than 200 characters
/// are cut and told apart by a checksum.
#[must_use]
pub fn atom(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_')
            || (byte == b'.' && !out.is_empty() && !out.ends_with('.'));
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    if out.ends_with('.') {
        out.pop();
        out.push_str("%2E");
    }
    if out.len() > 200 {
        let sum = checksum(text);
        out.truncate(180);
        out.push_str(&format!("-{sum:016x}"));
    }
    out
}

/// FNV-1a, 64 bits: the same in every version of this program.
#[must_use]
pub fn checksum(text: &str) -> u64 {
    let add = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, add)
}

/// `host` as the domain of a Message-ID and as the EHLO name: emails, digits, dots and hyphens.
#[must_use]
pub fn domain(host: &str) -> String {
    let mut out = String::new();
    for c in host.chars().take(253) {
        match c {
            c if c.is_ascii_alphanumeric() => out.push(c),
            '.' if !out.is_empty() && !out.ends_with('.') => out.push('.'),
            '.' => {}
            _ => out.push('-'),
        }
    }
    let out = out.trim_matches(['.', '-']).to_owned();
    if out.is_empty() { "localhost".to_owned() } else { out }
}

/// Passes over a control sequence (ECMA-48: `ESC [`, parameters, one final byte).
fn skip_csi(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    chars.next();
    while chars.next_if(|c| matches!(c, '\u{20}'..='\u{3f}')).is_some() {}
    chars.next_if(|c| matches!(c, '\u{40}'..='\u{7e}'));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_do_harm_is_gone() {
        let cases = [
            ("plain text, ünïcode and 日本", "plain text, ünïcode and 日本"),
            ("a\r\nBcc: x@example.org", "a Bcc: x@example.org"),
            ("a\rb\0c", "a b\u{fffd}c"),
            ("\u{1b}[1;31merror\u{1b}[0m: no", "error: no"),
            ("\u{1b}]0;title\u{7}x", "\u{fffd}]0;title\u{fffd}x"),
            ("\u{9b}31mx", "\u{fffd}31mx"),
            ("a\u{202e}b\u{2066}c\u{2028}d\u{85}e", "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e"),
            ("tab\there  \n", "tab here"),
        ];
        for (text, harmless) in cases {
            assert_eq!(line(text, LINE_MAX), harmless, "{text:?}");
        }
    }

    #[test]
    fn long_lines_and_long_blocks_are_cut_and_say_so() {
        assert_eq!(line("abcdef", 6), "abcdef");
        assert_eq!(line("abcdefg", 6), "abcde…");
        assert_eq!(line("abc", 0), "");
        assert_eq!(line(&"é".repeat(1_000_000), LINE_MAX).chars().count(), LINE_MAX);
        assert_eq!(block("a\nb\nc\n", 2), ["a", "b", "…"]);
        assert_eq!(block("a\r\nb\n\n", 2), ["a", "b"]);
    }

    #[test]
    fn atoms_stay_different_and_are_dot_atoms() {
        let cases = [
            ("fibridge-1795345200", "fibridge-1795345200"),
            ("a@b:c", "a%40b%3Ac"),
            ("a..b", "a.%2Eb"),
            (".a.", "%2Ea%2E"),
            ("a\r\n/", "a%0D%0A%2F"),
        ];
        for (text, atom_text) in cases {
            assert_eq!(atom(text), atom_text);
        }
        let long = "@".repeat(5000);
        assert_eq!(atom(&long).len(), 197);
        assert_ne!(atom(&long), atom(&long[1..]));
    }

    #[test]
    fn a_host_name_becomes_a_domain() {
        assert_eq!(domain("lf-proxy.example.org"), "lf-proxy.example.org");
        assert_eq!(domain("a\r\nb c"), "a--b-c");
        assert_eq!(domain("..x..y."), "x.y");
        assert_eq!(domain(""), "localhost");
    }
}
