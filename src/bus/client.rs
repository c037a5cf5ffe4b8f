//! The daemon as `stealthctl` sees it.
//!
//! In: what to ask. Out: the answer, or a [`CallError`] that tells apart what a person would do about it: start the
//! daemon, mend the bus, become root, mend the configuration, type another name. One method call for each question;
//! it never starts the daemon, and shows nothing.

use std::fmt;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use zbus::proxy::MethodFlags;
use zbus::{Connection, Proxy, connection, fdo};

use super::interface::*;
use super::{Bus, Grant, LONGEST_WORDS, MANAGER, NAME, PATH, Refusal};
use crate::check::CheckName;
use crate::status::{CheckStatus, Explanation, Snapshot};

/// How long the daemon has for an answer that it knows.
const ANSWER: Duration = Duration::from_secs(10);
/// How long for one that waits for a person's password, a probe's deadline, or a mail server.
const PATIENCE: Duration = Duration::from_secs(420);
/// A call that the bus or the daemon rejects with `LimitsExceeded` is repeated within this time: first after
/// [`NO_ROOM_PAUSE`], then after twice as long each time.
const NO_ROOM: Duration = Duration::from_secs(5);
/// See [`NO_ROOM`].
const NO_ROOM_PAUSE: Duration = Duration::from_millis(10);
/// So many calls are made at once: fewer than the daemon lets one connection have.
pub const AT_ONCE: usize = 8;

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
                fdo::Error::LimitsExceeded(why) => Self::Refused(Refusal::LimitsExceeded(why)),
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
    daemon: Proxy<'static>,
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
    pub async fn on(connection: &Connection) -> Result<Self, CallError> {
        Ok(Self { daemon: Proxy::new(connection, NAME, PATH, MANAGER).await? })
    }

    /// The connection, for questions to others on the same bus.
    pub fn connection(&self) -> &Connection {
        self.daemon.connection()
    }

    /// How everything is, as the table shows it: page by page.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn overview(&self) -> Result<Snapshot, CallError> {
        let mut snapshot = self.daemon().await?;
        loop {
            let after = snapshot.checks.last().map(|check| check.name.to_string()).unwrap_or_default();
            let (page,) = self.call::<DescribeChecks>(&(after, 0)).await?;
            let page: Vec<CheckStatus> = read(&page)?;
            if page.is_empty() {
                return Ok(snapshot);
            }
            snapshot.checks.extend(page);
            if snapshot.checks.len() >= snapshot.counts.checks {
                return Ok(snapshot);
            }
        }
    }

    /// How these checks are, in detail; with none named, all.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn details(&self, names: &[&str]) -> Result<Snapshot, CallError> {
        let all: Vec<String>;
        let mut snapshot = self.daemon().await?;
        let mut names: Vec<&str> = names.to_vec();
        if names.is_empty() {
            all = self.overview().await?.checks.into_iter().map(|check| check.name.to_string()).collect();
            names = all.iter().map(String::as_str).collect();
        }
        let asked = names.into_iter().map(|name| self.detail(name));
        snapshot.checks = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
        snapshot.checks.sort_by(|one, other| one.name.cmp(&other.name));
        snapshot.checks.dedup_by(|one, other| one.name == other.name);
        Ok(snapshot)
    }

    /// The daemon itself, without the checks.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn daemon(&self) -> Result<Snapshot, CallError> {
        read(&self.call::<Describe>(&()).await?.0)
    }

    async fn detail(&self, name: &str) -> Result<CheckStatus, CallError> {
        read(&self.call::<DescribeCheck>(&(name.to_owned(),)).await?.0)
    }

    /// Why a check is as it is.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn why(&self, name: &str) -> Result<Explanation, CallError> {
        read(&self.call::<ExplainCheck>(&(name.to_owned(),)).await?.0)
    }

    /// Probes now, and tells how the check is then.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn check(&self, name: &str) -> Result<CheckStatus, CallError> {
        read(&self.call::<ProbeCheck>(&(name.to_owned(),)).await?.0)
    }

    /// Leaves a check alone for so long (whole seconds).
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn pause(&self, name: &str, for_: Duration) -> Result<(), CallError> {
        self.call::<PauseCheck>(&(name.to_owned(), for_.as_secs())).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn resume(&self, name: &str) -> Result<(), CallError> {
        self.call::<ResumeCheck>(&(name.to_owned(),)).await
    }

    /// Has a unit left alone for as long as the lease in the answer is open, and for so long (whole seconds) at most.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn hold(&self, name: &str, who: &str, why: &str, for_: Duration) -> Result<Grant, CallError> {
        // (A command line may be longer than a call may be.)
        let words = |text: &str| text.chars().take(LONGEST_WORDS).collect::<String>();
        let asked = (name.to_owned(), words(who), words(why), for_.as_secs());
        let (lease, id, unit, checks) = self.call::<HoldUnit>(&asked).await?;
        let checks: Result<Vec<_>, _> = checks.iter().map(|name| CheckName::new(name)).collect();
        Ok(Grant { lease: lease.into(), id, unit, checks: checks.map_err(CallError::Unreadable)? })
    }

    /// Ends a hold, by its id, its unit or a check; the answer is the unit.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn release(&self, name: &str) -> Result<String, CallError> {
        Ok(self.call::<ReleaseUnit>(&(name.to_owned(),)).await?.0)
    }

    /// Loads the configuration again; the answer is its warnings.
    ///
    /// # Errors
    /// [`CallError`]; [`Refusal::InvalidConfiguration`] in it where the configuration was refused.
    pub async fn reload(&self) -> Result<Vec<String>, CallError> {
        Ok(self.call::<Reload>(&()).await?.0)
    }

    /// Has a mail sent; the answer is the mail server's.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn send_test_mail(&self, to: &[&str]) -> Result<String, CallError> {
        let to = to.iter().map(|to| (*to).to_owned()).collect();
        Ok(self.call::<SendTestMail>(&(to,)).await?.0)
    }

    /// One call. It never starts the daemon; one that polkit may ask a person about waits for that.
    async fn call<M: Method>(&self, input: &M::In) -> Result<M::Out, CallError> {
        let (flags, patience) = match M::DESCRIBED.action {
            Some(_) => (MethodFlags::NO_AUTO_START | MethodFlags::ALLOW_INTERACTIVE_AUTH, PATIENCE),
            None => (MethodFlags::NO_AUTO_START, ANSWER),
        };
        let mut pause = NO_ROOM_PAUSE;
        loop {
            let call = self.daemon.call_with_flags::<_, _, M::Out>(M::NAME, flags, input);
            let answer = match tokio::time::timeout(patience, call).await {
                Ok(answer) => answer.map_err(CallError::from),
                Err(_) => Err(CallError::TimedOut),
            };
            match answer {
                // It has not been carried out.
                Err(CallError::Refused(Refusal::LimitsExceeded(_))) if pause < NO_ROOM => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                answer => {
                    return answer?.ok_or_else(|| CallError::Unreadable("there is no answer".to_owned()));
                }
            }
        }
    }
}

fn read<'a, T: serde::Deserialize<'a>>(json: &'a str) -> Result<T, CallError> {
    serde_json::from_str(json).map_err(|error| CallError::Unreadable(error.to_string()))
}
