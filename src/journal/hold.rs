//! What is said of holds: each entry is about the unit, whatever number of checks speaks for it. Pure.

use super::entry::{Entry, Priority, at};
use super::ids;
use crate::engine::hold::{Holder, HowEnded};
use crate::time::Wall;
use crate::unit::JobResult;

/// Somebody has a hold.
pub(super) fn taken(unit: &str, holder: &Holder, until: Wall) -> Entry {
    let Holder { who, why } = holder;
    let until = at(until);
    Entry {
        id: Some(ids::HOLD_TAKEN),
        reason: Some(format!("{who}: {why}")),
        until: Some(until.clone()),
        ..Entry::new(Priority::Notice, format!("{unit} is held by {who} until {until} at the latest: {why}"))
    }
}

/// A hold is over.
pub(super) fn over(unit: &str, holder: &Holder, how: HowEnded) -> Entry {
    let priority = match how {
        HowEnded::Done | HowEnded::Gone | HowEnded::Released => Priority::Notice,
        HowEnded::Expired | HowEnded::Lost | HowEnded::NotMonitored => Priority::Warning,
    };
    let how = how.clause();
    Entry {
        id: Some(ids::HOLD_OVER),
        reason: Some(how.to_owned()),
        ..Entry::new(priority, format!("the hold of {} on {unit} has ended: {how}", holder.who))
    }
}

/// systemd was asked to start the unit.
pub(super) fn start_asked(unit: &str, holder: &Holder) -> Entry {
    let message = format!("requested start of {unit} after the hold of {}", holder.who);
    Entry { id: Some(ids::HOLD_START_ASKED), ..Entry::new(Priority::Notice, message) }
}

/// The start has ended.
pub(super) fn start_ended(unit: &str, result: &JobResult) -> Entry {
    let priority = match result {
        JobResult::Done => Priority::Info,
        JobResult::Refused(_) | JobResult::Unasked(_) => Priority::Err,
        JobResult::Withdrawn(_) => Priority::Notice,
        _ => Priority::Warning,
    };
    Entry {
        id: Some(ids::HOLD_START_ENDED),
        result: Some(result.to_string()),
        ..Entry::new(priority, format!("the start of {unit} after a hold ended: {result}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_reads_as_a_story() {
        let holder = Holder { who: "root (pid 7)".into(), why: "certbot renew".into() };
        let taken = taken("web.service", &holder, Wall(1_795_345_200_000));
        assert!(
            taken.message.starts_with("web.service is held by root (pid 7) until 2026-11-22"),
            "{taken:?}"
        );
        assert!(taken.message.ends_with(": certbot renew"), "{taken:?}");
        let gone = over("web.service", &holder, HowEnded::Gone);
        let says =
            "the hold of root (pid 7) on web.service has ended: the holder exited without releasing it";
        assert_eq!((gone.message.as_str(), gone.priority), (says, Priority::Notice));
        assert_eq!(over("web.service", &holder, HowEnded::Expired).priority, Priority::Warning);
        let asked = start_asked("web.service", &holder).message;
        assert_eq!(asked, "requested start of web.service after the hold of root (pid 7)");
        let refused = start_ended("web.service", &JobResult::Refused("no".into()));
        assert_eq!(refused.message, "the start of web.service after a hold ended: rejected by systemd: no");
        assert_eq!(refused.priority, Priority::Err);
    }
}
