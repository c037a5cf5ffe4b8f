//! The properties that a unit's file sets, into [`UnitSettings`]. Pure.
//!
//! The names and types are those of systemd 252's src/core/dbus-unit.c and dbus-service.c.

use std::sync::Arc;
use std::time::Duration;

use super::relations::unit_names;
use crate::unit::{StartLimit, UnitSettings};

/// The targets that take the machine down, or stop most of its services, and the services that do it: `OnFailure=reboot.target`
/// is what `FailureAction=reboot` is. (systemd.special(7), systemd-halt.service(8); an alias, like ctrl-alt-del.target, is
/// shown under these names.) A service of the administrator's that does the same is not known here.
const TAKE_DOWN: [&str; 15] = [
    "systemd-reboot.service",
    "systemd-poweroff.service",
    "systemd-halt.service",
    "systemd-kexec.service",
    "systemd-soft-reboot.service",
    "systemd-exit.service",
    "reboot.target",
    "poweroff.target",
    "halt.target",
    "kexec.target",
    "soft-reboot.target",
    "shutdown.target",
    "exit.target",
    "emergency.target",
    "rescue.target",
];

/// As systemd has them.
#[derive(Debug, Default)]
pub(super) struct SettingProperties {
    pub transient: Option<bool>,
    pub triggered_by: Option<Vec<String>>,
    pub start_limit_interval: Option<u64>,
    pub start_limit_burst: Option<u32>,
    pub start_limit_action: Option<String>,
    pub failure_action: Option<String>,
    pub success_action: Option<String>,
    pub job_timeout_action: Option<String>,
    pub on_failure: Option<Vec<String>>,
    pub on_success: Option<Vec<String>>,
    pub restart: Option<String>,
    pub restart_delay: Option<u64>,
    /// `RestartUSecNext`, which systemd has from 254 on: with `RestartSteps=` it grows.
    pub next_restart_delay: Option<u64>,
    pub unit_file_state: Option<String>,
    pub can_reload: Option<bool>,
    pub stop_when_unneeded: Option<bool>,
    pub refuse_manual_start: Option<bool>,
    pub refuse_manual_stop: Option<bool>,
    /// `TimeoutStartUSec` of a service, `TimeoutUSec` of a mount, socket or swap.
    pub start_timeout: Option<u64>,
    pub job_timeout: Option<u64>,
    pub job_running_timeout: Option<u64>,
}

impl SettingProperties {
    pub fn into_settings(self) -> Arc<UnitSettings> {
        let start_limit = match (self.start_limit_interval, self.start_limit_burst) {
            (Some(interval), Some(burst)) if interval != 0 && burst != 0 => Some(StartLimit {
                interval: Duration::from_micros(interval),
                burst,
                action: is_set(self.start_limit_action.as_deref(), "none"),
            }),
            _ => None,
        };
        let job_timeout =
            [self.job_timeout, self.job_running_timeout].into_iter().flatten().filter_map(finite).min();
        Arc::new(UnitSettings {
            transient: self.transient.unwrap_or(false),
            triggered_by: unit_names(self.triggered_by.unwrap_or_default()),
            start_limit,
            failure_action: is_set(self.failure_action.as_deref(), "none")
                || takes_down(self.on_failure.as_deref())
                || (is_set(self.job_timeout_action.as_deref(), "none") && job_timeout.is_some()),
            success_action: is_set(self.success_action.as_deref(), "none")
                || takes_down(self.on_success.as_deref()),
            restarts: is_set(self.restart.as_deref(), "no"),
            restarts_on_success: matches!(self.restart.as_deref(), Some("always" | "on-success")),
            restart_delay: Duration::from_micros(self.next_restart_delay.or(self.restart_delay).unwrap_or(0)),
            unit_file_state: self.unit_file_state.unwrap_or_default(),
            can_reload: self.can_reload.unwrap_or(false),
            stop_when_unneeded: self.stop_when_unneeded.unwrap_or(false),
            refuses_start: self.refuse_manual_start.unwrap_or(false),
            refuses_stop: self.refuse_manual_stop.unwrap_or(false),
            start_timeout: self.start_timeout.and_then(finite).into_iter().chain(job_timeout).min(),
        })
    }
}

