//! curl's command line as an `http` probe.
//!
//! In: curl's arguments. Out: the request that it makes and what lets it end with 0, or the reason why a probe cannot
//! do the same. An option that is not known here is a reason. After curl(1).

use std::time::Duration;

use serde_yaml::Value;

use super::options;
use super::yaml::mapping;
use crate::check::Url;

/// What an `http` probe is written with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub url: String,
    /// `None`: GET.
    pub method: Option<String>,
    /// `-f`: an error status fails.
    pub fail: bool,
    pub follow_redirects: bool,
    pub insecure: bool,
    /// `-m`
    pub timeout: Option<Duration>,
}

/// The options that have a value.
const VALUED: &str = "-m --max-time --connect-timeout -X --request -o --output -w --write-out";
/// By default curl takes these beginnings of a host for another protocol.
const OTHER_PROTOCOLS: [&str; 6] = ["ftp.", "dict.", "ldap.", "imap.", "smtp.", "pop3."];
/// What secrets are called, in a header, a query or an option.
const SECRETS: [&str; 12] = [
    "auth", "token", "-key", "key=", "secret", "passw", "pwd", "cookie", "session", "sig=", "code=", "hash=",
];

/// Reads the arguments, without `curl` itself.
///
/// # Errors
/// A clause that says what a probe cannot do. What stands in the line may be a secret, and is not in it.
pub(super) fn read(arguments: &[String]) -> Result<Request, String> {
    let (options, urls) = options::read(arguments, VALUED)?;
    let mut request = Request::default();
    for (option, value) in &options {
        match option.as_str() {
            // What is printed; and a limit that is within the probe's own deadline.
            "-s" | "--silent" | "-S" | "--show-error" | "-v" | "--verbose" | "-i" | "--include" => {}
            "-w" | "--write-out" | "--connect-timeout" => {}
            "-o" | "--output" if matches!(*value, "/dev/null" | "-") => {}
            "-f" | "--fail" => request.fail = true,
            "-L" | "--location" => request.follow_redirects = true,
            "-k" | "--insecure" => request.insecure = true,
            "-I" | "--head" => request.method = Some("HEAD".to_owned()),
            "-X" | "--request" if is_method(value) => request.method = Some((*value).to_owned()),
            "-m" | "--max-time" => request.timeout = seconds(value)?,
            other => {
                let name = other.split('=').next().unwrap_or_default();
                return Err(format!("an http probe has nothing like curl's {name}"));
            }
        }
    }
    let [url] = urls[..] else { return Err("curl is given more or less than one URL".to_owned()) };
    request.url = complete(url)?;
    Ok(request)
}

/// Whether a line or a part of it looks like it has a secret in it.
pub(super) fn may_be_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let login = text.contains("curl") && (text.contains(" -u") || text.contains("--user "));
    login || SECRETS.iter().any(|word| text.contains(word))
}

impl Request {
    /// As the configuration says it.
    pub(super) fn settings(&self) -> Value {
        // curl fails for a status only with `-f`, and then from 400 on.
        let statuses = if self.fail { "200-399" } else { "100-599" };
        mapping([
            ("url", Some(self.url.as_str().into())),
            ("method", self.method.as_deref().map(Value::from)),
            ("status", Some(vec![statuses].into())),
            ("follow_redirects", self.follow_redirects.then(|| true.into())),
            ("verify_tls", self.insecure.then(|| false.into())),
        ])
    }
}

/// With fractions; 0 is no limit.
pub(super) fn seconds(value: &str) -> Result<Option<Duration>, String> {
    let time = value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = time.ok_or("a limit is no number of seconds")?;
    Ok(Some(time).filter(|time| !time.is_zero()))
}

fn is_method(text: &str) -> bool {
    !text.is_empty() && text != "CONNECT" && text.chars().all(|c| c.is_ascii_uppercase())
}

/// A whole URL, as curl completes one.
fn complete(text: &str) -> Result<String, String> {
    let text = text.split('#').next().unwrap_or_default();
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if rest.contains(['{', '}', '[', ']']) && !rest.starts_with('[') {
        return Err("curl makes several URLs of it".to_owned());
    }
    if OTHER_PROTOCOLS.iter().any(|begin| text.to_ascii_lowercase().starts_with(begin)) {
        return Err("curl takes the host for a server of another protocol".to_owned());
    }
    // The configuration would take these for a placeholder; and a secret does not belong into it.
    if ["$", "%{"].iter().any(|sign| rest.contains(sign))
        || rest.split_once('?').is_some_and(|(_, query)| may_be_secret(query))
    {
        return Err("the URL has what may be a secret".to_owned());
    }
    let slash = if rest.contains(['/', '?']) { "" } else { "/" };
    let url = format!("{}://{rest}{slash}", scheme.to_ascii_lowercase());
    Url::parse(&url).map(|_| url)
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
            ("-sw %{http_code} a", get("http://a/")),
            ("-I a", Request { method: Some("HEAD".into()), ..get("http://a/") }),
            ("-X POST a", Request { method: Some("POST".into()), ..get("http://a/") }),
            ("-XPUT a", Request { method: Some("PUT".into()), ..get("http://a/") }),
            ("http://[::1]:9001/", get("http://[::1]:9001/")),
            ("a?b", get("http://a?b")),
            ("http://author.example.org/tokens?page=1", get("http://author.example.org/tokens?page=1")),
        ] {
            assert_eq!(read(&words(line)).as_ref(), Ok(&request), "{line}");
        }
    }

    #[test]
    fn what_a_probe_cannot_do_has_its_reason() {
        for (line, why) in [
            ("-d x=1 http://a/", "curl's -d"),
            ("-u me:s3cret http://a/", "curl's -u"),
            ("-sume:s3cret http://a/", "curl's -u"),
            ("--retry 3 http://a/", "--retry"),
            ("--max-time=5 http://a/", "--max-time"),
            ("--oauth2-bearer=my.s3cret http://a/", "--oauth2-bearer"),
            ("-- a", "curl's --"),
            ("- a", "curl's -"),
            ("-s- a", "curl's --"),
            ("http://a/ http://b/", "one URL"),
            ("-s", "one URL"),
            ("-m", "no value"),
            ("-m soon a", "seconds"),
            ("-m -1 a", "seconds"),
            ("-o /tmp/x http://a/", "curl's -o"),
            ("ftp://a/", "`http` or `https`"),
            ("ftp.example.com", "another protocol"),
            ("FTP.example.com/x", "another protocol"),
            ("http://me:s3cret@a/", "no user or password"),
            ("http://a/[1-3]", "several URLs"),
            ("-H X-Api-Key:s3cret a", "curl's -H"),
            ("a/?x=1&token=s3cret", "may be a secret"),
            ("a/$b", "may be a secret"),
            ("-X get a", "curl's -X"),
            ("-X CONNECT a", "curl's -X"),
            ("http://a:99999/", "port"),
            ("http://:80/", "no host"),
            ("", "no host"),
        ] {
            let error = read(&words(line)).unwrap_err();
            assert!(error.contains(why) && !error.contains("s3cret"), "{line}: {error}");
        }
    }
}
