//! The URL of a probe, and the only way in which any URL is shown.
//!
//! A query and what stands before `@` are where tokens and passwords are. What is shown reaches every local user (status,
//! journal, metrics) and the mail, so neither is in it: `https://…@host/path?…`. Of a URL that is itself a secret only the
//! server is shown.

use std::borrow::Cow;
use std::fmt;

use http::Uri;

/// Stands for what is not shown.
const HIDDEN: char = '…';

/// An absolute URL of scheme `http` or `https`. `Display` and `Debug` show no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    uri: Uri,
    /// It came from a credential.
    secret: bool,
}

impl Url {
    /// The form of a URL, for error messages.
    pub const EXPECTED: &'static str = "a URL such as `http://127.0.0.1:9001/`";

    /// Reads a URL that may be shown.
    ///
    /// # Errors
    /// A sentence that says what is wrong. It quotes nothing of `text`.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse(text).map(|uri| Self { uri, secret: false })
    }

    /// Reads a URL of which only the server may be shown.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_secret(text: &str) -> Result<Self, String> {
        parse(text).map(|uri| Self { uri, secret: true })
    }

    /// Where the server of this URL redirects to. It may repeat the path, so it is as secret.
    #[must_use]
    pub fn redirected(&self, to: Uri) -> Self {
        Self { uri: to, secret: self.secret }
    }

    /// Whether only the server may be shown.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.secret
    }

    /// The whole URL, to connect and to ask. Not to be shown.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = redacted(&self.uri.to_string());
        let authority = shown.find("://").map_or(0, |at| at + 3);
        match shown[authority..].find('/') {
            Some(path) if self.secret => write!(f, "{}/{HIDDEN}", &shown[..authority + path]),
            _ => f.write_str(&shown),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A URL or a reference (`/path?query`), sound or not, as it may be shown.
#[must_use]
pub fn redacted(reference: &str) -> String {
    let scheme = scheme_end(reference);
    let rest = &reference[scheme..];
    let slashes = rest.len() - rest.trim_start_matches(['/', '\\']).len();
    // With one slash and no scheme it is a path.
    let start = if scheme > 0 || slashes > 1 { scheme + slashes } else { 0 };
    let (before, rest) = reference.split_at(start);
    let authority = if start > 0 { rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()) } else { 0 };
    // A password can have a slash or a question mark in it, against the rules: then what seems to be the port is no number.
    let no_port = rest[..authority]
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.ends_with(']') && !port.chars().all(|c| c.is_ascii_digit()));
    let user = if no_port { rest.rfind('@') } else { rest[..authority].rfind('@') };
    let mut shown = before.to_owned();
    let rest = match user {
        Some(at) => {
            shown.push(HIDDEN);
            &rest[at..]
        }
        None => rest,
    };
    match rest.find(['?', '#']) {
        Some(end) if end + 1 < rest.len() => {
            shown.push_str(&rest[..=end]);
            shown.push(HIDDEN);
        }
        _ => shown.push_str(rest),
    }
    shown
}

/// Where the scheme and its colon end; 0 where there is none.
fn scheme_end(reference: &str) -> usize {
    match reference.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))) {
        Some(end) if end > 0 && reference[end..].starts_with(':') => end + 1,
        _ => 0,
    }
}

/// A sentence that may quote what somebody has written, with every URL in it [`redacted`].
#[must_use]
pub fn redact_urls(sentence: &str) -> Cow<'_, str> {
    // What is quoted is one word, whatever is in it.
    let parts: Vec<&str> = sentence.split('`').collect();
    let quoted = |part: usize| part % 2 == 1;
    let urls = |part: usize| {
        if quoted(part) { has_secret(parts[part]) } else { parts[part].split_whitespace().any(has_secret) }
    };
    if !(0..parts.len()).any(urls) {
        return Cow::Borrowed(sentence);
    }
    let shown = parts.iter().enumerate().map(|(part, text)| {
        let words = text.split_inclusive(char::is_whitespace);
        match (urls(part), quoted(part)) {
            (false, _) => (*text).to_owned(),
            (true, true) => redacted_word(text),
            (true, false) => words
                .map(|word| if has_secret(word) { redacted_word(word) } else { word.to_owned() })
                .collect(),
        }
    });
    Cow::Owned(shown.collect::<Vec<String>>().join("`"))
}

/// A word of a sentence: something may stand before the URL in it.
fn redacted_word(word: &str) -> String {
    let scheme = word.find("://").unwrap_or(0);
    let before = word[..scheme].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let (before, url) = word.split_at(before.len());
    // A quotation's end and the white space after it are not part of it.
    let end = url.trim_end_matches(|c: char| c.is_whitespace() || "\":".contains(c)).len();
    format!("{before}{}{}", redacted(&url[..end]), &url[end..])
}

