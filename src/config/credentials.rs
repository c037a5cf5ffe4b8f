//! Reads systemd credentials: the mail password, and what probes are entrusted with.
//!
//! In: a name. Out: the content, or a sentence that says where to put it. Nothing is kept: a credential is read each time
//! it is needed, so that what is replaced counts at once, and no copy of it lies about.

use std::io;
use std::path::PathBuf;

use super::Config;
use crate::check::{CheckName, CredentialName, Probe, Source, Url};

/// Where the credentials of this service are. They are a few bytes each in a file system in memory.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    directory: Option<PathBuf>,
}

impl Credentials {
    /// In `$CREDENTIALS_DIRECTORY`, which systemd sets.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self { directory: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) }
    }

    /// In this directory.
    #[must_use]
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: Some(directory.into()) }
    }

    /// What the credential contains, without the line's end that an editor leaves.
    ///
    /// # Errors
    /// A sentence that says what is wrong and where to put the file.
    pub fn read(&self, name: &CredentialName) -> Result<String, String> {
        let Some(directory) = &self.directory else {
            return Err(advice(name, "the service was started without credentials"));
        };
        // The administrator's own LoadCredential=NAME:… first; then the file NAME in the directory that the unit loads
        // whole, under the id `stealthcheck`, which systemd sets before each file's name.
        let read = match std::fs::read(directory.join(name.as_str())) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                std::fs::read(directory.join(format!("stealthcheck_{name}")))
            }
            other => other,
        };
        let bytes = read.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => advice(name, &format!("there is no credential `{name}`")),
            _ => format!("the credential `{name}` cannot be read: {e}"),
        })?;
        let content = String::from_utf8(bytes).map_err(|_| format!("the credential `{name}` is not text"))?;
        let content = content.trim_end_matches(['\r', '\n']);
        if content.is_empty() {
            return Err(advice(name, &format!("the credential `{name}` is empty")));
        }
        Ok(content.to_owned())
    }

    /// The URL that a credential contains.
    ///
    /// # Errors
    /// A sentence that says what is wrong; nothing of the content is in it.
    pub fn url(&self, name: &CredentialName) -> Result<Url, String> {
        let wrong = |why: String| format!("the credential `{name}` does not contain a URL: {why}");
        Url::parse_secret(&self.read(name)?).map_err(wrong)
    }

    /// The header's value that a credential contains.
    ///
    /// # Errors
    /// A sentence that says what is wrong; nothing of the content is in it.
    pub fn header(&self, name: &CredentialName) -> Result<http::HeaderValue, String> {
        let wrong =
            |_| format!("the credential `{name}` is not one line of plain text, as a header's value is");
        let mut value = http::HeaderValue::from_str(&self.read(name)?).map_err(wrong)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// What is wrong with the credentials that `config` names, a sentence each.
    #[must_use]
    pub fn problems(&self, config: &Config) -> Vec<String> {
        let problem = |named: NamedCredential<'_>| {
            let read = match named.content {
                Content::Password => self.read(named.name).map(drop),
                Content::Url => self.url(named.name).map(drop),
                Content::Header => self.header(named.name).map(drop),
            };
            let of = named.check.map_or(named.key, ToString::to_string);
            read.err().map(|why| format!("{of}: {why}"))
        };
        named_credentials(config).into_iter().filter_map(problem).collect()
    }
}

/// What a credential contains.
enum Content {
    Password,
    Url,
    Header,
}

/// A credential that a configuration names.
pub struct NamedCredential<'c> {
    /// Its name.
    pub name: &'c CredentialName,
    /// The key that names it.
    pub key: String,
    /// The check whose probe needs it; `None`: mail does.
    pub check: Option<&'c CheckName>,
    content: Content,
}

/// All credentials that `config` names.
#[must_use]
pub fn named_credentials(config: &Config) -> Vec<NamedCredential<'_>> {
    let password = config.mail.as_ref().and_then(|mail| mail.smtp.password_credential.as_ref());
    let key = || "mail.smtp.password_credential".to_owned();
    let password =
        password.map(|name| NamedCredential { name, key: key(), check: None, content: Content::Password });
    let mut named: Vec<_> = password.into_iter().collect();
    for check in &config.checks {
        let Probe::Http(probe) = &check.probe else { continue };
        let mut add = |name, key: &str, content| {
            let key = format!("checks.{}.http.{key}", check.name);
            named.push(NamedCredential { name, key, check: Some(&check.name), content });
        };
        if let Source::Credential(name) = &probe.url {
            add(name, "url_credential", Content::Url);
        }
        for (header, value) in &probe.headers {
            if let Source::Credential(name) = value {
                add(name, &format!("headers.{header}"), Content::Header);
            }
        }
    }
    named
}

/// systemd reads credentials when it starts a service.
fn advice(name: &CredentialName, why: &str) -> String {
    format!(
        "{why}; write it to /etc/stealthcheck/credentials/{name} (systemd hands it over as stealthcheck_{name}), or give \
         the unit a LoadCredential={name}:/path/to/file, and restart stealthcheck"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_found_under_both_names_and_its_absence_says_where_to_put_it() {
        let dir = tempfile::tempdir().unwrap();
        let name = CredentialName::new("token").unwrap();
        let credentials = Credentials::at(dir.path());
        let missing = credentials.read(&name).unwrap_err();
        for part in ["no credential `token`", "/etc/stealthcheck/credentials/token", "stealthcheck_token"] {
            assert!(missing.contains(part), "{missing}");
        }
        std::fs::write(dir.path().join("stealthcheck_token"), "loaded whole\r\n").unwrap();
        assert_eq!(credentials.read(&name).unwrap(), "loaded whole");
        std::fs::write(dir.path().join("token"), "of its own").unwrap();
        assert_eq!(credentials.read(&name).unwrap(), "of its own");
        std::fs::write(dir.path().join("token"), "\n").unwrap();
        assert!(credentials.read(&name).unwrap_err().contains("is empty"));
        std::fs::write(dir.path().join("token"), b"\xff").unwrap();
        assert!(credentials.read(&name).unwrap_err().contains("is not text"));
        assert!(Credentials::default().read(&name).unwrap_err().contains("without credentials"));
    }

    #[test]
    fn what_a_credential_contains_is_checked_and_never_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let name = CredentialName::new("token").unwrap();
        let credentials = Credentials::at(dir.path());
        for (content, why) in [
            ("s3cret", "expected a URL such as"),
            ("ftp://s3cret/", "the scheme is `http` or `https`"),
            ("https://me:s3cret@h/", "no user or password"),
            ("https://h/s3cret\nhttps://h/", "not a URL"),
            ("https://h:99999/s3cret", "the port"),
        ] {
            std::fs::write(dir.path().join("token"), content).unwrap();
            let error = credentials.url(&name).unwrap_err();
            assert!(error.contains(why) && !error.contains("s3cret"), "{content}: {error}");
        }
        std::fs::write(dir.path().join("token"), "Bearer s3cret\nX: y").unwrap();
        let error = credentials.header(&name).unwrap_err();
        assert!(error.contains("one line of plain text") && !error.contains("s3cret"), "{error}");
        std::fs::write(dir.path().join("token"), "Bearer s3cret\n").unwrap();
        let value = credentials.header(&name).unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer s3cret");
        assert!(!format!("{value:?}").contains("s3cret"));
    }
}
