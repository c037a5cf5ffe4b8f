//! The little that a sentence about a certificate needs and rustls does not tell: who issued it, whether that is the
//! certificate itself, for which names and for how long.
//!
//! In flows a certificate as it came over the wire or from a file; out flow bytes, text and dates from it. It verifies
//! nothing: whatever it says is a claim of the server's. What it cannot read is `None`, or missing from a list.
//!
//! A reader of our own and no library of X.509: it is a walk over eight elements, where a parser of whole certificates
//! brings a dozen crates. What decides about trust is rustls alone.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};
use rustls::pki_types::UnixTime;

use crate::text::inert_bytes;

/// Parts of a certificate (RFC 5280, section 4.1), as they stand in it.
pub(super) struct Certificate<'a> {
    issuer: &'a [u8],
    validity: &'a [u8],
    subject: &'a [u8],
    key: &'a [u8],
    /// What follows the key; its end are the extensions.
    rest: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Finds them in `der`.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let (certificate, _) = element(der, SEQUENCE)?;
        let (mut rest, _) = element(certificate, SEQUENCE)?;
        if rest.first() == Some(&VERSION) {
            rest = element(rest, VERSION)?.1;
        }
        let (_serial, rest) = element(rest, INTEGER)?;
        let (_algorithm, rest) = element(rest, SEQUENCE)?;
        let (issuer, rest) = element(rest, SEQUENCE)?;
        let (validity, rest) = element(rest, SEQUENCE)?;
        let (subject, rest) = element(rest, SEQUENCE)?;
        let (key, rest) = element(rest, SEQUENCE)?;
        Some(Self { issuer, validity, subject, key, rest })
    }

    /// Whose it is, as it stands in it.
    pub(super) fn subject(&self) -> &'a [u8] {
        self.subject
    }

    /// Whether it claims to be its own issuer.
    pub(super) fn self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// The issuer's common name, or else its organisation's, sanitized.
    pub(super) fn issuer_name(&self, max: usize) -> Option<String> {
        let name = attribute(self.issuer, COMMON_NAME).or_else(|| attribute(self.issuer, ORGANISATION))?;
        Some(inert_bytes(name, max))
    }

    /// From when and until when it is valid.
    pub(super) fn validity(&self) -> Option<(UnixTime, UnixTime)> {
        let (from, rest) = time(self.validity)?;
        let (until, _) = time(rest)?;
        Some((from, until))
    }

    /// The DNS names and addresses that it is for, sanitized. The common name is none: no client has looked there for
    /// years (RFC 6125).
    pub(super) fn names(&self, max: usize) -> Vec<String> {
        let mut names = Vec::new();
        let mut rest = self.alternative_names().unwrap_or_default();
        while let Some((tag, value, after)) = any_element(rest) {
            match (tag, value.len()) {
                (DNS_NAME, _) => names.push(inert_bytes(value, max)),
                (IP_ADDRESS, 4) => {
                    names.extend(<[u8; 4]>::try_from(value).map(|octets| Ipv4Addr::from(octets).to_string()));
                }
                (IP_ADDRESS, 16) => {
                    names
                        .extend(<[u8; 16]>::try_from(value).map(|octets| Ipv6Addr::from(octets).to_string()));
                }
                _ => {}
            }
            rest = after;
        }
        names
    }

    /// The algorithm of its key, as an object identifier: RSA, elliptic curves, ...
    pub(super) fn key_algorithm(&self) -> Option<&'a [u8]> {
        let (algorithm, _) = element(self.key, SEQUENCE)?;
        Some(element(algorithm, OID)?.0)
    }

    /// The content of the extension subjectAltName.
    fn alternative_names(&self) -> Option<&'a [u8]> {
        let mut rest = self.rest;
        let extensions = loop {
            let (tag, value, after) = any_element(rest)?;
            if tag == EXTENSIONS {
                break value;
            }
            rest = after;
        };
        let (mut rest, _) = element(extensions, SEQUENCE)?;
        while !rest.is_empty() {
            let (extension, after) = element(rest, SEQUENCE)?;
            let (oid, mut value) = element(extension, OID)?;
            if value.first() == Some(&BOOLEAN) {
                value = element(value, BOOLEAN)?.1;
            }
            if oid == ALTERNATIVE_NAMES {
                let (content, _) = element(value, OCTET_STRING)?;
                return Some(element(content, SEQUENCE)?.0);
            }
            rest = after;
        }
        None
    }
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.4.10
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];
/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// Where UnixTime counts from.
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// The value of the first attribute `wanted` in a name.
fn attribute<'a>(name: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let mut rest = name;
    while !rest.is_empty() {
        let (set, after) = element(rest, SET)?;
        let (pair, _) = element(set, SEQUENCE)?;
        let (oid, value) = element(pair, OID)?;
        if oid == wanted {
            return Some(any_element(value)?.1);
        }
        rest = after;
    }
    None
}

