//! Mails that wait: no more of them than are kept, and to the recipients of the running configuration.

use std::collections::BTreeMap;

use stealthcheck::mail::{Bounds, MailEvent, Recipients};
use stealthcheck::notification::{Notification, NotificationKind};
use stealthcheck::time::Wall;

use crate::rig::{Rig, id, notification, settings, spooled, surroundings};
use crate::server::{Fault, Options, Phase, Server};

/// A notification of just now.
fn now(incident: &str, number: u32, kind: NotificationKind) -> Notification {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let at = Wall(i64::try_from(since.as_millis()).unwrap());
    Notification { kind, at, ..notification(incident, number, &["old@example.org"]) }
}

fn recipients(to: &str) -> Recipients {
    let check = stealthcheck::check::CheckName::new("fibridge").unwrap();
    Recipients { checks: BTreeMap::from([(check, vec![to.to_owned()])]), global: vec![to.to_owned()] }
}

/// A server that takes nothing yet.
async fn server() -> Server {
    let server = Server::start(Options::default()).await;
    server.fault(Phase::Rcpt, "@", usize::MAX, Fault::Reply("451 4.7.1 not now"));
    server
}

#[tokio::test]
async fn what_waits_is_bounded_and_what_went_is_told_also_after_a_restart() {
    let (server, dir) = (server().await, tempfile::tempdir().unwrap());
    let mut small = surroundings();
    small.bounds = Bounds { mails: 3, bytes: usize::MAX };
    let mut rig = Rig::start_in(small.clone(), Some(dir.path()), Some(settings(server.port)));
    rig.send(now("a-1", 1, NotificationKind::Down)).await;
    for number in 2..=6 {
        rig.send(now("a-1", number, NotificationKind::StillDown)).await;
    }
    rig.send(now("b-1", 1, NotificationKind::Down)).await;
    rig.send(now("a-1", 7, NotificationKind::Recovered)).await;
    rig.until(|event| *event == MailEvent::Removed(id("a-1", 6))).await;
    let removed = rig.seen.iter().filter(|event| matches!(event, MailEvent::Removed(_)));
    assert_eq!(removed.count(), 5, "{:?}", rig.seen);
    let status = rig.mailer.status();
    assert_eq!((status.queued, status.removed, status.removed_total), (3, 5, 5));
    drop(rig);

    let mut rig = Rig::start_in(small, Some(dir.path()), Some(settings(server.port)));
    rig.mailer.release_all_except(&[]);
    rig.until(|event| matches!(event, MailEvent::Failed { .. })).await;
    assert_eq!((rig.mailer.status().queued, rig.mailer.status().removed, spooled(dir.path())), (3, 5, 3));
    server.repair();
    rig.until_delivered(id("a-1", 7)).await;
    let texts: Vec<String> = server.accepted().iter().map(|mail| mail.text.replace("=\r\n", "")).collect();
    let telling: Vec<&String> = texts.iter().filter(|text| text.contains("NOT SENT")).collect();
    let [telling] = telling[..] else { panic!("{} mails tell it", telling.len()) };
    assert!(telling.contains("5 earlier mails to you (5 of them reminders)"), "{telling}");
    assert_eq!(rig.mailer.status().removed, 0);
}

#[tokio::test]
async fn a_mail_that_waits_goes_to_the_recipient_of_the_new_configuration() {
    let (server, dir) = (server().await, tempfile::tempdir().unwrap());
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    rig.mailer.readdress(recipients("old@example.org"));
    rig.send(now("a-1", 1, NotificationKind::Down)).await;
    rig.until(|event| matches!(event, MailEvent::Failed { .. })).await;
    rig.mailer.reconfigure(Some(settings(server.port)), recipients("new@example.org"));
    server.repair();
    rig.until_delivered(id("a-1", 1)).await;
    let mut up = now("a-1", 2, NotificationKind::Recovered);
    up.to.push("new@example.org".into());
    rig.send(up).await;
    rig.until_delivered(id("a-1", 2)).await;
    let to: Vec<String> = server.accepted().into_iter().map(|mail| mail.to).collect();
    assert_eq!(to, ["new@example.org", "new@example.org"]);
}

/// The daemon was restarted instead of reloaded.
#[tokio::test]
async fn mails_of_an_earlier_life_go_to_the_recipients_of_now() {
    let (server, dir) = (server().await, tempfile::tempdir().unwrap());
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    rig.send(now("a-1", 1, NotificationKind::Down)).await;
    drop(rig);
    server.repair();
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    rig.mailer.readdress(recipients("new@example.org"));
    rig.mailer.release_all_except(&[]);
    rig.until_delivered(id("a-1", 1)).await;
    assert_eq!(server.accepted()[0].to, "new@example.org");
}
