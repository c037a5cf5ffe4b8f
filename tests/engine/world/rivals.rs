//! Units of the simulated machine that displace others: `r0.service` conflicts with `u0.service`, and so on.

use std::time::Duration;

use stealthcheck::engine::Event;
use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, Job, JobKind, LoadState, UnitName, UnitState};
use stealthcheck::verdict::{Health, Observation};

use super::{Coming, World, up};

/// One of them.
#[derive(Debug)]
pub struct Rival {
    pub state: UnitState,
    /// Since when it is in the way, and whether it was so until a moment before.
    pub came: Option<Mono>,
    pub returned: bool,
    pub went: Option<Mono>,
}

impl Rival {
    pub fn new() -> Self {
        let state = UnitState { load: LoadState::Loaded, oneshot: true, ..UnitState::default() };
        Self { state, came: None, returned: false, went: None }
    }
}

/// The name of what displaces a unit.
pub fn rival_of(unit: &UnitName) -> UnitName {
    UnitName::new(&format!("rival-of-{unit}")).unwrap()
}

impl World {
    /// systemd starts the unit's rival, and stops the unit for it. The readings come in this order or the other.
    pub fn displace(&mut self, unit: &UnitName, lasting: Duration, comes_back: bool, rival_first: bool) {
        let usec = u64::try_from(self.now.wall.0).unwrap() * 1000;
        let (Some(target), Some(rival)) = (self.units.get_mut(unit), self.rivals.get_mut(&rival_of(unit)))
        else {
            return;
        };
        if target.our_job.is_some() || target.state.job.is_some() || rival.came.is_some() {
            return;
        }
        rival.came = Some(self.now.mono);
        rival.returned = rival.went.is_some_and(|went| self.now.mono.since(went) < Duration::from_secs(300));
        rival.state.active = ActiveState::Activating;
        if target.state.active == ActiveState::Active {
            target.state.active = ActiveState::Inactive;
            target.state.sub = "dead".into();
            target.state.stopped_by = Some(Job { id: 3, kind: JobKind::Stop, ours: false });
            target.state.inactive_enter_usec = usec;
        }
        if rival_first {
            self.tell_rival(unit);
            self.tell_unit(unit);
        } else {
            self.tell_unit(unit);
            self.tell_rival(unit);
        }
        self.later(lasting, Coming::RivalEnds { unit: unit.clone(), comes_back });
    }

    /// The rival ends: by itself, or because the unit is started.
    pub fn rival_ends(&mut self, unit: &UnitName, comes_back: bool) {
        let Some(rival) = self.rivals.get_mut(&rival_of(unit)) else { return };
        if rival.came.take().is_none() {
            return;
        }
        rival.went = Some(self.now.mono);
        rival.state.active = ActiveState::Inactive;
        let invocation = self.fresh_invocation();
        self.tell_rival(unit);
        let Some(target) = self.units.get_mut(unit) else { return };
        if comes_back && target.our_job.is_none() && target.state.job.is_none() {
            target.state = up(&target.state, invocation);
            target.stopped_at = None;
            self.tell_unit(unit);
        }
    }

    pub fn tell_rival(&mut self, unit: &UnitName) {
        let name = rival_of(unit);
        if let Some(rival) = self.rivals.get(&name)
            && self.engine.units().any(|wanted| *wanted == name)
        {
            let event = Event::UnitRead { unit: name, state: rival.state.clone() };
            self.tell(event);
        }
    }

    /// No job of ours stops another unit's work within the hour, nor goes past what is broken below.
    pub fn assert_the_graph_allows_a_job_on(&self, unit: &UnitName) {
        let timeline = || self.timeline();
        if let Some(rival) = self.rivals.get(&rival_of(unit))
            && let Some(came) = rival.came
        {
            let lasting = self.now.mono.since(came);
            let long = rival.returned || lasting >= Duration::from_secs(3600);
            assert!(long, "a job on {unit}, displaced for {lasting:?} only\n{}", timeline());
        }
        let Some((_, root)) = self.needs.iter().find(|(needs, _)| needs == unit) else { return };
        if self.needs.iter().any(|(needs, needed)| needs == root && needed == unit) {
            // In a circle either may be the root.
            return;
        }
        let up = self.units[unit].state.active == ActiveState::Active;
        let root_is_down = self.units[root].state.is_down();
        for status in self.engine.status(self.now, &[], false) {
            let Some(incident) = status.incident.filter(|_| status.unit.as_ref() == Some(root)) else {
                continue;
            };
            let fails = !matches!(
                status.last.map(|last| last.observation),
                Some(Observation::Passing { .. } | Observation::Unknown { .. })
            );
            // A root that is up is no reason where no job can recover it, nor for a unit that is down itself.
            let first = root_is_down || (up && fails && !incident.action_required);
            let is_root = status.health == Health::DOWN && first;
            assert!(!is_root, "a job on {unit}, which needs {root}\n{}", timeline());
        }
    }
}
