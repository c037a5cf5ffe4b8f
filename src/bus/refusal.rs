//! Why a request was not done, as it goes over the bus: an error name for programs, a sentence for people.
//!
//! Values only, and the search for the check that somebody meant. No I/O.

use std::fmt;

use zbus::DBusError;
use zbus::message::{Header, Message};
use zbus::names::ErrorName;

use super::ERROR_PREFIX;
use crate::check::CheckName;

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No check has that name; the sentence names the near miss. [`resolve`] makes it.
    NoSuchCheck(String),
    /// The configuration is refused and the one in force stays: every problem, a line each.
    InvalidConfiguration(Vec<String>),
    /// The caller may not.
    AccessDenied(String),
    /// The caller might, after a password prompt that it did not say it would wait for.
    InteractiveAuthorizationRequired(String),
    /// The request makes no sense.
    InvalidArgument(String),
    /// Too many calls of this connection or user are waiting.
    LimitsExceeded(String),
    /// There is no such method, object, interface or property: the last part of the error's name, and a sentence.
    Unknown(&'static str, String),
    /// It was tried and did not work (the mail server said no), or cannot be done now.
    Failed(String),
}

impl Refusal {
    /// The D-Bus error name.
    #[must_use]
    pub fn error_name(&self) -> &'static str {
        match self {
            Self::NoSuchCheck(_) => "io.iobio.Stealthcheck1.Error.NoSuchCheck",
            Self::InvalidConfiguration(_) => "io.iobio.Stealthcheck1.Error.InvalidConfiguration",
            Self::AccessDenied(_) => "org.freedesktop.DBus.Error.AccessDenied",
            Self::InteractiveAuthorizationRequired(_) => {
                "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
            }
            Self::InvalidArgument(_) => "org.freedesktop.DBus.Error.InvalidArgs",
            Self::LimitsExceeded(_) => "org.freedesktop.DBus.Error.LimitsExceeded",
            Self::Unknown("UnknownMethod", _) => "org.freedesktop.DBus.Error.UnknownMethod",
            Self::Unknown("UnknownObject", _) => "org.freedesktop.DBus.Error.UnknownObject",
            Self::Unknown("UnknownProperty", _) => "org.freedesktop.DBus.Error.UnknownProperty",
            Self::Unknown("PropertyReadOnly", _) => "org.freedesktop.DBus.Error.PropertyReadOnly",
            Self::Unknown(..) => "org.freedesktop.DBus.Error.UnknownInterface",
            Self::Failed(_) => "io.iobio.Stealthcheck1.Error.Failed",
        }
    }

    /// The refusal that an error reply stands for; `None` for an error that is not ours.
    #[must_use]
    pub fn from_error(name: &str, text: &str) -> Option<Self> {
        let text = text.to_owned();
        match name.strip_prefix(ERROR_PREFIX)? {
            ".NoSuchCheck" => Some(Self::NoSuchCheck(text)),
            ".InvalidConfiguration" => {
                Some(Self::InvalidConfiguration(text.lines().map(str::to_owned).collect()))
            }
            ".Failed" => Some(Self::Failed(text)),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchCheck(text)
            | Self::AccessDenied(text)
            | Self::InteractiveAuthorizationRequired(text)
            | Self::InvalidArgument(text)
            | Self::LimitsExceeded(text)
            | Self::Unknown(_, text)
            | Self::Failed(text) => f.write_str(text),
            Self::InvalidConfiguration(problems) => f.write_str(&problems.join("\n")),
        }
    }
}

impl std::error::Error for Refusal {}

impl DBusError for Refusal {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.error_name()).build(&self.to_string())
    }

    fn name(&self) -> ErrorName<'_> {
        ErrorName::from_static_str_unchecked(self.error_name())
    }

    fn description(&self) -> Option<&str> {
        match self {
            Self::NoSuchCheck(text)
            | Self::AccessDenied(text)
            | Self::InteractiveAuthorizationRequired(text)
            | Self::InvalidArgument(text)
            | Self::LimitsExceeded(text)
            | Self::Unknown(_, text)
            | Self::Failed(text) => Some(text),
            Self::InvalidConfiguration(_) => None,
        }
    }
}

/// The check that `asked` names among those `known`.
///
/// # Errors
/// [`Refusal::NoSuchCheck`], with the near miss where there is one.
pub fn resolve<'a>(
    asked: &str,
    known: impl IntoIterator<Item = &'a CheckName>,
) -> Result<&'a CheckName, Refusal> {
    let mut nearest: Option<(f64, &CheckName)> = None;
    for name in known {
        if name.as_str() == asked {
            return Ok(name);
        }
        let likeness = if name.as_str() == asked.trim_end_matches(".service") {
            1.0 // the unit's name in place of the check's
        } else {
            strsim::jaro_winkler(name.as_str(), asked)
        };
        if likeness >= 0.8 && nearest.is_none_or(|(best, _)| likeness > best) {
            nearest = Some((likeness, name));
        }
    }
    let guess = nearest.map(|(_, name)| format!(": did you mean `{name}`?")).unwrap_or_default();
    // Whatever was typed comes back in a message: quoted, so that it stays one line of plain text.
    Err(Refusal::NoSuchCheck(format!("no check is named `{}`{guess}", asked.escape_debug())))
}
