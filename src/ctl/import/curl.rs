//! curl's command line as an `http` probe.
//!
//! In: curl's arguments. Out: the request that it makes and what lets it end with 0, or the reason why a probe cannot
//! do the same. Options that change nothing about that are passed over; one that is not known here is a reason. After
//! curl(1).

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Uri};

/// What an `http` probe is written with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub url: String,
    /// `None`: GET.
    pub method: Option<String>,
    pub headers: Vec<(String, String)>,
    /// `-f`: an error status fails.
    pub fail: bool,
    pub follow_redirects: bool,
    pub insecure: bool,
    /// `-m`
    pub timeout: Option<Duration>,
}

/// Options that change only what is printed.
const QUIET: &[&str] = &[
    "-s",
    "--silent",
    "-S",
    "--show-error",
    "-v",
    "--verbose",
    "-i",
    "--include",
    "-#",
    "--progress-bar",
    "--no-progress-meter",
    "-N",
    "--no-buffer",
    "-q",
    "--disable",
    "-g",
    "--globoff",
    "--compressed",
];
/// One-letter options that take a value.
const WITH_VALUE: &str = "mHXAeow";
/// By default curl takes these beginnings of a host for another protocol.
const OTHER_PROTOCOLS: [&str; 6] = ["ftp.", "dict.", "ldap.", "imap.", "smtp.", "pop3."];
/// What the connection itself depends on: the probe sends these by itself.
const OWN_HEADERS: [&str; 5] = ["connection", "content-length", "transfer-encoding", "upgrade", "te"];

/// Reads the arguments, without `curl` itself.
///
/// # Errors
/// A clause that says what a probe cannot do.
pub(super) fn read(arguments: &[String]) -> Result<Request, String> {
    let mut request = Request::default();
    let mut urls = Vec::new();
    let mut arguments = arguments.iter().map(String::as_str);
    let mut only_urls = false;
    while let Some(argument) = arguments.next() {
        if only_urls || !argument.starts_with('-') || argument == "-" {
            urls.push(argument);
        } else if argument == "--" {
            only_urls = true;
        } else if argument.starts_with("--") {
            long(&mut request, argument, &mut arguments, &mut urls)?;
        } else {
            short(&mut request, argument, &mut arguments)?;
        }
    }
    let [url] = urls[..] else {
        return Err("curl is given more or less than one URL".to_owned());
    };
    request.url = self::url(url)?;
    Ok(request)
}

/// `-sSfm5`: letters, the last of which may have a value, here or in the next argument.
fn short<'a>(
    request: &mut Request,
    argument: &str,
    rest: &mut impl Iterator<Item = &'a str>,
) -> Result<(), String> {
    let mut letters = argument.strip_prefix('-').unwrap_or(argument).chars();
    while let Some(letter) = letters.next() {
        let option = format!("-{letter}");
        if WITH_VALUE.contains(letter) {
            let here = letters.as_str();
            let value = if here.is_empty() { rest.next() } else { Some(here) };
            return valued(request, &option, value.ok_or_else(|| format!("curl's {option} has no value"))?);
        }
        plain(request, &option)?;
    }
    Ok(())
}

fn long<'a>(
    request: &mut Request,
    option: &str,
    rest: &mut impl Iterator<Item = &'a str>,
    urls: &mut Vec<&'a str>,
) -> Result<(), String> {
    const LONG_WITH_VALUE: [&str; 8] = [
        "--max-time",
        "--header",
        "--request",
        "--user-agent",
        "--referer",
        "--output",
        "--connect-timeout",
        "--noproxy",
    ];
    if option == "--url" {
        urls.extend(rest.next());
        return Ok(());
    }
    if LONG_WITH_VALUE.contains(&option) {
        let value = rest.next().ok_or_else(|| format!("curl's {option} has no value"))?;
        return valued(request, option, value);
    }
    plain(request, option)
}

fn plain(request: &mut Request, option: &str) -> Result<(), String> {
    match option {
        "-f" | "--fail" | "--fail-with-body" => request.fail = true,
        "-I" | "--head" => request.method = Some("HEAD".to_owned()),
        "-L" | "--location" => request.follow_redirects = true,
        "-k" | "--insecure" => request.insecure = true,
        _ if QUIET.contains(&option) => {}
        _ => return Err(format!("an http probe has nothing like curl's {option}")),
    }
    Ok(())
}

fn valued(request: &mut Request, option: &str, value: &str) -> Result<(), String> {
    match option {
        "-m" | "--max-time" => request.timeout = seconds(value)?,
        // It is within the probe's own deadline.
        "--connect-timeout" => seconds(value).map(|_| ())?,
        "-X" | "--request" => request.method = Some(method(value)?),
        "-H" | "--header" => header(request, value)?,
        "-A" | "--user-agent" => header(request, &format!("User-Agent: {value}"))?,
        "-e" | "--referer" => header(request, &format!("Referer: {value}"))?,
        "-o" | "--output" if matches!(value, "/dev/null" | "-") => {}
        "-w" | "--noproxy" => {}
        _ => return Err(format!("curl's {option} writes a file")),
    }
    Ok(())
}

/// curl takes fractions; 0 is no limit.
fn seconds(value: &str) -> Result<Option<Duration>, String> {
    let seconds: f64 = value.parse().map_err(|_| format!("`{value}` is no number of seconds"))?;
    let time =
        Duration::try_from_secs_f64(seconds).map_err(|_| format!("`{value}` is no number of seconds"))?;
    Ok((!time.is_zero()).then_some(time))
}

