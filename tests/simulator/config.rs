//! A random configuration: the checks, and (in `units`) the units of the simulated machine and their relations.

pub mod units;

use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::{
    Alert, Backoff, Check, CheckName, HostPort, JobProbe, Percent, Probe, Recovery, Respect, Schedule, Step,
    TcpProbe, UsageLimit, UsageProbe, UsedBy,
};
use stealthcheck::unit::UnitName;

use crate::machine::Version;
use crate::random::Random;
pub use units::{UnitPlan, files};

/// Nobody's mail gets through to this one: the server refuses it for ever.
pub const DEAD: &str = "gone@example.org";

const PEOPLE: [&str; 4] = ["ops@example.org", "chase@example.org", "night@example.org", DEAD];

/// Everything.
#[derive(Clone, Debug)]
pub struct Plan {
    pub checks: Vec<Check>,
    pub units: Vec<UnitPlan>,
    /// Units need each other in a circle.
    pub circle: bool,
    pub lasting: Duration,
    pub version: Version,
    /// So long the unit runs that steps start.
    pub helper_takes: Duration,
}

pub fn unit(n: usize) -> UnitName {
    UnitName::new(&format!("u{n}.service")).unwrap()
}

/// A unit that a steps may start in place of the check's own.
pub fn helper() -> UnitName {
    UnitName::new("helper.service").unwrap()
}

/// Another name of a unit, which a check may use.
pub fn alias_of(unit: &UnitName) -> UnitName {
    UnitName::new(&format!("alias-of-{unit}")).unwrap()
}

/// The unit of that name: its own or another.
pub fn real(name: &UnitName) -> UnitName {
    let own = name.as_str().strip_prefix("alias-of-").and_then(|own| UnitName::new(own).ok());
    own.unwrap_or_else(|| name.clone())
}

/// The check monitors the unit, by whatever name.
pub fn is_of(check: &Check, unit: &UnitName) -> bool {
    check.unit.as_ref().is_some_and(|name| real(name) == *unit)
}

pub fn rival_of(unit: &UnitName) -> UnitName {
    UnitName::new(&format!("rival-of-{unit}")).unwrap()
}

/// Draws one. Mostly a handful of units; now and then a machine with up to two hundred checks.
pub fn plan(random: &mut Random) -> Plan {
    let units = match random.below(20) {
        0 => random.between(40, 200),
        1..=4 => random.between(8, 24),
        _ => random.between(1, 7),
    };
    let units = usize::try_from(units).unwrap();
    let crowd = units > 30;
    let circle = units > 1 && random.percent(10);
    let version = random.of(&[Version::V252, Version::V257]);
    let helper_takes = if random.percent(30) { random.heavy(60, 14_400) } else { random.secs(1, 5) };
    let lasting = Duration::from_secs(30 * 86_400);
    let mut plan = Plan { checks: vec![], units: vec![], circle: false, lasting, version, helper_takes };
    let defaults = schedule(random, units);
    for n in 0..units {
        let unit_plan = units::draw(random, n, units, crowd);
        let (job, triggered) = (unit_plan.job, unit_plan.triggered);
        let slow = unit_plan.starts_slowly;
        plan.units.push(unit_plan);
        let speakers = if crowd || job.is_some() || triggered { 1 } else { random.of(&[1, 1, 1, 2, 3]) };
        for k in 0..speakers {
            let probe = match job {
                Some(interval) => Probe::Job(JobProbe {
                    succeeded_within: interval * 3 / 2 + Duration::from_secs(600),
                    max_runtime: Duration::from_secs(1800),
                }),
                None if triggered => Probe::Unit,
                None => probe(random, k > 0),
            };
            let alias = k > 0 && random.percent(15);
            let name = if alias { alias_of(&unit(n)) } else { unit(n) };
            let mut check = check(random, &format!("c{n}-{k}"), Some(name), probe, &defaults);
            if slow {
                check.recovery.grace = check.recovery.grace.max(Duration::from_secs(30));
            }
            plan.checks.push(check);
        }
    }
    units::drop_idle_needs(&mut plan.units);
    plan.circle = circle && units::close_circle(&mut plan.units);
    for n in 0..random.below(3) {
        // Mail only.
        let probe = Probe::Tcp(tcp());
        let mut check = check(random, &format!("dns{n}"), None, probe, &defaults);
        check.recovery.steps.clear();
        plan.checks.push(check);
    }
    plan
}

/// Two hundred units of one kind, each with a check and the defaults.
pub fn crowd() -> Plan {
    let check = |n: usize| Check {
        name: CheckName::new(&format!("c{n}")).unwrap(),
        unit: Some(unit(n)),
        probe: Probe::Tcp(tcp()),
        schedule: Schedule::default(),
        recovery: Recovery { steps: vec![Step::Restart], ..Recovery::default() },
        alert: Alert { to: vec![PEOPLE[0].into()], ..Alert::default() },
        runbook: None,
    };
    Plan {
        checks: (0..200).map(check).collect(),
        units: (0..200).map(units::plain).collect(),
        circle: false,
        lasting: Duration::from_secs(3600),
        version: Version::V257,
        helper_takes: Duration::from_secs(1),
    }
}

