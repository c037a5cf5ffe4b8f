//! Words a digest: many emails to one recipient as one mail.
//!
//! Pure: emails go in, in order, and an email comes out. It decides neither which emails nor when. A digest is never in
//! the spool: what it is made of is, each email by itself, until the server has accepted the digest.

use super::compose::{Email, Place, Role, message_id};
use super::text;
use crate::notification::{IncidentId, NotificationId};

/// The longest body in bytes.
const BODY_MAX: usize = 200 * 1024;

/// At most so much of each email's body.
const EACH_MAX: usize = 1000;

/// What an email has before these is what happened; what follows is for whoever looks into one of them.
const FURTHER: [&str; 3] = ["UNIT", "RUNBOOK", "COMMANDS"];

/// The tag of an email for which a person is needed.
const ACTION_REQUIRED: &str = "ACTION REQUIRED";

/// Words `emails`, at least one, to the recipient `to`.
#[must_use]
pub fn email(emails: &[Email], to: &str, place: &Place) -> Email {
    let host = text::line(&place.host, 80);
    let ids: Vec<String> = emails.iter().map(|email| email.id.to_string()).collect();
    // The same emails are the same digest in every life of the daemon.
    let sum = text::checksum(&format!("{to} {}", ids.join(" ")));
    let id = NotificationId { incident: IncidentId(format!("digest!{sum:016x}").into()), number: 1 };
    Email {
        message_id: message_id(&id.incident, id.number, &place.host),
        id,
        to: vec![to.to_owned()],
        subject: format!("[DIGEST] {} notifications from {host}: {}", emails.len(), counts(emails)),
        thread: thread(emails),
        date: emails.iter().map(|email| email.date).max().unwrap_or_default(),
        role: Role::Other,
        check: None,
        unit: None,
        body: body(emails, place),
    }
}

/// A digest of one thread belongs to it. One of many belongs to none: a References header names one line of ancestors
/// (RFC 5322, section 3.6.4), so that readers of mail would join the threads into one.
fn thread(emails: &[Email]) -> Option<String> {
    let first = emails.first()?;
    let one = emails.iter().all(|email| email.id.incident == first.id.incident);
    first.thread.clone().filter(|_| one)
}

/// `ACTION REQUIRED 3, DOWN 100, RECOVERED 87`: what needs somebody first, the rest as it came.
fn counts(emails: &[Email]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for email in emails {
        let tag = tag(email);
        match counts.iter_mut().find(|(known, _)| *known == tag) {
            Some((_, n)) => *n += 1,
            None => counts.push((tag, 1)),
        }
    }
    counts.sort_by_key(|(tag, _)| *tag != ACTION_REQUIRED);
    counts.iter().map(|(tag, n)| format!("{tag} {n}")).collect::<Vec<_>>().join(", ")
}

/// The words in brackets that the subject begins with.
fn tag(email: &Email) -> &str {
    let tag = email.subject.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    tag.map_or("OTHER", |(tag, _)| tag)
}

fn body(emails: &[Email], place: &Place) -> String {
    let mut out = format!(
        "Too many notifications were due within a minute. This digest contains {} of them, in order.\n",
        emails.len()
    );
    let needy: Vec<&Email> = emails.iter().filter(|email| tag(email) == ACTION_REQUIRED).collect();
    if !needy.is_empty() {
        out.push_str(&format!("\nACTION REQUIRED ({})\n", needy.len()));
        for email in &needy {
            out.push_str(&format!("{}\n", text::line(&email.subject, 200)));
        }
    }
    let user = if place.user { " --user" } else { "" };
    let end = format!("\nCOMMANDS\nstealthctl{user} status\n");
    let subjects: usize = emails.iter().map(|email| email.subject.len() + 10).sum();
    let room = BODY_MAX.saturating_sub(out.len() + end.len() + subjects);
    let each = (room / emails.len().max(1)).min(EACH_MAX);
    for (n, email) in emails.iter().enumerate() {
        out.push_str(&format!("\n{}. {}\n{}", n + 1, text::line(&email.subject, 200), short(email, each)));
    }
    out + &end
}

