//! The state of a unit as systemd has it, in plain values under systemd's names.
//!
//! The systemd client fills these from D-Bus properties; the core reads them. Nothing here performs I/O.

mod name;
mod relations;
mod settings;
mod usage;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use name::UnitName;
pub use relations::Relations;
pub use settings::{StartLimit, UnitSettings};
pub use usage::UnitUsage;

/// systemd's `LoadState`: whether the unit's file was found and understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadState {
    /// The unit file was read.
    Loaded,
    /// systemd knows no such unit.
    NotFound,
    /// Linked to /dev/null: it must not be started.
    Masked,
    /// The file has a setting that makes it unusable.
    BadSetting,
    /// The file could not be read.
    Error,
    /// Still a stub, merged into another unit, or a state this version does not know.
    Other,
}

/// systemd's `ActiveState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActiveState {
    /// Up.
    Active,
    /// Up and reloading its configuration.
    Reloading,
    /// Not running, and not because of a failure.
    Inactive,
    /// Not running because of a failure.
    Failed,
    /// On the way up (also while systemd waits to restart it: sub state `auto-restart`).
    Activating,
    /// On the way down.
    Deactivating,
    /// A state that this version does not know.
    Other,
}

/// The kind of a systemd job (org.freedesktop.systemd1.Job, `JobType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Start the unit.
    Start,
    /// Stop the unit.
    Stop,
    /// Stop, then start.
    Restart,
    /// Ask the unit to read its configuration again.
    Reload,
    /// `verify-active`, `nop`, `try-…`, or one that was gone before its type could be read.
    Other,
}

/// A job that systemd has queued or is running on a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// systemd's number of the job; 0 where a job is inferred that no signal showed.
    pub id: u32,
    /// What it does.
    pub kind: JobKind,
    /// A request of this daemon's present process queued it. `false` for a job that was on the unit before such a
    /// request, also where systemd then merged both, and for jobs of an earlier process of the daemon.
    #[serde(default)]
    pub ours: bool,
}

/// How a job ended (org.freedesktop.systemd1.Manager, `JobRemoved`), or why there was none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "result", content = "reason")]
pub enum JobResult {
    /// It did what was requested.
    Done,
    /// The unit did not come up (or down).
    Failed,
    /// The job's own time ran out.
    Timeout,
    /// Another job took its place, or an operator cancelled it.
    Canceled,
    /// A unit that this one depends on failed.
    Dependency,
    /// There was nothing to do in the unit's state.
    Skipped,
    /// The unit cannot do that (`invalid`, `assert`, `unsupported`, `collected`, `once`): systemd's name of the result.
    Other(String),
    /// systemd refused to queue a job because the unit cannot do that; with the reason in a sentence.
    Refused(String),
    /// There was no job, for a reason that is not about the unit: systemd, the bus or polkit did not answer or did not
    /// permit it, or it was withheld. With the reason in a sentence.
    Unasked(String),
    /// It was taken back before systemd was asked for it, as an operator came first; with the reason in a clause.
    Withdrawn(String),
    /// It was requested, and its result is not known; with the reason in a sentence.
    Unknown(String),
}

impl JobResult {
    /// The sentence, where the result is none of the unit's doing: another try of the very same is worth as much.
    #[must_use]
    pub fn not_the_units(&self) -> Option<&str> {
        match self {
            Self::Unasked(why) | Self::Unknown(why) => Some(why),
            _ => None,
        }
    }

    /// What came of the job, as a clause that stands for itself.
    #[must_use]
    pub fn clause(&self) -> String {
        match self {
            Self::Refused(_) | Self::Unasked(_) | Self::Withdrawn(_) | Self::Unknown(_) => self.to_string(),
            word => format!("the job's result is {word}"),
        }
    }
}

impl fmt::Display for JobResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Failed => f.write_str("failed"),
            Self::Timeout => f.write_str("timeout"),
            Self::Canceled => f.write_str("canceled"),
            Self::Dependency => f.write_str("dependency"),
            Self::Skipped => f.write_str("skipped"),
            Self::Other(word) => f.write_str(word),
            Self::Refused(reason) => write!(f, "rejected by systemd: {reason}"),
            Self::Unasked(reason) => write!(f, "not requested: {reason}"),
            Self::Withdrawn(reason) => write!(f, "withdrawn: {reason}"),
            Self::Unknown(reason) => f.write_str(reason),
        }
    }
}

