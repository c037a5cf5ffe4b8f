//! What was decided is kept: the state is saved before anything is done, and again when a disk that refused does no
//! more.

use std::time::Duration;

use super::{Supervisor, clock};
use crate::journal;

impl Supervisor {
    pub(super) async fn save(&mut self, patience: Duration) {
        let Some(file) = &mut self.state else { return };
        let mut saved = self.engine.save(clock::now(), &clock::name(&self.boot));
        saved.notified_rejection = self.notified_rejection;
        file.save(&saved, patience).await;
        self.look_at_state();
    }

    /// Tells of a disk that refuses, and of one that does so no more.
    fn look_at_state(&mut self) {
        let Some(file) = &self.state else { return };
        let trouble = file.trouble();
        match (&self.alerts.state, &trouble) {
            (None, Some(why)) => journal::log_trouble(why),
            (Some(_), None) => journal::log_relief("the state can be written again"),
            _ => {}
        }
        self.alerts.state = trouble;
    }

    /// What the disk did not take is offered again, also where nothing new has happened.
    pub(super) fn try_again(&mut self) {
        self.look_at_state();
        self.dirty |= self.state.is_some() && self.alerts.state.is_some();
    }
}
