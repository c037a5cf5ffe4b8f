//! Holds through a restart of the daemon: with the lease, without it, and in the middle of the unit's return.

use super::*;

fn away(m: &mut Machine, secs: u64) {
    m.stop_daemon();
    m.run_for(secs);
    m.start_daemon();
}

#[test]
fn hold_survives_daemon_restart() {
    let (mut m, hold) = held_and_stopped();
    for _ in 0..3 {
        away(&mut m, 20);
        assert_eq!(m.state("web"), "held");
        m.run_for(400);
        assert_eq!((m.state("web"), m.jobs("web")), ("held", 0));
    }
    let shown = m.status("web");
    assert!(shown.next.contains("for 37m 20s at most"), "{}", shown.next);
    assert!(m.now().wall.since(shown.since).as_secs() > 3 * 420, "it has been so all the time");
    m.release(&hold, HowEnded::Done);
    m.run_for(4);
    assert_quietly_back(&m, 1);
}

#[test]
fn hold_lost_during_daemon_restart_ends_after_it() {
    let (mut m, hold) = held_and_stopped();
    m.lose_lease(&hold);
    away(&mut m, 2);
    m.run_for(4);
    assert_quietly_back(&m, 1);
}

#[test]
fn start_after_hold_survives_daemon_restart() {
    // systemd could not be asked for the start.
    let (mut m, hold) = held_and_stopped();
    m.lose_bus();
    m.release(&hold, HowEnded::Gone);
    away(&mut m, 2);
    m.bus_returns();
    m.run_for(4);
    assert_quietly_back(&m, 1);
    // It was under way.
    let (mut m, hold) = held_and_stopped();
    m.edit("web", |file| *file = file.clone().start_pre(10));
    m.release(&hold, HowEnded::Gone);
    m.run_for(3);
    assert_eq!(starts_and_attempts(&m), (1, 0));
    away(&mut m, 20);
    m.run_for(10);
    assert_quietly_back(&m, 1);
}

#[test]
fn hold_expired_during_daemon_restart_ends_after_it() {
    let (mut m, _) = held_and_stopped();
    away(&mut m, HOUR);
    m.run_for(4);
    assert_quietly_back(&m, 1);
}
