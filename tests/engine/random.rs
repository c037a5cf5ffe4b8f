//! All rules under random faults: the world checks its promises at every step, and in the end everything is well again.

use std::time::Duration;

use proptest::prelude::*;
use stealthcheck::check::{Check, CheckName, JobProbe, Probe, Step};
use stealthcheck::engine::hold::{HoldEvent, HoldId, Holder, HowEnded};
use stealthcheck::engine::{AttemptId, Command, Engine, Event, RunId};
use stealthcheck::notification::{IncidentId, NotificationId};
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{
    ActiveState, Job, JobKind, JobResult, LoadState, ManagerState, UnitName, UnitState,
};
use stealthcheck::verdict::{Health, Observation, Sample};

use super::rules::check;
use super::seeds::cases;
use super::usage::cpu;
use super::world::{Service, World};

/// What goes wrong, on one of a few units.
#[derive(Clone, Debug)]
enum Fault {
    Set(usize, Service),
    End(usize, bool),
    OperatorStop(usize),
    OperatorStart(usize),
    Pause(usize, u64),
    Resume(usize),
    Manager(ManagerState),
    WallJump(i64),
    Suspend(u64),
    RestartDaemon(u64),
    Reconfigure,
    SlowJobs(u64),
    Burn(usize, u64),
    Displace { unit: usize, seconds: u64, comes_back: bool, rival_first: bool },
    Hold(usize, u64),
    EndHolds,
    LoseLeases,
}

fn service() -> impl Strategy<Value = Service> {
    prop_oneof![Just(Service::Healthy), Just(Service::Hung), Just(Service::Broken), Just(Service::WontStart)]
}

fn fault() -> impl Strategy<Value = Fault> {
    let unit = 0..4_usize;
    prop_oneof![
        4 => (unit.clone(), service()).prop_map(|(u, s)| Fault::Set(u, s)),
        4 => (unit.clone(), any::<bool>()).prop_map(|(u, f)| Fault::End(u, f)),
        2 => unit.clone().prop_map(Fault::OperatorStop),
        2 => unit.clone().prop_map(Fault::OperatorStart),
        2 => (unit.clone(), 1..6000_u64, any::<bool>(), any::<bool>()).prop_map(
            |(unit, seconds, comes_back, rival_first)| Fault::Displace { unit, seconds, comes_back, rival_first }
        ),
        1 => (unit.clone(), 1..7200_u64).prop_map(|(u, s)| Fault::Pause(u, s)),
        1 => unit.prop_map(Fault::Resume),
        1 => prop_oneof![
            Just(ManagerState::Running),
            Just(ManagerState::Stopping),
            Just(ManagerState::Unreachable)
        ].prop_map(Fault::Manager),
        1 => (-90_000_000..90_000_000_i64).prop_map(Fault::WallJump),
        1 => (1..100_000_u64).prop_map(Fault::Suspend),
        2 => (0..600_u64).prop_map(Fault::RestartDaemon),
        1 => Just(Fault::Reconfigure),
        1 => (0..100_u64).prop_map(Fault::SlowJobs),
        3 => (0..4_usize, 0..300_u64).prop_map(|(u, percent)| Fault::Burn(u, percent)),
        3 => (0..4_usize, 1..7200_u64).prop_map(|(u, s)| Fault::Hold(u, s)),
        2 => Just(Fault::EndHolds),
        1 => Just(Fault::LoseLeases),
    ]
}

