//! Holds: a unit is left alone while somebody's command has it, and is up again afterwards, whatever happened.

mod restart;

use stealthcheck::engine::hold::{HowEnded, MOST_HOLDS};
use stealthcheck::notification::NotificationKind::{ActionRequired, Down, Recovered};
use stealthcheck::unit::{JobKind, ManagerState};

use crate::machine::*;

const HOUR: u64 = 3600;

/// One check that passes, and its unit.
fn web() -> Machine {
    Machine::new().unit(service("web").notify(0)).check(http("web")).up()
}

/// The same, held by somebody who has stopped it.
fn held_and_stopped() -> (Machine, String) {
    let mut m = web();
    let hold = m.hold("web", HOUR);
    m.stop("web");
    m.run_for(100);
    assert_eq!((m.is_up("web"), m.state("web")), (false, "held"));
    (m, hold)
}

/// How many starts after holds there were, and how many attempts of a recovery.
fn starts_and_attempts(m: &Machine) -> (usize, usize) {
    let kinds = m.job_kinds("web");
    let starts = kinds.iter().filter(|kind| **kind == JobKind::Start).count();
    (starts, kinds.len() - starts)
}

/// After so many starts that holds owed it; nobody was notified, and nothing counts as a recovery.
fn assert_quietly_back(m: &Machine, starts: usize) {
    assert_eq!((m.state("web"), m.is_up("web")), ("passing", true));
    assert_eq!(starts_and_attempts(m), (starts, 0));
    m.assert_not_notified("web");
}

/// However the hold ends.
#[test]
fn unit_stopped_under_hold_is_started_at_its_end() {
    for how in [HowEnded::Done, HowEnded::Gone, HowEnded::Released] {
        let (mut m, hold) = held_and_stopped();
        m.run_for(1200);
        assert_eq!(m.jobs("web"), 0, "longer than a stop is respected");
        m.release(&hold, how);
        assert_eq!(m.state("web"), "held", "until it is up");
        m.run_for_millis(50);
        assert_eq!((m.is_up("web"), starts_and_attempts(&m)), (true, (1, 0)));
        m.run_for(2);
        assert_quietly_back(&m, 1);
        m.run_for(600);
        assert_quietly_back(&m, 1);
    }
}

/// The hold had stopped nothing, and a reading that shows so may take two seconds.
#[test]
fn what_happens_right_after_the_hold_is_no_matter_of_it() {
    for how in [HowEnded::Done, HowEnded::Gone, HowEnded::Released] {
        for millis in [300, 700, 1500, 1990] {
            let after_hold = || {
                let mut m = web();
                let hold = m.hold("web", HOUR);
                m.run_for(10);
                m.release(&hold, how);
                m.run_for_millis(millis);
                m
            };
            let mut m = after_hold();
            m.stop("web");
            m.run_for(60);
            assert_eq!((m.state("web"), m.jobs("web")), ("stopped", 0), "{how:?} {millis}: {}", m.timeline());

            let mut m = after_hold();
            m.kill("web");
            m.run_for(60);
            assert_eq!(m.notifications("web"), [Down, Recovered], "{how:?} {millis}: {}", m.timeline());
            assert_eq!(m.job_kinds("web"), [JobKind::Restart]);
        }
    }
}

/// The unit is stopped when it has just been started after the hold.
#[test]
fn stop_in_the_moment_of_the_end_is_respected() {
    for millis in [10, 30, 100] {
        let (mut m, hold) = held_and_stopped();
        m.release(&hold, HowEnded::Done);
        m.run_for_millis(millis);
        m.stop("web");
        m.run_for(100);
        assert_eq!(m.state("web"), "stopped", "{millis}: {}", m.timeline());
        m.assert_not_notified("web");
    }
}

/// The unit takes its time to stop. The holder has stopped and started it; after the hold an operator stops it.
#[test]
fn stop_after_hold_of_a_unit_that_still_stops_is_respected() {
    for millis in [400, 1_600, 5_000] {
        let mut m = web();
        m.edit("web", |file| *file = file.clone().stop_takes(60));
        let hold = m.hold("web", HOUR);
        m.stop("web");
        m.run_for(10);
        m.start("web");
        m.run_for(10);
        m.release(&hold, HowEnded::Gone);
        m.run_for_millis(millis);
        m.stop("web");
        m.run_for(120);
        assert_eq!((m.state("web"), m.jobs("web")), ("stopped", 0), "{millis}: {}", m.timeline());
    }
}

