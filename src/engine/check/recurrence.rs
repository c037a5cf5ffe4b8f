//! How often a check has incidents: their ids, flapping, and for how long a recovery must hold (rule 13).

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Incident;
use crate::time::{Mono, Now};

/// Incidents are counted over this time for [`FLAPPING_INCIDENTS`].
const FLAPPING_WINDOW: Duration = Duration::from_secs(3600);

/// More incidents than this within [`FLAPPING_WINDOW`] are flapping (rule 13).
const FLAPPING_INCIDENTS: usize = 6;

/// A flapping check must pass for this long until its incident closes.
const FLAPPING_STABLE: Duration = Duration::from_secs(600);

/// A recovery must hold for this long after the first incident of an hour; twice as long after each further one (rule 13).
/// Supervisor's `startsecs` is of this order.
const PROVING: Duration = Duration::from_secs(10);

/// The incidents of one check. They survive a restart of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Recurrence {
    /// When the incidents of the last hour opened.
    openings: VecDeque<Mono>,
    /// The wall-clock second in the latest incident's id.
    last_incident: i64,
}

impl Recurrence {
    /// The second for the next incident's id: of the wall clock, counted up where that is taken.
    pub fn next_second(&mut self, now: Now) -> i64 {
        self.last_incident = now.wall.0.div_euclid(1000).max(self.last_incident.saturating_add(1));
        self.last_incident
    }

    /// An incident opens. Returns how many there were within the hour where that is flapping.
    pub fn record(&mut self, now: Mono) -> Option<usize> {
        while self.openings.front().is_some_and(|first| now.since(*first) > FLAPPING_WINDOW) {
            self.openings.pop_front();
        }
        self.openings.push_back(now);
        let recent = self.openings.len();
        (recent > FLAPPING_INCIDENTS).then_some(recent)
    }

    /// For how long a recovery must hold until `incident`, which is open, closes. `longest`: the check's longest backoff.
    pub fn proving_time(&self, incident: Option<&Incident>, now: Mono, longest: Duration) -> Duration {
        if incident.is_some_and(|incident| incident.flapping().is_some()) {
            return FLAPPING_STABLE;
        }
        // (It does not become shorter while an incident lasts.)
        let opened = incident.map_or(now, Incident::opened);
        let recent = self.openings.iter().filter(|at| opened.since(**at) <= FLAPPING_WINDOW).count();
        let doublings = u32::try_from(recent.saturating_sub(1)).unwrap_or(u32::MAX).min(8);
        PROVING.saturating_mul(1 << doublings).min(longest.max(PROVING))
    }

    /// The same for the check on another unit: only the ids continue.
    pub fn moved(&self) -> Self {
        Self { openings: VecDeque::new(), last_incident: self.last_incident }
    }
}
