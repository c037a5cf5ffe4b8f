//! The vocabulary of holds: events, effects and who has one. Values only.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::CheckName;
use crate::unit::UnitName;

/// At most this many holds at once. Each has a descriptor in the service manager's store, which `FileDescriptorStoreMax=`
/// of the unit file bounds (64).
pub const MOST_HOLDS: usize = 32;

/// The id of a hold, unique among those that there are. It names the lease in the service manager's store (`FDNAME=`), so
/// it has no colon and no control character.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HoldId(pub Arc<str>);

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who has a hold and what for, in the holder's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// `root (pid 4711)`.
    pub who: Arc<str>,
    /// The command: `certbot renew`.
    pub why: Arc<str>,
}

/// What happens to holds.
#[derive(Clone, Debug)]
pub enum HoldEvent {
    /// A hold is requested; answered by [`HoldAction::Granted`] or [`HoldAction::Refused`].
    Take {
        /// The id that it is to have.
        id: HoldId,
        /// The unit.
        unit: UnitName,
        /// Who, and what for.
        holder: Holder,
        /// It ends after this long at the latest.
        lasting: Duration,
    },
    /// It is over.
    End(HoldId, HowEnded),
    /// After a restart of the daemon: the holds whose leases survived it. Any other remembered hold has lost its lease and
    /// ends.
    Kept(BTreeSet<HoldId>),
}

/// Why a hold is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HowEnded {
    /// Its holder said that the command has ended.
    Done,
    /// Its lease closed without a release: the holder was killed.
    Gone,
    /// An operator ended it.
    Released,
    /// Its time ran out.
    Expired,
    /// Its lease did not come through a restart of the daemon.
    Lost,
    /// The configuration no longer names the unit.
    NotMonitored,
}

impl HowEnded {
    /// As a clause.
    #[must_use]
    pub fn clause(self) -> &'static str {
        match self {
            Self::Done => "the command has ended",
            Self::Gone => "the holder exited without releasing it",
            Self::Released => "an operator released it",
            Self::Expired => "its time ran out; its command may still run",
            Self::Lost => "its lease did not come through a restart of stealthcheck",
            Self::NotMonitored => "the unit was removed from the configuration and will not be started",
        }
    }
}

/// What the engine wants done about holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldAction {
    /// Hand out the lease; [`HoldEvent::End`] tells when it is closed.
    Granted {
        /// The hold.
        id: HoldId,
        /// The checks that are suppressed by it, in name order; there is at least one.
        checks: Vec<CheckName>,
    },
    /// There is no hold.
    Refused {
        /// The hold that was requested.
        id: HoldId,
        /// A sentence for the caller.
        why: String,
    },
    /// The hold is over: drop its lease.
    Over(HoldId),
}
