//! Who is told what, and in which order (DESIGN.md §6).

use stealthcheck::notice::{HostNotice, HostNoticeKind, Notice, NoticeKind};

use crate::post::GLOBAL;
use crate::sim::Sim;

impl Sim {
    /// Nobody is told of a check that is paused or held. (What closes a thread that was begun may come at any time.)
    pub fn nobody_is_told_of_what_is_left_alone(&self, notice: &Notice) {
        if notice.kind.is_last() || self.is_asked_again(notice) {
            return;
        }
        let unit = self.unit_of(&notice.check);
        if let Some((id, unit)) = self.rules.leases.iter().find(|(_, held)| Some(*held) == unit.as_ref()) {
            let what = format!("{} of {unit}, held by {id}", notice.id);
            self.broken("nobody is told of a held unit", &what);
        }
        let paused = self.rules.checks.get(&notice.check).and_then(|book| book.paused);
        if paused.is_some_and(|until| until > self.mono) {
            self.broken("nobody is told of a paused check", &notice.id.to_string());
        }
    }

    /// After a restart of the daemon: what may not be in the spool yet.
    fn is_asked_again(&self, notice: &Notice) -> bool {
        self.rules.asked.contains_key(&notice.id)
    }

    /// Numbers count up; the first opens, and one that closes is the last; reminders keep their distance; nobody is told
    /// before `alert.after`, or at all where alerts are off.
    pub fn notices_come_in_order(&mut self, notice: &Notice) {
        if self.is_asked_again(notice) {
            return;
        }
        self.rules.stats.notices += 1;
        let now = self.mono;
        let Some(check) = self.check(&notice.check).cloned() else {
            self.broken("notices are of checks", &notice.id.to_string())
        };
        let thread = self.rules.threads.entry(notice.id.incident.clone()).or_default().clone();
        let broken = |rule: &str| self.broken(rule, &format!("{} ({})", notice.id, notice.kind));
        if check.alert.off || notice.to.is_empty() {
            broken("nobody is told where alerts are off");
        }
        if notice.id.number != thread.count + 1 {
            broken("numbers count up");
        }
        let opens = matches!(notice.kind, NoticeKind::Down | NoticeKind::Unmeasured);
        if opens != (notice.id.number == 1) {
            broken("one opening notice, the first");
        }
        if thread.closed {
            broken("nothing follows the closing notice");
        }
        if matches!(notice.kind, NoticeKind::StillDown | NoticeKind::StillUnmeasured) && !thread.disturbed {
            let gap = now.since(thread.last);
            if check.alert.remind.is_none_or(|remind| gap < remind) {
                broken("reminders keep their distance");
            }
        }
        if notice.kind == NoticeKind::Down && !thread.disturbed {
            let opened = self.rules.checks.get(&notice.check).map_or(now, |book| book.opened);
            if now.since(opened) < check.alert.after {
                broken("nobody is told before alert.after");
            }
        }
        let thread = self.rules.threads.entry(notice.id.incident.clone()).or_default();
        (thread.count, thread.last) = (notice.id.number, now);
        thread.closed |= notice.kind.is_last();
        let to = notice.to.iter().map(ToString::to_string).collect();
        self.rules.asked.insert(notice.id.clone(), to);
    }

    /// The same of a storm's thread.
    pub fn notices_of_the_machine_come_in_order(&mut self, notice: &HostNotice) {
        if self.rules.asked.contains_key(&notice.id) {
            return;
        }
        self.rules.stats.notices += 1;
        let thread = self.rules.threads.entry(notice.id.incident.clone()).or_default().clone();
        let broken = |rule: &str| self.broken(rule, &format!("{} ({:?})", notice.id, notice.kind));
        if notice.id.number != thread.count + 1 {
            broken("numbers count up");
        }
        if (notice.kind == HostNoticeKind::Storm) != (notice.id.number == 1) {
            broken("one opening notice, the first");
        }
        if thread.closed {
            broken("nothing follows the closing notice");
        }
        let now = self.mono;
        let thread = self.rules.threads.entry(notice.id.incident.clone()).or_default();
        (thread.count, thread.last) = (notice.id.number, now);
        thread.closed |= notice.kind == HostNoticeKind::StormOver;
        let mut to = vec![GLOBAL.to_owned()];
        to.extend(notice.to.iter().map(ToString::to_string).filter(|address| address != GLOBAL));
        self.rules.asked.insert(notice.id.clone(), to);
    }
}
