//! Many checks fail together: it is the machine, and nothing is restarted for it (rule 14).

use std::time::Duration;

use stealthcheck::check::Step::StartUnit;
use stealthcheck::notification::HostNotificationKind::{StillStorm, Storm, StormOver};
use stealthcheck::notification::NotificationKind::{self, Down, Recovered};
use stealthcheck::verdict::Health;

use crate::machine::*;

/// The name of a check and of its service.
pub fn name(n: usize) -> String {
    format!("c{n}")
}

fn helper(n: usize) -> String {
    format!("helper{n}")
}

/// So many services, each with a check.
pub fn many(n: usize, adapt: impl Fn(usize, CheckBuilder) -> CheckBuilder) -> Machine {
    let one = |n: usize| adapt(n, http(&name(n)).repeat_interval(4 * 3600));
    let m = (0..n).fold(Machine::new(), |m, n| m.unit(service(&name(n))).check(one(n))).up();
    assert_all_pass(&m, n);
    m
}

pub fn plain(_: usize, check: CheckBuilder) -> CheckBuilder {
    check
}

/// The probes of these checks fail, whatever is done about their units.
pub fn outage(m: &mut Machine, checks: impl IntoIterator<Item = usize>) {
    checks.into_iter().for_each(|n| m.fail(&name(n)));
}

/// The probes of these see their services again.
pub fn answer_again(m: &mut Machine, checks: impl IntoIterator<Item = usize>) {
    checks.into_iter().for_each(|n| m.sees_service(&name(n)));
}

pub fn jobs(m: &Machine) -> usize {
    m.record.jobs.len()
}

/// The kinds of all notifications about single checks.
pub fn kinds(m: &Machine) -> Vec<NotificationKind> {
    m.record.sent.iter().map(|sent| sent.notification.kind).collect()
}

pub fn hang(m: &mut Machine, units: impl IntoIterator<Item = usize>) {
    units.into_iter().for_each(|n| m.hang(&name(n)));
}

pub fn assert_all_pass(m: &Machine, n: usize) {
    for n in 0..n {
        assert_eq!(m.state(&name(n)), "passing", "c{n}");
    }
}

#[test]
fn outage_requests_no_job_and_sends_two_notifications() {
    let mut m = many(12, plain);
    outage(&mut m, 0..12);
    m.run_for(600);
    assert_eq!((jobs(&m), m.host_notifications(), kinds(&m)), (0, vec![Storm], vec![]));
    let told = &m.record.host[0];
    assert_eq!(told.total, 12);
    assert!(told.affected >= 5, "{told:?}");
    assert_eq!(told.to, ["ops@example.org".into()]);
    let is_told = |health: &Health, seen: &str| *health == Health::DOWN && seen == "the body lacks `ok`";
    assert!(told.checks.iter().any(|check| is_told(&check.health, &check.seen)), "{told:?}");
    let why = m.status("c3").incident.and_then(|incident| incident.withheld).expect("there is no job");
    assert!(why.starts_with("storm: ") && why.contains("of 12 checks"), "{why}");
    assert!(m.storm().is_some_and(|storm| storm.contains("12 of 12 checks")));

    answer_again(&mut m, 0..12);
    m.run_for(60);
    assert_eq!((jobs(&m), m.host_notifications(), kinds(&m)), (0, vec![Storm, StormOver], vec![]));
    let over = &m.record.host[1];
    assert!(over.checks.iter().all(|check| check.health == Health::PASSING), "{over:?}");
    assert_eq!((over.checks.len(), m.storm()), (12, None));
}

#[test]
fn short_storm_sends_nothing() {
    let mut m = many(12, plain);
    outage(&mut m, 0..12);
    // Until the brake is on, and not until a check is down.
    assert!(m.run_until_it_holds(60, |m| m.storm().is_some()));
    answer_again(&mut m, 0..12);
    m.run_for(120);
    m.assert_quiet();
}

#[test]
fn single_failure_is_not_delayed() {
    let mut m = many(12, plain);
    m.hang("c0");
    assert!(m.run_until_it_holds(60, |m| m.state("c0") == "down"));
    // systemd's own word on it, which would explain it, takes no longer than that.
    m.run_for_millis(200);
    assert_eq!(jobs(&m), 1, "as soon as it is down");
    m.run_for(60);
    assert_eq!((kinds(&m), m.host_notifications()), (vec![Down, Recovered], vec![]));
}

