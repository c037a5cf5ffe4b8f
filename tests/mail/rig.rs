//! A mailer in a test's hands, and what it is fed with.

use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use stealthcheck::check::{Backoff, CheckName};
use stealthcheck::config::{Credentials, MailSettings, Smtp, SmtpTls};
use stealthcheck::mail::deliver::Patience;
use stealthcheck::mail::rate_limit::Limit;
use stealthcheck::mail::{Bounds, MailEvent, Mailer, Surroundings};
use stealthcheck::notification::{IncidentId, Notification, NotificationId, NotificationKind};
use stealthcheck::time::Wall;
use tokio::sync::mpsc;

/// A mailer with what it writes to and tells.
pub struct Rig {
    pub mailer: Mailer,
    pub events: mpsc::Receiver<MailEvent>,
    pub seen: Vec<MailEvent>,
}

pub fn surroundings() -> Surroundings {
    let short = Duration::from_millis(250);
    Surroundings {
        host: "lf-proxy".to_owned(),
        zone: TimeZone::UTC,
        credentials: Credentials::default(),
        journals: Vec::new(),
        user: false,
        journal_excerpt: short,
        patience: Patience { connect: short, answer: short, accept: short },
        backoff: Backoff { initial: Duration::from_millis(20), max: Duration::from_millis(200) },
        // More than any test sends, but for those that are about digests.
        limit: Limit { mails: 1000, within: Duration::from_secs(60) },
        // More than any test has wait, but for those that are about the bound.
        bounds: Bounds { mails: 100_000, bytes: usize::MAX },
        rewrite: Duration::from_millis(50),
        disk: Duration::from_secs(60),
    }
}

pub fn settings(port: u16) -> MailSettings {
    MailSettings {
        from: "stealthcheck <alerts@example.org>".to_owned(),
        to: vec!["ops@example.org".to_owned()],
        smtp: Smtp {
            host: "localhost".to_owned(),
            port,
            tls: SmtpTls::None,
            username: None,
            password_credential: None,
        },
    }
}

pub fn id(incident: &str, number: u32) -> NotificationId {
    NotificationId { incident: IncidentId(incident.into()), number }
}

pub fn notification(incident: &str, number: u32, to: &[&str]) -> Notification {
    Notification {
        id: id(incident, number),
        kind: if number == 1 { NotificationKind::Down } else { NotificationKind::StillDown },
        to: to.iter().map(|to| (*to).into()).collect(),
        at: Wall(1_795_345_200_000),
        check: CheckName::new("fibridge").unwrap(),
        unit: None,
        probe: "tcp localhost:1".to_owned(),
        since: Wall(1_795_345_200_000),
        cause: "connection refused".to_owned(),
        attempts: Vec::new(),
        attempts_total: 0,
        next: String::new(),
        state: None,
        failed_invocation: String::new(),
        runbook: None,
        dependents: Vec::new(),
    }
}

impl Rig {
    pub fn start(dir: Option<&Path>, settings: Option<MailSettings>) -> Self {
        Self::start_in(surroundings(), dir, settings)
    }

    pub fn start_in(surroundings: Surroundings, dir: Option<&Path>, settings: Option<MailSettings>) -> Self {
        let (tell, events) = mpsc::channel(64);
        Self {
            mailer: Mailer::start(surroundings, dir.map(Into::into), settings, tell),
            events,
            seen: Vec::new(),
        }
    }

    pub async fn next(&mut self) -> MailEvent {
        let next = tokio::time::timeout(Duration::from_secs(5), self.events.recv());
        let event = next.await.expect("an event within 5 s").expect("the mailer lives");
        self.seen.push(event.clone());
        event
    }

    /// Waits for what `is_it` knows, passing over the rest.
    pub async fn until(&mut self, is_it: impl Fn(&MailEvent) -> bool) -> MailEvent {
        loop {
            let event = self.next().await;
            if is_it(&event) {
                return event;
            }
        }
    }

    pub async fn until_delivered(&mut self, id: NotificationId) {
        self.until(|event| *event == MailEvent::Delivered(id.clone())).await;
    }

    /// Submits and releases, as the supervisor does.
    pub async fn send(&mut self, notification: Notification) {
        let id = notification.id.clone();
        self.mailer.submit(notification);
        self.until(|event| *event == MailEvent::Spooled(id.clone())).await;
        self.mailer.release(&id);
    }
}

pub fn spooled(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("spool")).map_or(0, |files| {
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "json")).count()
    })
}
