//! A unit's D-Bus properties, into [`UnitState`] and [`UnitUsage`]. Pure.
//!
//! In: the bodies of `GetAll` replies and of `PropertiesChanged` signals. The names and types are those of
//! org.freedesktop.systemd1(5), systemd 252 and later.

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use zbus::as_variant;
use zbus::wire::{Signature, Type};

use super::names::{active_state, is_frozen, load_state};
use super::relations::RelationProperties;
use super::settings::SettingProperties;
use super::start_conditions::{ConditionKind, StartConditions};
use crate::unit::{ActiveState, Job, JobKind, LoadState, UnitName, UnitState, UnitUsage};

/// The properties that matter, of a unit's some three hundred. The others are skipped without being kept.
#[derive(Debug, Default)]
pub(super) struct Properties {
    id: Option<String>,
    load: Option<String>,
    pub active: Option<String>,
    sub: Option<String>,
    result: Option<String>,
    /// Number and object path; number 0 for none.
    pub job: Option<(u32, String)>,
    invocation_id: Option<Vec<u8>>,
    freezer: Option<String>,
    n_restarts: Option<u32>,
    service_type: Option<String>,
    remain_after_exit: Option<bool>,
    main_pid: Option<u32>,
    exit_status: Option<i32>,
    exit_code: Option<i32>,
    pub inactive_enter: Option<u64>,
    inactive_exit: Option<u64>,
    active_enter: Option<u64>,
    pub active_exit: Option<u64>,
    /// `ExecMainExitTimestamp`.
    main_exit: Option<u64>,
    state_change: Option<u64>,
    /// `Unit`: what a timer or path triggers.
    unit: Option<String>,
    /// `Triggers`: the same of any unit.
    triggers: Vec<String>,
    last_trigger: Option<u64>,
    description: Option<String>,
    pub start: StartConditions,
    settings: SettingProperties,
    relations: RelationProperties,
    cpu_usage: Option<u64>,
    memory_current: Option<u64>,
    memory_max: Option<u64>,
    /// A service's own status line, by sd_notify(3).
    pub status_text: Option<String>,
}

impl Type for Properties {
    const SIGNATURE: &'static Signature = <std::collections::HashMap<&str, zbus::Variant<'_>>>::SIGNATURE;
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PropertiesVisitor)
    }
}

struct PropertiesVisitor;

/// Reads the next value of the map, which is a variant of exactly the field's type.
fn value<'de, T, A>(map: &mut A) -> Result<Option<T>, A::Error>
where
    T: Type + Deserialize<'de> + 'de,
    A: MapAccess<'de>,
{
    map.next_value::<as_variant::Deserialize<'de, T>>().map(|value| Some(value.0))
}

/// The same for a list, to be added to `names`.
fn append<'de, A: MapAccess<'de>>(map: &mut A, names: &mut Vec<String>) -> Result<(), A::Error> {
    names.extend(value::<Vec<String>, A>(map)?.unwrap_or_default());
    Ok(())
}