/// What happened, in at most `room` bytes of whole lines, set off.
fn short(email: &Email, room: usize) -> String {
    let mut out = String::new();
    for line in email.body.lines().take_while(|line| !FURTHER.contains(line)) {
        if line.is_empty() {
            continue;
        }
        if out.len() + line.len() + 5 > room {
            break;
        }
        out.push_str(&format!("    {line}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::time::Wall;

    fn place() -> Place {
        Place { host: "lf-proxy".to_owned(), zone: TimeZone::UTC, user: false }
    }

    fn one(incident: &str, number: u32, tag: &str) -> Email {
        let id = NotificationId { incident: IncidentId(incident.into()), number };
        Email {
            message_id: message_id(&id.incident, number, "lf-proxy"),
            thread: (number > 1).then(|| message_id(&id.incident, 1, "lf-proxy")),
            id,
            to: vec!["x@example.org".into(), "y@example.org".into()],
            subject: format!("[{tag}] {incident} on lf-proxy"),
            date: Wall(i64::from(number)),
            role: Role::Other,
            check: None,
            unit: None,
            body: format!(
                "{incident} says {tag}.\nconnection refused\n\nRECOVERY ATTEMPTS\nnothing\n\nUNIT\na.service\n"
            ),
        }
    }

    #[test]
    fn a_digest_has_every_subject_and_what_happened_in_order_and_first_what_action_required() {
        let emails = [
            one("a-1", 1, "DOWN"),
            one("b-1", 1, "DOWN"),
            one("b-1", 2, "ACTION REQUIRED"),
            one("a-1", 2, "RECOVERED"),
        ];
        let digest = email(&emails, "x@example.org", &place());
        assert_eq!(
            digest.subject,
            "[DIGEST] 4 notifications from lf-proxy: ACTION REQUIRED 1, DOWN 2, RECOVERED 1"
        );
        assert_eq!((digest.to.as_slice(), digest.thread), (["x@example.org".to_owned()].as_slice(), None));
        assert_eq!(
            digest.body,
            "Too many notifications were due within a minute. This digest contains 4 of them, in order.\n\
             \nACTION REQUIRED (1)\n[ACTION REQUIRED] b-1 on lf-proxy\n\
             \n1. [DOWN] a-1 on lf-proxy\n    a-1 says DOWN.\n    connection refused\n    RECOVERY ATTEMPTS\n    nothing\n\
             \n2. [DOWN] b-1 on lf-proxy\n    b-1 says DOWN.\n    connection refused\n    RECOVERY ATTEMPTS\n    nothing\n\
             \n3. [ACTION REQUIRED] b-1 on lf-proxy\n    b-1 says ACTION REQUIRED.\n    connection refused\n    RECOVERY ATTEMPTS\n    nothing\n\
             \n4. [RECOVERED] a-1 on lf-proxy\n    a-1 says RECOVERED.\n    connection refused\n    RECOVERY ATTEMPTS\n    nothing\n\
             \nCOMMANDS\nstealthctl status\n"
        );
    }

    #[test]
    fn it_is_the_same_mail_each_time_and_another_for_others() {
        let (a, b) = ([one("a-1", 1, "DOWN"), one("b-1", 1, "DOWN")], [one("a-1", 1, "DOWN")]);
        let id = |emails: &[Email], to| email(emails, to, &place()).message_id;
        assert_eq!(id(&a, "x@example.org"), id(&a, "x@example.org"));
        assert_ne!(id(&a, "x@example.org"), id(&b, "x@example.org"));
        assert_ne!(id(&a, "x@example.org"), id(&a, "y@example.org"));
    }

    #[test]
    fn one_thread_is_gone_on_with() {
        let emails = [one("a-1", 2, "STILL DOWN"), one("a-1", 3, "RECOVERED")];
        assert_eq!(email(&emails, "x", &place()).thread.as_deref(), Some("<a-1.1@lf-proxy>"));
        let opening = [one("a-1", 1, "DOWN"), one("a-1", 2, "RECOVERED")];
        assert_eq!(email(&opening, "x", &place()).thread, None);
    }

    #[test]
    fn the_longest_has_every_subject_and_stays_a_mail() {
        let mut long = one("a-1", 1, "DOWN");
        long.body = "x".repeat(150) + "\n" + &"a line of it\n".repeat(1000);
        let emails: Vec<Email> = (0..super::super::rate_limit::DIGEST_MOST).map(|_| long.clone()).collect();
        let digest = email(&emails, "x", &place());
        assert!(digest.body.len() <= BODY_MAX, "{}", digest.body.len());
        assert!(digest.body.contains("\n400. [DOWN] a-1 on lf-proxy\n    x"));
    }
}
