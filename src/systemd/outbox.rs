//! What is to be told to the supervisor and has not been taken yet.
//!
//! So that a slow supervisor never stops the reading of the bus (both would wait for each other), and a state that is
//! overtaken by a newer one is not told any more: at most one entry a unit, whatever happens. No I/O.

use std::collections::VecDeque;

use super::Happening;

/// In the order of happening.
#[derive(Debug, Default)]
pub(super) struct Outbox(VecDeque<Happening>);

impl Outbox {
    pub fn push(&mut self, happening: Happening) {
        self.0.retain(|earlier| !overtakes(&happening, earlier));
        self.0.push_back(happening);
    }

    pub fn pop(&mut self) -> Option<Happening> {
        self.0.pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn overtakes(new: &Happening, earlier: &Happening) -> bool {
    match (new, earlier) {
        (Happening::Unit { unit: new, .. }, Happening::Unit { unit: earlier, .. }) => new == earlier,
        (Happening::Manager(_), Happening::Manager(_)) => true,
        _ => false,
    }
}
