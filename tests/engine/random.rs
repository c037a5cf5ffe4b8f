//! All rules under random faults: the world checks its promises at every step, and in the end everything is well again.

use std::time::Duration;

use proptest::prelude::*;
use stealthcheck::check::{CheckName, Rung};
use stealthcheck::engine::{AttemptId, Command, Engine, Event, RunId};
use stealthcheck::notice::{IncidentId, NoticeId};
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{
    ActiveState, Job, JobKind, JobResult, LoadState, ManagerState, UnitName, UnitState,
};
use stealthcheck::verdict::{Health, Observation};

use super::rules::check;
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
        Fault::SlowJobs(seconds) => world.job_takes = Duration::from_secs(*seconds),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_promise_holds_and_all_is_well_in_the_end(
        script in prop::collection::vec((1..900_000_u64, fault()), 1..40),
        shared in any::<bool>(),
    ) {
        // With `shared`, two checks speak for one unit.
        let last = if shared { "u2.service" } else { "u3.service" };
        let mut checks = vec![
            check("c0", "u0.service"), check("c1", "u1.service"), check("c2", "u2.service"), check("c3", last),
        ];
        checks[1].recovery.ladder = vec![Rung::Restart, Rung::Start];
        checks[1].schedule.pass_after = 3;
        checks[2].alert.after = Duration::from_secs(60);
        let mut world = World::new(checks);
        for (millis, fault) in &script {
            world.play(Duration::from_millis(*millis));
            apply(&mut world, fault);
        }
        world.set_manager(ManagerState::Running);
        world.job_takes = Duration::from_millis(300);
        for unit in world.units.values_mut() {
            unit.service = Service::Healthy;
        }
        world.play(Duration::from_secs(4 * 3600));
        for n in 0..4 {
            let name = CheckName::new(&format!("c{n}")).unwrap();
            prop_assert_eq!(world.health(&name), Health::Passing, "{}\n{}", name, world.timeline());
        }
        prop_assert!(world.open_incidents().is_empty(), "{:?}\n{}", world.open_incidents(), world.timeline());
    }

    /// Events that make no sense, in any order, at any time: no panic, and no wish that the core cannot mean.
    #[test]
    fn no_order_of_events_is_a_panic(
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
            let _ = Engine::restore(now, "", saved, vec![check("c0", "u0.service")]);
        }
    }
}

fn nonsense() -> impl Strategy<Value = Event> {
    let name = (0..3_u8).prop_map(|n| CheckName::new(&format!("c{n}")).unwrap());
    let unit = (0..3_u8).prop_map(|n| UnitName::new(&format!("u{n}.service")).unwrap());
    let observation = prop_oneof![
        Just(Observation::Passing { detail: "ok".into(), latency: Duration::MAX }),
        Just(Observation::Failing { reason: String::new() }),
        Just(Observation::Incurable { reason: String::new() }),
        Just(Observation::Unknown { reason: "?".into() }),
    ];
    let id = (name.clone(), any::<u32>())
        .prop_map(|(n, number)| NoticeId { incident: IncidentId(n.as_str().into()), number });
    prop_oneof![
        (name.clone(), 0..50_u64, observation).prop_map(|(check, run, observation)| Event::Observed {
            check,
            run: RunId(run),
            observation
        }),
        (unit.clone(), unit_state()).prop_map(|(unit, state)| Event::UnitChanged { unit, state }),
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
        prop::collection::vec(0..3_u8, 0..3).prop_map(|ns| {
            let mut ns = ns;
            ns.sort_unstable();
            ns.dedup();
            Event::Configured(ns.iter().map(|n| check(&format!("c{n}"), &format!("u{n}.service"))).collect())
        }),
        id.clone().prop_map(Event::NoticeSpooled),
        id.prop_map(Event::NoticeDelivered),
    ]
}

fn job_result() -> impl Strategy<Value = JobResult> {
    prop_oneof![
        Just(JobResult::Done),
        Just(JobResult::Failed),
        Just(JobResult::Canceled),
        Just(JobResult::Refused("no".into()))
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
    let job = prop::option::of(
        prop_oneof![Just(JobKind::Stop), Just(JobKind::Start)].prop_map(|kind| Job { id: 1, kind }),
    );
    (active, load, job.clone(), job, any::<u32>(), any::<u64>(), any::<bool>()).prop_map(
        |(active, load, job, stopped_by, n_restarts, usec, auto)| UnitState {
            active,
            load,
            job,
            stopped_by,
            n_restarts,
            inactive_enter_usec: usec,
            active_enter_usec: usec / 2,
            sub: if auto { "auto-restart".into() } else { "dead".into() },
            ..UnitState::default()
        },
    )
}
