//! The mailer against a server that does everything wrong: nothing is lost, nothing is said twice without need, order
//! is kept, nobody is held up for another.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

#[path = "mail/digest.rs"]
mod digest;
#[path = "mail/hostile.rs"]
mod hostile;
#[path = "mail/outage.rs"]
mod outage;
#[path = "mail/rig.rs"]
mod rig;
#[path = "mail/secrets.rs"]
mod secrets;
#[path = "mail/server.rs"]
mod server;
#[path = "mail/waiting.rs"]
mod waiting;

use std::time::{Duration, Instant};

use rig::{Rig, id, notification, settings, spooled, surroundings};
use server::{Fault, Options, Phase, Server};
use stealthcheck::mail::deliver::Patience;
use stealthcheck::mail::{MailEvent, Recipients};

#[tokio::test]
async fn a_notification_is_spooled_then_released_then_delivered_then_gone() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    rig.mailer.submit(notification("a-1", 1, &["x@example.org", "Y <y@example.org>"]));
    assert_eq!(rig.next().await, MailEvent::Spooled(id("a-1", 1)));
    assert_eq!(spooled(dir.path()), 1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.connections(), 0, "nothing is delivered before its release");
    let status = rig.mailer.status();
    assert_eq!((status.configured, status.queued, status.last_error), (true, 1, None));
    rig.mailer.release(&id("a-1", 1));
    assert_eq!(rig.next().await, MailEvent::Delivered(id("a-1", 1)));
    assert_eq!(spooled(dir.path()), 0);
    assert_eq!(rig.mailer.status().queued, 0);
    let accepted = server.accepted();
    assert_eq!(
        accepted.iter().map(|a| a.to.as_str()).collect::<Vec<_>>(),
        ["x@example.org", "y@example.org"]
    );
    assert_eq!(accepted[0].header("Subject"), Some("[DOWN] fibridge on lf-proxy"));
    assert_eq!(accepted[0].header("Message-ID"), Some("<a-1.1@lf-proxy>"));
    assert!(server.commands().contains(&"EHLO lf-proxy".to_owned()));
    assert!(rig.mailer.is_running());
    rig.mailer.stop().await;
}

