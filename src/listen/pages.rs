//! Which page a path names, and what stands on it.
//!
//! In: paths. Out: [`Response`]s. Whatever is asked for, the loop is asked, with a deadline: its answer is what the
//! page is made of, and the proof that it turns over. Its report is shared for half a second by all who ask for one, so
//! that a crowd here takes no time from the engine; then it is let go.

use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::response::Response;
use super::{Draw, Question, Report, metrics};
use crate::time::human;

/// How long a report is shared.
const FRESH: Duration = Duration::from_millis(500);

/// The pages that are made of a report.
#[derive(Clone, Copy)]
enum Page {
    Status,
    Json,
    Metrics,
}

/// A report, and those of its pages that somebody has asked for.
struct Fresh {
    report: Report,
    pages: [Option<Response>; 3],
}

/// Makes pages.
pub(super) struct Pages {
    questions: mpsc::Sender<Question>,
    draw: Draw,
    patience: Duration,
    fresh: Arc<Mutex<Option<Fresh>>>,
    /// Since when the loop owes an answer.
    silent: Lock<Option<Instant>>,
}

impl Pages {
    /// Pages of what is answered to `questions` within `patience`; `draw` makes the status.
    pub(super) fn new(questions: mpsc::Sender<Question>, draw: Draw, patience: Duration) -> Self {
        Self { questions, draw, patience, fresh: Arc::default(), silent: Lock::default() }
    }

    /// Whether the page at `path` tells more than that the engine turns over.
    pub(super) fn tells(path: &str) -> bool {
        matches!(path, "/" | "/status.json" | "/metrics")
    }

    /// The page at `path`, or why there is none.
    pub(super) async fn page(&self, path: &str) -> Response {
        let asked = Instant::now();
        let answer = timeout(self.patience, async {
            match path {
                "/" => self.of_report(Page::Status).await,
                "/status.json" => self.of_report(Page::Json).await,
                "/metrics" => self.of_report(Page::Metrics).await,
                _ => self.ask(Question::Alive).await.map(|()| Response::text("ok\n")),
            }
        });
        let answer = answer.await;
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(Some(page)) => {
                *silent = None;
                page
            }
            // The loop has ended, and the process is about to.
            Ok(None) => Response::unavailable("stealthcheck is stopping"),
            Err(_) => {
                let lasting = Duration::from_secs(silent.get_or_insert(asked).elapsed().as_secs());
                Response::unavailable(&format!("the main loop has not responded for {}", human(lasting)))
            }
        }
    }

    /// Asks the loop. `None`: it is no more.
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.questions.send(question(reply)).await.ok()?;
        answer.await.ok()
    }

    async fn of_report(&self, page: Page) -> Option<Response> {
        // Held while the loop is asked: whoever comes meanwhile gets the same answer.
        let mut fresh = self.fresh.lock().await;
        if fresh.is_none() {
            let report = self.ask(Question::Report).await?;
            *fresh = Some(Fresh { report, pages: Default::default() });
            let stale = Arc::clone(&self.fresh);
            tokio::spawn(async move {
                sleep(FRESH).await;
                *stale.lock().await = None;
            });
        }
        let Fresh { report, pages } = fresh.as_mut()?;
        let made = pages.get_mut(page as usize)?;
        if made.is_none() {
            *made = Some(self.make(page, report));
        }
        made.clone()
    }

    fn make(&self, page: Page, report: &Report) -> Response {
        match page {
            Page::Status => Response::text((self.draw.text)(&report.status)),
            Page::Json => Response::json((self.draw.json)(&report.status)),
            Page::Metrics => Response::metrics(metrics::text(report)),
        }
    }
}
