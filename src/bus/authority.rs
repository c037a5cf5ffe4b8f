//! Who may direct the daemon.
//!
//! In: the header of a call and its user. Out: permission, or a refusal with the sentence that the caller is shown. Root may, and so
//! may the daemon's own user (it could just as well stop the process or change its memory, and `ExecReload=` runs as
//! it); for anybody else on the system bus polkit decides, and on a user's bus there is nobody else. It holds no lock
//! and keeps nothing: any number of password prompts may be open at once.

use std::collections::HashMap;
use std::time::Duration;

use zbus::Variant;
use zbus::message::{Flags, Header};

use super::interface::Action;
use super::{Bus, Refusal};

/// How long the bus and polkit have where nobody has to type.
const ANSWER: Duration = Duration::from_secs(25);
/// How long a person has for a password.
const PROMPT: Duration = Duration::from_secs(300);

/// Asks whether the caller, whose user is known, may do `action` to the named check or unit (empty where it is about none).
///
/// # Errors
/// [`Refusal::AccessDenied`] or [`Refusal::InteractiveAuthorizationRequired`]. In doubt it is a refusal.
pub(super) async fn permit(
    connection: &zbus::Connection,
    bus: Bus,
    uid: u32,
    header: &Header<'_>,
    (action, verb, name): (Action, &str, &str),
) -> Result<(), Refusal> {
    if uid == 0 || uid == rustix::process::getuid().as_raw() {
        return Ok(());
    }
    let Some(sender) = header.sender() else {
        return Err(denied("the call does not say who makes it"));
    };
    match bus {
        // polkit would take the sender for a connection on the system bus, and so for somebody else.
        Bus::User => Err(denied("only its owner may direct a user's stealthcheck")),
        Bus::System => {
            let interactive = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
            let serial = header.primary().serial_num();
            let cancellation = format!("{sender}-{serial}");
            ask_polkit(connection, sender.as_str(), &cancellation, interactive, (action, verb, name)).await
        }
    }
}

fn denied(text: &str) -> Refusal {
    Refusal::AccessDenied(text.to_owned())
}

/// The user of a connection; `None`: the bus does not say, mostly as it has gone.
pub(super) async fn uid_of(connection: &zbus::Connection, sender: &str) -> Option<u32> {
    const DBUS: &str = "org.freedesktop.DBus";
    let call = connection.call_method(
        Some(DBUS),
        "/org/freedesktop/DBus",
        Some(DBUS),
        "GetConnectionUnixUser",
        &sender,
    );
    tokio::time::timeout(ANSWER, call).await.ok()?.ok()?.body().deserialize::<u32>().ok()
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
    (action, verb, name): (Action, &str, &str),
) -> Result<(), Refusal> {
    let subject = ("system-bus-name", HashMap::from([("name", Variant::from(sender))]));
    let mut details = HashMap::from([("verb", verb)]);
    if !name.is_empty() {
        details.insert("name", name);
    }
    let (flags, patience) = if interactive { (ALLOW_USER_INTERACTION, PROMPT) } else { (0, ANSWER) };
    let question = (subject, action.id(), details, flags, cancellation);
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
        Err(denied(&format!("polkit does not allow it (action {})", action.id())))
    }
}
