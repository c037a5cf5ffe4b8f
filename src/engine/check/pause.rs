//! A pause by an operator: it has an end, and survives a restart of the daemon (rule 11).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Mono, Now, Wall};

/// A pause that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Pause {
    ends: Mono,
    until: Wall,
}

impl Pause {
    pub fn begin(now: Now, lasting: Duration) -> Self {
        Self { ends: now.mono.after(lasting), until: now.wall.after(lasting) }
    }

    /// When it ends, on both clocks: the wall clock may have been set since it began.
    pub fn ends(&self, now: Now) -> (Mono, Wall) {
        (self.ends, now.still(self.until, self.ends))
    }

    pub fn is_over(&self, now: Mono) -> bool {
        self.ends <= now
    }
}
