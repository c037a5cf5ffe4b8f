//! What is used, sampled: a spike is forgiven, too much of it for too long is an incident, and a restart is judged by what
//! is used after it.

use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::Step::{self, Restart as RestartUnit, StartUnit};
use stealthcheck::check::{Percent, Probe, UsageLimit, UsageProbe, UsedBy};
use stealthcheck::notification::NotificationKind::{ActionRequired, Down, Recovered};
use stealthcheck::notification::{AttemptOutcome, Notification};
use stealthcheck::unit::ManagerState;
use stealthcheck::verdict::Observation;

use crate::machine::*;

const MINUTE: u64 = 60;

/// The unit's CPU below 10% of one CPU over half an hour, sampled each half minute.
pub fn cpu(name: &str, unit: &str) -> CheckBuilder {
    usage(name, unit, UsageLimit::OneCpu(Percent(1000)), 30 * MINUTE)
}

pub fn usage(name: &str, unit: &str, limit: UsageLimit, over: u64) -> CheckBuilder {
    http(name).on(unit).failure_threshold(1).with(|check| {
        let over = Duration::from_secs(over);
        check.probe = Probe::Usage(Arc::new(UsageProbe { of: UsedBy::Unit, limit, over }));
        check.schedule.retry_interval = check.schedule.interval;
    })
}

fn terminate() -> Step {
    StartUnit(unit_name("gru-terminate"))
}

fn gru_with(change: impl FnOnce(Machine) -> Machine) -> Machine {
    let check = cpu("gru-cpu", "gru").recover(&[RestartUnit, terminate()]);
    change(Machine::new().unit(service("gru")).unit(oneshot("gru-terminate", 1)).check(check)).up()
}

/// A unit with a check of its CPU, watched for a while.
fn gru() -> Machine {
    let mut m = gru_with(|m| m);
    burn(&mut m, 3);
    m.run_for(20 * MINUTE);
    assert_eq!(m.state("gru-cpu"), "passing");
    m
}

/// gru with two checks: its CPU, and whether it answers.
fn gru_that_answers() -> Machine {
    let mut m = gru_with(|m| m.check(http("gru-http").on("gru")));
    m.run_for(10 * MINUTE);
    m
}

/// gru uses so much of one CPU from now on, until its run ends; in percent.
fn burn(m: &mut Machine, percent: u32) {
    m.use_cpu(&unit_name("gru"), Some(percent));
}

/// How many jobs there were, whichever step they are.
fn jobs(m: &Machine) -> usize {
    m.record.jobs.len()
}

/// Runs until just after a sample, so that what begins now begins with a stretch.
fn run_to_a_sample(m: &mut Machine) {
    let before = m.probes();
    assert!(m.run_until_it_holds(MINUTE, |m| m.probes() > before));
    m.run_for_millis(10);
}

/// Runs until the unit has been restarted, and lets it burn on.
fn restarted_in_vain(m: &mut Machine) {
    burn(m, 97);
    assert!(m.run_until_it_holds(33 * MINUTE, |m| jobs(m) == 1));
    m.run_for(1);
    burn(m, 97);
    m.run_for(MINUTE);
}

fn last_seen(m: &Machine, check: &str) -> Observation {
    m.status(check).last.expect("something was seen").observation
}

fn steps_of(notification: &Notification) -> Vec<Step> {
    notification.attempts.iter().map(|attempt| attempt.step.clone()).collect()
}

/// The notification that closes the first incident of the check.
fn closing(m: &Machine, check: &str) -> Notification {
    let mut closing = m.sent_about(check).filter(|sent| sent.notification.kind == Recovered);
    closing.next().expect("it is closed").notification.clone()
}

/// The steps of all incidents that are over.
fn steps(m: &Machine) -> Vec<Step> {
    let closed = m.record.sent.iter().filter(|sent| sent.notification.kind == Recovered);
    closed.flat_map(|sent| steps_of(&sent.notification)).collect()
}

fn away(m: &mut Machine, secs: u64) {
    m.stop_daemon();
    m.run_for(secs);
    m.start_daemon();
}