/// The condition of the unit's file is not met any more: that is no operator's stop.
#[test]
fn unit_whose_start_is_skipped_after_hold_is_down() {
    let mut m =
        Machine::new().unit(service("web").condition("ConditionPathExists=/x")).check(http("web")).up();
    let hold = m.hold("web", HOUR);
    m.stop("web");
    m.set_condition("web", false);
    m.run_for(10);
    m.release(&hold, HowEnded::Done);
    m.run_for(60);
    assert_eq!((m.state("web"), m.notifications("web")), ("down", vec![ActionRequired]), "{}", m.timeline());
}

#[test]
fn hold_ends_when_its_time_is_over() {
    let (mut m, hold) = held_and_stopped();
    m.run_for(HOUR - 101);
    assert_eq!(m.jobs("web"), 0);
    m.run_for(5);
    assert_quietly_back(&m, 1);
    assert!(!m.is_held(&hold), "its lease is let go");
}

#[test]
fn failures_under_hold_do_not_count() {
    let mut m = web();
    let hold = m.hold("web", HOUR);
    m.break_service("web");
    m.run_for(300);
    assert!(m.probes() > 5, "it is probed all the same");
    assert_eq!(m.state("web"), "held");
    m.mend("web");
    m.release(&hold, HowEnded::Done);
    // (Two seconds for a reading that might show that it was stopped.)
    m.run_for(3);
    assert_quietly_back(&m, 0);
    // Not even those that came right before the end.
    let hold = m.hold("web", HOUR);
    m.break_service("web");
    m.run_for(300);
    m.release(&hold, HowEnded::Done);
    m.run_for(4);
    assert_ne!(m.state("web"), "down");
    m.run_for(60);
    assert_eq!(m.notifications("web"), [Down], "and then they count");
}

#[test]
fn unit_that_dies_under_hold_is_started_after_it() {
    for exit in [Exit::Status(0), Exit::Signal(9)] {
        let mut m = web();
        let hold = m.hold("web", HOUR);
        m.exit("web", exit);
        m.run_for(60);
        assert_eq!(m.jobs("web"), 0);
        m.release(&hold, HowEnded::Done);
        m.run_for(4);
        assert_quietly_back(&m, 1);
    }
}

#[test]
fn unit_started_by_holder_is_not_started_again() {
    let (mut m, hold) = held_and_stopped();
    m.start("web");
    m.run_for(60);
    m.release(&hold, HowEnded::Done);
    m.run_for(60);
    assert_quietly_back(&m, 0);
    // Nor what is on its way.
    m.edit("web", |file| *file = file.clone().start_pre(1));
    let hold = m.hold("web", HOUR);
    m.stop("web");
    m.run_for(10);
    m.start("web");
    m.release(&hold, HowEnded::Done);
    m.run_for(60);
    assert_quietly_back(&m, 0);
}

#[test]
fn start_after_hold_waits_for_a_stop_under_way() {
    let mut m = web();
    m.edit("web", |file| *file = file.clone().stop_takes(1));
    let hold = m.hold("web", HOUR);
    m.stop("web");
    m.run_for_millis(500);
    m.release(&hold, HowEnded::Gone);
    assert_eq!(m.jobs("web"), 0, "there is a job on it");
    m.run_for(4);
    assert_quietly_back(&m, 1);
}

#[test]
fn failed_start_after_hold_opens_an_incident() {
    let (mut m, hold) = held_and_stopped();
    m.fail_to_start("web");
    m.release(&hold, HowEnded::Gone);
    m.run_for(3);
    assert_eq!(m.state("web"), "down");
    m.run_for(120);
    let (starts, attempts) = starts_and_attempts(&m);
    assert!(starts == 1 && attempts >= 3, "{attempts} attempts, as the backoff has them");
    assert_eq!(m.record.sent[0].notification.attempts[0].number, 1, "the start was no attempt");
    m.mend("web");
    m.run_for(300);
    assert_eq!((m.state("web"), m.notifications("web")), ("passing", vec![Down, Recovered]));
}

#[test]
fn stop_under_hold_is_not_respected_after_it() {
    // The start is withheld for so long that the unit counts as down.
    let (mut m, hold) = held_and_stopped();
    m.manager_says(ManagerState::Stopping);
    m.release(&hold, HowEnded::Gone);
    m.run_for(119);
    assert_eq!(m.state("web"), "held");
    m.run_for(2);
    assert_eq!(m.state("web"), "down");
    m.manager_says(ManagerState::Running);
    m.run_for(15);
    assert_eq!((m.state("web"), starts_and_attempts(&m)), ("passing", (0, 1)));
}

