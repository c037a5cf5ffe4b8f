//! The mailer's two tasks: *intake* and *delivery*.
//!
//! Intake waits on submissions and, while the disk refuses, on the time to try it again. Delivery waits on the queue,
//! the settings and the time of the next attempt. Both end when the mailer is told to stop; what they leave is on disk.

use std::sync::Arc;
use std::time::Duration;

use lettre::message::Mailbox;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::MailEvent;
use super::compose;
use super::deliver::{Refusal, Session};
use super::queue::Pick;
use super::shared::{Shared, wall};
use crate::config::MailSettings;
use crate::notification::{HostNotification, Notification, NotificationId};
use crate::time::Mono;

/// After so many messages in a row over which the connection was lost, it is the server and not the message.
const LOST_MAX: u32 = 2;

/// An attempt that is under way when the mailer is stopped may end by itself for so long.
const LAST_ATTEMPT: Duration = Duration::from_millis(600);

/// What the intake is given.
pub enum Submission {
    /// A notification.
    Notification(Box<Notification>),
    /// A notification about the machine.
    HostNotification(Box<HostNotification>),
    /// An email about the daemon itself.
    Host {
        /// One line.
        subject: String,
        /// Lines.
        body: String,
    },
    /// Emails have other recipients: their files are to follow.
    Readdressed,
    /// Emails of an earlier life may be delivered.
    ReleaseAllExcept(Vec<NotificationId>),
}

/// Takes submissions one by one, and keeps trying to write what the disk refused.
pub async fn intake(
    shared: Arc<Shared>,
    mut submitted: mpsc::UnboundedReceiver<Submission>,
    settings: watch::Receiver<Option<MailSettings>>,
    mut stopped: watch::Receiver<bool>,
) {
    shared.load().await;
    loop {
        let unsaved = shared.queue().unsaved();
        let submission = tokio::select! {
            biased;
            () = told_to_stop(&mut stopped) => return,
            submission = submitted.recv() => submission,
            () = tokio::time::sleep(shared.surroundings().rewrite), if !unsaved.is_empty() => {
                for number in unsaved {
                    shared.sync(number).await;
                }
                continue;
            }
        };
        match submission {
            None => return,
            Some(Submission::Notification(notification)) => shared.take_in_notification(*notification).await,
            Some(Submission::HostNotification(notification)) => {
                let settings = settings.borrow().clone();
                shared.take_in_host_notification(settings, *notification).await;
            }
            Some(Submission::Host { subject, body }) => {
                let settings = settings.borrow().clone();
                shared.take_in_host(settings, &subject, &body).await;
            }
            Some(Submission::Readdressed) => {
                let changed = shared.queue().unsaved();
                for number in changed {
                    shared.sync(number).await;
                }
                shared.wake();
            }
            Some(Submission::ReleaseAllExcept(held)) => {
                shared.queue().release_inherited(|id| !held.contains(id));
                shared.wake();
            }
        }
    }
}

