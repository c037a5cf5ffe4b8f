//! The reports that the supervisor has not taken yet. Pure.
//!
//! A slow supervisor never stops the reading of the bus: each would wait for the other. A state that a newer one replaces
//! is not reported any more, so there is at most one entry a unit.

use std::collections::VecDeque;

use super::Report;
use crate::engine::Event;

/// In order.
#[derive(Debug, Default)]
pub(super) struct ReportQueue(VecDeque<Report>);

impl ReportQueue {
    pub fn push(&mut self, report: Report) {
        self.0.retain(|earlier| !replaces(&report, earlier));
        self.0.push_back(report);
    }

    pub fn push_event(&mut self, event: Event) {
        self.push(Report::Event(event));
    }

    pub fn pop(&mut self) -> Option<Report> {
        self.0.pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn replaces(new: &Report, earlier: &Report) -> bool {
    let (Report::Event(new), Report::Event(earlier)) = (new, earlier) else {
        return matches!((new, earlier), (Report::CallLimit, Report::CallLimit));
    };
    match (new, earlier) {
        (Event::UnitRead { unit: new, .. }, Event::UnitRead { unit: earlier, .. }) => new == earlier,
        (Event::ManagerChanged(_), Event::ManagerChanged(_)) => true,
        _ => false,
    }
}