fn apply(world: &mut World, fault: &Fault) {
    let unit = |n: usize| UnitName::new(&format!("u{n}.service")).unwrap();
    let name = |n: usize| CheckName::new(&format!("c{n}")).unwrap();
    match fault {
        Fault::Set(n, service) => {
            if let Some(unit) = world.units.get_mut(&unit(*n)) {
                unit.service = *service;
            }
        }
        Fault::End(n, failed) => world.end(&unit(*n), *failed),
        Fault::OperatorStop(n) => world.operator(&unit(*n), false),
        Fault::OperatorStart(n) => world.operator(&unit(*n), true),
        Fault::Pause(n, seconds) => world.pause(&name(*n), Duration::from_secs(*seconds)),
        Fault::Resume(n) => world.tell(Event::Command(Command::Resume(name(*n)))),
        Fault::Manager(manager) => world.set_manager(*manager),
        Fault::WallJump(millis) => world.now.wall = Wall(world.now.wall.0 + millis),
        Fault::Suspend(seconds) => {
            world.now.mono = world.now.mono.after(Duration::from_secs(*seconds));
            world.now.wall = world.now.wall.after(Duration::from_secs(*seconds));
        }
        Fault::RestartDaemon(seconds) => world.restart_daemon(Duration::from_secs(*seconds)),
        Fault::Reconfigure => {
            let checks = world.checks.clone();
            world.tell(Event::Configured(checks));
        }
        Fault::Burn(n, percent) => {
            if world.units.contains_key(&unit(*n)) {
                world.burn(&unit(*n), *percent);
            }
        }
        Fault::Displace { unit: n, seconds, comes_back, rival_first } => {
            world.displace(&unit(*n), Duration::from_secs(*seconds), *comes_back, *rival_first);
        }
        Fault::Hold(n, seconds) => drop(world.hold(&unit(*n), Duration::from_secs(*seconds))),
        Fault::EndHolds => {
            while let Some(id) = world.holds.open.keys().next().cloned() {
                world.end_hold(&id, HowEnded::Gone);
            }
        }
        Fault::LoseLeases => {
            world.holds.open.clear();
            world.restart_daemon(Duration::from_secs(1));
        }
        Fault::SlowJobs(seconds) => world.job_takes = Duration::from_secs(*seconds),
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn random_faults_break_no_rule_and_everything_recovers(
        script in prop::collection::vec((1..900_000_u64, fault()), 1..40),
        shared in any::<bool>(),
        circle in any::<bool>(),
    ) {
        // With `shared`, two checks speak for one unit.
        let last = if shared { "u2.service" } else { "u3.service" };
        let mut checks = vec![
            check("c0", "u0.service"), check("c1", "u1.service"), check("c2", "u2.service"), check("c3", last),
            cpu("c4", "u0.service"), cpu("c5", "u1.service"),
        ];
        checks[4].recovery.steps = vec![Step::Restart, Step::Start];
        for check in &mut checks[4..] {
            // As rarely as it makes sense, for time's sake.
            check.schedule.interval = Duration::from_mins(5);
            check.schedule.retry_interval = check.schedule.interval;
        }
        checks[1].recovery.steps = vec![Step::Restart, Step::Start];
        checks[1].schedule.success_threshold = 3;
        checks[2].alert.after = Duration::from_secs(60);
        let unit = |n: usize| UnitName::new(&format!("u{n}.service")).unwrap();
        // The first needs the second, or they need each other.
        let mut needs = vec![(unit(0), unit(1))];
        if circle {
            needs.push((unit(1), unit(0)));
        }
        let mut world = World::with_needs(checks, needs);
        for (millis, fault) in &script {
            world.play(Duration::from_millis(*millis));
            apply(&mut world, fault);
        }
        world.set_manager(ManagerState::Running);
        world.job_takes = Duration::from_millis(300);
        for unit in world.units.values_mut() {
            unit.service = Service::Healthy;
        }
        for unit in world.units.keys().cloned().collect::<Vec<_>>() {
            world.burn(&unit, 0);
        }
        world.play(Duration::from_secs(4 * 3600));
        for n in 0..6 {
            let name = CheckName::new(&format!("c{n}")).unwrap();
            prop_assert_eq!(world.health(&name), Health::PASSING, "{}\n{}", name, world.timeline());
        }
        prop_assert!(world.open_incidents().is_empty(), "{:?}\n{}", world.open_incidents(), world.timeline());
    }

    /// Events that make no sense, in any order, at any time: no panic, and no wish that the core cannot mean.
    #[test]
    fn no_order_of_events_panics(
        script in prop::collection::vec((any::<u64>(), any::<i64>(), nonsense()), 0..200),
    ) {
        let mut engine = Engine::new();
        let mut mono = 0_u64;
        for (advance, wall, event) in script {
            mono = mono.saturating_add(advance % 1_000_000_000_000);
            let now = Now { mono: Mono(Duration::from_micros(mono)), wall: Wall(wall) };
            engine.handle(now, event);
            let _ = engine.status(now, &[], true);
            let saved = engine.save(now, "");
            let _ = Engine::restore(now, "", saved, vec![sensible(0)]);
        }
    }
}

/// A check of each kind that the core treats differently.
fn sensible(n: u8) -> Check {
    let (name, unit) = (format!("c{n}"), format!("u{n}.service"));
    match n {
        0 => check(&name, &unit),
        1 => cpu(&name, &unit),
        _ => {
            let job =
                JobProbe { succeeded_within: Duration::from_secs(60), max_runtime: Duration::from_secs(20) };
            Check { probe: Probe::Job(job), ..check(&name, &unit) }
        }
    }
}

fn sample() -> impl Strategy<Value = Result<Sample, String>> {
    prop_oneof![
        8 => (0..2_u8, any::<u64>(), any::<u64>())
            .prop_map(|(run, used, whole)| Ok(Sample::Used { run: run.to_string(), used, whole })),
        1 => Just(Ok(Sample::Idle { state: "inactive (dead)".into() })),
        1 => Just(Err("?".to_owned())),
    ]
}

fn nonsense() -> impl Strategy<Value = Event> {
    let name = (0..3_u8).prop_map(|n| CheckName::new(&format!("c{n}")).unwrap());
    let unit = (0..3_u8).prop_map(|n| UnitName::new(&format!("u{n}.service")).unwrap());
    let observation = prop_oneof![
        Just(Observation::Passing { detail: "ok".into(), latency: Duration::MAX }),
        Just(Observation::Failing { reason: String::new() }),
        Just(Observation::NotRestartable { reason: String::new() }),
        Just(Observation::Unknown { reason: "?".into() }),
    ];
    let id = (name.clone(), any::<u32>())
        .prop_map(|(n, number)| NotificationId { incident: IncidentId(n.as_str().into()), number });
    prop_oneof![
        (name.clone(), 0..50_u64, observation).prop_map(|(check, run, observation)| Event::Observed {
            check,
            run: RunId(run),
            observation
        }),
        (name.clone(), 0..50_u64, sample()).prop_map(|(check, run, sample)| Event::Sampled {
            check,
            run: RunId(run),
            sample
        }),
        (unit.clone(), unit_state()).prop_map(|(unit, state)| Event::UnitRead { unit, state }),
        (unit, 0..20_u64, job_result(), prop::option::of(unit_state())).prop_map(
            |(unit, attempt, result, state)| Event::JobEnded {
                unit,
                attempt: AttemptId(attempt),
                result,
                state
            }
        ),
        Just(Event::Tick),
        Just(Event::ManagerChanged(ManagerState::Running)),
        Just(Event::ManagerChanged(ManagerState::Stopping)),
        (name.clone(), any::<u64>())
            .prop_map(|(n, s)| Event::Command(Command::Pause(n, Duration::from_secs(s)))),
        name.clone().prop_map(|n| Event::Command(Command::Resume(n))),
        name.prop_map(|n| Event::Command(Command::Check(n))),
        hold_event().prop_map(Event::Hold),
        prop::collection::vec(0..3_u8, 0..3).prop_map(|ns| {
            let mut ns = ns;
            ns.sort_unstable();
            ns.dedup();
            Event::Configured(ns.iter().map(|n| sensible(*n)).collect())
        }),
        id.clone().prop_map(Event::NotificationStored),
        id.prop_map(Event::NotificationDelivered),
    ]
}

fn hold_event() -> impl Strategy<Value = HoldEvent> {
    let id = (0..4_u8).prop_map(|n| HoldId(n.to_string().into()));
    let unit = (0..3_u8).prop_map(|n| UnitName::new(&format!("u{n}.service")).unwrap());
    let holder = || Holder { who: "somebody".into(), why: "something".into() };
    prop_oneof![
        (id.clone(), unit, any::<u64>()).prop_map(move |(id, unit, seconds)| HoldEvent::Take {
            id,
            unit,
            holder: holder(),
            lasting: Duration::from_secs(seconds)
        }),
        id.clone().prop_map(|id| HoldEvent::End(id, HowEnded::Done)),
        prop::collection::btree_set(id, 0..3).prop_map(HoldEvent::Kept),
    ]
}

fn job_result() -> impl Strategy<Value = JobResult> {
    prop_oneof![
        Just(JobResult::Done),
        Just(JobResult::Failed),
        Just(JobResult::Canceled),
        Just(JobResult::Refused("no".into())),
        Just(JobResult::Unasked("no".into())),
        Just(JobResult::Unknown("?".into()))
    ]
}

fn unit_state() -> impl Strategy<Value = UnitState> {
    let active = prop_oneof![
        Just(ActiveState::Active),
        Just(ActiveState::Inactive),
        Just(ActiveState::Failed),
        Just(ActiveState::Activating),
        Just(ActiveState::Deactivating)
    ];
    let load = prop_oneof![Just(LoadState::Loaded), Just(LoadState::NotFound), Just(LoadState::Masked)];
    let job = prop::option::of(prop_oneof![Just(JobKind::Stop), Just(JobKind::Start)].prop_map(|kind| Job {
        id: 1,
        kind,
        ours: false,
    }));
    (active, load, job.clone(), job, any::<u32>(), any::<u64>(), any::<bool>()).prop_map(
        |(active, load, job, stopped_by, n_restarts, usec, auto)| UnitState {
            active,
            load,
            job,
            stopped_by,
            n_restarts,
            inactive_enter_usec: usec,
            inactive_exit_usec: usec / 3,
            seen_ended_usec: usec / 5,
            triggers: auto.then(|| UnitName::new("u1.service").unwrap()),
            active_enter_usec: usec / 2,
            sub: if auto { "auto-restart".into() } else { "dead".into() },
            ..UnitState::default()
        },
    )
}