fn method(value: &str) -> Result<String, String> {
    match Method::from_bytes(value.as_bytes()) {
        Ok(method)
            if method != Method::CONNECT && method.as_str().chars().all(|c| c.is_ascii_uppercase()) =>
        {
            Ok(value.to_owned())
        }
        _ => Err(format!("an http probe does not do the method `{value}`")),
    }
}

/// `Name: value`. Without a value curl takes a header away; `@` names a file.
fn header(request: &mut Request, text: &str) -> Result<(), String> {
    // The value may be a secret: it is not in the reason.
    let refused = || "an http probe cannot send one of curl's headers".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(refused)?;
    let (name, value) = (name.trim(), value.trim());
    let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
    let twice = request.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    if value.is_empty()
        || twice
        || OWN_HEADERS.contains(&known.as_str())
        || HeaderValue::from_str(value).is_err()
    {
        return Err(refused());
    }
    request.headers.push((name.to_owned(), value.to_owned()));
    Ok(())
}

/// A whole URL, as curl completes one.
fn url(text: &str) -> Result<String, String> {
    let text = text.split('#').next().unwrap_or_default();
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(format!("an http probe does not speak {scheme}"));
    }
    if rest.contains(['{', '}', '[', ']']) && !rest.starts_with('[') {
        return Err("curl makes several URLs of it".to_owned());
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("the URL has a user and a password in it".to_owned());
    }
    let host = authority.to_ascii_lowercase();
    if !text.contains("://") && OTHER_PROTOCOLS.iter().any(|begin| host.starts_with(begin)) {
        return Err(format!("curl takes {authority} for a server of another protocol"));
    }
    let slash = if rest == authority { "/" } else { "" };
    let url = format!("{scheme}://{rest}{slash}");
    let parsed: Uri = url.parse().map_err(|_| "it is no URL that an http probe takes".to_owned())?;
    let port = parsed.authority().and_then(|known| known.as_str().strip_prefix(known.host()));
    let port_fits = port.is_some_and(|port| {
        port.is_empty()
            || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
    });
    let host_fits = parsed.host().is_some_and(|host| !host.is_empty());
    if port_fits && host_fits { Ok(url) } else { Err("it is no URL that an http probe takes".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn get(url: &str) -> Request {
        Request { url: url.to_owned(), ..Request::default() }
    }

    #[test]
    fn options_become_what_a_probe_is_told() {
        let ten = Some(Duration::from_secs(10));
        for (line, request) in [
            ("localhost:8486", get("http://localhost:8486/")),
            ("service1.example.com", get("http://service1.example.com/")),
            ("HTTPS://a.example/x?y=1#z", get("https://a.example/x?y=1")),
            ("-s -S -o /dev/null http://a/", get("http://a/")),
            ("-fsSL http://a/", Request { fail: true, follow_redirects: true, ..get("http://a/") }),
            ("--fail --insecure https://a/", Request { fail: true, insecure: true, ..get("https://a/") }),
            ("-sm10 http://a/", Request { timeout: ten, ..get("http://a/") }),
            ("-m 10 http://a/", Request { timeout: ten, ..get("http://a/") }),
            (
                "http://a/ --max-time 1.5",
                Request { timeout: Some(Duration::from_millis(1500)), ..get("http://a/") },
            ),
            ("--max-time 0 http://a/", get("http://a/")),
            ("--connect-timeout 3 a", get("http://a/")),
            ("-I a", Request { method: Some("HEAD".into()), ..get("http://a/") }),
            ("-X POST a", Request { method: Some("POST".into()), ..get("http://a/") }),
            ("-XPUT a", Request { method: Some("PUT".into()), ..get("http://a/") }),
            ("-H Host:b a", Request { headers: vec![("Host".into(), "b".into())], ..get("http://a/") }),
            ("-A me a", Request { headers: vec![("User-Agent".into(), "me".into())], ..get("http://a/") }),
            ("--url a:80", get("http://a:80/")),
            ("-- a", get("http://a/")),
            ("http://[::1]:9001/", get("http://[::1]:9001/")),
            ("a?b", get("http://a?b")),
        ] {
            assert_eq!(read(&words(line)).as_ref(), Ok(&request), "{line}");
        }
    }

    #[test]
    fn what_a_probe_cannot_do_has_its_reason() {
        for (line, why) in [
            ("-d x=1 http://a/", "curl's -d"),
            ("-u me:secret http://a/", "curl's -u"),
            ("--retry 3 http://a/", "--retry"),
            ("--max-time=5 http://a/", "--max-time=5"),
            ("http://a/ http://b/", "one URL"),
            ("-s", "one URL"),
            ("-m", "no value"),
            ("-m soon a", "seconds"),
            ("-o /tmp/x http://a/", "writes a file"),
            ("ftp://a/", "does not speak ftp"),
            ("ftp.example.com", "another protocol"),
            ("http://me:secret@a/", "a user and a password"),
            ("http://a/[1-3]", "several URLs"),
            ("-H @file a", "headers"),
            ("-H Connection:close a", "headers"),
            ("-X get a", "method"),
            ("-X CONNECT a", "method"),
            ("http://a:99999/", "no URL"),
            ("http://:80/", "no URL"),
            ("", "no URL"),
        ] {
            let error = read(&words(line)).unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{line}: {error}");
        }
    }
}
