//! More than a few mails in a short time are one: nothing is lost by it, and nothing comes out of order.

use std::path::Path;
use std::time::Duration;

use stealthcheck::check::CheckName;
use stealthcheck::mail::MailEvent;
use stealthcheck::mail::rate_limit::Limit;
use stealthcheck::notification::{
    HostNotification, HostNotificationKind, IncidentId, Notification, NotificationId, StormCheck,
};
use stealthcheck::time::Wall;
use stealthcheck::verdict::Health;

use crate::rig::{Rig, id, notification, settings, spooled, surroundings};
use crate::server::{Accepted, Fault, Options, Phase, Server};

/// Three mails, and then a digest two seconds later.
fn start(dir: &Path, server: &Server) -> Rig {
    let mut soon = surroundings();
    soon.limit = Limit { mails: 3, within: Duration::from_secs(2) };
    Rig::start_in(soon, Some(dir), Some(settings(server.port)))
}

fn subject(mail: &Accepted) -> String {
    mail.header("Subject").unwrap_or_default().to_owned()
}

/// The text of a mail as it was written: quoted-printable undone as far as it matters here.
fn text(mail: &Accepted) -> String {
    mail.text.replace("=\r\n", "").replace("\r\n", "\n")
}

/// A notification about a check of this number, in an incident of its own.
fn about(n: usize) -> Notification {
    let check = CheckName::new(&format!("c{n}")).unwrap();
    Notification { check, ..notification(&format!("c{n}-1"), 1, &["x@example.org"]) }
}

/// All are safe, and then released in the same moment.
async fn send_at_once(rig: &mut Rig, numbers: std::ops::Range<usize>) {
    for n in numbers.clone() {
        rig.mailer.submit(about(n));
        rig.until(|event| *event == MailEvent::Spooled(id(&format!("c{n}-1"), 1))).await;
    }
    for n in numbers {
        rig.mailer.release(&id(&format!("c{n}-1"), 1));
    }
}

#[tokio::test]
async fn two_hundred_notifications_are_three_mails_and_one_digest_with_each_of_them_in_order() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    let mut rig = start(dir.path(), &server);
    send_at_once(&mut rig, 0..200).await;
    rig.until_delivered(id("c199-1", 1)).await;
    let accepted = server.accepted();
    let subjects: Vec<String> = accepted.iter().map(subject).collect();
    assert_eq!(
        subjects,
        [
            "[DOWN] c0 on lf-proxy",
            "[DOWN] c1 on lf-proxy",
            "[DOWN] c2 on lf-proxy",
            "[DIGEST] 197 notifications from lf-proxy: DOWN 197"
        ]
    );
    assert_eq!(spooled(dir.path()), 0, "each has left the spool");
    let digest = text(&accepted[3]);
    let places: Vec<Option<usize>> =
        (3..200).map(|n| digest.find(&format!("\n{}. [DOWN] c{n} on lf-proxy\n", n - 2))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{digest}");
    assert!(digest.contains("    connection refused\n"), "{digest}");
    assert_eq!(accepted[3].to, "x@example.org");
    assert_eq!(accepted[3].header("Auto-Submitted"), Some("auto-generated"));
    let delivered = rig.seen.iter().filter(|event| matches!(event, MailEvent::Delivered(_)));
    assert_eq!(delivered.count(), 200, "each is known to be delivered");
}

#[tokio::test]
async fn a_digest_that_is_not_accepted_leaves_all_it_is_made_of_in_the_spool_through_a_crash() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    let mut rig = start(dir.path(), &server);
    server.fault(Phase::Accept, "[DIGEST]", usize::MAX, Fault::Drop);
    send_at_once(&mut rig, 0..13).await;
    rig.until(|event| matches!(event, MailEvent::Failed { .. })).await;
    assert_eq!((server.accepted().len(), spooled(dir.path())), (3, 10));
    // The daemon is killed; its next life sends what is there, the first of it as mails again.
    drop(rig);
    server.repair();
    let mut rig = start(dir.path(), &server);
    rig.mailer.release_all_except(&[]);
    rig.until_delivered(id("c12-1", 1)).await;
    let all: String = server.accepted().iter().map(|mail| subject(mail) + "\n" + &text(mail)).collect();
    for n in 0..13 {
        assert!(all.contains(&format!("[DOWN] c{n} on lf-proxy\n")), "{n} is lost: {all}");
    }
    assert_eq!(spooled(dir.path()), 0);
}