/// Whether `word` is a URL or looks like a part of one in which secrets are.
fn has_secret(word: &str) -> bool {
    let ordered =
        |first: &str, second: &str| word.split_once(first).is_some_and(|(_, rest)| rest.contains(second));
    word.contains("://") || ordered("?", "=") || ordered(":", "@")
}

fn parse(text: &str) -> Result<Uri, String> {
    let expected = Url::EXPECTED;
    let Some((scheme, rest)) = text.split_once("://") else { return Err(format!("expected {expected}")) };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(format!("expected {expected}; the scheme is `http` or `https`"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(
            "no user or password in a URL; use an `Authorization` header with a credential".to_owned()
        );
    }
    if rest.contains('#') {
        return Err("a fragment (`#`) is never sent; leave it out".to_owned());
    }
    if !authority.starts_with('[') && authority.matches(':').count() > 1 {
        return Err("an IPv6 address in a URL needs brackets, such as `http://[::1]:8080/`".to_owned());
    }
    if authority.is_empty() || authority.starts_with(':') {
        return Err(format!("the URL has no host; expected {expected}"));
    }
    let uri: Uri = text.parse().map_err(|error| format!("not a URL: {error}"))?;
    let port = match uri.authority() {
        Some(authority) => authority.as_str().strip_prefix(authority.host()).unwrap_or_default(),
        None => return Err(format!("the URL has no host; expected {expected}")),
    };
    match port.strip_prefix(':').map(str::parse::<u16>) {
        Some(Ok(0) | Err(_)) => Err("the port of a URL is 1 to 65535".to_owned()),
        None if !port.is_empty() => Err(format!("expected {expected}")),
        _ => Ok(uri),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_query_nor_user_is_shown() {
        for (written, shown) in [
            ("https://a.example/x?token=s3cret&b", "https://a.example/x?…"),
            ("https://a.example/x", "https://a.example/x"),
            ("https://a.example/x?", "https://a.example/x?"),
            ("https://a.example?t=s3cret", "https://a.example?…"),
            ("https://a.example/x#s3cret", "https://a.example/x#…"),
            ("https://me:s3cret@a.example:81/x?t=s3cret", "https://…@a.example:81/x?…"),
            ("https://me:s3cr/et@a.example/x", "https://…@a.example/x"),
            ("https://me:s3cr?et@a.example/x", "https://…@a.example/x"),
            ("https:\\\\me:s3cret@a.example\\x", "https:\\\\…@a.example\\x"),
            ("//me:s3cret@a.example/", "//…@a.example/"),
            ("https:me:s3cret@a.example/", "https:…@a.example/"),
            ("/login?next=s3cret", "/login?…"),
            ("?s3cret", "?…"),
            ("/@somebody/x", "/@somebody/x"),
            ("https://a.example/@somebody", "https://a.example/@somebody"),
            ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
            ("http://[::1]/a@b", "http://[::1]/a@b"),
            ("", ""),
        ] {
            assert_eq!(redacted(written), shown, "{written}");
        }
    }

    #[test]
    fn a_url_shows_no_secret_even_to_a_developer() {
        let url = Url::parse("https://a.example/x?token=s3cret").unwrap();
        assert_eq!(format!("{url} {url:?}"), "https://a.example/x?… https://a.example/x?…");
        assert_eq!(url.uri().query(), Some("token=s3cret"));
        let secret = Url::parse_secret("https://a.example:81/s3cret/x?y").unwrap();
        assert_eq!(format!("{secret} {secret:?}"), "https://a.example:81/… https://a.example:81/…");
        let next = secret.redirected(Uri::from_static("https://a.example/s3cret/"));
        assert_eq!(next.to_string(), "https://a.example/…");
        assert_eq!(Url::parse_secret("https://a.example").unwrap().to_string(), "https://a.example/…");
    }

    #[test]
    fn sentences_are_redacted_where_they_quote_urls() {
        for (said, shown) in [
            ("`http://h/?t=s3cret x` is not a port", "`http://h/?…` is not a port"),
            ("expected HOST:PORT, not `h:80/?t=s3cret`", "expected HOST:PORT, not `h:80/?…`"),
            ("not `me:s3cret@h:80`", "not `me:…@h:80`"),
            ("see http://h/?t=s3cret for more", "see http://h/?… for more"),
            ("a.\"http://h/?t=s3cret\": unknown key", "a.\"http://h/?…\": unknown key"),
            ("a.\"http://me:s3cret@h\": unknown key", "a.\"http://…@h\": unknown key"),
            ("what? a = b", "what? a = b"),
            ("`Ops <ops@example.org>`: no", "`Ops <ops@example.org>`: no"),
        ] {
            assert_eq!(redact_urls(said), shown, "{said}");
            assert_eq!(redact_urls(&redact_urls(said)), shown, "twice");
        }
    }
}
