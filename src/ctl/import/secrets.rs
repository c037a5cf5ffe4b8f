//! Secrets that a curl command had in its URL or headers: they become credentials, and are not in the configuration.
//!
//! In: a check's name and its request. Out: which parts are secret, and the credentials to write. Pure. It errs on the safe
//! side: what only looks like a secret works as well from a credential.

use super::curl::Request;

/// Names of headers and of parts of a query that say "secret".
const WORDS: [&str; 12] = [
    "auth",
    "token",
    "key",
    "secret",
    "passw",
    "pwd",
    "cookie",
    "session",
    "sig",
    "credential",
    "code",
    "hash",
];
/// What the configuration would take for a placeholder.
const PLACEHOLDERS: [&str; 3] = ["$", "{{", "%{"];

/// A credential to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credential {
    /// Its name, and the name of the file.
    pub name: String,
    /// What it is used for: a clause.
    pub of: String,
    /// The secret.
    pub content: String,
}

/// The credentials that the request of a check needs.
pub(super) fn credentials(check: &str, request: &Request) -> Vec<Credential> {
    let url = url(check, request).map(|name| Credential {
        name,
        of: "its URL".to_owned(),
        content: request.url.clone(),
    });
    let headers = request.headers.iter().filter_map(|(header, value)| {
        let of = format!("its header {header}");
        self::header(check, header, value).map(|name| Credential { name, of, content: value.clone() })
    });
    url.into_iter().chain(headers).collect()
}

/// The credential for the URL, if there is a secret in it.
pub(super) fn url(check: &str, request: &Request) -> Option<String> {
    let query = request.url.split_once('?').map_or("", |(_, query)| query);
    let secret = query.split('&').any(|part| is_secret(part.split('=').next().unwrap_or_default(), part));
    (secret || has_placeholder(&request.url)).then(|| format!("{check}-url"))
}

/// The credential for a header, if its value is a secret.
pub(super) fn header(check: &str, name: &str, value: &str) -> Option<String> {
    is_secret(name, value).then(|| format!("{check}-{}", name.to_ascii_lowercase()).replace(['%', '$'], "-"))
}

fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word)) || has_placeholder(value)
}

fn has_placeholder(text: &str) -> bool {
    PLACEHOLDERS.iter().any(|placeholder| text.contains(placeholder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_becomes_a_credential() {
        let request = |url: &str, headers: &[(&str, &str)]| Request {
            url: url.to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Request::default()
        };
        let names = |request: &Request| -> Vec<String> {
            credentials("web", request).into_iter().map(|credential| credential.name).collect()
        };
        let plain = request("https://h/x?page=1&lang=de", &[("Host", "a"), ("Accept", "text/html")]);
        assert_eq!(names(&plain), Vec::<String>::new());
        let secret =
            request("https://h/x?a&api_key=s3cret", &[("Authorization", "Bearer s3cret"), ("X-A", "$B")]);
        assert_eq!(names(&secret), ["web-url", "web-authorization", "web-x-a"]);
        assert_eq!(names(&request("https://h/$TOKEN", &[("X-API-Key", "1")])), ["web-url", "web-x-api-key"]);
    }
}
