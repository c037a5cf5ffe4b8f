//! What the processes of a simulated unit use: CPU time that is counted for each run, and memory.

use std::time::Duration;

use stealthcheck::check::{CheckName, UsedBy};
use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, UnitName};
use stealthcheck::verdict::Sample;

use super::World;

/// Of one run: it ends with the processes.
#[derive(Debug, Default)]
pub struct Load {
    /// In percent of one CPU.
    pub cpu: u64,
    pub memory: u64,
    run: String,
    used: Duration,
    since: Mono,
}

impl World {
    /// The unit's processes use so much CPU from now on, until their run ends; in percent of one CPU.
    pub fn burn(&mut self, unit: &UnitName, percent: u64) {
        self.count(unit);
        self.units.get_mut(unit).unwrap().load.cpu = percent;
    }

    /// The unit's processes use so much memory from now on, until their run ends.
    pub fn fill(&mut self, unit: &UnitName, bytes: u64) {
        self.count(unit);
        self.units.get_mut(unit).unwrap().load.memory = bytes;
    }

    fn count(&mut self, unit: &UnitName) {
        let now = self.now.mono;
        let Some(unit) = self.units.get_mut(unit) else { return };
        let (load, run) = (&mut unit.load, &unit.state.invocation_id);
        if load.run == *run {
            load.used += now.since(load.since) * u32::try_from(load.cpu).unwrap() / 100;
        } else {
            *load = Load { run: run.clone(), ..Load::default() };
        }
        load.since = now;
    }

    /// Whether the check's probe is a sample.
    pub(super) fn samples(&self, check: &CheckName) -> bool {
        self.checks.iter().any(|known| known.name == *check && known.probe.usage().is_some())
    }

    pub(super) fn sample(&mut self, check: &CheckName) -> Result<Sample, String> {
        let check = self.checks.iter().find(|known| known.name == *check).unwrap();
        let (probe, unit) = (check.probe.usage().unwrap().clone(), check.unit.clone().unwrap());
        assert_eq!(probe.of, UsedBy::Unit, "this world has no load of its own");
        self.count(&unit);
        let unit = &self.units[&unit];
        if !matches!(unit.state.active, ActiveState::Active) {
            return Ok(Sample::Idle { state: unit.state.describe() });
        }
        let used = if probe.limit.is_cpu() {
            u64::try_from(unit.load.used.as_nanos()).unwrap()
        } else {
            unit.load.memory
        };
        Ok(Sample::Used { run: unit.state.invocation_id.clone(), used, whole: 1 << 30 })
    }
}
