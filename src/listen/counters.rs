//! What has happened since the daemon's start, for rates over time. Values only.
//!
//! In: transitions of the core and deliveries of mail. Out: counts that only grow, as Prometheus wants counters.

use std::collections::BTreeMap;

use crate::check::CheckName;
use crate::engine::{Change, ChangeKind};

/// Counts since the daemon's start.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    checks: BTreeMap<CheckName, OfCheck>,
    /// Mails that the server has accepted.
    pub(super) delivered: u64,
}

/// Those of one check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OfCheck {
    pub incidents: u64,
    pub recoveries: u64,
}

impl Counters {
    /// Counts a transition.
    pub fn changed(&mut self, change: &Change) {
        let Some(check) = &change.check else { return };
        match change.what {
            ChangeKind::IncidentOpened { .. } => self.of(check).incidents += 1,
            ChangeKind::RecoveryRequested { .. } => self.of(check).recoveries += 1,
            _ => {}
        }
    }

    /// Counts a mail that the server has accepted.
    pub fn mail_delivered(&mut self) {
        self.delivered += 1;
    }

    /// Lets go of checks that are no longer configured.
    pub fn retain(&mut self, known: impl Fn(&CheckName) -> bool) {
        self.checks.retain(|check, _| known(check));
    }

    fn of(&mut self, check: &CheckName) -> &mut OfCheck {
        self.checks.entry(check.clone()).or_default()
    }

    pub(super) fn get(&self, check: &CheckName) -> OfCheck {
        self.checks.get(check).copied().unwrap_or_default()
    }
}
