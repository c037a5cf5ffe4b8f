//! The daemon as `stealthctl` sees it.
//!
//! In: what to ask. Out: the answer, or a [`CallError`] that tells apart what a person would do about it: start the
//! daemon, mend the bus, become root, mend the configuration, type another name. One method call for each question;
//! it never starts the daemon, and shows nothing.

use std::fmt;
use std::time::Duration;

use zbus::wire::OwnedFd;
use zbus::{connection, fdo};

use super::{Bus, Grant, Refusal};
use crate::check::CheckName;
use crate::status::{CheckStatus, Explanation, Snapshot};

/// How long the daemon has for an answer that it knows.
const ANSWER: Duration = Duration::from_secs(10);
/// How long for one that waits for a person's password, a probe's deadline, or a mail server.
const PATIENCE: Duration = Duration::from_secs(420);

#[zbus::proxy(
    interface = "io.iobio.Stealthcheck1.Manager",
    default_service = "io.iobio.Stealthcheck1",
    default_path = "/io/iobio/Stealthcheck1"
)]
trait Manager {
    #[zbus(no_autostart)]
    fn get_status(&self, names: &[&str], detail: bool) -> zbus::Result<String>;
    #[zbus(no_autostart)]
    fn why(&self, name: &str) -> zbus::Result<String>;
    #[zbus(no_autostart, allow_interactive_auth)]
    fn check(&self, name: &str) -> zbus::Result<String>;
    #[zbus(no_autostart, allow_interactive_auth)]
    fn pause(&self, name: &str, seconds: u64) -> zbus::Result<()>;
    #[zbus(no_autostart, allow_interactive_auth)]
    fn resume(&self, name: &str) -> zbus::Result<()>;
    #[zbus(no_autostart, allow_interactive_auth)]
    fn hold(
        &self,
        name: &str,
        who: &str,
        why: &str,
        seconds: u64,
    ) -> zbus::Result<(OwnedFd, String, String, Vec<String>)>;
    #[zbus(no_autostart, allow_interactive_auth)]
    fn release(&self, name: &str) -> zbus::Result<String>;
    #[zbus(no_autostart, allow_interactive_auth)]
    fn reload(&self) -> zbus::Result<Vec<String>>;
    #[zbus(no_autostart, allow_interactive_auth)]
    fn send_test_mail(&self, to: &[&str]) -> zbus::Result<String>;
}

/// Why a question got no answer.
#[derive(Debug)]
pub enum CallError {
    /// The bus is there, the daemon is not.
    NotRunning,
    /// The bus cannot be reached, or went away: why.
    Unreachable(String),
    /// The caller may not: the bus's, the daemon's or systemd's words.
    Denied(String),
    /// The daemon said no.
    Refused(Refusal),
    /// The daemon is there and does not answer.
    TimedOut,
    /// The answer cannot be read: the daemon is of another version, or no stealthcheck at all.
    Unreadable(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => f.write_str("stealthcheck is not running"),
            Self::Unreachable(why) => write!(f, "the bus cannot be reached: {why}"),
            Self::Denied(why) => write!(f, "access denied: {why}"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::TimedOut => f.write_str("stealthcheck does not answer"),
            Self::Unreadable(why) => write!(f, "stealthcheck's answer cannot be read: {why}"),
        }
    }
}

impl std::error::Error for CallError {}

impl From<zbus::Error> for CallError {
    fn from(error: zbus::Error) -> Self {
        use zbus::Error as E;
        match error {
            E::FDO(fdo) => match *fdo {
                fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) => Self::NotRunning,
                fdo::Error::AccessDenied(why)
                | fdo::Error::AuthFailed(why)
                | fdo::Error::InteractiveAuthorizationRequired(why) => Self::Denied(why),
                fdo::Error::InvalidArgs(why) => Self::Refused(Refusal::InvalidArgument(why)),
                // The bus's word for a daemon that went away with the question in its hands.
                fdo::Error::NoReply(_) => Self::NotRunning,
                fdo::Error::Timeout(_) | fdo::Error::TimedOut(_) => Self::TimedOut,
                fdo::Error::Disconnected(why) | fdo::Error::NoServer(why) => Self::Unreachable(why),
                fdo::Error::UnknownObject(why)
                | fdo::Error::UnknownInterface(why)
                | fdo::Error::UnknownMethod(why) => Self::Unreadable(why),
                other => Self::Refused(Refusal::Failed(other.to_string())),
            },
            E::MethodError(name, text, _) => {
                let text = text.unwrap_or_default();
                Self::Refused(
                    Refusal::from_error(name.as_str(), &text)
                        .unwrap_or_else(|| Refusal::Failed(format!("{name}: {text}"))),
                )
            }
            E::Connection(why, address) => Self::Unreachable(format!("{address}: {why}")),
            E::InputOutput(why) => Self::Unreachable(why.to_string()),
            E::Handshake(why) | E::Address(why) => Self::Unreachable(why),
            other => Self::Unreadable(other.to_string()),
        }
    }
}