#[test]
fn short_spike_is_no_failure() {
    let mut m = gru();
    for _ in 0..5 {
        burn(&mut m, 400);
        m.run_for(28 * MINUTE);
        assert_eq!(m.state("gru-cpu"), "passing");
        burn(&mut m, 3);
        m.run_for(MINUTE);
    }
    m.assert_quiet();
}

#[test]
fn observation_shows_the_average_of_the_window() {
    let mut m = gru();
    m.run_for(15 * MINUTE);
    // A sample is some milliseconds under way, which count as time.
    assert_eq!(last_seen(&m, "gru-cpu").text(), "2.9% of one CPU (2.9% over the last 30m)");
    run_to_a_sample(&mut m);
    burn(&mut m, 97);
    m.run_for(4 * MINUTE + 15);
    let seen = last_seen(&m, "gru-cpu");
    assert_eq!(seen.text(), "96% of one CPU for 4m, 10% is the limit; too much after 30m");
    assert!(matches!(seen, Observation::Passing { .. }));
}

/// A restart is proven by the samples that follow.
#[test]
fn sustained_usage_is_down_after_its_window() {
    let mut m = gru();
    run_to_a_sample(&mut m);
    burn(&mut m, 97);
    let began = m.secs();
    m.run_for(29 * MINUTE);
    assert_eq!((m.state("gru-cpu"), jobs(&m)), ("passing", 0));
    m.run_for(3 * MINUTE);
    assert_eq!((m.jobs("gru"), jobs(&m)), (1, 1));
    let after = m.job_times("gru")[0] - began;
    assert!((1799.0..=1801.0).contains(&after), "{after}");
    assert_eq!((m.state("gru-cpu"), m.notifications("gru-cpu")), ("passing", vec![Down, Recovered]));
    let cause = &m.record.sent[0].notification.cause;
    assert_eq!(cause, "at least 96% of one CPU for 30m, 10% is the limit");
    assert_eq!(closing(&m, "gru-cpu").attempts[0].outcome, Some(AttemptOutcome::Recovered));
}

/// Usage that falls by itself closes the incident.
#[test]
fn operator_restart_empties_the_window() {
    let mut m = gru();
    burn(&mut m, 97);
    m.run_for(25 * MINUTE);
    m.restart("gru");
    m.run_for(2);
    burn(&mut m, 97);
    m.run_for(29 * MINUTE);
    assert_eq!((m.state("gru-cpu"), jobs(&m)), ("passing", 0));

    m.manager_says(ManagerState::Stopping);
    m.run_for(3 * MINUTE);
    assert_eq!((m.state("gru-cpu"), jobs(&m)), ("down", 0), "withheld");
    burn(&mut m, 3);
    m.run_for(MINUTE);
    assert_eq!((m.state("gru-cpu"), m.notifications("gru-cpu")), ("passing", vec![Down, Recovered]));
}

#[test]
fn repeated_usage_incident_continues_at_the_next_step() {
    let mut m = gru();
    burn(&mut m, 97);
    m.run_for(33 * MINUTE);
    assert_eq!((m.state("gru-cpu"), jobs(&m)), ("passing", 1));
    burn(&mut m, 97);
    m.run_for(32 * MINUTE);
    assert_eq!(m.state("gru-cpu"), "down");
    // In truth the machine goes; here the load goes after a while.
    burn(&mut m, 3);
    m.run_for(5 * MINUTE);
    assert_eq!(steps(&m)[..2], [RestartUnit, terminate()]);
    let before = steps(&m).len();

    // Long after, it is a renegade like the first.
    m.run_for(3 * 60 * MINUTE);
    burn(&mut m, 97);
    m.run_for(33 * MINUTE);
    assert_eq!(steps(&m)[before..], [RestartUnit]);
}

