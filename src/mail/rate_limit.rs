//! How fast mails go to one recipient: more than ten in a minute become one digest.
//!
//! In: which mails a recipient got, and when. Out: whether the next goes alone, waits, or goes with all that wait.
//! Pure: no files, no network, no clock but the `now` it is given. It knows neither emails nor their order.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::time::Mono;

/// The most notifications in a digest: it stays a mail that every server takes, with room for a few lines on each.
pub const DIGEST_MOST: usize = 400;

/// So many mails in so long are mails; from then on what waits is collected until that time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// At least 1.
    pub mails: usize,
    /// Counted from the first of them.
    pub within: Duration,
}

impl Default for Limit {
    fn default() -> Self {
        Self { mails: 10, within: Duration::from_mins(1) }
    }
}

/// What may be sent to a recipient now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A mail.
    Single,
    /// Nothing before then.
    Wait(Mono),
    /// All that waits, at most so many, as one mail.
    Together(usize),
}

/// The pace of all recipients.
#[derive(Debug, Default)]
pub struct RateLimit {
    limit: Limit,
    /// By recipient: when the latest were accepted, at most as many as the limit has.
    accepted: HashMap<String, VecDeque<Mono>>,
    /// Recipients for whom mails are collected.
    collecting: HashMap<String, Collecting>,
}

#[derive(Clone, Copy, Debug)]
struct Collecting {
    until: Mono,
    /// So many may stand in one digest: fewer where the server refused a larger one.
    most: usize,
}

impl RateLimit {
    /// Nobody has got anything yet.
    #[must_use]
    pub fn new(limit: Limit) -> Self {
        Self { limit, ..Self::default() }
    }

    /// What may be sent to `to` now.
    #[must_use]
    pub fn turn(&self, to: &str, now: Mono) -> Turn {
        match self.collecting.get(to) {
            None => Turn::Single,
            Some(collecting) if collecting.until > now => Turn::Wait(collecting.until),
            Some(collecting) => Turn::Together(collecting.most),
        }
    }

    /// The server has accepted so many notifications for `to`, in one mail or as one. All of them count: who has just
    /// had a hundred in a digest is not sent ten more one by one.
    pub fn accepted(&mut self, to: &str, now: Mono, notifications: usize) {
        let Limit { mails, within } = self.limit;
        let latest = self.accepted.entry(to.to_owned()).or_default();
        for _ in 0..notifications.min(mails) {
            latest.push_back(now);
        }
        while latest.len() > mails || latest.front().is_some_and(|at| now.since(*at) >= within) {
            latest.pop_front();
        }
        let first = latest.front().copied().filter(|_| latest.len() >= mails);
        match first {
            Some(first) => {
                let most = self.collecting.get(to).map_or(DIGEST_MOST, |collecting| collecting.most);
                self.collecting.insert(to.to_owned(), Collecting { until: first.after(within), most });
            }
            None => {
                self.collecting.remove(to);
            }
        }
        // Who has had nothing for long is as one who never had anything.
        self.accepted.retain(|_, latest| latest.back().is_some_and(|at| now.since(*at) < within));
    }

    /// The server did not take a digest for `to`: the next is half as long, in the end a mail for each notification.
    pub fn too_long(&mut self, to: &str, notifications: usize) {
        if let Some(collecting) = self.collecting.get_mut(to)
            && notifications > 1
        {
            collecting.most = notifications / 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Mono {
        Mono(Duration::from_secs(secs))
    }

    #[test]
    fn ten_go_at_once_and_the_rest_when_the_minute_is_over() {
        let mut rate_limit = RateLimit::default();
        for n in 0..10 {
            assert_eq!(rate_limit.turn("x", at(100 + n)), Turn::Single);
            rate_limit.accepted("x", at(100 + n), 1);
        }
        assert_eq!(rate_limit.turn("x", at(110)), Turn::Wait(at(160)));
        assert_eq!(rate_limit.turn("y", at(110)), Turn::Single, "another recipient is not concerned");
        assert_eq!(rate_limit.turn("x", at(160)), Turn::Together(DIGEST_MOST));
    }

    #[test]
    fn who_has_had_a_long_digest_gets_the_next_a_minute_later_and_who_had_a_short_one_mails_again() {
        let mut rate_limit = RateLimit::default();
        rate_limit.accepted("x", at(0), 10);
        rate_limit.accepted("x", at(60), 190);
        assert_eq!(rate_limit.turn("x", at(61)), Turn::Wait(at(120)));
        rate_limit.accepted("x", at(120), 2);
        assert_eq!(rate_limit.turn("x", at(121)), Turn::Single);
    }

    #[test]
    fn ten_in_more_than_a_minute_are_ten_mails() {
        let mut rate_limit = RateLimit::default();
        for n in 0..100 {
            assert_eq!(rate_limit.turn("x", at(n * 7)), Turn::Single, "{n}");
            rate_limit.accepted("x", at(n * 7), 1);
        }
    }

    #[test]
    fn one_after_a_long_silence_is_a_mail() {
        let mut rate_limit = RateLimit::default();
        rate_limit.accepted("x", at(0), 10);
        assert_eq!(rate_limit.turn("x", at(9000)), Turn::Together(DIGEST_MOST), "whatever waits by then");
        rate_limit.accepted("x", at(9000), 1);
        assert_eq!(rate_limit.turn("x", at(9000)), Turn::Single);
    }

    #[test]
    fn a_digest_that_is_refused_gets_shorter() {
        let mut rate_limit = RateLimit::default();
        rate_limit.accepted("x", at(0), 10);
        rate_limit.too_long("x", 190);
        assert_eq!(rate_limit.turn("x", at(60)), Turn::Together(95));
        for _ in 0..9 {
            let Turn::Together(most) = rate_limit.turn("x", at(60)) else { panic!() };
            rate_limit.too_long("x", most);
        }
        // A mail of one notification that is refused is a mail like any other.
        assert_eq!(rate_limit.turn("x", at(60)), Turn::Together(1));
    }
}
