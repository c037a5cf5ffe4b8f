//! The mail server is away for a day, by a clock that is quick; and a spool with thousands of mails.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use stealthcheck::check::Backoff;
use stealthcheck::mail::rate_limit::Limit;
use stealthcheck::mail::spool::{Record, Spool};
use stealthcheck::mail::{MailEvent, compose};
use stealthcheck::time::Wall;

use crate::rig::{Rig, notification, settings, spooled, surroundings};
use crate::server::{Accepted, Options, Server};

const HOUR: Duration = Duration::from_secs(3600);
/// How many checks are down all the while, and how often each is told of: at its beginning, and every four hours.
const INCIDENTS: usize = 30;
const TIMES: u32 = 7;

/// The subjects of a digest's notifications, or that of a mail.
fn subjects(mail: &Accepted) -> Vec<String> {
    let own = mail.header("Subject").unwrap_or_default();
    if !own.starts_with("[DIGEST]") {
        return vec![own.to_owned()];
    }
    let text = mail.text.replace("=\r\n", "").replace("\r\n", "\n");
    let numbered = |line: &str| {
        let (number, rest) = line.split_once(". [")?;
        number.parse::<usize>().ok().map(|_| format!("[{rest}"))
    };
    text.lines().filter_map(numbered).collect()
}

/// Time passes ten thousand times as fast: a day in some nine seconds. (Not tokio's paused clock: it leaps to the next
/// deadline whenever a socket is waited for, so that with real ones every wait ends in vain.)
const PACE: u32 = 10_000;

#[tokio::test]
async fn down_for_a_day_then_all_come_oldest_first_in_a_few_mails() {
    // A port where nobody is: what is asked there is refused.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut around = surroundings();
    let production = stealthcheck::mail::Surroundings::of_this_process(false);
    let Backoff { initial, max } = production.backoff;
    assert_eq!((initial.as_secs(), max.as_secs()), (5, 300));
    around.backoff = Backoff { initial: initial / PACE, max: max / PACE };
    around.limit = Limit { mails: production.limit.mails, within: Duration::from_secs(4) };
    around.patience.answer = Duration::from_secs(20);
    around.patience.accept = Duration::from_secs(20);
    let mut settings = settings(port);
    settings.smtp.host = "127.0.0.1".to_owned();
    let mut rig = Rig::start_in(around, Some(dir.path()), Some(settings));
    let began = Instant::now();
    let hours = |hours: u32| HOUR * hours / PACE;
    let mut delays = Vec::new();
    for time in 1..=TIMES {
        for incident in 0..INCIDENTS {
            let check = stealthcheck::check::CheckName::new(&format!("c{incident}")).unwrap();
            let each = notification(&format!("c{incident}-1"), time, &["x@example.org"]);
            let each = stealthcheck::notification::Notification { check, ..each };
            rig.send(each).await;
        }
        if time < TIMES {
            let until = began + hours(4 * time);
            while let Ok(Some(event)) = tokio::time::timeout_at(until.into(), rig.events.recv()).await {
                rig.seen.push(event);
            }
        }
    }
    assert!(began.elapsed() >= hours(24), "{:?}", began.elapsed());
    for event in &rig.seen {
        if let MailEvent::Failed { next_try, error, .. } = event {
            assert!(error.contains("refused"), "{error}");
            delays.push((*next_try * PACE).as_secs());
        }
    }
    assert_eq!(delays[..8], [5, 10, 20, 40, 80, 160, 300, 300], "it is asked less and less often");
    assert!(delays[6..].iter().all(|delay| *delay == 300), "{delays:?}");
    // Fewer where this machine is slow, for the waits between them are as short as 30 ms here; never more.
    assert!((30..=300).contains(&delays.len()), "{} attempts in a day", delays.len());
    let status = rig.mailer.status();
    let all = INCIDENTS * TIMES as usize;
    assert_eq!((status.queued, spooled(dir.path())), (all, all));
    assert_eq!(status.oldest, oldest(dir.path()), "the oldest is told");
    assert!(status.last_error.is_some_and(|error| error.contains("refused")));

    let server = Server::start_at(port, Options::default()).await;
    while rig.mailer.status().queued > 0 {
        rig.next().await;
    }
    // (A file is removed a moment after its mail has left the queue.)
    let left = async {
        while spooled(dir.path()) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), left).await.expect("the spool is emptied");
    let told: Vec<String> = server.accepted().iter().flat_map(subjects).collect();
    let expected = |time: u32| {
        let tag = if time == 1 { "DOWN" } else { "STILL DOWN" };
        (0..INCIDENTS).map(move |incident| format!("[{tag}] c{incident} on lf-proxy"))
    };
    assert_eq!(told, (1..=TIMES).flat_map(expected).collect::<Vec<_>>(), "each once, oldest first");
    assert!(server.accepted().len() <= 12, "{} mails are a flood", server.accepted().len());
}

/// When the first email in the spool was written.
fn oldest(dir: &Path) -> Option<Wall> {
    Spool::new(dir).load().records.iter().map(|(_, record)| record.spooled).min()
}

#[tokio::test]
async fn thousands_of_mails_from_an_earlier_life_are_read_quickly_and_sent_as_a_few() {
    const MANY: usize = 2000;
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let spool = Spool::new(dir.path());
    let place = compose::Place { host: "lf-proxy".to_owned(), zone: jiff::tz::TimeZone::UTC, user: false };
    let journal = Ok((0..20)
        .map(|n| format!("Nov 27 01:44:28 lf-proxy fibridge[4711]: line {n} of a trace"))
        .collect());
    for n in 0..MANY {
        let mut each = notification(&format!("c{n}-1"), 1, &["x@example.org"]);
        each.unit = stealthcheck::unit::UnitName::new("fibridge.service").ok();
        let email = compose::email(&each, Some(&journal), &place);
        spool.write(n as u64, &Record::new(email, Wall(n as i64))).unwrap();
    }
    let server = Server::start(Options::default()).await;
    let mut soon = surroundings();
    soon.limit = Limit { mails: 3, within: Duration::from_secs(1) };
    let started = Instant::now();
    let mut rig = Rig::start_in(soon, Some(dir.path()), Some(settings(server.port)));
    while rig.mailer.status().queued < MANY {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(started.elapsed() < Duration::from_secs(20), "{}", rig.mailer.status().queued);
    }
    println!("read after {:?}", started.elapsed());
    assert_eq!(rig.mailer.status().oldest, Some(Wall(0)));
    rig.mailer.release_all_except(&[]);
    while rig.mailer.status().queued > 0 {
        rig.next().await;
    }
    println!("sent after {:?}", started.elapsed());
    let accepted = server.accepted();
    assert!(accepted.len() <= 3 + MANY.div_ceil(400), "{} mails", accepted.len());
    assert_eq!(accepted.iter().flat_map(subjects).count(), MANY, "each is told");
    assert!(accepted.iter().all(|mail| mail.text.len() < 1 << 19), "each stays a mail");
}