#[test]
fn restart_is_ineffective_when_the_window_is_full_again() {
    let mut m = gru();
    restarted_in_vain(&mut m);
    m.run_for(27 * MINUTE);
    assert_eq!((m.state("gru-cpu"), jobs(&m)), ("down", 1));
    assert_eq!(m.status("gru-cpu").next, "restart done, waiting for the measuring window to fill");
    assert_eq!(m.notifications("gru-cpu"), [Down]);
    m.run_for(3 * MINUTE);
    assert!(jobs(&m) >= 2, "{}", m.timeline());
    m.run_for(5 * MINUTE);
    assert_eq!(m.notifications("gru-cpu"), [Down, ActionRequired]);
    let told = &m.record.sent[1].notification;
    assert_eq!(steps_of(told)[..2], [RestartUnit, terminate()]);
    assert!(matches!(told.attempts[0].outcome, Some(AttemptOutcome::Ineffective(_))), "{told:?}");
}

#[test]
fn pass_of_other_check_proves_nothing_for_usage() {
    let mut m = gru_that_answers();
    restarted_in_vain(&mut m);
    assert_eq!((m.state("gru-cpu"), m.state("gru-http")), ("down", "passing"));
    m.run_for(20 * MINUTE);
    assert_eq!((m.state("gru-cpu"), m.notifications("gru-cpu")), ("down", vec![Down]));
    burn(&mut m, 3);
    m.run_for(MINUTE);
    assert_eq!((m.state("gru-cpu"), jobs(&m)), ("passing", 1));
    assert_eq!(closing(&m, "gru-cpu").attempts[0].outcome, Some(AttemptOutcome::Recovered));
}

#[test]
fn filling_window_does_not_delay_other_checks() {
    let mut m = gru_that_answers();
    restarted_in_vain(&mut m);
    let hung = m.secs();
    m.hang("gru");
    m.run_for(2 * MINUTE);
    assert_eq!(m.jobs("gru"), 2);
    let after = m.job_times("gru")[1] - hung;
    assert!(after < 60.0, "requested after {after} s");
    assert_eq!(m.state("gru-http"), "passing");
    // It was the other check's restart, of the other check's steps; and it served the CPU as well.
    assert_eq!(steps_of(&closing(&m, "gru-http")), [RestartUnit]);
    let outcomes: Vec<_> = closing(&m, "gru-cpu").attempts.into_iter().map(|a| a.outcome).collect();
    let overtaken = "another attempt was due before its effect could be measured".to_owned();
    let expected = [AttemptOutcome::Ineffective(overtaken), AttemptOutcome::Recovered].map(Some);
    assert_eq!(outcomes, expected);
    assert_eq!(m.open_threads(), []);
}

#[test]
fn other_checks_restart_is_ineffective_by_usage() {
    let mut m = gru_that_answers();
    restarted_in_vain(&mut m);
    m.hang("gru");
    assert!(m.run_until_it_holds(2 * MINUTE, |m| jobs(m) == 2));
    m.run_for(1);
    burn(&mut m, 97);
    m.run_for(5 * MINUTE);
    assert_eq!((m.state("gru-cpu"), m.state("gru-http")), ("down", "passing"));
    m.run_for(27 * MINUTE);
    burn(&mut m, 3);
    m.run_for(2 * MINUTE);
    // Once by each check, and then the CPU's own next step.
    let expected = [RestartUnit, RestartUnit, terminate()];
    assert_eq!(steps_of(&closing(&m, "gru-cpu"))[..3], expected, "{}", m.timeline());
}

#[test]
fn samples_keep_their_interval_during_start() {
    let mut m = gru();
    burn(&mut m, 97);
    assert!(m.run_until_it_holds(33 * MINUTE, |m| jobs(m) == 1));
    let before = m.probes();
    m.run_for(2 * MINUTE);
    assert!((4..=6).contains(&(m.probes() - before)), "{} in two minutes", m.probes() - before);
}

#[test]
fn crash_is_recovered_without_the_window() {
    let mut m = gru_that_answers();
    m.kill("gru");
    m.run_for(3);
    // It has work to do when it starts.
    burn(&mut m, 60);
    m.run_for(MINUTE);
    assert_eq!((m.state("gru-cpu"), m.state("gru-http")), ("passing", "passing"));
    assert_eq!((jobs(&m), m.open_threads().len()), (1, 0));
}

