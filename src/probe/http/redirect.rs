//! Where a redirect leads. Pure: in flow an address and a `Location`, out flows the next address.

use http::Uri;
use http::uri::Scheme;

/// The address that `location`, as it came from the server, means seen from `base` (RFC 3986, section 5.2; fragments
/// are nobody's business but a browser's). The error is a clause.
pub(super) fn resolve(base: &Uri, location: &[u8]) -> Result<Uri, String> {
    let location = escape(location);
    let reference = location.split('#').next().unwrap_or_default();
    let scheme = base.scheme_str().unwrap_or("http");
    let authority = base.authority().map_or("", http::uri::Authority::as_str);
    let (path, _) = path_and_query(base);
    let text = if let Some(scheme) = scheme_of(reference) {
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(format!("which is neither http nor https ({scheme})"));
        }
        reference.to_owned()
    } else if let Some(rest) = reference.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if reference.is_empty() {
        base.to_string()
    } else if reference.starts_with('?') {
        format!("{scheme}://{authority}{path}{reference}")
    } else {
        let (to, query) = reference.split_at(reference.find('?').unwrap_or(reference.len()));
        let joined = if to.starts_with('/') {
            to.to_owned()
        } else {
            let folder = path.rfind('/').map_or("/", |end| &path[..=end]);
            format!("{folder}{to}")
        };
        format!("{scheme}://{authority}{}{query}", without_dots(&joined))
    };
    let uri: Uri = text.parse().map_err(|error| format!("which is no address ({error})"))?;
    match uri.host() {
        Some(host) if !host.is_empty() && uri.scheme().is_some() => Ok(uri),
        _ => Err("which names no host".to_owned()),
    }
}

/// The port of an address, its scheme's own where it names none.
pub(super) fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if is_https(uri) { 443 } else { 80 })
}

/// Whether an address is of TLS.
pub(super) fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS)
}

/// Whether two addresses are served by the same server, so that what is secret to one may go to the other.
pub(super) fn same_origin(a: &Uri, b: &Uri) -> bool {
    let host = |uri: &Uri| uri.host().unwrap_or_default().to_ascii_lowercase();
    is_https(a) == is_https(b) && host(a) == host(b) && port(a) == port(b)
}

fn path_and_query(uri: &Uri) -> (&str, Option<&str>) {
    let path = uri.path();
    (if path.is_empty() { "/" } else { path }, uri.query())
}

/// The scheme that a reference begins with, if it does.
fn scheme_of(reference: &str) -> Option<&str> {
    let (scheme, _) = reference.split_once(':')?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(fits)).then_some(scheme)
}

/// What servers put into a `Location` although it may not stand there (blanks, UTF-8), percent-encoded as browsers do.
fn escape(location: &[u8]) -> String {
    let mut text = String::with_capacity(location.len());
    for byte in location.trim_ascii() {
        if byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// A path without its `.` and `..` segments (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_base(location: &str) -> Result<String, String> {
        let base = Uri::from_static("http://a.example:9001/b/c/d?q=1");
        resolve(&base, location.as_bytes()).map(|uri| uri.to_string())
    }

    #[test]
    fn references_are_resolved_as_the_rfc_says() {
        for (location, expected) in [
            ("https://b.example/x", "https://b.example/x"),
            ("https://b.example", "https://b.example/"),
            ("//b.example:81/x", "http://b.example:81/x"),
            ("/x?y#z", "http://a.example:9001/x?y"),
            ("x", "http://a.example:9001/b/c/x"),
            ("./x/", "http://a.example:9001/b/c/x/"),
            ("../x", "http://a.example:9001/b/x"),
            ("../../../x/..", "http://a.example:9001/"),
            ("?y=a:b", "http://a.example:9001/b/c/d?y=a:b"),
            ("#top", "http://a.example:9001/b/c/d?q=1"),
            ("", "http://a.example:9001/b/c/d?q=1"),
            (" /ü b ", "http://a.example:9001/%C3%BC%20b"),
            ("/a:b", "http://a.example:9001/a:b"),
        ] {
            assert_eq!(from_base(location).as_deref(), Ok(expected), "{location}");
        }
    }

    #[test]
    fn other_places_are_refused() {
        for location in
            ["ftp://b.example/", "file:///etc/passwd", "javascript:alert(1)", "http://", "https:///x"]
        {
            assert!(from_base(location).is_err(), "{location}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        assert!(same_origin(&uri("http://a/x"), &uri("http://A:80/y")));
        for other in ["https://a/x", "http://b/x", "http://a:81/x"] {
            assert!(!same_origin(&uri("http://a/x"), &uri(other)), "{other}");
        }
    }
}