#[tokio::test]
async fn a_burst_goes_over_one_connection_in_the_order_of_its_submits() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    for n in 1..=20 {
        rig.mailer.submit(notification("a-1", n, &["x@example.org"]));
    }
    for n in 1..=20 {
        assert_eq!(rig.next().await, MailEvent::Spooled(id("a-1", n)));
    }
    // Released in another order.
    for n in (1..=20).rev() {
        rig.mailer.release(&id("a-1", n));
    }
    rig.until_delivered(id("a-1", 20)).await;
    let ids: Vec<String> =
        server.accepted().iter().map(|a| a.header("Message-ID").unwrap().to_owned()).collect();
    assert_eq!(ids, (1..=20).map(|n| format!("<a-1.{n}@lf-proxy>")).collect::<Vec<_>>());
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn every_fault_at_every_phase_only_delays() {
    use Fault::{Drop, Reply, Silent};
    let phases = [
        (Phase::Greeting, vec![Reply("421 busy"), Reply("554 no"), Silent, Drop]),
        (Phase::Ehlo, vec![Reply("421 busy"), Reply("550 no"), Silent, Drop]),
        (Phase::Mail, vec![Reply("421 busy"), Reply("451 later"), Reply("550 no"), Silent, Drop]),
        (
            Phase::Rcpt,
            vec![Reply("421 busy"), Reply("450 greylisted"), Reply("554 5.7.1 no relay"), Silent, Drop],
        ),
        (Phase::Data, vec![Reply("421 busy"), Reply("451 later"), Reply("554 no"), Silent, Drop]),
        (Phase::Middle, vec![Silent, Drop]),
        (Phase::Accept, vec![Reply("421 busy"), Reply("452 full"), Reply("554 spam"), Silent, Drop]),
    ];
    let mut cases = tokio::task::JoinSet::new();
    for (phase, faults) in phases {
        for fault in faults {
            cases.spawn(only_delays(phase, fault));
        }
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

async fn only_delays(phase: Phase, fault: Fault) {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    server.fault(phase, "", 3, fault);
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    rig.send(notification("a-1", 1, &["x@example.org", "y@example.org"])).await;
    rig.send(notification("a-1", 2, &["x@example.org", "y@example.org"])).await;
    rig.until_delivered(id("a-1", 2)).await;
    let mut errors = rig.seen.iter().filter_map(|event| match event {
        MailEvent::Failed { error, .. } => Some(error),
        _ => None,
    });
    let error = errors.next().expect("a failure is told");
    assert!(error.contains(&format!("mail server localhost:{}", server.port)), "{error}");
    let got = |to: &str| {
        let mine = server.accepted().into_iter().filter(|a| a.to == to);
        mine.map(|a| a.header("Message-ID").unwrap().to_owned()).collect::<Vec<_>>()
    };
    for to in ["x@example.org", "y@example.org"] {
        assert_eq!(got(to), ["<a-1.1@lf-proxy>", "<a-1.2@lf-proxy>"], "{phase:?} {fault:?}");
    }
    assert_eq!((spooled(dir.path()), rig.mailer.status().last_error), (0, None));
    rig.mailer.stop().await;
}

#[tokio::test]
async fn after_a_long_outage_all_come_oldest_first() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    server.fault(Phase::Greeting, "", usize::MAX, Fault::Drop);
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    for n in 0..12 {
        rig.send(notification(&format!("i-{n}"), 1, &["x@example.org"])).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let status = rig.mailer.status();
    assert_eq!(status.queued, 12);
    assert!(status.oldest.is_some());
    let error = status.last_error.unwrap();
    assert!(error.ends_with("the server closed the connection"), "{error}");
    assert!(server.connections() < 12, "the server is left alone meanwhile: {}", server.connections());
    server.repair();
    rig.until_delivered(id("i-11", 1)).await;
    let ids: Vec<String> =
        server.accepted().iter().map(|a| a.header("Message-ID").unwrap().to_owned()).collect();
    assert_eq!(ids, (0..12).map(|n| format!("<i-{n}.1@lf-proxy>")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_refused_recipient_is_dropped_and_the_others_are_not_concerned() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    server.fault(Phase::Rcpt, "gone@", usize::MAX, Fault::Reply("550 5.1.1 no such user"));
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    rig.send(notification("a-1", 1, &["gone@example.org", "no address", "x@example.org"])).await;
    for to in ["gone@example.org", "no address"] {
        let MailEvent::Dropped { id: dropped, to: address, error } = rig.next().await else {
            panic!("not dropped")
        };
        assert_eq!((dropped, address.as_str()), (id("a-1", 1), to));
        assert!(error.contains("550 5.1.1 no such user") || error.contains("no mail address"), "{error}");
    }
    assert_eq!(rig.next().await, MailEvent::Delivered(id("a-1", 1)));
    let about_it = |mail: &server::Accepted| mail.header("Message-ID") == Some("<a-1.1@lf-proxy>");
    assert_eq!(server.accepted().iter().filter(|mail| about_it(mail)).count(), 1);
}

#[tokio::test]
async fn one_who_is_put_off_and_a_mail_that_kills_the_server_hold_up_nobody() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    server.fault(Phase::Rcpt, "grey@", usize::MAX, Fault::Reply("451 4.7.1 greylisted"));
    server.fault(Phase::Middle, "<poison-1", usize::MAX, Fault::Drop);
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    rig.send(notification("poison-1", 1, &["x@example.org"])).await;
    rig.send(notification("a-1", 1, &["grey@example.org", "x@example.org"])).await;
    for n in 0..5 {
        rig.send(notification(&format!("b-{n}"), 1, &["x@example.org"])).await;
    }
    rig.until_delivered(id("b-4", 1)).await;
    assert_eq!(server.accepted().len(), 6);
    assert_eq!(rig.mailer.status().queued, 2);
    server.repair();
    rig.mailer.reconfigure(Some(settings(server.port)), Recipients::default());
    let delivered = |event: &MailEvent| matches!(event, MailEvent::Delivered(_));
    while rig.mailer.status().queued > 0 {
        rig.until(delivered).await;
    }
    assert_eq!(server.accepted().len(), 8);
}

#[tokio::test]
async fn a_crash_between_two_recipients_repeats_nothing_that_was_accepted() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    server.fault(Phase::Rcpt, "y@", usize::MAX, Fault::Reply("451 later"));
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    rig.send(notification("a-1", 1, &["x@example.org", "y@example.org"])).await;
    rig.until(|event| matches!(event, MailEvent::Failed { .. })).await;
    drop(rig);
    server.repair();
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    rig.mailer.release_all_except(&[]);
    rig.until_delivered(id("a-1", 1)).await;
    let to: Vec<String> = server.accepted().into_iter().map(|a| a.to).collect();
    assert_eq!(to, ["x@example.org", "y@example.org"]);
}

#[tokio::test]
async fn after_a_crash_what_is_not_called_spooled_is_held_and_sent_once() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    let mut rig = Rig::start(Some(dir.path()), None);
    rig.mailer.submit(notification("a-1", 1, &["x@example.org"]));
    rig.mailer.submit(notification("b-1", 1, &["x@example.org"]));
    rig.until(|event| *event == MailEvent::Spooled(id("b-1", 1))).await;
    drop(rig);
    // The supervisor had saved its state after the first, and not after the second.
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    rig.mailer.release_all_except(&[id("b-1", 1)]);
    assert_eq!(rig.next().await, MailEvent::Delivered(id("a-1", 1)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.accepted().len(), 1, "held");
    rig.mailer.submit(notification("b-1", 1, &["x@example.org"]));
    assert_eq!(rig.next().await, MailEvent::Spooled(id("b-1", 1)));
    assert_eq!(spooled(dir.path()), 1, "the same notice is one file");
    rig.mailer.release(&id("b-1", 1));
    assert_eq!(rig.next().await, MailEvent::Delivered(id("b-1", 1)));
    assert_eq!(server.accepted().len(), 2);
}

#[tokio::test]
async fn a_disk_that_refuses_is_said_and_the_mail_goes_all_the_same() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("spool"), "in the way").unwrap();
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    server.fault(Phase::Rcpt, "y@", usize::MAX, Fault::Reply("451 later"));
    rig.mailer.submit(notification("a-1", 1, &["x@example.org", "y@example.org"]));
    rig.until(|event| matches!(event, MailEvent::Warning(w) if w.contains("cannot be written"))).await;
    rig.until(|event| matches!(event, MailEvent::Failed { .. })).await;
    assert_eq!(server.accepted().len(), 1);
    let error = rig.mailer.status().last_error.unwrap();
    assert!(error.contains("the mail spool cannot be written"), "{error}");
    std::fs::remove_file(dir.path().join("spool")).unwrap();
    rig.until(|event| *event == MailEvent::Spooled(id("a-1", 1))).await;
    assert_eq!(spooled(dir.path()), 1);
    server.repair();
    rig.mailer.release(&id("a-1", 1));
    rig.until_delivered(id("a-1", 1)).await;
    assert_eq!(server.accepted().len(), 2);
    // And one whose whole life passes without a disk.
    std::fs::remove_dir_all(dir.path().join("spool")).unwrap();
    std::fs::write(dir.path().join("spool"), "in the way").unwrap();
    rig.mailer.submit(notification("b-1", 1, &["x@example.org"]));
    rig.until(|event| *event == MailEvent::Spooled(id("b-1", 1))).await;
    assert_eq!(rig.next().await, MailEvent::Delivered(id("b-1", 1)));
}