/// A connection to the daemon's bus, and the daemon on it.
#[derive(Clone, Debug)]
pub struct Client {
    manager: ManagerProxy<'static>,
}

impl Client {
    /// Connects to the bus. Whether the daemon is there, the first question tells.
    ///
    /// # Errors
    /// [`CallError::Unreachable`].
    pub async fn connect(bus: Bus) -> Result<Self, CallError> {
        let builder = match bus {
            Bus::System => connection::Builder::system(),
            Bus::User => connection::Builder::session(),
        };
        match tokio::time::timeout(ANSWER, builder.build()).await {
            Ok(connection) => Self::on(&connection?).await,
            Err(_) => Err(CallError::Unreachable("it does not answer".to_owned())),
        }
    }

    /// The daemon on a connection that exists.
    ///
    /// # Errors
    /// When the connection cannot be used at all.
    pub async fn on(connection: &zbus::Connection) -> Result<Self, CallError> {
        Ok(Self { manager: ManagerProxy::new(connection).await? })
    }

    /// The connection, for questions to others on the same bus.
    pub fn connection(&self) -> &zbus::Connection {
        self.manager.inner().connection()
    }

    /// How everything is, or only the checks named.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn status(&self, names: &[&str], detail: bool) -> Result<Snapshot, CallError> {
        read(&within(ANSWER, self.manager.get_status(names, detail)).await?)
    }

    /// Why a check is as it is.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn why(&self, name: &str) -> Result<Explanation, CallError> {
        read(&within(ANSWER, self.manager.why(name)).await?)
    }

    /// Probes now, and tells how the check is then.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn check(&self, name: &str) -> Result<CheckStatus, CallError> {
        read(&within(PATIENCE, self.manager.check(name)).await?)
    }

    /// Leaves a check alone for so long (whole seconds).
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn pause(&self, name: &str, for_: Duration) -> Result<(), CallError> {
        within(PATIENCE, self.manager.pause(name, for_.as_secs())).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn resume(&self, name: &str) -> Result<(), CallError> {
        within(PATIENCE, self.manager.resume(name)).await
    }

    /// Has a unit left alone for as long as the lease in the answer is open, and for so long (whole seconds) at most.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn hold(&self, name: &str, who: &str, why: &str, for_: Duration) -> Result<Grant, CallError> {
        let call = self.manager.hold(name, who, why, for_.as_secs());
        let (lease, id, unit, checks) = within(PATIENCE, call).await?;
        let checks: Result<Vec<_>, _> = checks.iter().map(|name| CheckName::new(name)).collect();
        Ok(Grant { lease: lease.into(), id, unit, checks: checks.map_err(CallError::Unreadable)? })
    }

    /// Ends a hold, by its id, its unit or a check; the answer is the unit.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn release(&self, name: &str) -> Result<String, CallError> {
        within(PATIENCE, self.manager.release(name)).await
    }

    /// Loads the configuration again; the answer is its warnings.
    ///
    /// # Errors
    /// [`CallError`]; [`Refusal::InvalidConfiguration`] in it where the configuration was refused.
    pub async fn reload(&self) -> Result<Vec<String>, CallError> {
        within(PATIENCE, self.manager.reload()).await
    }

    /// Has a mail sent; the answer is the mail server's.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn send_test_mail(&self, to: &[&str]) -> Result<String, CallError> {
        within(PATIENCE, self.manager.send_test_mail(to)).await
    }
}

async fn within<T>(patience: Duration, call: impl Future<Output = zbus::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(patience, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(CallError::TimedOut),
    }
}

fn read<'a, T: serde::Deserialize<'a>>(json: &'a str) -> Result<T, CallError> {
    serde_json::from_str(json).map_err(|error| CallError::Unreadable(error.to_string()))
}
