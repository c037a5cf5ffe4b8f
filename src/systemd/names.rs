//! systemd's strings for states, jobs and results, and the paths of its objects on the bus. Pure.
//!
//! The strings are those of the tables in systemd's src/basic/unit-def.c and src/core/job.c.

use crate::text::bus_label;
use crate::unit::{ActiveState, JobKind, JobResult, LoadState, ManagerState};

pub(super) fn load_state(word: &str) -> LoadState {
    match word {
        "loaded" => LoadState::Loaded,
        "not-found" => LoadState::NotFound,
        "masked" => LoadState::Masked,
        "bad-setting" => LoadState::BadSetting,
        "error" => LoadState::Error,
        _ => LoadState::Other,
    }
}

/// `refreshing` is of systemd 257. `maintenance` is what systemd calls a unit that is inactive while `systemctl clean` works
/// on it: what stopped it before stopped it still.
pub(super) fn active_state(word: &str) -> ActiveState {
    match word {
        "active" => ActiveState::Active,
        "reloading" | "refreshing" => ActiveState::Reloading,
        "inactive" | "maintenance" => ActiveState::Inactive,
        "failed" => ActiveState::Failed,
        "activating" => ActiveState::Activating,
        "deactivating" => ActiveState::Deactivating,
        _ => ActiveState::Other,
    }
}

/// `FreezerState`: `freezing`, `frozen`, and since systemd 256 `freezing-by-parent`, `frozen-by-parent`.
pub(super) fn is_frozen(word: &str) -> bool {
    word.starts_with("freezing") || word.starts_with("frozen")
}

pub(super) fn job_kind(word: &str) -> JobKind {
    match word {
        "start" => JobKind::Start,
        "stop" => JobKind::Stop,
        "restart" => JobKind::Restart,
        "reload" => JobKind::Reload,
        _ => JobKind::Other,
    }
}

pub(super) fn job_result(word: &str) -> JobResult {
    match word {
        "done" => JobResult::Done,
        "failed" => JobResult::Failed,
        "timeout" => JobResult::Timeout,
        "canceled" => JobResult::Canceled,
        "dependency" => JobResult::Dependency,
        "skipped" => JobResult::Skipped,
        other => JobResult::Other(other.to_owned()),
    }
}

pub(super) fn manager_state(word: &str) -> ManagerState {
    match word {
        "initializing" | "starting" => ManagerState::Starting,
        "stopping" => ManagerState::Stopping,
        _ => ManagerState::Running,
    }
}

/// The parent of all units' objects.
pub(super) const UNIT_PATHS: &str = "/org/freedesktop/systemd1/unit";

/// The object of the unit with this name. The path of an alias can be read as well, but signals come from the path of the
/// primary name only.
pub(super) fn unit_path(name: &str) -> String {
    format!("{UNIT_PATHS}/{}", bus_label(name))
}

/// The object of a job.
pub(super) fn job_path(id: u32) -> String {
    format!("/org/freedesktop/systemd1/job/{id}")
}

/// The job's number, from its object's path.
pub(super) fn job_id(path: &str) -> Option<u32> {
    path.rsplit('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_is_cleaned_is_inactive() {
        assert_eq!(active_state("maintenance"), ActiveState::Inactive);
    }

    #[test]
    fn unit_paths_are_escaped_as_systemd_does() {
        for (name, end) in [
            ("fibridge.service", "fibridge_2eservice"),
            ("dbus-broker.service", "dbus_2dbroker_2eservice"),
            ("1up@a\\x2db.service", "_31up_40a_5cx2db_2eservice"),
        ] {
            assert_eq!(unit_path(name), format!("{UNIT_PATHS}/{end}"));
        }
    }

    #[test]
    fn job_path_holds_the_job_number() {
        assert_eq!(job_id(&job_path(7)), Some(7));
        assert_eq!(job_id("/"), None);
    }

    #[test]
    fn frozen_by_a_parent_is_frozen() {
        assert!(["freezing", "frozen", "frozen-by-parent"].into_iter().all(is_frozen));
        assert!(!["running", "thawing", ""].into_iter().any(is_frozen));
    }
}
