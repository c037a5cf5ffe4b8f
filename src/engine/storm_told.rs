//! The mails about a storm: one thread for the machine, in place of one for each check (DESIGN: rule 14).
//!
//! In: the storm that is on, and how its checks are. Out: notices about the host, when the first of its checks would have
//! been told of, again while it lasts, and when it is over. A storm that nobody was told of ends in silence.

use std::sync::Arc;

use super::Engine;
use super::event::Action;
use super::incident::TELL_WITHIN;
use super::state::CheckState;
use super::storm::{LASTS, Storm};
use crate::notice::{HostNotice, HostNoticeKind, NoticeId, StormCheck};
use crate::time::{Mono, Now};

impl Engine {
    /// When the next notice of the storm that is on is due; `None`: never, as things are.
    pub(super) fn storm_notice_due(&self) -> Option<Mono> {
        let storm = self.brake.storm.as_ref()?;
        let heard = || self.storm_members(storm).filter(|state| !state.check.alert.is_silent());
        if storm.asked == 0 {
            let due = heard().filter_map(first_due).min()?;
            return Some(due.max(storm.opened.after(TELL_WITHIN)));
        }
        let remind = heard().filter_map(|state| state.check.alert.remind).min()?;
        Some(storm.last_told.after(if storm.asked == 1 { remind.min(LASTS) } else { remind }))
    }

    /// Asks for the notice of the storm that is due, if one is.
    pub(super) fn tell_storm(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.storm_notice_due().is_none_or(|due| due > now.mono) {
            return;
        }
        let first = self.brake.storm.as_ref().is_some_and(|storm| storm.asked == 0);
        let kind = if first { HostNoticeKind::Storm } else { HostNoticeKind::StillStorm };
        self.notify_host(now, kind, out);
    }

    /// Asks for the closing notice, if anybody was told.
    pub(super) fn tell_storm_over(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.brake.storm.as_ref().is_some_and(|storm| storm.asked > 0) {
            self.notify_host(now, HostNoticeKind::StormOver, out);
        }
    }

    fn notify_host(&mut self, now: Now, kind: HostNoticeKind, out: &mut Vec<Action>) {
        let Some(storm) = &self.brake.storm else { return };
        let checks: Vec<StormCheck> =
            self.storm_members(storm).map(|state| self.storm_check(now, state)).collect();
        let to: Vec<Arc<str>> = self
            .storm_members(storm)
            .filter(|state| !state.check.alert.is_silent())
            .flat_map(|state| state.check.alert.to.clone())
            .collect();
        let total = self.checks.len();
        let Some(storm) = &mut self.brake.storm else { return };
        if storm.asked == 0 {
            storm.told = (checks.len(), total);
        }
        storm.to.extend(to);
        storm.asked = storm.asked.saturating_add(1);
        storm.last_told = now.mono;
        let notice = HostNotice {
            id: NoticeId { incident: storm.id.clone(), number: storm.asked },
            kind,
            to: storm.to.iter().cloned().collect(),
            at: now.wall,
            since: storm.since,
            affected: storm.told.0,
            total: storm.told.1,
            checks,
        };
        self.pending_host.insert(notice.id.clone(), notice.clone());
        out.push(Action::NotifyHost(Box::new(notice)));
    }

    fn storm_members<'a>(&'a self, storm: &'a Storm) -> impl Iterator<Item = &'a CheckState> {
        storm.members.keys().filter_map(|name| self.checks.get(name))
    }

    fn storm_check(&self, now: Now, state: &CheckState) -> StormCheck {
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let last = state.history.last();
        StormCheck {
            name: state.check.name.clone(),
            health: state.health(now, watch),
            seen: last.map_or_else(String::new, |seen| seen.observation.text().to_owned()),
            to_be_recovered: state.bad.is_some() && !state.check.recovery.ladder.is_empty(),
        }
    }
}

/// When somebody would be told of this check, were it alone.
fn first_due(state: &CheckState) -> Option<Mono> {
    match &state.incident {
        Some(incident) => Some(incident.opened.after(state.check.alert.after)),
        None => state.unmeasured_due(),
    }
}
