//! The settings of a unit for starts, restarts and triggers, as systemd has loaded them.
//!
//! The systemd client fills these from D-Bus properties, the core reads them. Nothing here performs I/O.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::UnitName;

/// Settings of a unit that bear on whether a job may be requested for it, and on what its states mean.
/// All names are systemd's property names (org.freedesktop.systemd1(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitSettings {
    /// `Transient`: made by `systemd-run`. `ResetFailedUnit` would delete it.
    pub transient: bool,
    /// `TriggeredBy`: the timers, sockets and paths that start it.
    pub triggered_by: Vec<UnitName>,
    /// `StartLimitIntervalUSec`, `StartLimitBurst`, `StartLimitAction`; `None`: its starts are not limited.
    pub start_limit: Option<StartLimit>,
    /// `FailureAction` is other than `none`, or `JobTimeoutAction` with a finite timeout, or `OnFailure` has a target that
    /// takes the machine down: the machine reboots or powers off when the unit fails, or a job on it takes too long.
    pub failure_action: bool,
    /// `SuccessAction` is other than `none`, or `OnSuccess` has such a target: the machine reboots or powers off when the unit stops, also for a restart.
    pub success_action: bool,
    /// `Restart` is other than `no`: systemd restarts the service itself.
    pub restarts: bool,
    /// `Restart` is `always` or `on-success`: systemd also restarts the service after a run that ended well.
    pub restarts_on_success: bool,
    /// `RestartUSecNext`, or `RestartUSec` before systemd 254: so long systemd waits before it restarts the service itself
    /// the next time.
    pub restart_delay: Duration,
    /// `UnitFileState`: `enabled`, `disabled`, `static`, …; empty where there is no file.
    pub unit_file_state: String,
    /// `CanReload`: the unit has an `ExecReload=`.
    pub can_reload: bool,
    /// `StopWhenUnneeded`: systemd stops it when nothing requires it any more.
    pub stop_when_unneeded: bool,
    /// `RefuseManualStart`: systemd starts it for other units only.
    pub refuses_start: bool,
    /// `RefuseManualStop`: systemd stops it for other units only, and refuses a restart.
    pub refuses_stop: bool,
    /// `TimeoutStartUSec` (or `JobTimeoutUSec`, `JobRunningTimeoutUSec`) where it is finite: how long a start may take.
    pub start_timeout: Option<Duration>,
}

impl UnitSettings {
    /// A timer starts the unit.
    #[must_use]
    pub fn is_started_by_timer(&self) -> bool {
        self.triggered_by.iter().any(|unit| unit.kind() == "timer")
    }
}

/// How often a unit may be started (`StartLimitIntervalSec=`, `StartLimitBurst=` in systemd.unit(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartLimit {
    /// Starts are counted over this time.
    pub interval: Duration,
    /// One start more than this many within the interval fails with `start-limit-hit`.
    pub burst: u32,
    /// `StartLimitAction` is other than `none`: the machine reboots or powers off when the limit is hit.
    pub action: bool,
}
