//! What the configuration entrusts to a probe's server, and that nobody else must see.
//!
//! In: a probe and the credentials. Out: the URL and the headers to send, and reasons without any of it. It lives as long
//! as one attempt.

use http::header::{self, HeaderName, HeaderValue};

use crate::check::{HttpProbe, Source, Url};
use crate::config::Credentials;

/// Pieces of a secret that are shorter are no secret: to hide them would make a reason unreadable.
const SHORTEST_SECRET: usize = 8;

/// Stands for a secret.
const HIDDEN: &str = "(hidden)";
/// Where an excerpt ends.
const CUT: &str = "…";

/// Written headers that are no secret.
const PLAIN: [HeaderName; 6] =
    [header::HOST, header::USER_AGENT, header::CONTENT_TYPE, header::ORIGIN, header::REFERER, header::ACCEPT];

/// What is sent, with the content of credentials.
pub(super) struct Entrusted<'p> {
    pub url: Url,
    pub headers: Vec<Header<'p>>,
}

/// A header to send.
pub(super) struct Header<'p> {
    pub name: &'p HeaderName,
    pub value: HeaderValue,
    /// It does not go to a server that the first one redirects to.
    pub for_one_server: bool,
}

impl<'p> Entrusted<'p> {
    /// Reads the credentials that `probe` names.
    ///
    /// The error says which one is missing and where to put it.
    pub(super) fn read(probe: &'p HttpProbe, credentials: &Credentials) -> Result<Self, String> {
        let url = match &probe.url {
            Source::Written(url) => url.clone(),
            Source::Credential(name) => credentials.url(name)?,
        };
        let mut headers = Vec::with_capacity(probe.headers.len());
        for (name, value) in &probe.headers {
            let (value, secret) = match value {
                Source::Written(value) => (value.clone(), false),
                Source::Credential(credential) => (credentials.header(credential)?, true),
            };
            headers.push(Header { name, value, for_one_server: secret || is_for_one_server(name) });
        }
        Ok(Self { url, headers })
    }

    /// `reason` without what a server may have repeated in it.
    pub(super) fn hide(&self, reason: &str) -> String {
        let headers = self.headers.iter().filter(|header| !PLAIN.contains(header.name));
        let values = headers.filter_map(|header| header.value.to_str().ok());
        let query = self.url.uri().query().into_iter();
        let path = self.url.is_secret().then(|| self.url.uri().path()).into_iter();
        let mut secrets: Vec<&str> = values
            .flat_map(|value| std::iter::once(value).chain(value.split_ascii_whitespace()))
            .chain(query.flat_map(|query| query.split('&').map(query_value)))
            .chain(path.flat_map(|path| path.split('/')))
            .filter(|secret| secret.len() >= SHORTEST_SECRET)
            .collect();
        // The longest first: a shorter one can be a part of it.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.into_iter().fold(reason.to_owned(), |reason, secret| {
            let reason = reason.replace(secret, HIDDEN);
            // An excerpt can end within it.
            let ends: Vec<&str> = reason.split(CUT).collect();
            let last = ends.len() - 1;
            let shown = ends
                .iter()
                .enumerate()
                .map(|(i, part)| if i < last { without_begin(part, secret) } else { (*part).to_owned() });
            shown.collect::<Vec<String>>().join(CUT)
        })
    }
}

fn query_value(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(_, value)| value)
}

/// `text` without the beginning of `secret` that it ends with.
fn without_begin(text: &str, secret: &str) -> String {
    let begins = (SHORTEST_SECRET / 2..secret.len()).rev().filter_map(|length| secret.get(..length));
    match begins.into_iter().find_map(|begin| text.strip_suffix(begin)) {
        Some(before) => format!("{before}{HIDDEN}"),
        None => text.to_owned(),
    }
}

/// Headers that are always for one server only.
fn is_for_one_server(name: &HeaderName) -> bool {
    [header::HOST, header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION].contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CredentialName;

    fn probe(url: Source<Url>, header: Source<HeaderValue>) -> HttpProbe {
        HttpProbe {
            url,
            method: http::Method::GET,
            headers: vec![(HeaderName::from_static("x-token"), header)],
            status: Default::default(),
            body_contains: None,
            body_matches: None,
            follow_redirects: false,
            verify_tls: true,
        }
    }

    #[test]
    fn what_a_server_repeats_is_hidden_also_where_an_excerpt_ends_in_it() {
        let url = Source::Written(Url::parse("http://h/public/path?token=query-s3cret&health=1").unwrap());
        let probe = probe(url, Source::Written(HeaderValue::from_static("Bearer header-s3cret")));
        let entrusted = Entrusted::read(&probe, &Credentials::default()).unwrap();
        for (reason, hidden) in [
            ("it is \"header-s3cret, query-s3cret\"", "it is \"(hidden), (hidden)\""),
            ("it begins \"x Bearer header-s3…\"", "it begins \"x (hidden)…\""),
            ("to /public/path?…", "to /public/path?…"),
            ("no health at h", "no health at h"),
        ] {
            assert_eq!(entrusted.hide(reason), hidden);
        }
    }

    #[test]
    fn of_a_secret_url_the_path_is_hidden_as_well() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("url"), "https://h.example/hooks/path-s3cret").unwrap();
        std::fs::write(dir.path().join("token"), "token-s3cret").unwrap();
        let name = |name: &str| CredentialName::new(name).unwrap();
        let probe = probe(Source::Credential(name("url")), Source::Credential(name("token")));
        assert_eq!(
            crate::check::Probe::Http(std::sync::Arc::new(probe.clone())).describe(),
            "http GET (credential url)"
        );
        let missing = Entrusted::read(&probe, &Credentials::default()).err().unwrap();
        assert!(missing.contains("/etc/stealthcheck/credentials/url"), "{missing}");
        let entrusted = Entrusted::read(&probe, &Credentials::at(dir.path())).unwrap();
        assert_eq!(
            entrusted.hide("/v2/path-s3cret of token-s3cret at h.example"),
            "/v2/(hidden) of (hidden) at h.example"
        );
        assert!(entrusted.headers[0].for_one_server);
        assert!(
            !format!("{probe:?} {:?} {:?}", entrusted.url, entrusted.headers[0].value).contains("s3cret")
        );
    }
}
