//! The decisions about one check, for `stealthctl why` (rule 16). An ordinary probe leaves no entry.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::status::{Decision, Topic};
use crate::time::Now;

/// Entries that are kept: some hours of an incident, as attempts are five minutes apart in the end.
const ENTRIES: usize = 24;

/// The decisions, the latest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct DecisionLog(VecDeque<Decision>);

impl DecisionLog {
    /// Adds a decision, or counts that it was taken once more.
    pub fn add(&mut self, now: Now, topic: Topic, text: String) {
        if let Some(last) = self.0.back_mut()
            && last.topic == topic
            && last.text == text
        {
            last.last = now.wall;
            last.count = last.count.saturating_add(1);
            return;
        }
        if self.0.len() >= ENTRIES {
            self.0.pop_front();
        }
        self.0.push_back(Decision { topic, text, first: now.wall, last: now.wall, count: 1 });
    }

    pub fn all(&self) -> Vec<Decision> {
        self.0.iter().cloned().collect()
    }
}