/// The machine is probed some tens of thousands of times in its month, whatever its size: a large one seldom.
fn schedule(random: &mut Random, units: usize) -> Schedule {
    let interval = match units {
        1..=3 => random.of(&[60, 120, 300, 600]),
        4..=8 => random.of(&[300, 600, 900]),
        9..=30 => random.of(&[900, 1800]),
        _ => random.of(&[4 * 3600, 12 * 3600]),
    };
    let timeout = random.of(&[1, 5, 5, 10]);
    let retry = if units > 30 { random.of(&[60, 300]) } else { random.of(&[5, 5, 10, 30]) };
    Schedule {
        interval: Duration::from_secs(interval),
        timeout: Duration::from_secs(timeout),
        retry_interval: Duration::from_secs(retry.max(timeout)),
        failure_threshold: 3,
        success_threshold: 1,
        max_response_time: None,
    }
}

fn tcp() -> Arc<TcpProbe> {
    Arc::new(TcpProbe { address: HostPort::parse("127.0.0.1:9001").unwrap(), send: None, expect: None })
}

fn probe(random: &mut Random, further: bool) -> Probe {
    match random.below(10) {
        0..=1 => Probe::Unit,
        2..=3 if further => Probe::Usage(Arc::new(UsageProbe {
            of: UsedBy::Unit,
            limit: UsageLimit::OneCpu(Percent(5000)),
            over: Duration::from_secs(random.of(&[1800, 3600])),
        })),
        _ => Probe::Tcp(tcp()),
    }
}

fn check(
    random: &mut Random,
    name: &str,
    unit: Option<UnitName>,
    probe: Probe,
    defaults: &Schedule,
) -> Check {
    let mut schedule = defaults.clone();
    schedule.failure_threshold = u32::try_from(random.of(&[1, 2, 3, 3, 3, 5])).unwrap();
    schedule.success_threshold = random.of(&[1, 1, 1, 2, 3]);
    if probe.usage().is_some() || probe.job().is_some() {
        schedule.interval = schedule.interval.clamp(Duration::from_secs(300), Duration::from_secs(600));
        schedule.retry_interval = schedule.interval;
        schedule.failure_threshold = 1;
    }
    let mut to: Vec<Arc<str>> = vec![];
    for _ in 0..random.of(&[1, 1, 1, 2, 3]) {
        let address: Arc<str> = random.of(&PEOPLE).into();
        if !to.contains(&address) {
            to.push(address);
        }
    }
    let repeat_interval = random.of(&[None, Some(600), Some(3600), Some(4 * 3600), Some(4 * 3600)]);
    let alert = Alert {
        to,
        after: Duration::from_secs(random.of(&[0, 0, 0, 60, 600])),
        repeat_interval: repeat_interval.map(Duration::from_secs),
        unknown_after: Duration::from_secs(random.of(&[60, 600, 600])),
        off: random.percent(7),
    };
    let recovery = recovery(random, probe.job().is_some());
    Check { name: CheckName::new(name).unwrap(), unit, probe, schedule, recovery, alert, runbook: None }
}

pub fn recovery(random: &mut Random, job: bool) -> Recovery {
    use Step::{Reload, Restart, Start, StartUnit, Stop};
    let steps = match random.below(20) {
        0..=1 => vec![],
        2 => vec![Restart, Start],
        3 => vec![Start],
        4 => vec![Reload, Restart],
        5 => vec![Restart, StartUnit(helper())],
        6 => vec![Restart, Stop],
        7 => vec![StartUnit(helper()), Restart],
        _ => vec![Restart],
    };
    let backoff = match random.below(4) {
        0 => Backoff {
            initial: Duration::from_secs(random.of(&[5, 30])),
            max: Duration::from_secs(random.of(&[60, 600])),
        },
        _ => Backoff::default(),
    };
    let after = |random: &mut Random, choices: &[u64]| match random.below(6) {
        0 => Respect::Forever,
        _ => Respect::For(Duration::from_secs(random.of(choices))),
    };
    Recovery {
        steps: if job { random.of(&[vec![], vec![Start]]) } else { steps },
        max_attempts: random.percent(20).then(|| u32::try_from(random.between(1, 6)).unwrap()),
        backoff,
        grace: Duration::from_secs(random.of(&[5, 30, 30, 60, 120])),
        respect_stop: after(random, &[0, 60, 300, 300, 300]),
        respect_conflict: after(random, &[300, 3600, 3600]),
    }
}
