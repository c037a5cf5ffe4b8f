//! Who may direct the daemon.
//!
//! In: the header of a call. Out: permission, or a refusal with the sentence that the caller is shown. Root may, and so
//! may the daemon's own user (it could just as well stop the process or change its memory, and `ExecReload=` runs as
//! it); for anybody else on the system bus polkit decides, and on a user's bus there is nobody else. It holds no lock
//! and keeps nothing: any number of password prompts may be open at once.

use std::collections::HashMap;
use std::time::Duration;

use zbus::Variant;
use zbus::message::{Flags, Header};

use super::{Bus, Refusal};

/// The polkit action that every acting method needs.
pub const ACTION: &str = "io.iobio.Stealthcheck1.manage";

/// How long the bus and polkit have where nobody has to type.
const ANSWER: Duration = Duration::from_secs(25);
/// How long a person has for a password.
const PROMPT: Duration = Duration::from_secs(300);

/// What the caller wants to do; a polkit rule sees it as `action.lookup("verb")`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Probe now.
    Check,
    /// Leave a check alone.
    Pause,
    /// End a pause.
    Resume,
    /// Leave a unit alone for a command.
    Hold,
    /// End a hold.
    Release,
    /// Load the configuration again.
    Reload,
    /// Send a mail.
    TestMail,
}

impl Verb {
    /// The command of `stealthctl` that does it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Reload => "reload",
            Self::TestMail => "test-mail",
        }
    }
}

/// Asks whether the sender of a call may do `verb` to `check` (empty where it is about no check).
///
/// # Errors
/// [`Refusal::AccessDenied`] or [`Refusal::InteractiveAuthorizationRequired`]. In doubt it is a refusal.
pub async fn permit(
    connection: &zbus::Connection,
    bus: Bus,
    header: &Header<'_>,
    verb: Verb,
    check: &str,
) -> Result<(), Refusal> {
    let Some(sender) = header.sender() else {
        return Err(denied("the call does not say who makes it"));
    };
    let uid = uid_of(connection, sender.as_str()).await?;
    if uid == 0 || uid == rustix::process::getuid().as_raw() {
        return Ok(());
    }
    match bus {
        // polkit would take the sender for a connection on the system bus, and so for somebody else.
        Bus::User => Err(denied("only its owner may direct a user's stealthcheck")),
        Bus::System => {
            let interactive = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
            let serial = header.primary().serial_num();
            ask_polkit(connection, sender.as_str(), &format!("{sender}-{serial}"), interactive, verb, check)
                .await
        }
    }
}

fn denied(text: &str) -> Refusal {
    Refusal::AccessDenied(text.to_owned())
}

async fn uid_of(connection: &zbus::Connection, sender: &str) -> Result<u32, Refusal> {
    const DBUS: &str = "org.freedesktop.DBus";
    let call = connection.call_method(
        Some(DBUS),
        "/org/freedesktop/DBus",
        Some(DBUS),
        "GetConnectionUnixUser",
        &sender,
    );
    match tokio::time::timeout(ANSWER, call).await {
        Ok(Ok(reply)) => reply.body().deserialize::<u32>().ok(),
        Ok(Err(_)) | Err(_) => None,
    }
    .ok_or_else(|| denied("the bus does not say which user is calling"))
}

const POLKIT: &str = "org.freedesktop.PolicyKit1";
const POLKIT_PATH: &str = "/org/freedesktop/PolicyKit1/Authority";
const POLKIT_AUTHORITY: &str = "org.freedesktop.PolicyKit1.Authority";
/// CheckAuthorization's flag AllowUserInteraction.
const ALLOW_USER_INTERACTION: u32 = 1;

/// CheckAuthorization of org.freedesktop.PolicyKit1.Authority. The daemon is not root, so polkit answers it only
/// because the action's file names its user as the action's owner; the same allows it to pass details.
async fn ask_polkit(
    connection: &zbus::Connection,
    sender: &str,
    cancellation: &str,
    interactive: bool,
    verb: Verb,
    check: &str,
) -> Result<(), Refusal> {
    let subject = ("system-bus-name", HashMap::from([("name", Variant::from(sender))]));
    let mut details = HashMap::from([("verb", verb.word())]);
    if !check.is_empty() {
        details.insert("check", check);
    }
    let (flags, patience) = if interactive { (ALLOW_USER_INTERACTION, PROMPT) } else { (0, ANSWER) };
    let question = (subject, ACTION, details, flags, cancellation);
    let call = connection.call_method(
        Some(POLKIT),
        POLKIT_PATH,
        Some(POLKIT_AUTHORITY),
        "CheckAuthorization",
        &question,
    );
    let reply = match tokio::time::timeout(patience, call).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => {
            return Err(denied(&format!("polkit cannot be asked ({error}), so only root may do this")));
        }
        Err(_) => {
            // Takes the prompt off the caller's screen; whether that works changes nothing for the answer.
            let cancel = connection.call_method(
                Some(POLKIT),
                POLKIT_PATH,
                Some(POLKIT_AUTHORITY),
                "CancelCheckAuthorization",
                &cancellation,
            );
            let _ = tokio::time::timeout(ANSWER, cancel).await;
            return Err(denied("polkit did not answer in time"));
        }
    };
    let body = reply.body();
    let (authorized, challenge, answer): (bool, bool, HashMap<String, String>) =
        body.deserialize().map_err(|error| denied(&format!("polkit's answer cannot be read ({error})")))?;
    if authorized {
        Ok(())
    } else if answer.contains_key("polkit.dismissed") {
        Err(denied("the authentication was dismissed"))
    } else if challenge && !interactive {
        Err(Refusal::InteractiveAuthorizationRequired("this needs authentication".to_owned()))
    } else if challenge {
        Err(denied("this needs authentication, and nothing here can ask for a password"))
    } else {
        Err(denied(&format!("polkit does not allow it (action {ACTION})")))
    }
}