#[test]
fn two_failures_wait_for_the_survey() {
    let mut m = many(12, plain);
    hang(&mut m, [0, 1]);
    m.run_for(80);
    assert_eq!((m.jobs("c0"), m.jobs("c1"), m.host_notifications()), (1, 1, vec![]));
    assert_eq!([m.notifications("c0"), m.notifications("c1")], [[Down, Recovered]; 2]);
    assert_eq!(m.record.sent.len(), 4);
    assert!(m.probes() < 12 * 5 + 24, "one look at the others, not many: {}", m.probes());
}

#[test]
fn survey_without_answers_delays_some_seconds_only() {
    // The others take 29 s for an answer, so that none has come when the look-around ends.
    let mut m = many(12, |_, check| check.with(|check| check.schedule.timeout = Duration::from_secs(30)));
    m.set_probe_delay(Delay::Fixed(Duration::from_secs(29)));
    outage(&mut m, [0, 1]);
    assert!(m.run_until_it_holds(60, |m| m.has_incident("c0") && m.has_incident("c1")));
    m.run_for(17);
    assert!(jobs(&m) >= 1, "{}", m.timeline());
}

#[test]
fn fewer_than_five_failures_are_no_storm() {
    let mut m = many(4, plain);
    hang(&mut m, 0..4);
    m.run_for(120);
    assert_eq!((jobs(&m), m.host_notifications()), (4, vec![]));
}

#[test]
fn many_checks_of_one_unit_count_once() {
    let m = (0..4).fold(Machine::new(), |m, n| m.unit(service(&name(n))));
    let mut m = (0..12).fold(m, |m, n| m.check(http(&name(n)).on(&name(n % 4)))).up();
    hang(&mut m, 0..4);
    m.run_for(120);
    assert_eq!((jobs(&m), m.host_notifications()), (4, vec![]));
}

#[test]
fn checks_without_unit_count_each_and_send_nothing() {
    let mut m = many(12, |_, check| check.only_notified().with(|check| check.unit = None));
    outage(&mut m, 0..12);
    m.run_for(600);
    assert_eq!((m.host_notifications(), kinds(&m)), (vec![Storm], vec![]));
}

#[test]
fn failed_units_are_restarted_and_count_in_no_storm() {
    let mut m = many(12, plain);
    (0..12).for_each(|n| m.kill(&name(n)));
    m.run_for_millis(10);
    assert_eq!(jobs(&m), 12, "each at once");
    m.run_for(60);
    assert_eq!(m.host_notifications(), [], "systemd's own word explains them");
    assert_all_pass(&m, 12);

    m.run_for(600);
    outage(&mut m, 0..11);
    m.run_for(60);
    assert_eq!((jobs(&m), m.host_notifications()), (12, vec![Storm]));
    let sent = m.record.sent.len();
    m.kill("c11");
    m.kill("c3");
    m.run_for_millis(10);
    assert_eq!(m.jobs("c11"), 2, "and it is not held back");
    assert_eq!(m.jobs("c3"), 2, "nor is one that is in the storm");
    m.run_for(30);
    assert!(m.record.sent.len() > sent, "it is told by itself");
}

/// Each has its own notifications.
#[test]
fn units_still_down_after_storm_are_staggered() {
    let mut m = many(12, plain);
    outage(&mut m, 0..12);
    m.run_for(60);
    hang(&mut m, [2, 5, 7]);
    m.systemd.slowness = Duration::from_secs(5);
    answer_again(&mut m, 0..12);
    m.run_for(180);
    let requested: Vec<Duration> = m.record.jobs.iter().map(|job| job.at).collect();
    assert_eq!([m.jobs("c2"), m.jobs("c5"), m.jobs("c7"), jobs(&m)], [1, 1, 1, 3], "{}", m.timeline());
    let apart = requested.windows(2).all(|two| two[1] - two[0] >= Duration::from_secs(5));
    assert!(apart, "two at a time: {requested:?}");
    assert_eq!(m.host_notifications(), [Storm, StormOver]);
    let still = m.record.host[1].checks.iter().filter(|check| check.to_be_recovered);
    assert_eq!(still.map(|check| check.name.as_str()).collect::<Vec<_>>(), ["c2", "c5", "c7"]);
    assert_eq!(kinds(&m).iter().filter(|kind| **kind == Down).count(), 3);
    assert_eq!(m.open_threads(), []);
}