impl<'de> Visitor<'de> for PropertiesVisitor {
    type Value = Properties;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the properties of a unit")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
        let mut read = Properties::default();
        while let Some(name) = map.next_key::<&str>()? {
            let taken = read.take_state(name, &mut map)?
                || read.take_time(name, &mut map)?
                || read.take_setting(name, &mut map)?
                || read.take_relation(name, &mut map)?
                || read.take_usage(name, &mut map)?;
            if !taken {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(read)
    }
}

/// Each takes the value of the property `name`, if it is one of its own, and returns whether it is.
impl Properties {
    fn take_state<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        match name {
            "Id" => self.id = value(map)?,
            "Description" => self.description = value(map)?,
            "LoadState" => self.load = value(map)?,
            "ActiveState" => self.active = value(map)?,
            "SubState" => self.sub = value(map)?,
            "Result" => self.result = value(map)?,
            "FreezerState" => self.freezer = value(map)?,
            "InvocationID" => self.invocation_id = value(map)?,
            "NRestarts" => self.n_restarts = value(map)?,
            "MainPID" => self.main_pid = value(map)?,
            "ExecMainStatus" => self.exit_status = value(map)?,
            "ExecMainCode" => self.exit_code = value(map)?,
            "ConditionResult" => self.start.conditions.met = value(map)?,
            "AssertResult" => self.start.asserts.met = value(map)?,
            "Conditions" => self.start.conditions.list = value(map)?.unwrap_or_default(),
            "Asserts" => self.start.asserts.list = value(map)?.unwrap_or_default(),
            "Job" => {
                let job: Option<(u32, zbus::OwnedObjectPath)> = value(map)?;
                self.job = job.map(|(id, path)| (id, path.as_str().to_owned()));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_time<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        match name {
            "InactiveEnterTimestamp" => self.inactive_enter = value(map)?,
            "InactiveExitTimestamp" => self.inactive_exit = value(map)?,
            "ActiveEnterTimestamp" => self.active_enter = value(map)?,
            "ExecMainExitTimestamp" => self.main_exit = value(map)?,
            "ActiveExitTimestamp" => self.active_exit = value(map)?,
            "StateChangeTimestamp" => self.state_change = value(map)?,
            "ConditionTimestamp" => self.start.conditions.at = value(map)?,
            "AssertTimestamp" => self.start.asserts.at = value(map)?,
            "LastTriggerUSec" => self.last_trigger = value(map)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_setting<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        let settings = &mut self.settings;
        match name {
            "Type" => self.service_type = value(map)?,
            "RemainAfterExit" => self.remain_after_exit = value(map)?,
            "Transient" => settings.transient = value(map)?,
            "StartLimitIntervalUSec" => settings.start_limit_interval = value(map)?,
            "StartLimitBurst" => settings.start_limit_burst = value(map)?,
            "StartLimitAction" => settings.start_limit_action = value(map)?,
            "FailureAction" => settings.failure_action = value(map)?,
            "SuccessAction" => settings.success_action = value(map)?,
            "JobTimeoutAction" => settings.job_timeout_action = value(map)?,
            "OnFailure" => settings.on_failure = copied(map, &mut self.relations.at_end)?,
            "OnSuccess" => settings.on_success = copied(map, &mut self.relations.at_end)?,
            "Restart" => settings.restart = value(map)?,
            "RestartUSec" => settings.restart_delay = value(map)?,
            "RestartUSecNext" => settings.next_restart_delay = value(map)?,
            "UnitFileState" => settings.unit_file_state = value(map)?,
            "CanReload" => settings.can_reload = value(map)?,
            "StopWhenUnneeded" => settings.stop_when_unneeded = value(map)?,
            "RefuseManualStart" => settings.refuse_manual_start = value(map)?,
            "RefuseManualStop" => settings.refuse_manual_stop = value(map)?,
            "TimeoutStartUSec" | "TimeoutUSec" => settings.start_timeout = value(map)?,
            "JobTimeoutUSec" => settings.job_timeout = value(map)?,
            "JobRunningTimeoutUSec" => settings.job_running_timeout = value(map)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_relation<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        match name {
            "Unit" => self.unit = value(map)?,
            "Triggers" => append(map, &mut self.triggers)?,
            "TriggeredBy" => self.settings.triggered_by = value(map)?,
            "Requires" | "Requisite" => append(map, &mut self.relations.requires)?,
            "BindsTo" => {
                let names: Vec<String> = value(map)?.unwrap_or_default();
                self.relations.requires.extend(names.iter().cloned());
                self.relations.binds_to.extend(names);
            }
            "StopPropagatedFrom" => append(map, &mut self.relations.binds_to)?,
            "Wants" | "Upholds" => append(map, &mut self.relations.wants)?,
            "PartOf" => append(map, &mut self.relations.part_of)?,
            "ConsistsOf" => append(map, &mut self.relations.consists_of)?,
            "RequiredBy" | "BoundBy" | "RequisiteOf" => append(map, &mut self.relations.required_by)?,
            "Conflicts" | "ConflictedBy" => append(map, &mut self.relations.conflicts)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_usage<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        match name {
            "CPUUsageNSec" => self.cpu_usage = value(map)?,
            "MemoryCurrent" => self.memory_current = value(map)?,
            "MemoryMax" => self.memory_max = value(map)?,
            "StatusText" => self.status_text = value(map)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A list of names that is wanted in two places.
fn copied<'de, A: MapAccess<'de>>(
    map: &mut A,
    to: &mut Vec<String>,
) -> Result<Option<Vec<String>>, A::Error> {
    let names: Option<Vec<String>> = value(map)?;
    to.extend(names.iter().flatten().cloned());
    Ok(names)
}

impl Properties {
    /// The unit's primary name.
    pub fn id(&self) -> Option<UnitName> {
        self.id.as_deref().and_then(|id| UnitName::new(id).ok())
    }

    /// The job on the unit, where there is one.
    pub fn job_id(&self) -> Option<u32> {
        self.job.as_ref().map(|(id, _)| *id).filter(|id| *id != 0)
    }

    /// systemd's id of the run, in hex; empty where the unit never ran.
    pub fn invocation(&self) -> String {
        hex(self.invocation_id.as_deref().unwrap_or_default())
    }

    /// The state of the unit `id`; `kind` is that of its job. `stopped_by`, `seen_ended_usec`, `starts_seen` and
    /// `failures_seen` are left open: only signals show them.
    pub fn into_state(self, id: &UnitName, kind: JobKind) -> UnitState {
        let service = id.as_str().ends_with(".service");
        let active = self.active.as_deref().map_or(ActiveState::Other, active_state);
        // Mounts, sockets and timers have a `Result` with values of their own.
        let result = self.result.clone().filter(|_| service).unwrap_or_default();
        UnitState {
            load: self.load.as_deref().map_or(LoadState::Other, load_state),
            active,
            job: self.job_id().map(|job| Job { id: job, kind, ours: false }),
            stopped_by: None,
            start_dropped: false,
            invocation_id: self.invocation(),
            start_skipped: self.start_skipped(active, &result),
            result,
            oneshot: service
                && self.service_type.as_deref() == Some("oneshot")
                && self.remain_after_exit != Some(true),
            sub: self.sub.unwrap_or_default(),
            n_restarts: self.n_restarts.unwrap_or(0),
            main_pid: self.main_pid.unwrap_or(0),
            exit_status: self.exit_status.unwrap_or(0),
            exit_code: self.exit_code.unwrap_or(0),
            inactive_enter_usec: self.inactive_enter.unwrap_or(0),
            active_enter_usec: self.active_enter.unwrap_or(0),
            state_change_usec: self.state_change.unwrap_or(0),
            inactive_exit_usec: self.inactive_exit.unwrap_or(0),
            active_exit_usec: self.active_exit.unwrap_or(0),
            main_exit_usec: self.main_exit.unwrap_or(0),
            seen_ended_usec: 0,
            starts_seen: 0,
            failures_seen: 0,
            triggers: self.unit.iter().chain(&self.triggers).find_map(|name| UnitName::new(name).ok()),
            last_trigger_usec: self.last_trigger.unwrap_or(0),
            description: self.description.unwrap_or_default(),
            frozen: self.freezer.as_deref().is_some_and(is_frozen),
            settings: self.settings.into_settings(),
            relations: self.relations.into_relations(id),
        }
    }

    /// Why systemd skipped the latest start.
    fn start_skipped(&self, active: ActiveState, result: &str) -> Option<String> {
        if !matches!(active, ActiveState::Inactive | ActiveState::Failed) {
            return None;
        }
        let unmet = match result {
            "exec-condition" => Some(ConditionKind::ExecCondition),
            _ => self.start.unmet(),
        };
        unmet.map(|unmet| self.start.describe(unmet))
    }

    /// What the unit uses. systemd gives the largest number where it counts nothing, and where there is no limit.
    pub fn into_usage(self, name: &UnitName) -> UnitUsage {
        let counted = |number: Option<u64>| number.filter(|number| *number != u64::MAX);
        let (cpu_nsec, memory) = (counted(self.cpu_usage), counted(self.memory_current));
        let memory_max = counted(self.memory_max);
        let state = self.into_state(name, JobKind::Other);
        UnitUsage {
            state: state.describe(),
            running: !state.is_down() && !state.auto_restart(),
            invocation_id: state.invocation_id,
            cpu_nsec,
            memory,
            memory_max,
        }
    }
}

/// 32 hex digits, or nothing for an id of zeros.
fn hex(id: &[u8]) -> String {
    use std::fmt::Write as _;
    if id.iter().all(|byte| *byte == 0) {
        return String::new();
    }
    id.iter().fold(String::with_capacity(32), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
