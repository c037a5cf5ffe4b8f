//! The window alone: what it keeps, and what it says.

use super::*;
use crate::check::UsedBy;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Mono {
    Mono(SECOND * u32::try_from(seconds).unwrap())
}

struct Gauge {
    usage: Usage,
    probe: UsageProbe,
    interval: Duration,
}

impl Gauge {
    fn new(limit: UsageLimit, over: u64, interval: u64) -> Self {
        let probe = UsageProbe { of: UsedBy::Unit, limit, over: SECOND * u32::try_from(over).unwrap() };
        Self { usage: Usage::default(), probe, interval: SECOND * u32::try_from(interval).unwrap() }
    }

    fn cpu(over: u64, interval: u64) -> Self {
        Self::new(UsageLimit::OneCpu(Percent(1000)), over, interval)
    }

    fn take(&mut self, seconds: u64, used: u64) -> WindowVerdict {
        self.take_of("run", seconds, used)
    }

    fn take_of(&mut self, run: &str, seconds: u64, used: u64) -> WindowVerdict {
        let reading = Taken { probe: &self.probe, run, used, whole: 1000 };
        self.usage.take(at(seconds), at(seconds), &reading, self.interval)
    }
}

/// CPU time in nanoseconds.
const BUSY: u64 = 1_000_000_000;

#[test]
fn a_window_is_full_after_its_time_to_the_second() {
    let mut gauge = Gauge::cpu(300, 30);
    for n in 0..10 {
        assert!(matches!(gauge.take(n * 30, n * 30 * BUSY), WindowVerdict::TooSoon(_)), "{n}");
    }
    let WindowVerdict::TooMuch(reason) = gauge.take(300, 300 * BUSY) else { panic!("not full") };
    assert_eq!(reason, "at least 100% of one CPU for 5m, 10% is the limit");
    assert!(!gauge.usage.undecided);
}

#[test]
fn one_stretch_below_the_limit_keeps_it_from_failing_until_it_has_left_the_window() {
    let mut gauge = Gauge::cpu(300, 30);
    let mut used = 0;
    for n in 0..40 {
        used += if n == 15 { BUSY } else { 30 * BUSY };
        let judged = gauge.take(n * 30, used);
        match n {
            0..10 => assert!(matches!(judged, WindowVerdict::TooSoon(_)), "{n}: {judged:?}"),
            15..25 => assert!(matches!(judged, WindowVerdict::Below(_)), "{n}: {judged:?}"),
            _ => assert!(matches!(judged, WindowVerdict::TooMuch(_)), "{n}: {judged:?}"),
        }
    }
}

#[test]
fn exactly_the_limit_is_too_much() {
    let mut gauge = Gauge::cpu(60, 30);
    for (seconds, used) in [(0, 0), (30, 3 * BUSY)] {
        gauge.take(seconds, used);
    }
    assert!(matches!(gauge.take(60, 6 * BUSY), WindowVerdict::TooMuch(_)));
    assert!(matches!(gauge.take(90, 9 * BUSY - 10_000_000), WindowVerdict::Below(_)));
}

#[test]
fn another_run_and_a_counter_that_went_down_begin_anew() {
    let mut gauge = Gauge::cpu(60, 30);
    gauge.take(0, 0);
    gauge.take(30, 30 * BUSY);
    assert!(matches!(gauge.take_of("next", 60, 60 * BUSY), WindowVerdict::TooSoon(_)));
    gauge.take_of("next", 90, 90 * BUSY);
    assert!(matches!(gauge.take_of("next", 120, BUSY), WindowVerdict::TooSoon(_)), "it was counted anew");
    assert!(matches!(gauge.take_of("next", 150, 31 * BUSY), WindowVerdict::TooSoon(_)));
    assert!(matches!(gauge.take_of("next", 180, 61 * BUSY), WindowVerdict::TooMuch(_)));
}

#[test]
fn unseen_memory_begins_anew_and_unseen_cpu_time_was_counted() {
    let mut memory = Gauge::new(UsageLimit::Bytes(100), 60, 30);
    memory.take(0, 100);
    assert!(matches!(memory.take(300, 100), WindowVerdict::TooSoon(_)));
    assert!(matches!(memory.take(360, 100), WindowVerdict::TooMuch(_)));
    let mut cpu = Gauge::cpu(60, 30);
    cpu.take(0, 0);
    assert!(matches!(cpu.take(300, 30 * BUSY), WindowVerdict::TooMuch(_)));
    assert!(matches!(cpu.take(600, 59 * BUSY), WindowVerdict::Below(_)));
}

#[test]
fn memory_counts_from_the_reading_that_was_too_much() {
    let mut gauge = Gauge::new(UsageLimit::Bytes(100), 60, 30);
    assert_eq!(gauge.take(0, 99), WindowVerdict::Below("99 B (limit 100 B)".into()));
    let WindowVerdict::Below(text) = gauge.take(30, 120) else { panic!("the window has a reading below") };
    assert_eq!(text, "120 B for 0s, 100 B is the limit; too much after 1m");
    assert!(matches!(gauge.take(60, 100), WindowVerdict::Below(_)));
    let WindowVerdict::TooMuch(text) = gauge.take(90, 130) else { panic!("a minute is full") };
    assert_eq!(text, "at least 100 B for 1m, 100 B is the limit");
}

#[test]
fn a_percentage_of_memory_is_of_what_there_is() {
    let mut gauge = Gauge::new(UsageLimit::Memory(Percent(8000)), 60, 30);
    assert_eq!(gauge.take(0, 620), WindowVerdict::Below("62% of 1000 B (limit 80%)".into()));
    assert!(matches!(gauge.take(30, 800), WindowVerdict::Below(_)));
    assert!(matches!(gauge.take(90, 900), WindowVerdict::TooMuch(_)));
}

#[test]
fn a_long_window_of_many_readings_stays_small_and_is_not_much_later() {
    let mut gauge = Gauge::cpu(3600, 1);
    for n in 0..20_000 {
        gauge.take(n, n / 100 * BUSY);
        assert!(gauge.usage.window.len() <= 2 * usize::try_from(READINGS).unwrap(), "{n}");
    }
    let mut used = 200 * BUSY;
    let late = (0..5000).find(|n| {
        used += BUSY;
        matches!(gauge.take(20_000 + n, used), WindowVerdict::TooMuch(_))
    });
    let late = late.unwrap();
    assert!((3598..3600 + 2 * 3600 / u64::from(READINGS)).contains(&late), "{late}");
}
