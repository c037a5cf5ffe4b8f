//! The little that a sentence about a certificate needs and rustls does not tell: who issued it, and whether that is
//! the certificate itself.
//!
//! In flows a certificate as it came over the wire; out flow bytes and text from it. It verifies nothing: whatever it
//! says is a claim of the server's. What it cannot read is `None`.

use crate::text::inert_bytes;

/// Who a certificate claims to be and to be issued by; the raw names, comparable as bytes.
pub(super) struct Names<'a> {
    pub(super) issuer: &'a [u8],
    pub(super) subject: &'a [u8],
}

impl<'a> Names<'a> {
    /// Reads them out of `der` (RFC 5280, section 4.1).
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let (certificate, _) = element(der, SEQUENCE)?;
        let (mut rest, _) = element(certificate, SEQUENCE)?;
        if rest.first() == Some(&VERSION) {
            rest = element(rest, VERSION)?.1;
        }
        let (_serial, rest) = element(rest, INTEGER)?;
        let (_algorithm, rest) = element(rest, SEQUENCE)?;
        let (issuer, rest) = element(rest, SEQUENCE)?;
        let (_validity, rest) = element(rest, SEQUENCE)?;
        let (subject, _) = element(rest, SEQUENCE)?;
        Some(Self { issuer, subject })
    }

    /// Whether it claims to be its own issuer.
    pub(super) fn self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// The issuer's common name, or else its organisation's, made inert.
    pub(super) fn issuer_name(&self, max: usize) -> Option<String> {
        let name = attribute(self.issuer, COMMON_NAME).or_else(|| attribute(self.issuer, ORGANISATION))?;
        Some(inert_bytes(name, max))
    }
}

const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.4.10
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];

/// The value of the first attribute `wanted` in a name.
fn attribute<'a>(name: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let mut rest = name;
    while !rest.is_empty() {
        let (set, after) = element(rest, SET)?;
        let (pair, _) = element(set, SEQUENCE)?;
        let (oid, value) = element(pair, OID)?;
        if oid == wanted {
            let tag = *value.first()?;
            return Some(element(value, tag)?.0);
        }
        rest = after;
    }
    None
}

/// The content of the element at the beginning of `der`, which must bear `tag`, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = der.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        if bytes.is_empty() || bytes.len() > 3 {
            return None;
        }
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn self_signed() -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["gru".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "gru\u{1b}[2J");
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn reads_who_issued_it() {
        let der = self_signed();
        let names = Names::read(&der).unwrap();
        assert!(names.self_issued());
        assert_eq!(names.issuer_name(200).unwrap(), r"gru\u{1b}[2J");
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let der = self_signed();
        for end in 0..der.len() {
            let _ = Names::read(&der[..end]);
        }
        for at in 0..der.len() {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut bad = der.clone();
                bad[at] = byte;
                let _ = Names::read(&bad).and_then(|names| names.issuer_name(200));
            }
        }
    }
}