/// One reading of a unit's properties (`GetAll`), with what the signals before it showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// Whether the unit's file was found.
    pub load: LoadState,
    /// Up, down or between.
    pub active: ActiveState,
    /// The unit type's finer state: `running`, `exited`, `dead`, `auto-restart`, …
    pub sub: String,
    /// `Result` of a service: `success`, `exit-code`, `signal`, `oom-kill`, `start-limit-hit`, …; empty elsewhere.
    pub result: String,
    /// The job that is queued or running on the unit now.
    pub job: Option<Job>,
    /// The job that took the unit down, or keeps it down: the last one on it counts. Of kind [`JobKind::Stop`] (for
    /// good), [`JobKind::Restart`] (only while the unit is on its way down), or [`JobKind::Other`] (the kind is not
    /// known: to be treated as a stop). `None` when it is up, on its way up, ended by itself, or was down at the first
    /// reading.
    pub stopped_by: Option<Job>,
    /// It is down, and the latest start (or the second half of a restart) was not attempted, as a unit that it requires did
    /// not start (the job's result was `dependency`).
    pub start_dropped: bool,
    /// systemd's 128-bit id of this run of the unit, in hex; empty where the unit never ran.
    pub invocation_id: String,
    /// How often systemd itself has restarted the service (`NRestarts`).
    pub n_restarts: u32,
    /// A service of `Type=oneshot` without `RemainAfterExit=`: inactive after success is its normal state.
    pub oneshot: bool,
    /// Main process of a running service; 0 for none.
    pub main_pid: u32,
    /// Exit code or signal number of the last main process (`ExecMainStatus`).
    pub exit_status: i32,
    /// `ExecMainCode`: how the last main process ended (CLD_EXITED = 1, CLD_KILLED = 2, CLD_DUMPED = 3; 0 = not yet).
    pub exit_code: i32,
    /// When it last became inactive or failed, microseconds since 1970 by systemd's clock; 0 for never.
    pub inactive_enter_usec: u64,
    /// When it last became active, likewise; 0 for never.
    pub active_enter_usec: u64,
    /// When it last changed state at all, likewise.
    pub state_change_usec: u64,
    /// When it last left `inactive` or `failed`, likewise: the beginning of its latest run.
    #[serde(default)]
    pub inactive_exit_usec: u64,
    /// When it last left `active`, likewise: the beginning of the stop that followed.
    #[serde(default)]
    pub active_exit_usec: u64,
    /// When the service's main process last ended (`ExecMainExitTimestamp`), likewise.
    #[serde(default)]
    pub main_exit_usec: u64,
    /// Its latest run that was seen to end otherwise than in `failed`, likewise. Taken from the signals, since systemd
    /// forgets a unit that nothing refers to in the moment in which it ends; 0 where no end was seen.
    #[serde(default)]
    pub seen_ended_usec: u64,
    /// How many starts the signals have shown since the unit is watched. A reading shows the latest alone.
    #[serde(default)]
    pub starts_seen: u32,
    /// How many of its runs signals and readings have shown to end in `failed` otherwise than by a job, likewise.
    #[serde(default)]
    pub failures_seen: u32,
    /// What a timer, path or socket triggers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggers: Option<UnitName>,
    /// When a timer last elapsed, likewise; 0 for never.
    #[serde(default)]
    pub last_trigger_usec: u64,
    /// The unit's own description.
    pub description: String,
    /// `FreezerState` is `frozen` or on its way there (`systemctl freeze`).
    #[serde(default)]
    pub frozen: bool,
    /// systemd skipped the latest start, as a condition or an assertion of the unit was not met (`ConditionResult`,
    /// `AssertResult`, or `ExecCondition=`): which, in a clause (`ConditionPathExists=/etc/x was not met`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_skipped: Option<String>,
    /// Its settings. Shared, as one reading is like the one before.
    #[serde(default)]
    pub settings: Arc<UnitSettings>,
    /// What it has to do with other units; `None` where it has nothing. Shared, as one reading is like the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relations: Option<Arc<Relations>>,
}

impl Default for UnitState {
    /// A unit that was not read: not found and inactive.
    fn default() -> Self {
        Self {
            load: LoadState::NotFound,
            active: ActiveState::Inactive,
            sub: "dead".to_owned(),
            result: String::new(),
            job: None,
            stopped_by: None,
            start_dropped: false,
            invocation_id: String::new(),
            n_restarts: 0,
            oneshot: false,
            main_pid: 0,
            exit_status: 0,
            exit_code: 0,
            inactive_enter_usec: 0,
            active_enter_usec: 0,
            state_change_usec: 0,
            inactive_exit_usec: 0,
            active_exit_usec: 0,
            main_exit_usec: 0,
            seen_ended_usec: 0,
            starts_seen: 0,
            failures_seen: 0,
            triggers: None,
            last_trigger_usec: 0,
            description: String::new(),
            frozen: false,
            start_skipped: None,
            settings: Arc::default(),
            relations: None,
        }
    }
}

