//! What the core is told of holds, and what it answers. Values only.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::CheckName;
use crate::unit::UnitName;

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

/// What the core is told of holds.
#[derive(Clone, Debug)]
pub enum HoldEvent {
    /// Somebody wants one; answered by [`HoldAction::Granted`] or [`HoldAction::Refused`].
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
    /// After a restart of the daemon: the holds whose leases came through it. Those that are remembered besides have lost
    /// theirs meanwhile, and end.
    Kept(BTreeSet<HoldId>),
}

/// Why a hold is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HowEnded {
    /// Its holder said that the command has ended.
    Done,
    /// Its lease closed without a word: whoever had it was killed.
    Gone,
    /// An operator ended it.
    Released,
    /// Its time ran out.
    Expired,
    /// Its lease did not come through a restart of the daemon.
    Lost,
    /// The configuration names the unit no more.
    Unguarded,
}

impl HowEnded {
    /// As a clause.
    #[must_use]
    pub fn clause(self) -> &'static str {
        match self {
            Self::Done => "the command has ended",
            Self::Gone => "its holder is gone without a word",
            Self::Released => "an operator released it",
            Self::Expired => "its time has run out, and its command may still run",
            Self::Lost => "its lease did not come through a restart of stealthcheck",
            Self::Unguarded => "the configuration names the unit no more, so nothing here starts it again",
        }
    }
}

/// What the core wants done about holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldAction {
    /// Hand out the lease; [`HoldEvent::End`] tells when it is closed.
    Granted {
        /// The hold.
        id: HoldId,
        /// The checks that are left alone for it, in name order; there is one at least.
        checks: Vec<CheckName>,
    },
    /// There is no hold.
    Refused {
        /// The hold that was asked for.
        id: HoldId,
        /// A sentence for whoever asked.
        why: String,
    },
    /// The hold is over: let go of its lease.
    Over(HoldId),
}
