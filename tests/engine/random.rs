//! Events that make no sense, in any order: whoever tells them, the core does not panic.

use std::time::Duration;

use proptest::prelude::*;
use stealthcheck::check::{Check, CheckName, JobProbe, Probe};
use stealthcheck::engine::hold::{HoldEvent, HoldId, Holder, HowEnded};
use stealthcheck::engine::{AttemptId, Command, Engine, Event, RunId};
use stealthcheck::notification::{IncidentId, NotificationId};
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{
    ActiveState, Job, JobKind, JobResult, LoadState, ManagerState, UnitName, UnitState,
};
use stealthcheck::verdict::{Observation, Sample};

use super::rules::check;
use super::seeds::cases;
use super::usage::cpu;

proptest! {
    #![proptest_config(cases(400))]

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
        1 => cpu(&name, &unit).finish(),
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
            starts_seen: 0,
            failures_seen: 0,
            triggers: auto.then(|| UnitName::new("u1.service").unwrap()),
            active_enter_usec: usec / 2,
            sub: if auto { "auto-restart".into() } else { "dead".into() },
            ..UnitState::default()
        },
    )
}