#[test]
fn endless_start_after_hold_requires_action() {
    let (mut m, hold) = held_and_stopped();
    m.edit("web", |file| *file = file.clone().start_pre(HOUR).start_timeout(None));
    m.release(&hold, HowEnded::Gone);
    m.run_for(290);
    assert_eq!(m.state("web"), "held");
    m.run_for(30);
    assert_eq!((m.state("web"), m.notifications("web")), ("down", vec![ActionRequired]));
    m.run_for(2 * HOUR);
    assert_eq!(m.state("web"), "passing");
}

#[test]
fn start_after_hold_waits_for_systemd() {
    let (mut m, hold) = held_and_stopped();
    m.lose_bus();
    m.release(&hold, HowEnded::Gone);
    m.run_for(900);
    m.assert_quiet();
    m.bus_returns();
    m.run_for(4);
    assert_quietly_back(&m, 1);
}

#[test]
fn unit_stopped_before_hold_stays_stopped() {
    let mut m = web();
    m.stop("web");
    m.run_for(10);
    let hold = m.hold("web", HOUR);
    m.run_for(100);
    m.release(&hold, HowEnded::Done);
    m.run_for(2);
    assert_eq!((m.state("web"), m.jobs("web")), ("stopped", 0));
    // For as long as ever: the hold takes nothing away from it and adds nothing.
    m.run_for(170);
    assert_eq!((m.state("web"), m.jobs("web")), ("stopped", 0));
    m.run_for(60);
    assert_eq!((m.state("web"), m.notifications("web")), ("passing", vec![Down, Recovered]));
}

#[test]
fn open_incident_is_suppressed_under_hold() {
    let mut m = web();
    m.fail_to_start("web");
    m.kill("web");
    m.run_for(60);
    let jobs = m.jobs("web");
    assert!(jobs > 1 && m.notifications("web") == [Down]);
    let hold = m.hold("web", 8 * HOUR);
    // Somebody repairs it, and tries it out: the incident is not closed by that, and nobody hears of it.
    m.mend("web");
    m.start("web");
    m.run_for(5 * HOUR);
    assert_eq!((m.state("web"), m.jobs("web")), ("held", jobs));
    assert_eq!(m.notifications("web"), [Down], "no reminder, and no all-clear");
    m.stop("web");
    m.run_for(60);
    m.release(&hold, HowEnded::Done);
    m.run_for(15);
    assert_eq!((m.state("web"), m.notifications("web")), ("passing", vec![Down, Recovered]));
    assert_eq!(starts_and_attempts(&m), (1, jobs));
}

#[test]
fn hold_lets_the_running_attempt_end() {
    let mut m = web();
    m.edit("web", |file| *file = file.clone().start_pre(20));
    m.kill("web");
    m.run_for(5);
    assert_eq!(m.jobs("web"), 1);
    let hold = m.hold("web", HOUR);
    m.run_for(100);
    assert_eq!((m.state("web"), m.jobs("web"), m.is_up("web")), ("held", 1, true));
    // It is stopped before anybody knew what the attempt was worth.
    m.stop("web");
    m.run_for(100);
    m.release(&hold, HowEnded::Done);
    m.run_for(35);
    assert_eq!((m.state("web"), starts_and_attempts(&m)), ("passing", (1, 1)));
    assert_eq!(m.notifications("web").last(), Some(&Recovered));
    // An attempt that is still under way when the hold ends comes first.
    m.run_for(600);
    m.kill("web");
    m.run_for(1);
    let hold = m.hold("web", HOUR);
    m.release(&hold, HowEnded::Done);
    m.run_for(60);
    assert_eq!((m.state("web"), starts_and_attempts(&m)), ("passing", (1, 2)));
}

#[test]
fn second_hold_is_refused_and_names_the_holder() {
    let mut m = web();
    let first = m.hold("web", HOUR);
    m.hold("web", HOUR);
    let says = "web.service is held already, by root (pid 7) (certbot renew), for 1h at most; \
                `stealthctl release web.service` ends that";
    assert_eq!(m.record.refused_holds, [says]);
    m.stop("web");
    m.run_for(10);
    m.set_request_delay(std::time::Duration::from_secs(5));
    m.release(&first, HowEnded::Done);
    m.run_for(1);
    m.hold("web", HOUR);
    let refused = &m.record.refused_holds;
    assert!(refused[1].contains("is being started after the hold"), "{refused:?}");
    m.run_for(10);
    let third = m.hold("web", HOUR);
    assert!(m.is_held(&third), "it is free again");
}

