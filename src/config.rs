//! The configuration: from YAML files to checked values, with every problem reported at once.
//!
//! In: the main file and the drop-ins beside it. Out: a [`Config`], or every [`Problem`]. It never changes anything and
//! never touches the network.
//!
//! ```text
//! files ─ source, tree ─▶ Document ─ field, input ─▶ Input ─ mail, defaults, checks ─▶ Config
//!          read, parse     positioned   known keys    merged    values, limits, defaults
//!                             └──────────── every problem ────────────▶ report ─▶ Vec<Problem>
//! ```
//!
//! The installed service does not read the files itself: root reads and checks them, and leaves a copy of those that are
//! valid ([`accepted`]).

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use self::checks::Common;
pub use self::credentials::{Credentials, NamedCredential, named_credentials};
use self::defaults::Defaults;
use self::input::Input;
pub use self::permit::permitted;
use self::report::{At, Report};
pub use self::source::Sources;
use crate::check::{Check, CredentialName};
pub use placeholders::is_literal;

pub mod accepted;
mod checks;
mod credentials;
mod defaults;
mod duration;
mod field;
mod input;
mod listen;
mod mail;
mod permit;
mod placeholders;
mod probes;
mod recover;
mod report;
mod response_time;
mod self_protection;
mod source;
mod suggestions;
mod tree;

/// A configuration that has been checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// How mail is sent; `None` where there is no `mail:` section.
    pub mail: Option<MailSettings>,
    /// In name order.
    pub checks: Vec<Check>,
    /// Where the daemon answers HTTP; empty: nowhere.
    pub listen: Vec<SocketAddr>,
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
    pub password_credential: Option<CredentialName>,
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
        // A file's name can hold anything but a slash.
        f.write_str(&crate::text::visible(&self.file.to_string_lossy()))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Where the main file is when nobody says otherwise: in /etc, or for a user's daemon in `$XDG_CONFIG_HOME` (by the XDG
/// Base Directory Specification `~/.config` where that is unset or relative). `None`: a user without a home.
#[must_use]
pub fn default_path(user: bool) -> Option<PathBuf> {
    const NAME: &str = "stealthcheck/stealthcheck.yaml";
    if !user {
        return Some(Path::new("/etc").join(NAME));
    }
    base("XDG_CONFIG_HOME", ".config").map(|base| base.join(NAME))
}

/// Where a user's daemon keeps its state when nobody says otherwise: in `$XDG_STATE_HOME` (by the XDG Base Directory
/// Specification `~/.local/state` where that is unset or relative). `None`: a user without a home.
#[must_use]
pub fn default_state_dir() -> Option<PathBuf> {
    base("XDG_STATE_HOME", ".local/state").map(|base| base.join("stealthcheck"))
}

/// The base directory that `variable` names, or what it stands for below the user's home where it names none.
fn base(variable: &str, otherwise: &str) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = set(variable).filter(|path| path.is_absolute());
    named.or_else(|| set("HOME").map(|home| home.join(otherwise)))
}

/// Where root keeps the accepted configuration for the machine's daemon, or a user's daemon its own. `None`: a user
/// without a home.
#[must_use]
pub fn default_accepted_path(user: bool) -> Option<PathBuf> {
    if user {
        return default_state_dir().map(|directory| directory.join("configuration.json"));
    }
    // Not below /var/lib/stealthcheck, which belongs to the daemon's user: who can replace this file has the rights that
    // it leads to.
    Some(PathBuf::from("/var/lib/stealthcheck.configuration"))
}

/// Reads `main` and the `conf.d/*.yaml` beside it.
///
/// # Errors
/// Every problem of all files at once.
pub fn load(main: &Path) -> Result<Config, Vec<Problem>> {
    check(&Sources::read(main))
}

/// The configuration that the files make.
///
/// # Errors
/// Every problem of all files at once.
pub fn check(sources: &Sources) -> Result<Config, Vec<Problem>> {
    let mut report = Report::default();
    let documents = sources.parse(&mut report);
    let input = input::merge(&documents, &mut report);
    let (mail, checks) = settle(&input, &mut report);
    let listen = input.listen.as_ref().map(|section| listen::addresses(section, &mut report));
    let (errors, warnings) = report.finish(&documents);
    if !errors.is_empty() {
        return Err(errors);
    }
    let files = documents.iter().filter(|document| document.root.is_some());
    let files = files.map(|document| document.path.to_owned()).collect();
    Ok(Config { mail, checks, listen: listen.unwrap_or_default(), files, warnings })
}

/// From the merged input to checked settings. What is missing in them has left an error in the report.
fn settle(input: &Input<'_>, report: &mut Report) -> (Option<MailSettings>, Vec<Check>) {
    let mail = input.mail.as_ref().and_then(|section| mail::settings(section, report));
    let defaults = match &input.defaults {
        Some(section) => defaults::defaults(section, report),
        None => Defaults::default(),
    };
    let mail_written = input.mail.is_some();
    let common = Common { defaults: &defaults, mail: mail.as_ref(), mail_written };
    let entries = input.checks.iter();
    let mut checks: Vec<Check> =
        entries.filter_map(|(name, entry)| checks::check(name, entry, &common, report)).collect();
    checks.sort_by(|a, b| a.name.cmp(&b.name));
    if !mail_written && checks.iter().any(|check| !check.alert.off) {
        report.warn(&At::file(0), "there is no `mail:` section: no notifications will be sent");
    }
    (mail, checks)
}