/// A disk that hangs: here the only thread for files is taken.
#[test]
fn a_disk_that_hangs_delays_one_mail_for_a_while_and_none_is_sent_twice_when_it_answers() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
        let mut surroundings = surroundings();
        surroundings.disk = Duration::from_millis(700);
        let mut settings = settings(server.port);
        // (A name is looked up in a thread.)
        settings.smtp.host = "127.0.0.1".to_owned();
        let mut rig = Rig::start_in(surroundings, Some(dir.path()), Some(settings));
        rig.send(notification("a-1", 1, &["x@example.org"])).await;
        rig.until_delivered(id("a-1", 1)).await;
        assert_eq!(spooled(dir.path()), 0);

        let (thaw, frozen) = std::sync::mpsc::channel::<()>();
        let hung = tokio::task::spawn_blocking(move || frozen.recv());
        let start = Instant::now();
        rig.mailer.submit(notification("b-1", 1, &["x@example.org"]));
        let warned = rig.until(|event| matches!(event, MailEvent::Warning(_))).await;
        assert!(matches!(&warned, MailEvent::Warning(w) if w.contains("may be sent twice")), "{warned:?}");
        rig.until_delivered(id("b-1", 1)).await;
        assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());
        assert!(rig.mailer.status().last_error.is_some_and(|error| error.contains("has not answered")));
        let start = Instant::now();
        for n in 2..=3 {
            rig.mailer.submit(notification("b-1", n, &["x@example.org"]));
            rig.until_delivered(id("b-1", n)).await;
        }
        assert!(start.elapsed() < Duration::from_millis(700), "{:?}", start.elapsed());

        thaw.send(()).unwrap();
        hung.await.unwrap().unwrap();
        // Whatever was written late is removed again, and what follows is stored before it is sent.
        let quiet = async {
            while rig.mailer.status().last_error.is_some() || spooled(dir.path()) > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), quiet).await.expect("it is not over");
        rig.send(notification("c-1", 1, &["x@example.org"])).await;
        rig.until_delivered(id("c-1", 1)).await;
        let ids: Vec<_> =
            server.accepted().iter().map(|mail| mail.header("Message-ID").unwrap().to_owned()).collect();
        assert_eq!(ids, ["a-1.1", "b-1.1", "b-1.2", "b-1.3", "c-1.1"].map(|id| format!("<{id}@lf-proxy>")));
        let warnings = rig.seen.iter().filter(|event| matches!(event, MailEvent::Warning(_)));
        assert_eq!(warnings.count(), 1, "{:?}", rig.seen);
    });
}

