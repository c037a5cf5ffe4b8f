//! The latest observations of a check, equal ones in a row as one entry.

use crate::time::Now;
use crate::verdict::{Observation, Seen};

/// Entries that are kept. Successes are dropped before failures are.
const ENTRIES: usize = 8;

/// The observations of one check, oldest first.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct History(Vec<Seen>);

impl History {
    /// Adds an observation.
    pub fn record(&mut self, now: Now, observation: Observation) {
        if let Some(last) = self.0.last_mut()
            && last.observation.same_as(&observation)
        {
            last.observation = observation;
            last.last = now.wall;
            last.count += 1;
            return;
        }
        if self.0.len() >= ENTRIES {
            let passing = |seen: &Seen| matches!(seen.observation, Observation::Passing { .. });
            let oldest = self.0.iter().position(passing).unwrap_or(0);
            self.0.remove(oldest);
        }
        self.0.push(Seen { observation, first: now.wall, last: now.wall, count: 1 });
    }

    /// The latest observation.
    pub fn last(&self) -> Option<&Seen> {
        self.0.last()
    }

    /// All of them.
    pub fn all(&self) -> &[Seen] {
        &self.0
    }

    /// The latest observation was a pass.
    pub fn passed_last(&self) -> bool {
        self.last().is_some_and(|seen| matches!(seen.observation, Observation::Passing { .. }))
    }

    /// The latest observation was a failure of the target.
    pub fn failed_last(&self) -> bool {
        self.last().is_some_and(|seen| {
            matches!(seen.observation, Observation::Failing { .. } | Observation::NotRestartable { .. })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn history_full_drops_successes_first() {
        let mut history = History::default();
        history.record(Now::default(), Observation::Failing { reason: "first".into() });
        for i in 0..40_u32 {
            let detail = if i % 4 < 2 { "200 OK" } else { "204 No Content" };
            let observation = Observation::Passing { detail: detail.into(), latency: Duration::ZERO };
            history.record(Now::default(), observation);
        }
        assert_eq!(history.all().len(), ENTRIES);
        assert_eq!(history.all()[0].observation.text(), "first");
        assert_eq!(history.last().map(|seen| seen.count), Some(2));
    }
}