#[test]
fn crash_while_window_fills_is_recovered_by_the_same_step() {
    let mut m = gru_that_answers();
    restarted_in_vain(&mut m);
    m.run_for(5 * MINUTE);
    m.kill("gru");
    m.run_for(2 * MINUTE);
    assert_eq!(m.state("gru-cpu"), "passing");
    assert!(steps(&m).iter().all(|step| *step == RestartUnit), "{:?}", steps(&m));
    assert_eq!((m.jobs("gru"), jobs(&m)), (2, 2));
}

#[test]
fn window_survives_daemon_restart() {
    let mut m = gru();
    burn(&mut m, 97);
    let began = m.secs();
    for _ in 0..5 {
        m.run_for(5 * MINUTE);
        away(&mut m, 20);
    }
    m.run_for(2 * MINUTE);
    assert_eq!((m.state("gru-cpu"), jobs(&m)), ("passing", 0));
    m.run_for(5 * MINUTE);
    assert_eq!(jobs(&m), 1);
    let after = m.job_times("gru")[0] - began;
    assert!((1770.0..1860.0).contains(&after), "{after}");
}

#[test]
fn unproven_attempt_survives_daemon_restart() {
    let mut m = gru_that_answers();
    restarted_in_vain(&mut m);
    m.run_for(10 * MINUTE);
    away(&mut m, 20);
    m.run_for(10 * MINUTE);
    assert_eq!((m.state("gru-cpu"), jobs(&m)), ("down", 1));
    assert_eq!(m.status("gru-cpu").next, "restart done, waiting for the measuring window to fill");
    m.run_for(10 * MINUTE);
    burn(&mut m, 3);
    m.run_for(2 * MINUTE);
    assert_eq!(steps(&m)[..2], [RestartUnit, terminate()]);
}

#[test]
fn long_absence_of_the_daemon_is_one_sample() {
    let mut m = gru();
    burn(&mut m, 5);
    away(&mut m, 3 * 3600);
    m.run_for(MINUTE);
    assert_eq!((m.state("gru-cpu"), jobs(&m)), ("passing", 0));
    burn(&mut m, 97);
    away(&mut m, 3600);
    m.run_for(MINUTE);
    assert_eq!(jobs(&m), 1, "an hour of it is too much, seen or not");
}

#[test]
fn suspended_machine_used_nothing() {
    let mut m = gru();
    burn(&mut m, 97);
    m.run_for(29 * MINUTE);
    burn(&mut m, 0);
    m.sleep(8 * 3600);
    burn(&mut m, 97);
    m.run_for(20 * MINUTE);
    assert_eq!((m.state("gru-cpu"), jobs(&m)), ("passing", 0));
}

#[test]
fn usage_during_pause_does_not_count() {
    let mut m = gru();
    burn(&mut m, 97);
    m.pause("gru-cpu", 3600);
    m.run_for(3600 + 28 * MINUTE);
    assert_eq!((m.state("gru-cpu"), jobs(&m)), ("passing", 0));
    m.run_for(4 * MINUTE);
    assert_eq!(jobs(&m), 1);
}

/// Time without samples does not count.
#[test]
fn memory_over_limit_for_the_window_is_down() {
    let check = usage("gru-memory", "gru", UsageLimit::Bytes(1 << 20), 5 * MINUTE);
    let mut m = Machine::new().unit(service("gru")).check(check).up();
    m.use_memory(&unit_name("gru"), 1 << 19);
    m.run_for(MINUTE);
    assert_eq!(last_seen(&m, "gru-memory").text(), "512 KiB (limit 1 MiB)");
    m.use_memory(&unit_name("gru"), 3 << 20);
    m.run_for(4 * MINUTE);
    away(&mut m, 10 * MINUTE);
    m.run_for(4 * MINUTE);
    assert_eq!((m.state("gru-memory"), jobs(&m)), ("passing", 0));
    m.run_for(2 * MINUTE);
    assert_eq!((m.state("gru-memory"), m.jobs("gru")), ("passing", 1));
    assert_eq!(m.record.sent[0].notification.cause, "at least 3 MiB for 5m, 1 MiB is the limit");
}
