//! A storm is reported: to the journal when it begins and ends, to people as one thread (rule 14).

use crate::engine::breaker::{Report, Storm, report};
use crate::engine::check::Check;
use crate::engine::group::Group;
use crate::engine::{Change, ChangeKind, Effect, Engine};
use crate::time::Now;

impl Engine {
    /// Reports the storms that began or ended.
    pub(in crate::engine) fn report_storms(&mut self, now: Now, out: &mut Vec<Effect>) {
        for one in self.breaker.take_reports() {
            let (id, what) = match one {
                Report::Began { id, checks, of } => (id, ChangeKind::StormBegan { checks, of }),
                Report::Over { mut storm, passing, failing } => {
                    if storm.is_notified() {
                        let members = self.members(&storm);
                        let last = report::notification(now, &mut storm, &members, self.index.len(), true);
                        self.outbox.add_host(last, out);
                    }
                    (storm.id().clone(), ChangeKind::StormOver { since: storm.since(), passing, failing })
                }
            };
            out.push(Effect::Changed(Change { check: None, unit: None, incident: Some(id), what }));
        }
    }

    /// Requests the notification of the storm that is due.
    pub(in crate::engine) fn notify_storm(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.storm_due = None;
        let Some(mut storm) = self.breaker.storm().cloned() else { return };
        let members = self.members(&storm);
        let due = report::due(&storm, &members);
        if due.is_some_and(|at| at <= now.mono) {
            let notification = report::notification(now, &mut storm, &members, self.index.len(), false);
            self.storm_due = report::due(&storm, &members).filter(|at| *at > now.mono);
            self.outbox.add_host(notification, out);
            if let Some(on) = self.breaker.storm_mut() {
                *on = storm;
            }
        } else {
            self.storm_due = due;
        }
    }

    fn members(&self, storm: &Storm) -> Vec<(&Group, &Check)> {
        let found = storm.members().filter_map(|name| {
            let group = self.groups.get(self.index.get(name)?)?;
            Some((group, group.check(name)?))
        });
        found.collect()
    }
}
