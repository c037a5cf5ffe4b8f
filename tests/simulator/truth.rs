//! What is so on the machine, by systemd's own account of what happened: who stopped what, what failed, what came up.
//! The rules compare it with what the daemon decides.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, UnitName};

use crate::config::Plan;
use crate::machine::{By, Happened, JobType, Version};
use crate::sim::Sim;

/// A stop that is read so long after the end of a hold may be the holder's (rule 10).
const READ_AFTER_HOLD: Duration = Duration::from_millis(300);

/// One unit.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// When it came up.
    pub up_at: Mono,
    /// When it last went down.
    pub down_at: Mono,
    /// When runs of it failed, the latest last.
    pub failures: VecDeque<Mono>,
    /// An operator has stopped it, outside of any hold, and nobody has requested a start since.
    pub stopped_by_operator: Option<Mono>,
    /// How it last went down: by a stop or restart job, or by itself.
    pub ended_by_job: bool,
}

/// All of them.
pub struct Truths(BTreeMap<UnitName, Truth>);

impl Truths {
    pub fn new(plan: &Plan) -> Self {
        Self(plan.units.iter().map(|unit| (unit.name.clone(), Truth::default())).collect())
    }

    pub fn get(&self, unit: &UnitName) -> Option<&Truth> {
        self.0.get(unit)
    }
}

fn is_up(active: ActiveState) -> bool {
    matches!(active, ActiveState::Active | ActiveState::Reloading)
}

fn is_down(active: ActiveState) -> bool {
    matches!(active, ActiveState::Inactive | ActiveState::Failed)
}

impl Sim {
    /// Takes in what has happened on the machine since this was last called.
    pub fn note_truth(&mut self) {
        for what in std::mem::take(&mut self.machine.systemd.account) {
            match what {
                // (Nothing tells of a stop that is merged into another.)
                Happened::Queued { kind: JobType::Stop, merged: true, .. } => {}
                Happened::Queued { unit, kind, root, by, was_up, .. } => {
                    self.job_is_queued(&unit, kind, &root, by, was_up);
                }
                Happened::State { unit, from, to, by_job } => self.state_is_another(&unit, from, to, by_job),
                Happened::Failed { unit } => {
                    let now = self.mono;
                    if let Some(truth) = self.truths.0.get_mut(&unit) {
                        truth.failures.push_back(now);
                        truth.failures.retain(|at| now.since(*at) < Duration::from_secs(3600));
                    }
                }
                Happened::LimitHit { unit, by } => self.rules_reboot_by_job(&unit, by),
            }
        }
    }

    fn job_is_queued(&mut self, unit: &UnitName, kind: JobType, root: &UnitName, by: By, was_up: bool) {
        if by == By::Daemon && unit != root && kind == JobType::Start {
            self.rules_pulled_in(root, unit);
        }
        let now = self.mono;
        let in_hold = self.is_held_or_was(unit, READ_AFTER_HOLD);
        let systemd = &self.machine.systemd;
        let refused = systemd.version == Version::V257 && systemd.read(unit).frozen;
        let Some(truth) = self.truths.0.get_mut(unit) else { return };
        match (kind, by) {
            (JobType::Stop, By::Operator) if unit == root && was_up && !refused => {
                truth.stopped_by_operator = (!in_hold).then_some(now);
            }
            (JobType::Start | JobType::Restart, _) => truth.stopped_by_operator = None,
            _ => {}
        }
    }

    fn state_is_another(&mut self, unit: &UnitName, from: ActiveState, to: ActiveState, by_job: bool) {
        let now = self.mono;
        let Some(truth) = self.truths.0.get_mut(unit) else { return };
        if is_up(to) && !is_up(from) {
            truth.up_at = now;
        }
        if is_down(to) && !is_down(from) {
            truth.ended_by_job = by_job;
            truth.down_at = now;
            if !by_job {
                self.rules_note_death(unit);
            }
        }
    }
}
