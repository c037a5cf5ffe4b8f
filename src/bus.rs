//! Our own D-Bus interface: how `stealthctl`, and whoever else may, ask the daemon and tell it what to do.
//!
//! In: method calls from the bus. Each becomes a [`Request`] with a place for its answer, and the supervisor, who alone
//! knows, answers. Out: replies, errors that name what to do about them, and signals. Whether a caller may act is asked of
//! polkit here (`authority.rs`), before the supervisor hears of it. It never decides anything about a check, and never makes
//! one caller wait for another user's calls (`bounds.rs`).
//!
//! | file | what is in it |
//! |---|---|
//! | `interface.rs` | the methods, properties and signals, each written once |
//! | `server.rs` | the task that answers |
//! | `bounds.rs` | whose call is next, and how many may wait |
//! | `objects.rs` | paths and property values |
//! | `introspection.rs` | the introspection data |
//! | `authority.rs` | who may |
//! | `client.rs` | the daemon as `stealthctl` sees it |
//! | `signals.rs` | the signals |
//! | `refusal.rs` | errors |

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use zbus::fdo::RequestNameFlags;
use zbus::{Connection, MessageStream};

use crate::check::CheckName;
use crate::status::{CheckStatus, Explanation, Snapshot};

mod authority;
mod bounds;
pub mod client;
pub mod interface;
pub mod introspection;
mod objects;
mod refusal;
mod server;
mod signals;

#[cfg(test)]
mod tests;

pub use refusal::{Refusal, resolve};

pub use objects::path_of;
pub use signals::{Signal, Transition};

/// The daemon's name on the bus.
pub const NAME: &str = "io.iobio.Stealthcheck1";
/// The daemon's object; those of the checks are below it.
pub const PATH: &str = "/io/iobio/Stealthcheck1";
/// The interface of the daemon's object.
pub const MANAGER: &str = "io.iobio.Stealthcheck1.Manager";
/// The interface of a check's object.
pub const CHECK: &str = "io.iobio.Stealthcheck1.Check";
/// No hold lasts longer: what is forgotten has an end.
pub const LONGEST_HOLD: Duration = Duration::from_secs(86_400);
/// The longest pause: what is not to be monitored for longer is no check.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(365 * 86_400);
/// The words of a hold (who holds the unit, and why) are cut to this many characters.
const LONGEST_WORDS: usize = 200;
/// What its own error names begin with.
const ERROR_PREFIX: &str = "io.iobio.Stealthcheck1.Error";

/// Which bus, and so which service manager, this is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// The system bus: one daemon for the machine.
    System,
    /// A user's bus: `stealthcheck --user`.
    User,
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "system bus",
            Self::User => "user bus",
        })
    }
}

/// Where the answer to a request goes. A caller that has given up has dropped its end; that is no error.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// Which checks a status has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// None: only the daemon itself.
    None,
    /// All.
    All,
    /// So many, in name order, after this name.
    After(String, usize),
    /// This one, as it was typed.
    Named(String),
}

/// What somebody on the bus wants, already permitted. Names are as they were typed: [`resolve`] finds what they mean.
#[derive(Debug)]
pub enum Request {
    /// How everything is.
    Status {
        /// The checks that are in the answer.
        which: Which,
        /// With histories and runbooks.
        detail: bool,
        /// The answer.
        reply: Reply<Snapshot>,
    },
    /// The names of all checks.
    Names {
        /// The answer, in order.
        reply: Reply<Vec<CheckName>>,
    },
    /// Why a check is as it is.
    Why {
        /// The check.
        name: String,
        /// The answer.
        reply: Reply<Explanation>,
    },
    /// Probe now; the answer comes after the observation.
    Check {
        /// The check.
        name: String,
        /// How it is then.
        reply: Reply<CheckStatus>,
    },
    /// Leave a check alone.
    Pause {
        /// The check.
        name: String,
        /// For so long; never zero.
        for_: Duration,
        /// Done.
        reply: Reply<()>,
    },
    /// End a pause.
    Resume {
        /// The check.
        name: String,
        /// Done.
        reply: Reply<()>,
    },
    /// Leave a unit alone while the caller has a lease.
    Hold {
        /// A check, or a guarded unit.
        name: String,
        /// Who wants it, in the caller's words.
        who: String,
        /// What for.
        why: String,
        /// For so long at most; never zero.
        for_: Duration,
        /// The lease.
        reply: Reply<Grant>,
    },
    /// End a hold.
    Release {
        /// Its id, or a check, or a guarded unit.
        name: String,
        /// The unit.
        reply: Reply<String>,
    },
    /// Load the configuration again.
    Reload {
        /// Warnings, a line each; [`Refusal::InvalidConfiguration`] where the one in force stays.
        reply: Reply<Vec<String>>,
    },
    /// Send a mail to see whether it arrives.
    TestMail {
        /// Addresses; empty: those of the configuration.
        to: Vec<String>,
        /// The mail server's words.
        reply: Reply<String>,
    },
}

/// A hold, as it is handed out.
#[derive(Debug)]
pub struct Grant {
    /// Whoever has this open has the hold.
    pub lease: OwnedFd,
    /// The hold's id.
    pub id: String,
    /// The unit that is held.
    pub unit: String,
    /// The checks that are left alone for it; one at least.
    pub checks: Vec<CheckName>,
}

/// Why the interface could not be served.
#[derive(Debug)]
pub enum ServeError {
    /// Another stealthcheck owns the name.
    AlreadyRunning,
    /// The bus's policy does not let this user own the name: the package's policy file is missing, or it is the wrong
    /// user.
    NotAllowed,
    /// Anything else.
    Bus(zbus::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRunning => write!(f, "another stealthcheck already owns {NAME} on this bus"),
            Self::NotAllowed => write!(f, "the bus policy does not let this user own {NAME}"),
            Self::Bus(error) => write!(f, "{NAME} could not be put on the bus: {error}"),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<zbus::Error> for ServeError {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::NameTaken => Self::AlreadyRunning,
            zbus::Error::FDO(fdo) if matches!(*fdo, zbus::fdo::Error::AccessDenied(_)) => Self::NotAllowed,
            other => Self::Bus(other),
        }
    }
}

/// The served interface: ends with the connection.
#[derive(Debug)]
pub struct Served {
    connection: Connection,
    server: tokio::task::JoinHandle<()>,
}

impl Served {
    /// Tells the bus something unasked.
    ///
    /// # Errors
    /// When the connection is gone. A signal is a courtesy: log it and go on.
    pub async fn signal(&self, signal: &Signal) -> zbus::Result<()> {
        signals::emit(&self.connection, signal).await
    }

    /// Waits until nothing is answered any more.
    pub async fn ended(&mut self) {
        let _ = (&mut self.server).await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serves the interface on `connection`, asks the bus and polkit over `questions`, and then, when it can answer, takes the
/// name [`NAME`] on `bus`.
///
/// The name is never given up to another process, and never queued for: of two daemons on one bus the second must fail, at
/// once and aloud.
///
/// # Errors
/// [`ServeError`]; nothing is served then.
pub async fn serve(
    connection: &Connection,
    questions: &Connection,
    bus: Bus,
    requests: mpsc::Sender<Request>,
) -> Result<Served, ServeError> {
    let messages = MessageStream::from(connection);
    let server = tokio::spawn(server::run((connection.clone(), questions.clone()), messages, bus, requests));
    let served = Served { connection: connection.clone(), server };
    connection.request_name_with_flags(NAME, RequestNameFlags::DO_NOT_QUEUE).await?;
    Ok(served)
}
