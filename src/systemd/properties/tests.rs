use std::collections::HashMap;
use std::time::Duration;

use zbus::Variant;
use zbus::wire::{LE, serialized::Context, to_bytes};

use super::*;
use crate::unit::StartLimit;

fn unit(name: &str) -> UnitName {
    UnitName::new(name).unwrap()
}

fn read(all: &HashMap<&str, Variant<'_>>) -> Properties {
    let bytes = to_bytes(Context::new(LE, 0), all).unwrap();
    bytes.deserialize().unwrap().0
}

fn state(all: &HashMap<&str, Variant<'_>>) -> UnitState {
    read(all).into_state(&unit("web.service"), JobKind::Stop)
}

#[test]
fn state_is_read_from_the_properties() {
    let mut all: HashMap<&str, Variant<'_>> = HashMap::new();
    all.insert("Id", "web.service".into());
    all.insert("LoadState", "loaded".into());
    all.insert("ActiveState", "failed".into());
    all.insert("Result", "exit-code".into());
    all.insert("Type", "oneshot".into());
    all.insert("NRestarts", 7_u32.into());
    all.insert("ExecMainStatus", 3_i32.into());
    all.insert("InvocationID", vec![0xab_u8; 16].into());
    all.insert("Unknown", "skipped".into());
    all.insert("Job", (4_u32, zbus::ObjectPath::try_from("/org/x").unwrap()).into());
    assert_eq!(read(&all).id(), Some(unit("web.service")));
    let failed = state(&all);
    assert_eq!(failed.active, ActiveState::Failed);
    assert_eq!(failed.job, Some(Job { id: 4, kind: JobKind::Stop, ours: false }));
    assert_eq!(failed.invocation_id, "ab".repeat(16));
    assert_eq!((failed.n_restarts, failed.exit_status, failed.oneshot), (7, 3, true));
    assert!(!failed.frozen);

    all.insert("RemainAfterExit", true.into());
    all.insert("FreezerState", "frozen".into());
    let remaining = state(&all);
    assert!(!remaining.oneshot, "one that remains is not at rest when inactive");
    assert!(remaining.frozen);
}

#[test]
fn settings_and_relations_are_read_from_the_properties() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut all: HashMap<&str, Variant<'_>> = HashMap::new();
    all.insert("Transient", true.into());
    all.insert("TriggeredBy", names(&["web.socket"]).into());
    all.insert("StartLimitIntervalUSec", 10_000_000_u64.into());
    all.insert("StartLimitBurst", 5_u32.into());
    all.insert("StartLimitAction", "none".into());
    all.insert("FailureAction", "none".into());
    all.insert("OnFailure", names(&["reboot.target"]).into());
    all.insert("Restart", "always".into());
    all.insert("RestartUSec", 1_000_000_u64.into());
    all.insert("UnitFileState", "enabled".into());
    all.insert("CanReload", true.into());
    all.insert("StopWhenUnneeded", false.into());
    all.insert("RefuseManualStop", true.into());
    all.insert("TimeoutStartUSec", 90_000_000_u64.into());
    all.insert("JobTimeoutUSec", u64::MAX.into());
    all.insert("Requires", names(&["a.service"]).into());
    all.insert("BindsTo", names(&["b.service"]).into());
    all.insert("Wants", names(&["c.service"]).into());
    all.insert("Upholds", names(&["d.service"]).into());
    all.insert("PartOf", names(&["e.target"]).into());
    all.insert("ConsistsOf", names(&["f.service"]).into());
    all.insert("ConflictedBy", names(&["g.service"]).into());
    all.insert("Triggers", names(&["h.service"]).into());
    let read = state(&all);
    let settings = &read.settings;
    assert!(settings.transient && settings.failure_action && settings.restarts && settings.can_reload);
    assert!(settings.refuses_stop && !settings.refuses_start);
    assert_eq!(settings.triggered_by, [unit("web.socket")]);
    let start_limit = StartLimit { interval: Duration::from_secs(10), burst: 5, action: false };
    assert_eq!(settings.start_limit, Some(start_limit));
    assert_eq!(settings.restart_delay, Duration::from_secs(1));
    assert_eq!(settings.unit_file_state, "enabled");
    assert_eq!(settings.start_timeout, Some(Duration::from_secs(90)));
    assert_eq!(read.triggers, Some(unit("h.service")));
    all.insert("RestartUSecNext", 14_000_000_u64.into());
    assert_eq!(state(&all).settings.restart_delay, Duration::from_secs(14), "RestartSteps= of systemd 254");
    let relations = read.relations.unwrap();
    assert_eq!(relations.requires, [unit("a.service"), unit("b.service")]);
    assert_eq!(relations.wants, [unit("c.service"), unit("d.service")]);
    assert_eq!(relations.part_of, [unit("e.target")]);
    assert_eq!(relations.consists_of, [unit("f.service")]);
    assert_eq!(relations.conflicts, [unit("g.service")]);
}

#[test]
fn skipped_start_is_read_from_the_properties() {
    let list = |result: i32| vec![("ConditionPathExists", false, true, "/etc/x", result)];
    let mut all: HashMap<&str, Variant<'_>> = HashMap::new();
    all.insert("ActiveState", "inactive".into());
    all.insert("ConditionResult", false.into());
    all.insert("ConditionTimestamp", 7_u64.into());
    all.insert("Conditions", list(-1).into());
    all.insert("AssertResult", false.into());
    all.insert("AssertTimestamp", 0_u64.into());
    let expected = Some("ConditionPathExists=!/etc/x was not met".to_owned());
    assert_eq!(state(&all).start_skipped, expected);
    all.insert("ActiveState", "active".into());
    assert_eq!(state(&all).start_skipped, None);

    all.insert("ActiveState", "inactive".into());
    all.insert("ConditionResult", true.into());
    assert_eq!(state(&all).start_skipped, None);
    all.insert("Result", "exec-condition".into());
    assert_eq!(state(&all).start_skipped, Some("ExecCondition= was not met".to_owned()));
}

#[test]
fn usage_that_is_not_counted_is_none() {
    let mut all: HashMap<&str, Variant<'_>> = HashMap::new();
    all.insert("LoadState", "loaded".into());
    all.insert("ActiveState", "active".into());
    all.insert("SubState", "running".into());
    all.insert("InvocationID", vec![0xab_u8; 16].into());
    all.insert("CPUUsageNSec", 5_000_000_u64.into());
    all.insert("MemoryCurrent", u64::MAX.into());
    all.insert("MemoryMax", u64::MAX.into());
    let usage = |all: &HashMap<&str, Variant<'_>>| read(all).into_usage(&unit("web.service"));
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
fn invocation_id_of_zeros_is_empty() {
    assert_eq!(hex(&[0; 16]), "");
    assert_eq!(hex(&[]), "");
}
