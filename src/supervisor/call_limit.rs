//! Job calls that meet a limit of the bus or wait for their answer, as another process calls systemd or polkit without end.
//!
//! In: reports of the systemd client, the time. Out: the alert in the status while it lasts, and a line in the journal at
//! its beginning and its end.

use std::time::Duration;

use crate::journal;
use crate::time::Mono;

const ALERT: &str = "A process calls systemd or polkit without end, or polkit hangs: calls of stealthcheck are rejected or \
                     not answered, it repeats them, and recoveries are late. `busctl monitor org.freedesktop.PolicyKit1` \
                     shows who calls, `systemctl status polkit` whether it runs.";

/// The alert ends when no job call has met a limit or waited for so long.
const SHOWN: Duration = Duration::from_secs(60);

/// When a job call last met a limit or was seen to wait; `None`: not within [`SHOWN`].
#[derive(Debug, Default)]
pub(super) struct CallLimit(Option<Mono>);

impl CallLimit {
    /// A job call has met a limit, or waits.
    pub fn meet(&mut self, now: Mono) {
        if self.0.replace(now).is_none() {
            journal::log_trouble(ALERT);
        }
    }

    /// Ends the alert when it is time.
    pub fn expire(&mut self, now: Mono) {
        if self.0.take_if(|met| now.since(*met) >= SHOWN).is_some() {
            journal::log_relief("systemd and polkit answer stealthcheck again");
        }
    }

    /// What an administrator must know.
    pub fn alert(&self) -> Option<String> {
        self.0.map(|_| ALERT.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alert_ends_a_minute_after_the_last_limit() {
        let at = |seconds| Mono(Duration::from_secs(seconds));
        let mut limit = CallLimit::default();
        assert_eq!(limit.alert(), None);
        limit.meet(at(10));
        limit.meet(at(40));
        limit.expire(at(99));
        assert!(limit.alert().is_some_and(|alert| alert.contains("busctl monitor")));
        limit.expire(at(100));
        assert_eq!(limit.alert(), None);
    }
}
