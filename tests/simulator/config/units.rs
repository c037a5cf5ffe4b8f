//! Random units: their files, and how they depend on each other.

use std::time::Duration;

use stealthcheck::unit::UnitName;

use super::{Plan, alias_of, helper, rival_of, unit};
use crate::machine::{Exit, Limit, Restart, UnitFile, oneshot, service, socket, timer, unit_name};
use crate::random::Random;

/// The oneshot that some units are ordered after: they wait for it in a boot.
pub const SLOW_AT_BOOT: &str = "slow-at-boot";
/// The oneshot that keeps some boots from being finished.
pub const STUCK_AT_BOOT: &str = "stuck-at-boot";

/// One unit.
#[derive(Clone, Debug)]
pub struct UnitPlan {
    pub name: UnitName,
    pub file: UnitFile,
    pub requires: Vec<UnitName>,
    /// A start of it starts these as well.
    pub wants: Vec<UnitName>,
    /// A socket starts it, and it ends when it is idle.
    pub triggered: bool,
    /// It answers only some time after it is up, or comes up slowly.
    pub starts_slowly: bool,
    /// Another unit conflicts with it.
    pub rival: bool,
    /// systemd restarts it by itself.
    pub auto_restart: bool,
    /// It is a job that a timer starts this often.
    pub job: Option<Duration>,
}

/// A service with a socket, in the words of `systemctl`: without its suffix.
pub fn stem(unit: &UnitName) -> &str {
    unit.as_str().trim_end_matches(".service")
}

/// A service with nothing special.
pub fn plain(n: usize) -> UnitPlan {
    UnitPlan {
        name: unit(n),
        file: UnitFile { stop_takes: Duration::from_millis(100), ..service(stem(&unit(n))).can_reload() },
        requires: vec![],
        wants: vec![],
        triggered: false,
        starts_slowly: false,
        rival: false,
        auto_restart: false,
        job: None,
    }
}

/// The `n`th of so many.
pub fn draw(random: &mut Random, n: usize, units: usize, crowd: bool) -> UnitPlan {
    let mut plan = plain(n);
    let job = (!crowd && random.percent(12)).then(|| Duration::from_secs(random.between(1, 24) * 3600));
    if let Some(interval) = job {
        let takes = random.secs(30, 900);
        plan.file = UnitFile { start_takes: takes, ..oneshot(stem(&plan.name), 0) };
        plan.job = Some(interval);
        return plan;
    }
    if random.percent(50) {
        plan.file = plan.file.notify(0);
        plan.file.start_takes = random.millis(20, 1500);
    }
    plan.file.stop_takes = random.millis(20, 1500);
    plan.file.reload_takes = random.percent(85).then(|| random.millis(20, 1500));
    if random.percent(15) {
        plan.file.stop_exit = Exit::Status(143);
    }
    if random.percent(30) {
        restarts_itself(random, &mut plan);
    }
    if crowd {
        return plan;
    }
    if random.percent(20) {
        plan.file = plan.file.condition("ConditionPathExists=/etc/x");
    }
    if random.percent(25) {
        plan.file.start_limit = Some(Limit {
            interval: Duration::from_secs(random.of(&[10, 60, 600])),
            burst: u32::try_from(random.between(3, 5)).unwrap(),
            reboots: random.percent(40),
        });
    }
    depends(random, &mut plan, n, units);
    if random.percent(30) {
        plan.file.after.push(unit_name(SLOW_AT_BOOT));
    }
    let standalone = plan.requires.is_empty() && !plan.auto_restart;
    if standalone && random.percent(8) {
        plan.triggered = true;
        plan.file = plan.file.not_enabled();
        plan.file.program.exits_after = Some((random.heavy(5, 900), Exit::Status(0)));
        return plan;
    }
    if random.percent(6) {
        plan.file = plan.file.transient();
    }
    if random.percent(15) {
        plan.starts_slowly = true;
        match random.below(3) {
            0 => plan.file.start_pre = random.secs(2, 25),
            _ => plan.file.program.listens_after = random.secs(2, 25),
        }
    }
    plan.rival = random.percent(30);
    if plan.rival && random.percent(30) {
        plan.file.program.shares_port_with.push(rival_of(&plan.name));
    }
    plan
}

fn restarts_itself(random: &mut Random, plan: &mut UnitPlan) {
    plan.auto_restart = true;
    plan.file.restart = random.of(&[Restart::OnFailure, Restart::Always, Restart::Always]);
    plan.file.restart_sec = match random.below(6) {
        0 => Duration::from_secs(random.of(&[60, 200])),
        1 => Duration::from_secs(10),
        2 => Duration::from_millis(100),
        _ => Duration::from_secs(1),
    };
}

fn depends(random: &mut Random, plan: &mut UnitPlan, n: usize, units: usize) {
    if n + 1 >= units {
        return;
    }
    let (next, last) = (n as u64 + 1, units as u64 - 1);
    let other = |random: &mut Random| unit(usize::try_from(random.between(next, last)).unwrap());
    if random.percent(30) {
        let required = other(random);
        if random.percent(70) {
            plan.file.after.push(required.clone());
        }
        if random.percent(40) {
            plan.file.program.needs.push(required.clone());
        }
        plan.requires.push(required);
    }
    if random.percent(15) {
        let wanted = other(random);
        if random.percent(50) {
            plan.file.after.push(wanted.clone());
        }
        plan.wants.push(wanted);
    }
}

/// What needs an answer of something that does not run all the time would never answer.
pub fn drop_idle_needs(units: &mut [UnitPlan]) {
    let idle = |unit: &&mut UnitPlan| unit.job.is_some() || unit.triggered;
    let idle: Vec<UnitName> = units.iter_mut().filter(idle).map(|unit| unit.name.clone()).collect();
    for unit in units {
        unit.file.program.needs.retain(|name| !idle.contains(name));
    }
}

/// The first two units require each other, in no order. Returns whether they can.
pub fn close_circle(units: &mut [UnitPlan]) -> bool {
    if units[..2].iter().any(|unit| unit.job.is_some() || unit.triggered) {
        return false;
    }
    for (n, other) in [(0, 1), (1, 0)] {
        units[n].requires = vec![unit(other)];
        units[n].file.after.retain(|name| *name != unit(0) && *name != unit(1));
        units[n].file.program.needs.clear();
    }
    true
}

/// The files of all units of a plan.
pub fn files(plan: &Plan) -> Vec<UnitFile> {
    let mut files = vec![];
    for unit_plan in &plan.units {
        let name = &unit_plan.name;
        let mut file = unit_plan.file.clone();
        file.requires.clone_from(&unit_plan.requires);
        file.wants.clone_from(&unit_plan.wants);
        file.aliases.push(alias_of(name));
        if unit_plan.rival {
            let rival = rival_of(name);
            file.conflicts.push(rival.clone());
            files.push(oneshot(stem(&rival), 60));
        }
        if let Some(interval) = unit_plan.job {
            files.push(timer(stem(name), interval.as_secs()));
        }
        if unit_plan.triggered {
            files.push(socket(stem(name)));
        }
        files.push(file);
    }
    files.push(UnitFile { start_takes: plan.helper_takes, ..oneshot(stem(&helper()), 0) });
    files.push(oneshot(SLOW_AT_BOOT, 1).enabled());
    files.push(oneshot(STUCK_AT_BOOT, 1).enabled());
    files
}