#[tokio::test]
async fn without_settings_mails_wait_and_the_status_says_so() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    let mut rig = Rig::start(Some(dir.path()), None);
    rig.send(notification("a-1", 1, &["x@example.org"])).await;
    let status = rig.mailer.status();
    assert_eq!((status.configured, status.queued), (false, 1));
    assert_eq!(status.last_error.as_deref(), Some("the configuration has no `mail:` section"));
    assert_eq!(
        rig.mailer.send_test(Vec::new()).await,
        Err("the configuration has no `mail:` section".to_owned())
    );
    rig.mailer.reconfigure(Some(settings(server.port)), Recipients::default());
    rig.until_delivered(id("a-1", 1)).await;
}

#[tokio::test]
async fn words_about_the_daemon_reach_the_global_recipients_also_after_a_crash() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    server.fault(Phase::Greeting, "", 1, Fault::Drop);
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    rig.mailer.submit_host("configuration rejected", "line 3: what?\nBcc: x@example.org");
    rig.until(|event| matches!(event, MailEvent::Failed { .. })).await;
    drop(rig);
    let rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    let started = Instant::now();
    while server.accepted().is_empty() && started.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mail = server.accepted().remove(0);
    assert_eq!(mail.header("Subject"), Some("[stealthcheck] lf-proxy: configuration rejected"));
    assert_eq!(mail.to, "ops@example.org");
    assert!(
        mail.text.split_once("\r\n\r\n").unwrap().1.contains("Bcc: x@example.org"),
        "in the body, where it is text"
    );
    rig.mailer.stop().await;
}

#[tokio::test]
async fn stop_ends_within_a_second_and_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    for phase in [Phase::Greeting, Phase::Rcpt, Phase::Middle, Phase::Accept] {
        let server = Server::start(Options::default()).await;
        server.fault(phase, "", usize::MAX, Fault::Silent);
        let mut patient = surroundings();
        let long = Duration::from_secs(60);
        patient.patience = Patience { connect: long, answer: long, accept: long };
        let mut rig = Rig::start_in(patient, Some(dir.path()), Some(settings(server.port)));
        rig.send(notification(&format!("{phase:?}"), 1, &["x@example.org"])).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let stopping = Instant::now();
        rig.mailer.stop().await;
        assert!(stopping.elapsed() < Duration::from_secs(1), "{phase:?}: {:?}", stopping.elapsed());
    }
    assert_eq!(spooled(dir.path()), 4);
}

#[tokio::test]
async fn an_answer_that_comes_while_stopping_is_taken() {
    let slow = Options { slow: Duration::from_millis(200), ..Options::default() };
    let (server, dir) = (Server::start(slow).await, tempfile::tempdir().unwrap());
    let mut patient = surroundings();
    patient.patience.accept = Duration::from_secs(5);
    let mut rig = Rig::start_in(patient, Some(dir.path()), Some(settings(server.port)));
    rig.send(notification("a-1", 1, &["x@example.org"])).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    rig.mailer.stop().await;
    assert_eq!(
        (server.accepted().len(), spooled(dir.path())),
        (1, 0),
        "accepted, and never to be sent again"
    );
}
