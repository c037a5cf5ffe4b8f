//! A unit's properties, from systemd's words on the bus into [`UnitState`].
//!
//! In: the bodies of `GetAll` answers and of `PropertiesChanged` signals. Out: plain values. Nothing here waits, calls
//! or remembers.

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use zbus::as_variant;
use zbus::wire::{Signature, Type};

use super::edges::Edges;
use crate::unit::{
    ActiveState, Job, JobKind, JobResult, LoadState, ManagerState, UnitName, UnitState, UnitUsage,
};

/// The properties that matter, of a unit's some three hundred. The others are passed over without being kept.
#[derive(Debug, Default)]
pub(super) struct Properties {
    pub load: Option<String>,
    pub active: Option<String>,
    sub: Option<String>,
    result: Option<String>,
    /// Number and object path; number 0 for none.
    pub job: Option<(u32, String)>,
    invocation_id: Option<Vec<u8>>,
    n_restarts: Option<u32>,
    kind: Option<String>,
    remains: Option<bool>,
    main_pid: Option<u32>,
    exit_status: Option<i32>,
    exit_code: Option<i32>,
    pub inactive_enter: Option<u64>,
    inactive_exit: Option<u64>,
    active_enter: Option<u64>,
    state_change: Option<u64>,
    /// Of a timer (or a path): what it triggers.
    triggers: Option<String>,
    last_trigger: Option<u64>,
    cpu_usage: Option<u64>,
    memory_current: Option<u64>,
    memory_max: Option<u64>,
    description: Option<String>,
    pub edges: Edges,
    /// A service's own line of status, by sd_notify(3).
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

impl<'de> Visitor<'de> for PropertiesVisitor {
    type Value = Properties;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the properties of a unit")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
        let mut read = Properties::default();
        while let Some(name) = map.next_key::<&str>()? {
            match name {
                "LoadState" => read.load = value(&mut map)?,
                "ActiveState" => read.active = value(&mut map)?,
                "SubState" => read.sub = value(&mut map)?,
                "Result" => read.result = value(&mut map)?,
                "Job" => {
                    let job: Option<(u32, zbus::OwnedObjectPath)> = value(&mut map)?;
                    read.job = job.map(|(id, path)| (id, path.as_str().to_owned()));
                }
                "InvocationID" => read.invocation_id = value(&mut map)?,
                "NRestarts" => read.n_restarts = value(&mut map)?,
                "Type" => read.kind = value(&mut map)?,
                "RemainAfterExit" => read.remains = value(&mut map)?,
                "MainPID" => read.main_pid = value(&mut map)?,
                "ExecMainStatus" => read.exit_status = value(&mut map)?,
                "ExecMainCode" => read.exit_code = value(&mut map)?,
                "InactiveEnterTimestamp" => read.inactive_enter = value(&mut map)?,
                "InactiveExitTimestamp" => read.inactive_exit = value(&mut map)?,
                "ActiveEnterTimestamp" => read.active_enter = value(&mut map)?,
                "StateChangeTimestamp" => read.state_change = value(&mut map)?,
                "Unit" => read.triggers = value(&mut map)?,
                "LastTriggerUSec" => read.last_trigger = value(&mut map)?,
                "CPUUsageNSec" => read.cpu_usage = value(&mut map)?,
                "MemoryCurrent" => read.memory_current = value(&mut map)?,
                "MemoryMax" => read.memory_max = value(&mut map)?,
                "StatusText" => read.status_text = value(&mut map)?,
                "Description" => read.description = value(&mut map)?,
                "Id" => read.edges.id = value(&mut map)?,
                "Requires" | "BindsTo" | "Requisite" => {
                    read.edges.requires.extend(value::<Vec<String>, A>(&mut map)?.unwrap_or_default());
                }
                "Conflicts" | "ConflictedBy" => {
                    read.edges.conflicts.extend(value::<Vec<String>, A>(&mut map)?.unwrap_or_default());
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(read)
    }
}

impl Properties {
    /// The job on the unit, where there is one.
    pub fn job_id(&self) -> Option<u32> {
        self.job.as_ref().map(|(id, _)| *id).filter(|id| *id != 0)
    }

    /// systemd's id of the run, in hex; empty where the unit never ran.
    pub fn invocation(&self) -> String {
        hex(self.invocation_id.as_deref().unwrap_or_default())
    }

    /// The state of the unit that is watched by this name; `kind` is what is known of its job.
    /// `stopped_by` and `seen_ended_usec` are left open: only the signals tell them.
    pub fn into_state(self, name: &UnitName, kind: JobKind) -> UnitState {
        let service = name.as_str().ends_with(".service");
        UnitState {
            load: self.load.as_deref().map_or(LoadState::Other, load_state),
            active: self.active.as_deref().map_or(ActiveState::Maintenance, active_state),
            job: self.job_id().map(|id| Job { id, kind, ours: false }),
            stopped_by: None,
            invocation_id: self.invocation(),
            // Mounts, sockets and timers have a `Result` of their own, with words of their own.
            result: self.result.filter(|_| service).unwrap_or_default(),
            oneshot: service && self.kind.as_deref() == Some("oneshot") && self.remains != Some(true),
            sub: self.sub.unwrap_or_default(),
            n_restarts: self.n_restarts.unwrap_or(0),
            main_pid: self.main_pid.unwrap_or(0),
            exit_status: self.exit_status.unwrap_or(0),
            exit_code: self.exit_code.unwrap_or(0),
            inactive_enter_usec: self.inactive_enter.unwrap_or(0),
            active_enter_usec: self.active_enter.unwrap_or(0),
            state_change_usec: self.state_change.unwrap_or(0),
            inactive_exit_usec: self.inactive_exit.unwrap_or(0),
            seen_ended_usec: 0,
            triggers: self.triggers.and_then(|name| UnitName::new(&name).ok()),
            last_trigger_usec: self.last_trigger.unwrap_or(0),
            description: self.description.unwrap_or_default(),
            frozen: false,
            start_skipped: None,
            settings: std::sync::Arc::default(),
            relations: self.edges.relations(name),
        }
    }

    /// What the unit uses. systemd says the largest number where it counts nothing, and where there is no limit.
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

/// systemd's word for a `LoadState` (unit_load_state_table in systemd's src/basic/unit-def.c).
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

/// systemd's word for an `ActiveState` (unit_active_state_table, ibid.). `refreshing` is of systemd 257.
pub(super) fn active_state(word: &str) -> ActiveState {
    match word {
        "active" => ActiveState::Active,
        "reloading" | "refreshing" => ActiveState::Reloading,
        "inactive" => ActiveState::Inactive,
        "failed" => ActiveState::Failed,
        "activating" => ActiveState::Activating,
        "deactivating" => ActiveState::Deactivating,
        _ => ActiveState::Maintenance,
    }
}

/// systemd's word for a `JobType`.
pub(super) fn job_kind(word: &str) -> JobKind {
    match word {
        "start" => JobKind::Start,
        "stop" => JobKind::Stop,
        "restart" => JobKind::Restart,
        "reload" => JobKind::Reload,
        _ => JobKind::Other,
    }
}

/// systemd's word for the result of a job (job_result_table in systemd's src/core/job.c).
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

/// systemd's word for its `SystemState`.
pub(super) fn manager_state(word: &str) -> ManagerState {
    match word {
        "initializing" | "starting" => ManagerState::Starting,
        "stopping" => ManagerState::Stopping,
        _ => ManagerState::Running,
    }
}

/// The object path of the unit with this name (bus_label_escape in systemd's src/basic/bus-label.c). For an alias this
/// path can be read too, but signals come from the path of the unit it stands for.
pub(super) fn unit_path(name: &str) -> String {
    use std::fmt::Write as _;
    let mut path = String::with_capacity(UNIT_PATHS.len() + 1 + name.len() + 16);
    path.push_str(UNIT_PATHS);
    path.push('/');
    for (i, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (i > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "_{byte:02x}");
        }
    }
    path
}

/// The object of a job.
pub(super) fn job_path(id: u32) -> String {
    format!("/org/freedesktop/systemd1/job/{id}")
}

/// The objects of the units.
pub(super) const UNIT_PATHS: &str = "/org/freedesktop/systemd1/unit";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use zbus::Variant;
    use zbus::wire::{LE, serialized::Context, to_bytes};

    #[test]
    fn paths_are_escaped_as_systemd_does() {
        for (name, end) in [
            ("fibridge.service", "fibridge_2eservice"),
            ("dbus-broker.service", "dbus_2dbroker_2eservice"),
            ("1up@a\\x2db.service", "_31up_40a_5cx2db_2eservice"),
        ] {
            assert_eq!(unit_path(name), format!("{UNIT_PATHS}/{end}"));
        }
    }

    #[test]
    fn properties_are_picked_from_an_answer() {
        let mut all: HashMap<&str, Variant<'_>> = HashMap::new();
        all.insert("LoadState", "loaded".into());
        all.insert("ActiveState", "failed".into());
        all.insert("Result", "exit-code".into());
        all.insert("Type", "oneshot".into());
        all.insert("NRestarts", 7_u32.into());
        all.insert("ExecMainStatus", 3_i32.into());
        all.insert("InvocationID", vec![0xab_u8; 16].into());
        all.insert("Requires", vec!["a.service".to_owned()].into());
        all.insert("Job", (4_u32, zbus::ObjectPath::try_from("/org/x").unwrap()).into());
        let bytes = to_bytes(Context::new(LE, 0), &all).unwrap();
        let (read, _): (Properties, _) = bytes.deserialize().unwrap();
        let web = UnitName::new("web.service").unwrap();
        let state = read.into_state(&web, JobKind::Stop);
        assert_eq!(state.active, ActiveState::Failed);
        assert_eq!(state.job, Some(Job { id: 4, kind: JobKind::Stop, ours: false }));
        assert_eq!(state.invocation_id, "ab".repeat(16));
        assert_eq!((state.n_restarts, state.exit_status, state.oneshot), (7, 3, true));

        all.insert("RemainAfterExit", true.into());
        let bytes = to_bytes(Context::new(LE, 0), &all).unwrap();
        let (read, _): (Properties, _) = bytes.deserialize().unwrap();
        assert!(
            !read.into_state(&web, JobKind::Stop).oneshot,
            "one that remains is not at rest when inactive"
        );
    }

    #[test]
    fn what_is_not_counted_is_no_number() {
        let mut all: HashMap<&str, Variant<'_>> = HashMap::new();
        all.insert("LoadState", "loaded".into());
        all.insert("ActiveState", "active".into());
        all.insert("SubState", "running".into());
        all.insert("InvocationID", vec![0xab_u8; 16].into());
        all.insert("CPUUsageNSec", 5_000_000_u64.into());
        all.insert("MemoryCurrent", u64::MAX.into());
        all.insert("MemoryMax", u64::MAX.into());
        let usage = |all: &HashMap<&str, Variant<'_>>| {
            let bytes = to_bytes(Context::new(LE, 0), all).unwrap();
            let (read, _): (Properties, _) = bytes.deserialize().unwrap();
            read.into_usage(&UnitName::new("web.service").unwrap())
        };
        let expected = UnitUsage {
            state: "active (running)".into(),
            running: true,
            invocation_id: "ab".repeat(16),
            cpu_nsec: Some(5_000_000),
            ..UnitUsage::default()
        };
        assert_eq!(usage(&all), expected);

        all.insert("SubState", "auto-restart".into());
        all.insert("ActiveState", "activating".into());
        assert!(!usage(&all).running, "between two runs there is no process");
        all.insert("ActiveState", "failed".into());
        assert!(!usage(&all).running);
    }

    #[test]
    fn a_run_that_never_was_has_no_id() {
        assert_eq!(hex(&[0; 16]), "");
        assert_eq!(hex(&[]), "");
    }
}
