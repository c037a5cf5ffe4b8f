//! What a probe demands of a body, told with as little reading as it takes.
//!
//! In flow the body's pieces; out flows whether enough is known, and in the end what was missing. At most [`MOST`]
//! bytes are kept, whatever the server sends.

use regex_lite::Regex;

use super::super::error::{EXCERPT, ProbeError};
use super::super::tcp::contains;
use crate::check::HttpProbe;
use crate::text::{inert_bytes, sanitize};

/// The most of a body that is looked at.
pub(super) const MOST: usize = 1024 * 1024;

/// Up to here a regular expression is matched on the spot; a longer body goes to a thread, since the time it takes is
/// the body's length times the expression's.
const ON_THE_SPOT: usize = 16 * 1024;

/// A body as it comes in, and what is demanded of it.
pub(super) struct Inspection<'a> {
    contains: Option<&'a str>,
    matches: Option<&'a Regex>,
    seen: Vec<u8>,
    found: bool,
}

impl<'a> Inspection<'a> {
    /// What `probe` demands; `None` where nothing is, and the body need not be read.
    pub(super) fn of(probe: &'a HttpProbe) -> Option<Self> {
        let contains = probe.body_contains.as_deref();
        let matches = probe.body_matches.as_ref().map(|pattern| &pattern.0);
        let demanded = contains.is_some() || matches.is_some();
        demanded.then(|| Self { contains, matches, seen: Vec::new(), found: contains.is_none() })
    }

    /// Takes in a piece; whether more is needed.
    pub(super) fn take(&mut self, piece: &[u8]) -> bool {
        // What was searched before need not be searched again, but for a beginning of the text at its end.
        let text = self.contains.unwrap_or_default();
        let from = self.seen.len().saturating_sub(text.len());
        let room = MOST - self.seen.len();
        self.seen.extend_from_slice(&piece[..piece.len().min(room)]);
        self.found = self.found || contains(&self.seen[from..], text.as_bytes());
        // An expression may be about the end (`$`), so it needs the whole.
        self.seen.len() < MOST && (self.matches.is_some() || !self.found)
    }

    /// The verdict on what came; the error is a clause about `answer`, such as `200 OK`.
    pub(super) async fn judge(self, answer: &str) -> Result<(), ProbeError> {
        let missing = if !self.found {
            format!("does not contain \"{}\"", sanitize(self.contains.unwrap_or_default(), EXCERPT))
        } else if let Some(regex) = self.matches
            && !is_match(regex, &self.seen).await?
        {
            format!("does not match /{}/", sanitize(regex.as_str(), EXCERPT))
        } else {
            return Ok(());
        };
        let body = match self.seen.as_slice() {
            [] => "it is empty".to_owned(),
            seen if seen.len() <= EXCERPT => format!("it is \"{}\"", inert_bytes(seen, EXCERPT)),
            seen => format!("it begins \"{}\"", inert_bytes(seen, EXCERPT)),
        };
        let part = if self.seen.len() < MOST { "body" } else { "body's first MiB" };
        Err(ProbeError::target(format!("{answer} but the {part} {missing}; {body}")))
    }
}

async fn is_match(regex: &Regex, body: &[u8]) -> Result<bool, ProbeError> {
    if body.len() <= ON_THE_SPOT {
        return Ok(regex.is_match(&String::from_utf8_lossy(body)));
    }
    let (regex, body) = (regex.clone(), body.to_vec());
    tokio::task::spawn_blocking(move || regex.is_match(&String::from_utf8_lossy(&body)))
        .await
        .map_err(|_| ProbeError::local("the body could not be matched"))
}