/// A step that starts another unit takes its turn as a restart does.
#[test]
fn start_steps_are_staggered_after_storm() {
    let steps = |n: usize, check: CheckBuilder| check.recover(&[StartUnit(unit_name(&helper(n)))]);
    let helper_unit = |n: usize| service(&helper(n)).not_enabled().start_pre(5);
    let mut m = (0..12)
        .fold(Machine::new(), |m, n| {
            let check = steps(n, http(&name(n)).repeat_interval(4 * 3600));
            m.unit(service(&name(n))).unit(helper_unit(n)).check(check)
        })
        .up();
    outage(&mut m, 0..12);
    m.run_for(60);
    hang(&mut m, [2, 5, 7]);
    answer_again(&mut m, 0..12);
    m.run_for(120);
    // What a check requests after its turn waits for nobody.
    let first = |n: usize| m.record.jobs.iter().find(|job| job.unit == unit_name(&helper(n)));
    let mut first: Vec<Duration> = [2, 5, 7].map(|n| first(n).expect("it has its turn").at).to_vec();
    first.sort();
    let apart = first.windows(2).all(|two| two[1] - two[0] >= Duration::from_secs(5));
    assert!(apart, "two at a time: {first:?}");
}

#[test]
fn broken_unit_does_not_block_the_staggered_recovery() {
    let mut m = many(12, plain);
    outage(&mut m, 0..12);
    m.run_for(60);
    m.break_service("c2");
    m.hang("c5");
    answer_again(&mut m, 0..12);
    m.run_for(180);
    assert_eq!(m.state("c5"), "passing");
    assert!(m.jobs("c2") >= 1);
}

#[test]
fn storm_permits_one_job_for_each_check_that_passes_again() {
    let mut m = many(12, plain);
    outage(&mut m, 0..12);
    m.run_for(60);
    // One comes back, and the outage of the others goes on.
    answer_again(&mut m, [4]);
    m.run_for(1200);
    assert_eq!((jobs(&m), m.storm().is_some()), (1, true));

    // The others were only wedged: each success permits the next.
    let mut m = many(12, plain);
    outage(&mut m, 0..12);
    m.run_for(60);
    hang(&mut m, 0..11);
    answer_again(&mut m, 0..12);
    m.run_for(600);
    assert_all_pass(&m, 12);
    assert_eq!((jobs(&m), m.host_notifications()), (11, vec![Storm, StormOver]));
}

#[test]
fn lasting_storm_sends_reminders_without_jobs() {
    let mut m = many(12, plain);
    outage(&mut m, 0..12);
    m.run_for(29 * 60);
    assert_eq!(m.host_notifications(), [Storm]);
    m.run_for(120);
    assert_eq!(m.host_notifications(), [Storm, StillStorm], "half an hour");
    m.run_for(5 * 3600);
    assert_eq!(m.host_notifications(), [Storm, StillStorm, StillStorm], "and as repeat_interval says");
    assert_eq!((jobs(&m), kinds(&m)), (0, vec![]));
}

#[test]
fn failure_long_after_the_others_is_no_part_of_the_storm() {
    let mut m = many(15, plain);
    outage(&mut m, 0..5);
    m.run_for(3600);
    assert_eq!((jobs(&m), m.host_notifications().first()), (0, Some(&Storm)));
    m.hang("c9");
    m.run_for(120);
    assert_eq!((m.jobs("c9"), jobs(&m), kinds(&m)), (1, 1, vec![Down, Recovered]));
    // Many that do are the next wave of the storm.
    outage(&mut m, 5..15);
    m.run_for(300);
    assert!(jobs(&m) <= 2, "{}", m.timeline());
}

#[test]
fn storm_survives_daemon_restart() {
    let mut m = many(12, plain);
    outage(&mut m, 0..12);
    m.run_for(60);
    m.restart_daemon();
    m.run_for(600);
    assert_eq!((jobs(&m), m.host_notifications(), kinds(&m)), (0, vec![Storm], vec![]));
    answer_again(&mut m, 0..12);
    m.restart_daemon();
    m.run_for(120);
    assert_eq!((jobs(&m), m.host_notifications(), kinds(&m)), (0, vec![Storm, StormOver], vec![]));
    assert_eq!(m.record.host[0].id.incident, m.record.host[1].id.incident);
}

