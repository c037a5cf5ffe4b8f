//! Words the mails about a storm: many checks that fail together (rule 14).
//!
//! Pure: a notification goes in, an email comes out. It decides neither who is told nor when.

use std::time::Duration;

use super::compose::{BODY_MAX, Email, Place, Role, joined, message_id, when, zoned};
use super::text;
use crate::notification::{HostNotification, HostNotificationKind, StormCheck};
use crate::time::human;
use crate::verdict::Health;

/// Words a notification about the machine, to these recipients.
#[must_use]
pub fn email(notification: &HostNotification, to: Vec<String>, place: &Place) -> Email {
    let host = text::line(&place.host, 80);
    let tag = match notification.kind {
        HostNotificationKind::Storm => "STORM",
        HostNotificationKind::StillStorm => "STORM CONTINUES",
        HostNotificationKind::StormOver => "STORM OVER",
    };
    // The same words behind the tag in each email of the thread, as in those of an incident.
    let subject =
        format!("[{tag}] {} of {} checks failing on {host}", notification.affected, notification.total);
    Email {
        id: notification.id.clone(),
        to,
        subject,
        message_id: message_id(&notification.id.incident, notification.id.number, &place.host),
        thread: (notification.id.number > 1).then(|| message_id(&notification.id.incident, 1, &place.host)),
        date: notification.at,
        role: match notification.kind {
            HostNotificationKind::Storm => Role::First,
            HostNotificationKind::StillStorm => Role::Reminder,
            HostNotificationKind::StormOver => Role::Last,
        },
        check: None,
        unit: None,
        body: body(notification, place, &host),
    }
}

fn body(notification: &HostNotification, place: &Place, host: &str) -> String {
    let lasted = human(Duration::from_secs(notification.at.since(notification.since).as_secs()));
    let (affected, total) = (notification.affected, notification.total);
    let mut lines = match notification.kind {
        HostNotificationKind::Storm => vec![
            format!("{affected} of {total} checks on {host} began to fail together."),
            "It looks like the machine, not the units: its network, its resolver, or what all of them need."
                .to_owned(),
        ],
        HostNotificationKind::StillStorm => {
            vec![format!("Checks that began to fail together on {host} have been failing for {lasted}.")]
        }
        HostNotificationKind::StormOver => {
            vec![format!("Checks that began to fail together on {host} pass again, after {lasted}.")]
        }
    };
    lines.push(String::new());
    if notification.kind == HostNotificationKind::StormOver {
        lines.push(format!("From {}", when(notification.since, &place.zone)));
        lines.push(format!("until {}", when(notification.at, &place.zone)));
    } else {
        lines.push(format!("Since {}", when(notification.since, &place.zone)));
    }
    let (well, ill): (Vec<&StormCheck>, Vec<&StormCheck>) =
        notification.checks.iter().partition(|check| check.health == Health::PASSING);
    list(
        &mut lines,
        if notification.kind == HostNotificationKind::StormOver { "STILL FAILING" } else { "FAILING" },
        &ill,
    );
    list(&mut lines, "PASSING AGAIN", &well);
    lines.push(String::new());
    lines.push("NEXT".to_owned());
    lines.push(next(notification.kind, &ill));
    lines.push(String::new());
    lines.push("COMMANDS".to_owned());
    let user = if place.user { " --user" } else { "" };
    lines.push(format!("stealthctl{user} status"));
    let since = zoned(notification.since.before(Duration::from_mins(5)), &place.zone)
        .map_or_else(String::new, |at| at.strftime(" --since '%Y-%m-%d %H:%M:%S'").to_string());
    lines.push(format!("journalctl -p warning{since}"));
    joined(&lines, BODY_MAX)
}

fn list(lines: &mut Vec<String>, title: &str, checks: &[&StormCheck]) {
    if checks.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.push(format!("{title} ({})", checks.len()));
    for check in checks {
        let line = match &check.health {
            health if *health == Health::PASSING => check.name.to_string(),
            _ if check.seen.is_empty() => format!("{}: {}", check.name, check.health),
            _ => format!("{}: {}, {}", check.name, check.health, check.seen),
        };
        lines.push(text::line(&line, 200));
    }
}

fn next(kind: HostNotificationKind, ill: &[&StormCheck]) -> String {
    if kind != HostNotificationKind::StormOver {
        return "No unit is restarted for a failing probe until checks pass again; units in the failed state are restarted. \
                No notifications are sent for the single checks. Probing continues."
            .to_owned();
    }
    match ill.iter().filter(|check| check.to_be_recovered).count() {
        0 if ill.is_empty() => "No action is needed.".to_owned(),
        0 => "Each check that still fails is notified separately.".to_owned(),
        _ => "Units whose checks still fail are now recovered one after the other, and notified separately."
            .to_owned(),
    }
}
