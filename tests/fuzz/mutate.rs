//! Bytes that differ a little from what is known, the same ones in every run: what `cargo test` tries besides the
//! seeds, so that no change waits for the next fuzzing. It looks at no coverage; that is libFuzzer's part.

/// What such inputs go wrong with, in any of the formats.
const TOKENS: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r\n",
    b"\t",
    b"\x1b[2J",
    b"\xff\xfe",
    b"\xe2\x80\xae",
    b"\"",
    b"'",
    b"\\",
    b"\\\n",
    b"%",
    b"%n",
    b"$",
    b"${x}",
    b"#",
    b"[",
    b"]",
    b"{",
    b"}",
    b":",
    b": ",
    b",",
    b"&a",
    b"*a",
    b"!",
    b"|",
    b"&&",
    b">>",
    b";",
    b"`",
    b"0",
    b"-1",
    b"18446744073709551615",
    b"9223372036854775807",
    b"1e308",
    b"0.1",
    b"null",
    b"true",
    b"\xc0\x0c",
    b"\x00\x01",
    b"--",
    b"\n---\n",
    b"@",
    b"..",
    b"/",
    b".service",
    b"curl -f http://localhost:80/",
    b"\xef\xbc\xbc",
    b"\xf0\x9f\x92\xa5",
];

/// A row of numbers that looks random (xorshift64).
pub struct Mutator(u64);

impl Mutator {
    /// The row that begins with `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(0) % end.max(1)
    }

    /// `bytes` with a few changes; some take a piece of `other`.
    pub fn change(&mut self, bytes: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(5) {
            let at = self.below(bytes.len() + 1);
            let end = (at + 1 + self.below(12)).min(bytes.len());
            match self.below(8) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap_or(0),
                2 if at < end => drop(bytes.drain(at..end)),
                3 if at < end => {
                    let piece = bytes[at..end].repeat(1 + self.below(40));
                    bytes.splice(at..at, piece);
                }
                4 if !other.is_empty() => {
                    let from = self.below(other.len());
                    let to = (from + 1 + self.below(60)).min(other.len());
                    bytes.splice(at..at, other[from..to].iter().copied());
                }
                5 => bytes.truncate(at),
                _ => drop(bytes.splice(at..at, TOKENS[self.below(TOKENS.len())].iter().copied())),
            }
        }
        bytes
    }
}
