//! The CPU time and the memory that the processes of units use.

use std::collections::BTreeMap;
use std::time::Duration;

use stealthcheck::check::{CheckName, UsedBy};
use stealthcheck::unit::{ActiveState, UnitName};
use stealthcheck::verdict::Sample;

use super::Machine;

/// What a unit uses that nobody has given anything to do, in percent of one CPU.
const IDLE: u32 = 5;

#[derive(Default)]
pub(super) struct Load(BTreeMap<UnitName, Use>);

struct Use {
    /// In percent of one CPU.
    percent: u32,
    /// The run that it is counted of, what that has used until `counted`.
    run: String,
    used: Duration,
    counted: Duration,
    /// In bytes.
    memory: u64,
}

impl Machine {
    /// The unit's processes use so much of one CPU from now on; `None`: no more than usual.
    pub fn use_cpu(&mut self, unit: &UnitName, percent: Option<u32>) {
        self.count_cpu(unit);
        if let Some(load) = self.load.0.get_mut(unit) {
            load.percent = percent.unwrap_or(IDLE);
        }
    }

    /// The unit's processes use so many bytes from now on.
    pub fn use_memory(&mut self, unit: &UnitName, bytes: u64) {
        self.count_cpu(unit);
        if let Some(load) = self.load.0.get_mut(unit) {
            load.memory = bytes;
        }
    }

    fn count_cpu(&mut self, unit: &UnitName) {
        let (now, run) = (self.time, self.systemd.read(unit).invocation_id);
        let fresh = || Use { percent: IDLE, run: run.clone(), used: Duration::ZERO, counted: now, memory: 0 };
        let load = self.load.0.entry(unit.clone()).or_insert_with(fresh);
        if load.run != run {
            *load = fresh();
        }
        load.used += now.saturating_sub(load.counted) * load.percent / 100;
        load.counted = now;
    }

    /// What a probe of the use of a check's unit finds.
    pub(super) fn sample(&mut self, check: &CheckName) -> Result<Sample, String> {
        if !self.has_bus {
            return Err("systemd did not answer in time".to_owned());
        }
        let unit = self.asked_unit(check).ok_or("the check has no unit")?;
        let unit = self.systemd.id(&unit);
        self.count_cpu(&unit);
        let state = self.systemd.read(&unit);
        if state.active != ActiveState::Active {
            return Ok(Sample::Idle { state: state.describe() });
        }
        let probe =
            self.check_of(check).and_then(|check| check.probe.usage()).ok_or("the check is no sample")?;
        assert_eq!(probe.of, UsedBy::Unit, "this machine has no load of its own");
        let load = &self.load.0[&unit];
        let cpu = || u64::try_from(load.used.as_nanos()).unwrap_or(u64::MAX);
        let used = if probe.limit.is_cpu() { cpu() } else { load.memory };
        Ok(Sample::Used { run: state.invocation_id, used, whole: 1 << 30 })
    }
}