/// The setting is there, and is other than the value that switches it off.
fn is_set(value: Option<&str>, off: &str) -> bool {
    value.is_some_and(|value| !value.is_empty() && value != off)
}

/// One of the units that systemd starts then takes the machine down.
fn takes_down(started: Option<&[String]>) -> bool {
    started.is_some_and(|units| units.iter().any(|unit| TAKE_DOWN.contains(&unit.as_str())))
}

/// systemd's largest number stands for infinity, and 0 for a time-out that is switched off.
fn finite(usec: u64) -> Option<Duration> {
    (usec != u64::MAX && usec != 0).then(|| Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::UnitName;

    #[test]
    fn settings_of_a_service_are_read() {
        let read = SettingProperties {
            transient: Some(true),
            triggered_by: Some(vec!["web.timer".to_owned(), "web.socket".to_owned()]),
            start_limit_interval: Some(10_000_000),
            start_limit_burst: Some(5),
            start_limit_action: Some("reboot".to_owned()),
            failure_action: Some("none".to_owned()),
            success_action: Some("poweroff".to_owned()),
            // (Without a timeout it does nothing.)
            job_timeout_action: Some("reboot".to_owned()),
            on_failure: Some(vec!["notify@web.service".to_owned()]),
            on_success: None,
            restart: Some("on-failure".to_owned()),
            restart_delay: Some(50_000),
            next_restart_delay: Some(100_000),
            unit_file_state: Some("disabled".to_owned()),
            can_reload: Some(true),
            stop_when_unneeded: Some(true),
            refuse_manual_start: Some(false),
            refuse_manual_stop: Some(true),
            start_timeout: Some(90_000_000),
            job_timeout: Some(u64::MAX),
            job_running_timeout: Some(u64::MAX),
        };
        let settings = read.into_settings();
        let expected = UnitSettings {
            transient: true,
            triggered_by: ["web.socket", "web.timer"].map(|name| UnitName::new(name).unwrap()).to_vec(),
            start_limit: Some(StartLimit { interval: Duration::from_secs(10), burst: 5, action: true }),
            failure_action: false,
            success_action: true,
            restarts: true,
            restarts_on_success: false,
            restart_delay: Duration::from_millis(100),
            unit_file_state: "disabled".to_owned(),
            can_reload: true,
            stop_when_unneeded: true,
            refuses_start: false,
            refuses_stop: true,
            start_timeout: Some(Duration::from_secs(90)),
        };
        assert_eq!(*settings, expected);
    }

    #[test]
    fn setting_that_is_off_or_infinite_is_none() {
        assert_eq!(*SettingProperties::default().into_settings(), UnitSettings::default());
        let off = SettingProperties {
            start_limit_interval: Some(0),
            start_limit_burst: Some(5),
            restart: Some("no".to_owned()),
            start_timeout: Some(u64::MAX),
            job_timeout: Some(0),
            job_running_timeout: Some(0),
            ..SettingProperties::default()
        };
        assert_eq!(*off.into_settings(), UnitSettings::default());
    }

    #[test]
    fn target_that_takes_the_machine_down_is_an_action() {
        let started = |target: &str| Some(vec!["notify@web.service".to_owned(), target.to_owned()]);
        for target in TAKE_DOWN {
            let read = SettingProperties { on_failure: started(target), ..SettingProperties::default() };
            let settings = read.into_settings();
            assert!(settings.failure_action && !settings.success_action, "{target}");
            let read = SettingProperties { on_success: started(target), ..SettingProperties::default() };
            let settings = read.into_settings();
            assert!(settings.success_action && !settings.failure_action, "{target}");
        }
    }

    #[test]
    fn either_job_timeout_arms_its_action() {
        for (waiting, running) in [(Some(3_000_000), Some(u64::MAX)), (Some(u64::MAX), Some(3_000_000))] {
            let read = SettingProperties {
                job_timeout_action: Some("reboot".to_owned()),
                job_timeout: waiting,
                job_running_timeout: running,
                ..SettingProperties::default()
            };
            let settings = read.into_settings();
            assert!(settings.failure_action, "{waiting:?} {running:?}");
            assert_eq!(settings.start_timeout, Some(Duration::from_secs(3)));
        }
    }
}
