//! The wall clock set back a day and forward a year in the middle of things, and a machine that slept: what is scheduled
//! goes by the monotonic clock, which counts sleep; what is said goes by the wall clock as it is when it is said. And what a
//! restarted daemon remembers goes by how long things last, not by what the clock said when they began.

use std::time::Duration;

use stealthcheck::notification::NotificationKind::{ActionRequired, Down, Recovered, StillDown};

use crate::machine::*;

/// In seconds.
const JUMPS: [i64; 2] = [-86_400, 365 * 86_400];
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

/// A check of a service, with reminders, that is well.
fn well(change: impl FnOnce(CheckBuilder) -> CheckBuilder) -> Machine {
    let check = change(http("web").repeat_interval(4 * HOUR));
    Machine::new().unit(service("web").notify(0)).check(check).up()
}

/// It has died, and cannot be started.
fn dead() -> Machine {
    let mut m = well(|check| check);
    m.fail_to_start("web");
    m.kill("web");
    m
}

/// Plays a story with each jump of the clock, with the daemon living on and with one that is started anew after it.
fn each(story: impl Fn(&mut dyn FnMut(&mut Machine))) {
    for jump in JUMPS {
        for restart in [false, true] {
            story(&mut |m: &mut Machine| {
                m.set_clock(jump);
                m.run_for(10);
                if restart {
                    m.stop_daemon();
                    m.run_for(1);
                    m.start_daemon();
                }
            });
        }
    }
}

#[test]
fn pause_keeps_its_length_over_wall_clock_change() {
    each(|jump| {
        let mut m = well(|check| check);
        m.pause("web", HOUR);
        m.run_for(10 * MINUTE);
        jump(&mut m);
        m.run_for(49 * MINUTE);
        assert_eq!(m.state("web"), "paused");
        m.run_for(2 * MINUTE);
        assert_eq!(m.state("web"), "passing");
    });
}

#[test]
fn hold_keeps_its_length_over_wall_clock_change() {
    each(|jump| {
        let mut m = well(|check| check);
        let hold = m.hold("web", HOUR);
        jump(&mut m);
        m.run_for(HOUR - MINUTE);
        assert_eq!((m.state("web"), m.is_held(&hold)), ("held", true));
        m.run_for(2 * MINUTE);
        assert_eq!((m.state("web"), m.is_held(&hold)), ("passing", false));
    });
}

#[test]
fn alert_after_keeps_its_length_over_wall_clock_change() {
    each(|jump| {
        let mut m = well(|check| check.with(|check| check.alert.after = Duration::from_secs(600)));
        m.break_service("web");
        m.run_for(MINUTE);
        jump(&mut m);
        m.run_for(400);
        assert_eq!(m.notifications("web"), []);
        m.run_for(200);
        assert_eq!(m.notifications("web"), [ActionRequired]);
    });
}

#[test]
fn reminder_keeps_its_time_over_wall_clock_change() {
    each(|jump| {
        let mut m = dead();
        m.run_for(2 * HOUR);
        assert_eq!(m.notifications("web"), [Down, ActionRequired]);
        let told = m.secs() - m.record.sent[1].at.as_secs_f64();
        jump(&mut m);
        m.run_for(4 * HOUR - MINUTE - told.ceil() as u64);
        assert_eq!(m.notifications("web").len(), 2, "too early");
        m.run_for(2 * MINUTE);
        assert_eq!(m.notifications("web"), [Down, ActionRequired, StillDown]);
    });
}

#[test]
fn backoff_keeps_its_length_over_wall_clock_change() {
    each(|jump| {
        let mut m = dead();
        m.run_for(30 * MINUTE);
        jump(&mut m);
        m.run_for(30 * MINUTE);
        let gaps: Vec<f64> = m.job_times("web").windows(2).map(|two| two[1] - two[0]).collect();
        // 10 s doubling to 5 min, and from then on every 5 min, through the jump.
        assert!(gaps.len() > 10, "{gaps:?}");
        assert!(gaps[6..].iter().all(|gap| (299.9..=310.0).contains(gap)), "{gaps:?}");
    });
}

#[test]
fn notification_has_true_duration_and_current_date() {
    each(|jump| {
        let mut m = dead();
        m.run_for(20 * MINUTE);
        let incident = m.status("web").incident.expect("it is down");
        jump(&mut m);
        m.run_for(20 * MINUTE);
        let later = m.status("web").incident.expect("it is down");
        assert_eq!(later.id, incident.id, "the same incident");
        let lasted = m.now().wall.since(later.since).as_secs();
        assert!((39 * MINUTE..42 * MINUTE).contains(&lasted), "down for {lasted} s");
        m.mend("web");
        m.run_for(10 * MINUTE);
        assert_eq!(m.notifications("web"), [Down, ActionRequired, Recovered]);
        let last = &m.record.sent[2];
        assert!(
            m.now().wall.since(last.notification.at).as_secs() < 10 * MINUTE,
            "{:?}",
            last.notification.at
        );
        let lasted = last.notification.at.since(last.notification.since).as_secs();
        assert!((40 * MINUTE..52 * MINUTE).contains(&lasted), "down for {lasted} s");
    });
}

#[test]
fn suspend_ends_the_pause_and_causes_one_probe() {
    let mut m = well(|check| check);
    m.pause("web", HOUR);
    m.run_for(MINUTE);
    m.sleep(8 * HOUR);
    m.run_for(1);
    assert_ne!(m.state("web"), "paused");
    m.run_for(2 * MINUTE);
    assert_eq!(m.state("web"), "passing");
    assert!((1..=6).contains(&m.probes()), "{} probes, bunched", m.probes());
    m.assert_quiet();
}