#[test]
fn hold_suppresses_all_checks_of_its_unit_only() {
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(service("other"))
        .check(http("page").on("web"))
        .check(http("port").on("web"))
        .check(http("other"))
        .up();
    let states = |m: &Machine| ["page", "port", "other"].map(|name| m.state(name));
    let hold = m.hold("web", HOUR);
    let granted: Vec<&str> = m.record.granted_holds[0].iter().map(|check| check.as_str()).collect();
    assert_eq!(granted, ["page", "port"]);
    m.stop("web");
    m.kill("other");
    m.run_for(100);
    assert_eq!(states(&m), ["held", "held", "passing"]);
    assert_eq!(m.notifications("other"), [Down, Recovered]);
    assert_eq!(m.record.sent.len(), 2, "of the other only");
    m.release(&hold, HowEnded::Done);
    m.run_for(5);
    assert_eq!((states(&m), starts_and_attempts(&m)), (["passing"; 3], (1, 0)));
}

#[test]
fn paused_check_does_not_prevent_start_after_hold() {
    let mut m = web();
    m.pause("web", 2 * HOUR);
    let hold = m.hold("web", HOUR);
    m.stop("web");
    m.run_for(60);
    assert_eq!(m.state("web"), "paused");
    m.release(&hold, HowEnded::Gone);
    m.run_for(3);
    assert!(m.is_up("web"), "that was promised to whoever had the hold");
    assert_eq!(m.state("web"), "paused");
    // Its time runs out under a pause too, though nothing is probed.
    m.hold("web", 60);
    m.stop("web");
    m.run_for(63);
    assert!(m.is_up("web"));
    // And a pause that ends leaves the hold.
    m.hold("web", 5 * HOUR);
    m.run_for(3 * HOUR);
    assert_eq!(m.state("web"), "held");
    m.assert_not_notified("web");
    m.resume("web");
    assert_eq!(m.state("web"), "held");
}

#[test]
fn hold_ends_with_the_last_check_of_its_unit() {
    let (mut m, hold) = held_and_stopped();
    m.reload(vec![http("other")]);
    assert!(!m.is_held(&hold), "its lease is let go");
    m.run_for(60);
    assert_eq!(m.jobs("web"), 0, "nobody may start it");
    // With its checks changed, or others for it, it stays held.
    let (mut m, hold) = held_and_stopped();
    m.reload(vec![http("web").interval(10), http("page").on("web")]);
    assert_eq!((m.state("web"), m.is_held(&hold)), ("held", true));
}

#[test]
fn hold_of_missing_unit_is_refused() {
    let mut m = web();
    m.hold("other", HOUR);
    m.mask("web");
    m.kill("web");
    m.run_for(1);
    m.hold("web", HOUR);
    m.lose_bus();
    m.hold("web", HOUR);
    assert_eq!(m.record.granted_holds.len(), 0);
    let says =
        ["no check monitors other.service", "there is no web.service to hold: it is", "cannot be reached"];
    assert_eq!(m.record.refused_holds.len(), says.len());
    for (refused, says) in m.record.refused_holds.iter().zip(says) {
        assert!(refused.contains(says), "{refused}");
    }
}

#[test]
fn number_of_holds_is_limited() {
    let names: Vec<String> = (0..=MOST_HOLDS).map(|n| format!("c{n}")).collect();
    let machine = Machine::new();
    let mut m = names.iter().fold(machine, |m, name| m.unit(service(name)).check(http(name))).up();
    let (last, others) = names.split_last().expect("there are some");
    let holds: Vec<String> = others.iter().map(|name| m.hold(name, HOUR)).collect();
    assert!(holds.iter().all(|hold| m.is_held(hold)));
    let one_more = m.hold(last, HOUR);
    assert!(!m.is_held(&one_more));
    assert!(m.record.refused_holds[0].contains("32 holds already"), "{:?}", m.record.refused_holds);
    m.release(&holds[0], HowEnded::Done);
    let one_more = m.hold(last, HOUR);
    assert!(m.is_held(&one_more));
}

/// The end of a hold owes the unit its start, but not at the cost of what it has made room for meanwhile.
#[test]
fn start_after_hold_waits_for_the_conflict() {
    for stopped_for_the_hold in [false, true] {
        let rival = oneshot("rival", 1200).conflicts(&["web"]);
        let mut m = Machine::new().unit(service("web")).unit(rival).check(http("web")).up();
        let hold = m.hold("web", 3600);
        if stopped_for_the_hold {
            m.stop("web");
            m.run_for(10);
        }
        m.start("rival");
        m.run_for(60);
        m.release(&hold, HowEnded::Done);
        m.run_for(900);
        m.assert_quiet();
        m.run_for(400);
        assert_quietly_back(&m, 1);
    }
}
