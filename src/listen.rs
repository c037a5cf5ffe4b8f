//! The HTTP listener: what stands at `listen:`. Read-only, for people, Prometheus and other instances.
//!
//! In: the addresses to listen on, and requests from whoever reaches them. Out: questions to the supervisor's loop, and
//! its answers as pages; what keeps an address from being had, as sentences. It decides nothing, changes nothing, and
//! asks nobody for a password: the status has no secrets in it.
//!
//! The status is never kept for those who might ask. Every answer is fetched from the loop, so that a 200 proves that
//! the engine turns over; where the loop does not answer in time the page is a 503 that says so. Two instances watch
//! each other by this.
//!
//! | path | page |
//! |---|---|
//! | `/` | what `stealthctl status` shows |
//! | `/status.json` | the same as JSON |
//! | `/metrics` | Prometheus' text format 0.0.4 |
//! | `/healthz`, and any other | `ok` |
//!
//! On loopback the first three are told only to who asks by an address, `localhost` or the machine's own name: a web
//! page that somebody here looks at could otherwise have its own name point to 127.0.0.1 and read them (DNS rebinding).
//!
//! Bounds, as anybody may come: so many connections ([`Limits::connections`]; one more ends the oldest that has not
//! asked for anything, so that slow clients starve nobody), one request each, 8 KiB of it, a deadline for each step,
//! and at most two looks at the status within a second, however many ask for it.
//!
//! Why no HTTP server from a crate: hyper's would bring connection reuse, bodies, upgrades and timers of its own, to be
//! switched off one by one. Here a connection is one request's head, read with `httparse` (which hyper's client brings
//! along anyway), one answer, and the end.

mod connection;
mod counters;
mod host;
mod metrics;
mod pages;
mod response;
mod sockets;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until};

pub use counters::Counters;

use crate::status::Snapshot;
use pages::Pages;
use sockets::Sockets;

/// What the loop is asked. An asker that has given up has dropped its end; that is no error.
#[derive(Debug)]
pub enum Question {
    /// Does it turn over? The answer is the proof.
    Alive(oneshot::Sender<()>),
    /// How is everything?
    Report(oneshot::Sender<Report>),
}

/// Everything that pages are made of.
#[derive(Clone, Debug)]
pub struct Report {
    /// The status, without details.
    pub status: Snapshot,
    /// What has happened since the daemon's start.
    pub counters: Counters,
}

/// What bounds the listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. One more ends the oldest that has not sent its request.
    pub connections: usize,
    /// Within this time a client must have sent its request.
    pub request: Duration,
    /// Within this time the loop must answer, or it counts as standing still.
    pub answer: Duration,
    /// Within this time a client must have taken the answer.
    pub delivery: Duration,
    /// So long, after the answer, a client may go on sending what nobody wants.
    pub linger: Duration,
    /// From one attempt to get an address to the next.
    pub retry_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            request: Duration::from_secs(5),
            // Shorter than the default `timeout` of a check: the other instance shall see the 503 and not a silence.
            answer: Duration::from_secs(2),
            delivery: Duration::from_secs(5),
            linger: Duration::from_secs(1),
            retry_interval: Duration::from_secs(5),
        }
    }
}

/// Who draws a status. (`stealthctl` does, and both shall look the same; but the command stands above this layer.)
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// As a person reads it.
    pub text: fn(&Snapshot) -> String,
    /// As JSON.
    pub json: fn(&Snapshot) -> String,
}

/// Listens where `addresses` says, until its sender is gone.
///
/// An address that cannot be had is tried again; meanwhile those that are no longer wanted stay open, so that a reload
/// never leaves the daemon unheard. `troubles` gets all sentences of that kind whenever they change; none: all is well.
pub async fn run(
    mut addresses: watch::Receiver<Vec<SocketAddr>>,
    questions: mpsc::Sender<Question>,
    troubles: mpsc::Sender<Vec<String>>,
    draw: Draw,
    limits: Limits,
) {
    let pages = Arc::new(Pages::new(questions, draw, limits.answer));
    let mut crowd = Crowd::default();
    let mut sockets = Sockets::default();
    let mut told = Vec::new();
    loop {
        sockets.settle(&addresses.borrow_and_update());
        let found = sockets.troubles(limits.retry_interval);
        if found != told {
            told.clone_from(&found);
            // Nobody listens any more: the daemon is on its way out.
            let _ = troubles.send(found).await;
        }
        let retry_at = Instant::now() + limits.retry_interval;
        loop {
            tokio::select! {
                changed = addresses.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = sleep_until(retry_at), if !told.is_empty() => break,
                accepted = sockets.accept() => match accepted {
                    Ok(stream) => {
                        let (pages, stage) = (Arc::clone(&pages), Stage::default());
                        let connection = connection::serve(stream, pages, limits, stage.clone());
                        crowd.admit(limits.connections, stage, connection);
                        // A crowd at the door must not push out one that came in just now and has not had its turn.
                        yield_now().await;
                    }
                    // No file descriptor is free, or the client has gone already: neither is better at once.
                    Err(_) => sleep(Duration::from_millis(100)).await,
                },
            }
        }
    }
}

/// How far a connection is, for who must choose which one ends.
#[derive(Clone, Debug, Default)]
struct Stage(Arc<AtomicU8>);

impl Stage {
    /// It has its answer, and may only be sending what nobody wants. Missed by nobody.
    const ANSWERED: u8 = 0;
    /// It has begun its request, and not ended it: most come in one piece.
    const DAWDLING: u8 = 1;
    /// It has not said anything yet, as on a busy machine one that is about to.
    const SILENT: u8 = 2;
    /// It has sent its request, and waits for the answer or is taking it.
    const ASKED: u8 = 3;

    fn is(&self, stage: u8) {
        self.0.store(stage, Ordering::Relaxed);
    }
}

/// The connections that are open, the oldest first. They end with this value.
#[derive(Default)]
struct Crowd {
    tasks: JoinSet<()>,
    open: VecDeque<(Stage, AbortHandle)>,
}

impl Crowd {
    /// Starts one more. Where there are `max_attempts` already one ends: of those that have their answer the oldest,
    /// else of those that have half asked, else of those that have said nothing, else of all. Whoever sends its request
    /// at once is not the oldest of the silent for long, so that those that dawdle only drive out each other.
    fn admit(&mut self, limit: usize, stage: Stage, connection: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|(_, task)| !task.is_finished());
        if self.open.len() >= limit
            && let Some(first) = (0..self.open.len())
                .min_by_key(|n| self.open.get(*n).map(|(stage, _)| stage.0.load(Ordering::Relaxed)))
            && let Some((_, task)) = self.open.remove(first)
        {
            task.abort();
        }
        stage.is(Stage::SILENT);
        self.open.push_back((stage, self.tasks.spawn(connection)));
    }
}