/// The time at the beginning of `der`, and what follows it. RFC 5280, section 4.1.2.5: `YYMMDDHHMMSSZ`, where 50 and
/// above are of the last century, or `YYYYMMDDHHMMSSZ`. What is before 1970 counts as 1970.
fn time(der: &[u8]) -> Option<(UnixTime, &[u8])> {
    let (tag, text, rest) = any_element(der)?;
    let mut digits = text.strip_suffix(b"Z")?.iter().map(|byte| match byte {
        b'0'..=b'9' => Some(i16::from(byte - b'0')),
        _ => None,
    });
    let mut two = || Some(digits.next()?? * 10 + digits.next()??);
    let year = match tag {
        UTC_TIME => {
            let year = two()?;
            if year < 50 { 2000 + year } else { 1900 + year }
        }
        GENERALIZED_TIME => two()? * 100 + two()?,
        _ => return None,
    };
    let (month, day, hour, minute, second) = (two()?, two()?, two()?, two()?, two()?);
    if digits.next().is_some() {
        return None;
    }
    let small = |number: i16| i8::try_from(number).ok();
    let time =
        DateTime::new(year, small(month)?, small(day)?, small(hour)?, small(minute)?, small(second)?, 0);
    let since = time.ok()?.duration_since(EPOCH).as_secs();
    let since = Duration::from_secs(u64::try_from(since).unwrap_or(0));
    Some((UnixTime::since_unix_epoch(since), rest))
}

/// A moment in a certificate for a sentence: `2027-01-23 08:00 UTC`.
pub(super) fn moment(at: UnixTime) -> String {
    shown(at, "%Y-%m-%d %H:%M UTC")
}

/// Only its day: `2027-01-23`.
pub(super) fn day(at: UnixTime) -> String {
    shown(at, "%Y-%m-%d")
}

/// Without time zones: 9999-12-31, which a certificate without an end has, is a day in none but UTC.
fn shown(at: UnixTime, format: &str) -> String {
    let since = i64::try_from(at.as_secs()).ok().map(SignedDuration::from_secs);
    match since.and_then(|since| EPOCH.checked_add(since).ok()) {
        Some(at) => at.strftime(format).to_string(),
        None => "a day that no calendar has".to_owned(),
    }
}

/// The content of the element at the beginning of `der`, which must bear `tag`, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any_element(der)?;
    (found == tag).then_some((content, rest))
}

/// The tag and the content of the element at the beginning of `der`, and what follows it.
fn any_element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        if bytes.is_empty() || bytes.len() > 3 {
            return None;
        }
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn self_signed() -> Vec<u8> {
        let names = ["gru-1", "*.example.org", "192.0.2.1", "2001:db8::1"];
        let names: Vec<String> = names.map(str::to_owned).into();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "gru\u{1b}[2J");
        params.not_before = rcgen::date_time_ymd(1999, 12, 31);
        params.not_after = rcgen::date_time_ymd(2050, 2, 28);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn reads_who_issued_it_for_whom_and_for_how_long() {
        let der = self_signed();
        let certificate = Certificate::read(&der).unwrap();
        assert!(certificate.self_issued());
        assert_eq!(certificate.issuer_name(200).unwrap(), r"gru\u{1b}[2J");
        assert_eq!(certificate.names(200), ["gru-1", "*.example.org", "192.0.2.1", "2001:db8::1"]);
        // `date -u -d 1999-12-31 +%s`; the second one is written with four digits of the year.
        let (from, until) = certificate.validity().unwrap();
        assert_eq!((from.as_secs(), until.as_secs()), (946_598_400, 2_529_619_200));
        // 1.2.840.10045.2.1: an elliptic curve.
        assert_eq!(certificate.key_algorithm().unwrap(), [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]);
    }

    #[test]
    fn times_are_read_as_the_rfc_says_and_nothing_else_is() {
        let read = |tag: u8, text: &str| {
            let length = u8::try_from(text.len()).unwrap();
            let der = [&[tag, length], text.as_bytes()].concat();
            time(&der).map(|(at, _)| at.as_secs())
        };
        assert_eq!(read(UTC_TIME, "700101000001Z"), Some(1));
        assert_eq!(read(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(read(UTC_TIME, "500101000000Z"), Some(0));
        assert_eq!(read(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        // RFC 5280: a certificate without an end.
        assert_eq!(read(GENERALIZED_TIME, "99991231235959Z"), Some(253_402_300_799));
        for bad in
            ["", "Z", "7001010000Z", "700101000001", "701301000000Z", "70010100000aZ", "7001010000011Z"]
        {
            assert_eq!(read(UTC_TIME, bad), None, "{bad}");
        }
        assert_eq!(read(OID, "700101000001Z"), None);
        let end = UnixTime::since_unix_epoch(Duration::from_secs(253_402_300_799));
        assert_eq!((moment(end).as_str(), day(end).as_str()), ("9999-12-31 23:59 UTC", "9999-12-31"));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let der = self_signed();
        let all = |der: &[u8]| {
            let Some(certificate) = Certificate::read(der) else { return };
            let _ = (certificate.issuer_name(200), certificate.validity(), certificate.names(200));
            let _ = certificate.key_algorithm();
        };
        for end in 0..der.len() {
            all(&der[..end]);
        }
        for at in 0..der.len() {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut bad = der.clone();
                bad[at] = byte;
                all(&bad);
            }
        }
    }
}
