//! Samples as they come, one by one: of the machine, late, in between, and none.

use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::{Check, CheckName, Percent, Probe, UsageLimit, UsageProbe, UsedBy};
use stealthcheck::engine::{Command, Effect, Engine, Event, RunId};
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{ActiveState, LoadState, ManagerState, UnitName, UnitState};
use stealthcheck::verdict::{Health, Observation, Sample};

use super::usage::{cpu, usage};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The core alone, with one check of what the machine uses.
struct Bench {
    engine: Engine,
    now: Now,
    asked: Vec<Effect>,
}

impl Bench {
    fn new(check: Check) -> Self {
        let now = Now { mono: Mono(secs(1_000_000)), wall: Wall(1_795_000_000_000) };
        let mut bench = Self { engine: Engine::new(), now, asked: Vec::new() };
        bench.tell(Event::Configured(vec![check]));
        bench.tell(Event::ManagerChanged(ManagerState::Running));
        bench
    }

    fn tell(&mut self, event: Event) {
        let effects = self.engine.handle(self.now, event);
        self.asked.extend(effects);
    }

    fn later(&mut self, by: Duration) {
        self.now = Now { mono: self.now.mono.after(by), wall: self.now.wall.after(by) };
        self.tell(Event::Tick);
    }

    /// Lets time pass until a probe is asked for.
    fn asked_for(&mut self) -> (CheckName, RunId) {
        for _ in 0..100_000 {
            let run = self.asked.drain(..).find_map(|effect| match effect {
                Effect::Probe { check, run, .. } => Some((check, run)),
                _ => None,
            });
            if let Some(run) = run {
                return run;
            }
            self.later(Duration::from_millis(20));
        }
        panic!("no probe is asked for");
    }

    fn answer(&mut self, sample: Result<Sample, String>) {
        let (check, run) = self.asked_for();
        self.tell(Event::Sampled { check, run, sample });
    }

    fn status(&self) -> stealthcheck::status::CheckStatus {
        self.engine.status(self.now, &[], false).remove(0)
    }
}

fn host(limit: UsageLimit, over: u64) -> Check {
    let mut check = usage("host", "gru", limit, over).finish();
    check.unit = None;
    check.recovery.steps.clear();
    check.probe = Probe::Usage(Arc::new(UsageProbe { of: UsedBy::Host, limit, over: secs(over) }));
    check
}

fn used(run: &str, used: u64, whole: u64) -> Result<Sample, String> {
    Ok(Sample::Used { run: run.into(), used, whole })
}

#[test]
fn failed_sample_is_unknown_and_no_failure() {
    let mut bench = Bench::new(host(UsageLimit::Memory(Percent(8000)), 60));
    for _ in 0..100 {
        bench.answer(Err("/proc/meminfo cannot be read".into()));
    }
    assert!(matches!(bench.status().last.unwrap().observation, Observation::Unknown { .. }));
    assert_eq!(bench.status().health, Health::UNKNOWN);
    bench.answer(used("boot", 50, 100));
    assert_eq!(bench.status().health, Health::PASSING);
}

#[test]
fn machine_percentages_refer_to_all_cpus_and_memory() {
    let mut bench = Bench::new(host(UsageLimit::AllCpus(Percent(8000)), 60));
    let started = bench.now.mono;
    for _ in 0..6 {
        // Three of four CPUs.
        let nanos = u64::try_from((bench.now.mono.since(started) * 3).as_nanos()).unwrap();
        bench.answer(used("boot", nanos, 4));
    }
    let text = bench.status().last.unwrap().observation.text().to_owned();
    assert_eq!(bench.status().health, Health::PASSING, "{text}");
    assert!(text.contains("% of all CPUs (7"), "{text}");

    let mut bench = Bench::new(host(UsageLimit::Memory(Percent(8000)), 60));
    for _ in 0..4 {
        bench.answer(used("boot", 9 << 28, 10 << 28));
    }
    assert_eq!(bench.status().health, Health::DOWN);
    let cause = bench.status().incident.unwrap().cause;
    assert_eq!(cause, "at least 90% of 2.5 GiB for 1m, 80% is the limit");
    bench.answer(used("another-boot", 9 << 28, 10 << 28));
    assert_eq!(bench.status().health, Health::DOWN, "too soon to tell");
    bench.answer(used("another-boot", 1 << 28, 10 << 28));
    assert_eq!(bench.status().health, Health::PASSING);
}

#[test]
fn slow_sample_never_overstates_usage() {
    let mut bench = Bench::new(host(UsageLimit::OneCpu(Percent(1000)), 30));
    let started = bench.now.mono;
    // The machine uses 9%. Every other time it is nine seconds until somebody comes to read the counter.
    let used = |bench: &Bench| {
        let nanos = (bench.now.mono.since(started) * 9 / 100).as_nanos();
        used("boot", u64::try_from(nanos).unwrap(), 1)
    };
    for n in 0..40 {
        let (check, run) = bench.asked_for();
        if n % 2 == 1 {
            bench.now.mono = bench.now.mono.after(secs(9));
            bench.now.wall = bench.now.wall.after(secs(9));
        }
        let sample = used(&bench);
        bench.tell(Event::Sampled { check, run, sample });
        assert_ne!(bench.status().health, Health::DOWN, "{:?}", bench.status().last);
    }
    assert_eq!(bench.status().health, Health::PASSING);
}

#[test]
fn probe_by_command_leaves_the_window_as_it_is() {
    let mut check = cpu("gru-cpu", "gru").finish();
    check.recovery.steps.clear();
    let mut bench = Bench::new(check);
    let up = UnitState {
        load: LoadState::Loaded,
        active: ActiveState::Active,
        sub: "running".into(),
        invocation_id: "a".into(),
        ..UnitState::default()
    };
    bench.tell(Event::UnitRead { unit: UnitName::new("gru.service").unwrap(), state: up });
    let started = bench.now.mono;
    let busy = |bench: &Bench| used("a", u64::try_from(bench.now.mono.since(started).as_nanos()).unwrap(), 1);
    for n in 0..58 {
        let sample = busy(&bench);
        bench.answer(sample);
        if n % 10 == 5 {
            // In that very moment it does nothing.
            let name = CheckName::new("gru-cpu").unwrap();
            let sample = busy(&bench);
            bench.tell(Event::Command(Command::Check(name)));
            bench.answer(sample);
        }
    }
    assert_eq!(bench.status().health, Health::PASSING);
    for _ in 0..5 {
        let sample = busy(&bench);
        bench.answer(sample);
    }
    assert_eq!(bench.status().health, Health::DOWN, "{:?}", bench.status().last);
}