#[test]
fn reload_ends_storm_only_with_fewer_than_five_checks() {
    let mut m = many(12, plain);
    outage(&mut m, 0..12);
    m.run_for(60);
    let configured = |n| (0..n).map(|n| http(&name(n)).repeat_interval(4 * 3600)).collect::<Vec<_>>();
    let mut checks = configured(10);
    checks[0] = checks[0].clone().interval(20);
    m.reload(checks);
    m.run_for(120);
    assert_eq!((jobs(&m), m.host_notifications()), (0, vec![Storm]));
    m.reload(configured(4));
    m.run_for(30);
    assert_eq!(m.host_notifications(), [Storm, StormOver]);
    assert!(jobs(&m) > 0, "four checks are each their own matter");
}

#[test]
fn long_intervals_do_not_hide_a_storm() {
    // In five minutes' steps each is down long before the next is even probed.
    for failure_threshold in [1, 3] {
        let mut m = many(12, |_, check| check.interval(300).failure_threshold(failure_threshold));
        m.run_for(600);
        outage(&mut m, 0..12);
        m.run_for(900);
        assert!(jobs(&m) <= 1, "{} with failure_threshold {failure_threshold}", jobs(&m));
        assert_eq!(m.host_notifications(), [Storm]);
    }
}

#[test]
fn survey_of_many_checks_is_a_sample() {
    let mut m = many(200, |_, check| check.interval(300));
    m.run_for(600);
    outage(&mut m, 0..200);
    let probes = m.probes();
    m.run_for(8);
    assert!(m.probes() - probes < 60, "{} probes at once", m.probes() - probes);
    m.run_for(900);
    assert!(jobs(&m) <= 1, "{}", jobs(&m));
    assert_eq!(m.host_notifications(), [Storm], "one mail");
    assert!(kinds(&m).len() <= 1, "{:?}", kinds(&m));
}

#[test]
fn lasting_resolver_failure_is_one_host_notification() {
    let mut m = many(20, plain);
    m.cut_network(false);
    m.run_for(500);
    assert_eq!((m.host_notifications(), m.state("c0")), (vec![], "unknown"));
    m.run_for(200);
    assert_eq!((m.host_notifications(), kinds(&m), jobs(&m)), (vec![Storm], vec![], 0));
    m.restore_network();
    m.run_for(60);
    assert_eq!((m.host_notifications(), kinds(&m)), (vec![Storm, StormOver], vec![]));
}

/// Not those of checks with `alert: off`.
#[test]
fn storm_notifies_recipients_of_all_checks() {
    let mut m = many(12, |n, check| match n {
        1 => check.with(|check| check.alert.to = vec!["owner@example.org".into()]),
        2 => check.with(|check| {
            check.alert.to = vec!["nobody@example.org".into()];
            check.alert.off = true;
        }),
        _ => check,
    });
    outage(&mut m, 0..12);
    m.run_for(60);
    answer_again(&mut m, 0..12);
    m.run_for(60);
    let last = m.record.host.last().expect("the storm is told");
    assert_eq!(last.to, ["ops@example.org".into(), "owner@example.org".into()]);

    let mut m = many(12, |_, check| check.with(|check| check.alert.off = true));
    outage(&mut m, 0..12);
    m.run_for(6000);
    assert_eq!(m.host_notifications(), []);
}

#[test]
fn alert_after_delays_the_host_notification() {
    let mut m = many(12, |_, check| check.with(|check| check.alert.after = Duration::from_secs(600)));
    outage(&mut m, 0..12);
    m.run_for(500);
    assert_eq!(m.host_notifications(), []);
    m.run_for(200);
    assert_eq!(m.host_notifications(), [Storm]);
}

#[test]
fn services_that_have_come_up_and_passed_are_asked_in_a_survey() {
    let mut m = many(12, |i, check| if i < 2 { check } else { check.interval(900) });
    m.run_for(1800);
    for i in 0..12 {
        m.restart(&name(i));
    }
    m.run_for(60);
    outage(&mut m, 0..12);
    m.run_for(900);
    assert!(jobs(&m) <= 1, "{}", m.timeline());
    assert_eq!(m.host_notifications(), [Storm]);
}