/// Takes what is released to the server, over one connection while there is something to send.
pub async fn delivery(
    shared: Arc<Shared>,
    mut settings: watch::Receiver<Option<MailSettings>>,
    mut stopped: watch::Receiver<bool>,
) {
    let backoff = shared.surroundings().backoff;
    let mut session: Option<Session> = None;
    // The server as a whole: not before then, after so many failures; and messages lost in a row.
    let (mut not_before, mut failures, mut lost) = (Mono::default(), 0_u32, 0_u32);
    loop {
        if *stopped.borrow() || stopped.has_changed().is_err() {
            return;
        }
        let now = shared.now();
        let current = settings.borrow_and_update().clone();
        let pick = if current.is_none() {
            Pick::Idle
        } else if not_before > now {
            Pick::Wait(not_before)
        } else {
            shared.queue().pick(now)
        };
        let batch = match &pick {
            Pick::Send(number, to) => Some((vec![*number], to.clone())),
            Pick::Together(numbers, to) => Some((numbers.clone(), to.clone())),
            Pick::Wait(_) | Pick::Idle => None,
        };
        let (Some((numbers, to)), Some(current)) = (batch, current) else {
            if let Some(session) = session.take() {
                session.quit().await;
            }
            let until = if let Pick::Wait(until) = pick { Some(shared.instant(until)) } else { None };
            tokio::select! {
                () = told_to_stop(&mut stopped) => return,
                changed = settings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    (not_before, failures, lost) = (Mono::default(), 0, 0);
                    shared.queue().retry_now();
                    shared.forget_refusals();
                }
                () = shared.woken() => {}
                () = sleep_until(until) => {}
            }
            continue;
        };
        let result = tokio::select! {
            result = shared.attempt(&mut session, &current, &numbers, &to) => result,
            () = last_moment(&mut stopped) => return,
        };
        let (error, next_try) = match result {
            None => continue,
            Some(Ok(_)) => {
                (failures, lost) = (0, 0);
                {
                    let mut queue = shared.queue();
                    queue.mail_error = None;
                    queue.rest_until = Mono::default();
                    queue.rate_limit.accepted(&to, shared.now(), numbers.len());
                }
                shared.takes(&to);
                // A crash in here makes some of them come twice, none never.
                for number in numbers {
                    shared.settle(number, &to).await;
                }
                continue;
            }
            Some(Err(Refusal::Never(error))) => {
                (failures, lost) = (0, 0);
                if shared.refuses(&to, &error) {
                    let (subject, body) = compose::unreachable(&to, &error);
                    shared.take_in_host(Some(current.clone()), &subject, &body).await;
                }
                for number in numbers {
                    shared.drop_recipient(number, &to, error.clone()).await;
                }
                continue;
            }
            Some(Err(Refusal::Later(error))) => {
                (failures, lost) = (0, 0);
                (error, shared.put_off(&numbers, &to, 1))
            }
            Some(Err(Refusal::Message(error))) => {
                (failures, lost) = (0, 0);
                shared.queue().rate_limit.too_long(&to, numbers.len());
                (error, shared.put_off(&numbers, &to, 1))
            }
            Some(Err(Refusal::Content(error))) => {
                (failures, lost) = (0, 0);
                match numbers.as_slice() {
                    [one] => shared.write_plainly(*one, &to),
                    _ => shared.queue().rate_limit.too_long(&to, numbers.len()),
                }
                (error, shared.put_off(&numbers, &to, 1))
            }
            Some(Err(Refusal::Lost(error))) => {
                lost = lost.saturating_add(1);
                shared.queue().rate_limit.too_long(&to, numbers.len());
                // Longer than the server is left alone: so that other emails come before one that kills it.
                let delay = shared.put_off(&numbers, &to, 2);
                if lost >= LOST_MAX {
                    shared.queue().rest_until = shared.now().after(backoff.delay(lost + 1 - LOST_MAX));
                }
                (error, delay)
            }
            Some(Err(Refusal::Server(error))) => {
                failures = failures.saturating_add(1);
                not_before = shared.now().after(backoff.delay(failures));
                (error, backoff.delay(failures))
            }
        };
        let queued = {
            let mut queue = shared.queue();
            queue.mail_error = Some(error.clone());
            queue.backlog().0
        };
        shared.tell(MailEvent::Failed { error, next_try, queued }).await;
    }
}

/// Sends a test mail at once.
pub async fn send_test(
    shared: Arc<Shared>,
    settings: Option<MailSettings>,
    to: Vec<String>,
) -> Result<String, String> {
    let settings = settings.ok_or("the configuration has no `mail:` section")?;
    let to = if to.is_empty() { settings.to.clone() } else { to };
    let from: Mailbox =
        settings.from.parse().map_err(|_| format!("mail.from: `{}` is no mail address", settings.from))?;
    let email = compose::test_email(to.clone(), wall(), &shared.surroundings().place());
    let message = compose::message(&email, &from)?;
    let mut session = shared.surroundings().connector().connect(&settings.smtp).await?;
    let mut said = Vec::new();
    for recipient in &to {
        match session.send(&from.email, recipient, &message).await {
            Ok(words) => said.push(format!("{recipient}: {words}")),
            Err(refusal) => return Err(format!("{recipient}: {refusal}")),
        }
    }
    session.quit().await;
    Ok(said.join("\n"))
}

/// Ends when the mailer is told to stop, or its handle is gone.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Ends a little after that.
async fn last_moment(stopped: &mut watch::Receiver<bool>) {
    told_to_stop(stopped).await;
    tokio::time::sleep(LAST_ATTEMPT).await;
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
