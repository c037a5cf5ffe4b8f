//! An email without anything from outside in it, for a server that will not have it otherwise.
//!
//! Mail servers look into mails: a line of a service's journal that looks like a virus or like spam has the mail
//! refused for good. Whoever writes that journal must not decide whether anybody hears of the service. In flows an
//! email, out flows the same one with fixed words in place of the foreign ones. Pure.

use super::compose::{Email, Place, when};
use super::text;

/// The same email (its place in the thread, its subject), with nothing in it that a target, a unit or a server has
/// said.
#[must_use]
pub fn email(email: &Email, place: &Place) -> Email {
    let user = if place.user { " --user" } else { "" };
    let mut lines = vec![
        text::line(&email.subject, 200),
        format!("This was on {}.", when(email.date, &place.zone)),
        String::new(),
        "The mail server has refused this mail as it was written, for something that it found in its text. So what \
         the probe, the service and its journal said is left out here. It is to be seen on the machine:"
            .to_owned(),
        String::new(),
    ];
    match &email.check {
        Some(check) => lines.push(format!("stealthctl{user} status {check}")),
        None => lines.push(format!("stealthctl{user} status")),
    }
    if let Some(unit) = &email.unit {
        lines.push(format!("journalctl{user} -u {unit}"));
    }
    Email { body: lines.join("\n") + "\n", ..email.clone() }
}