#[tokio::test]
async fn a_server_that_finds_it_too_long_gets_it_in_pieces() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    let mut rig = start(dir.path(), &server);
    server.fault(Phase::Accept, "[DIGEST]", 2, Fault::Reply("552 5.3.4 message too big"));
    send_at_once(&mut rig, 0..19).await;
    rig.until_delivered(id("c18-1", 1)).await;
    let sizes: Vec<String> = server.accepted().iter().skip(3).map(subject).collect();
    assert!(sizes[0].starts_with("[DIGEST] 4 notifications"), "a quarter of sixteen: {sizes:?}");
    assert_eq!(spooled(dir.path()), 0);
}

#[tokio::test]
async fn a_notification_about_the_machine_goes_to_its_people_and_to_the_global_ones_in_its_own_thread() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    let storm = |number, kind| HostNotification {
        id: NotificationId { incident: IncidentId::storm(1_795_345_200), number },
        kind,
        to: vec!["owner@example.org".into(), "ops@example.org".into()],
        at: Wall(1_795_345_260_000),
        since: Wall(1_795_345_200_000),
        affected: 7,
        total: 12,
        checks: vec![
            StormCheck {
                name: CheckName::new("gru").unwrap(),
                health: Health::DOWN,
                seen: "no answer\r\nBcc: x@example.org".into(),
                to_be_recovered: true,
            },
            StormCheck {
                name: CheckName::new("web").unwrap(),
                health: Health::PASSING,
                seen: "200 OK".into(),
                to_be_recovered: false,
            },
        ],
    };
    let named = |number| NotificationId { incident: IncidentId::storm(1_795_345_200), number };
    for (number, kind) in [(1, HostNotificationKind::Storm), (2, HostNotificationKind::StormOver)] {
        rig.mailer.submit_host_notification(storm(number, kind));
        rig.until(|event| *event == MailEvent::Spooled(named(number))).await;
        rig.mailer.release(&named(number));
        rig.until_delivered(named(number)).await;
    }
    let accepted = server.accepted();
    let to: Vec<&str> = accepted.iter().map(|mail| mail.to.as_str()).collect();
    assert_eq!(to, ["ops@example.org", "owner@example.org", "ops@example.org", "owner@example.org"]);
    assert_eq!(subject(&accepted[0]), "[STORM] 7 of 12 checks failing on lf-proxy");
    assert_eq!(subject(&accepted[2]), "[STORM OVER] 7 of 12 checks failing on lf-proxy");
    assert_eq!(accepted[0].header("Message-ID"), Some("<host-1795345200-storm.1@lf-proxy>"));
    assert_eq!(accepted[2].header("In-Reply-To"), accepted[0].header("Message-ID"));
    assert_eq!(accepted[0].header("X-Stealthcheck-Incident"), Some("host-1795345200-storm"));
    assert_eq!(accepted[0].header("Bcc"), None);
    let first = text(&accepted[0]);
    assert!(first.contains("\nFAILING (1)\ngru: down, no answer Bcc: x@example.org\n"), "{first}");
    assert!(text(&accepted[2]).contains("\nPASSING AGAIN (1)\nweb\n"), "{}", text(&accepted[2]));
}

#[tokio::test]
async fn a_notification_about_the_machine_with_nobody_to_tell_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(Some(dir.path()), None);
    let id = NotificationId { incident: IncidentId::storm(1), number: 1 };
    rig.mailer.submit_host_notification(HostNotification {
        id: id.clone(),
        kind: HostNotificationKind::Storm,
        to: Vec::new(),
        at: Wall(0),
        since: Wall(0),
        affected: 5,
        total: 5,
        checks: Vec::new(),
    });
    assert_eq!(rig.next().await, MailEvent::Spooled(id));
    assert_eq!(spooled(dir.path()), 0);
}