impl UnitState {
    /// It is down: neither running nor on its way up or down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(self.active, ActiveState::Inactive | ActiveState::Failed)
    }

    /// It failed in a stop: systemd moves a unit out of `active` before it stops the main process, and after that has ended
    /// by itself. It does so as well where it ends the process itself, for the watchdog or for want of memory.
    #[must_use]
    pub fn ended_in_stop(&self) -> bool {
        self.active == ActiveState::Failed
            && !matches!(self.result.as_str(), "watchdog" | "oom-kill")
            && self.active_exit_usec != 0
            && self.main_exit_usec > self.active_exit_usec
    }

    /// It failed, as its main process was ended by SIGTERM.
    #[must_use]
    pub fn was_terminated(&self) -> bool {
        const KILLED: i32 = 2;
        const SIGTERM: i32 = 15;
        self.active == ActiveState::Failed
            && self.result == "signal"
            && self.exit_code == KILLED
            && self.exit_status == SIGTERM
    }

    /// A start is queued on it or runs. The second half of a restart is such.
    #[must_use]
    pub fn has_start_job(&self) -> bool {
        self.job.is_some_and(|job| matches!(job.kind, JobKind::Start | JobKind::Restart))
    }

    /// systemd is itself about to restart the service.
    #[must_use]
    pub fn auto_restart(&self) -> bool {
        self.active == ActiveState::Activating && self.sub.starts_with("auto-restart")
    }

    /// The state as `systemctl status` words it: `active (running)`, `failed (Result: exit-code)`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.load {
            LoadState::NotFound => return "not found".to_owned(),
            LoadState::Masked => return "masked".to_owned(),
            LoadState::BadSetting => return "bad setting in the unit file".to_owned(),
            LoadState::Error => return "the unit file could not be loaded".to_owned(),
            LoadState::Loaded | LoadState::Other => {}
        }
        let active = match self.active {
            ActiveState::Active => "active",
            ActiveState::Reloading => "reloading",
            ActiveState::Inactive => "inactive",
            ActiveState::Failed => "failed",
            ActiveState::Activating => "activating",
            ActiveState::Deactivating => "deactivating",
            ActiveState::Other => "in an unknown state",
        };
        if self.active == ActiveState::Failed && !self.result.is_empty() {
            format!("{active} (Result: {})", self.result)
        } else if self.auto_restart() && !self.result.is_empty() {
            format!("{active} ({}) (Result: {})", self.sub, self.result)
        } else {
            format!("{active} ({})", self.sub)
        }
    }

    /// Its unit file is disabled (`systemctl disable`, or never enabled): the next boot does not start it.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.settings.unit_file_state == "disabled"
    }

    /// How the last main process ended, as a clause: `main process exited with status 3`, `killed by signal 9 (KILL)`.
    #[must_use]
    pub fn describe_exit(&self) -> Option<String> {
        const EXITED: i32 = 1;
        const KILLED: i32 = 2;
        const DUMPED: i32 = 3;
        let status = self.exit_status;
        match self.exit_code {
            EXITED => Some(format!("main process exited with status {status}")),
            KILLED => Some(format!("main process was killed by signal {status}{}", signal_name(status))),
            DUMPED => Some(format!("main process dumped core on signal {status}{}", signal_name(status))),
            _ => None,
        }
    }
}

/// The usual name of a signal, ready to append: ` (KILL)`; empty for one that needs no name here.
#[must_use]
pub fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => " (HUP)",
        2 => " (INT)",
        3 => " (QUIT)",
        4 => " (ILL)",
        6 => " (ABRT)",
        7 => " (BUS)",
        8 => " (FPE)",
        9 => " (KILL)",
        11 => " (SEGV)",
        13 => " (PIPE)",
        15 => " (TERM)",
        31 => " (SYS)",
        _ => "",
    }
}

/// What the manager itself is doing (`SystemState` and logind's `PrepareForShutdown`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ManagerState {
    /// Still booting (`initializing`, `starting`).
    Starting,
    /// `running`, `degraded` or `maintenance`: units may be acted on.
    #[default]
    Running,
    /// Shutting down.
    Stopping,
    /// The manager cannot be reached over D-Bus.
    Unreachable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_as_systemctl_words_them() {
        let mut state = UnitState { load: LoadState::Loaded, ..UnitState::default() };
        assert_eq!(state.describe(), "inactive (dead)");
        state.active = ActiveState::Failed;
        state.result = "exit-code".into();
        assert_eq!(state.describe(), "failed (Result: exit-code)");
        assert_eq!(UnitState::default().describe(), "not found");
    }
}
