//! What the HTTP listener asks, and what it says of its addresses.

use super::Supervisor;
use crate::journal;
use crate::listen::{Question, Report};

impl Supervisor {
    /// Answers a question at once: the answer is the proof that this loop turns over.
    pub(super) fn question(&self, question: Question) {
        match question {
            Question::Alive(reply) => {
                let _ = reply.send(());
            }
            // Whoever asked before this loop stood still for a while has gone, and a report has its price.
            Question::Report(reply) if reply.is_closed() => {}
            Question::Report(reply) => {
                let names: Vec<_> = self.engine.names().cloned().collect();
                let mut status = self.snapshot(&names, false);
                for check in &mut status.checks {
                    // As over the bus: no page shows it, and it is half of the JSON.
                    check.unit_state = None;
                }
                let _ = reply.send(Report { status, counters: self.counters.clone() });
            }
        }
    }

    /// Takes what keeps addresses from being listened on, a sentence each: all there are.
    pub(super) fn unheard(&mut self, troubles: Vec<String>) {
        for trouble in troubles.iter().filter(|trouble| !self.alerts.listen.contains(trouble)) {
            journal::log_trouble(trouble);
        }
        if troubles.is_empty() && !self.alerts.listen.is_empty() {
            journal::log_relief("the HTTP listener listens on all of its addresses");
        }
        self.alerts.listen = troubles;
    }
}
