//! Holds through a restart of the daemon: with the lease, without it, and in the middle of the unit's return.

use super::*;

#[test]
fn hold_survives_daemon_restart() {
    let (mut world, name, unit, id) = held_and_stopped();
    for _ in 0..3 {
        world.restart_daemon(secs(20));
        assert_eq!(world.health(&name).word(), "held");
        world.play(secs(400));
        assert_eq!((world.health(&name).word(), world.holds.starts.len()), ("held", 0));
    }
    let shown = world.engine.status(world.now, &[], false).remove(0);
    assert!(shown.next.contains("for 37m 20s at most"), "{}", shown.next);
    assert!(world.now.wall.since(shown.since) > secs(3 * 420), "it has been so all the time");
    world.end_hold(&id, HowEnded::Done);
    world.play(secs(2));
    quietly_back(&world, &name, &unit);
}

#[test]
fn hold_lost_during_daemon_restart_ends_after_it() {
    let (mut world, name, unit, id) = held_and_stopped();
    world.lease_is_lost(&id);
    world.restart_daemon(secs(2));
    world.play(secs(2));
    assert_eq!(world.holds.starts.len(), 1);
    quietly_back(&world, &name, &unit);
}

#[test]
fn start_after_hold_survives_daemon_restart() {
    // The start was asked for, and never reached systemd.
    let (mut world, name, unit, id) = held_and_stopped();
    world.set_manager(ManagerState::Unreachable);
    world.end_hold(&id, HowEnded::Gone);
    world.restart_daemon(secs(2));
    world.set_manager(ManagerState::Running);
    world.play(secs(2));
    assert_eq!(world.holds.starts.len(), 1);
    quietly_back(&world, &name, &unit);
    // It was under way.
    let (mut world, name, unit, id) = held_and_stopped();
    world.job_takes = secs(10);
    world.end_hold(&id, HowEnded::Gone);
    world.play(secs(1));
    world.restart_daemon(secs(20));
    world.play(secs(10));
    assert_eq!(world.holds.starts.len(), 1, "{}", world.timeline());
    quietly_back(&world, &name, &unit);
}

#[test]
fn hold_expired_during_daemon_restart_ends_after_it() {
    let (mut world, name, unit, _) = held_and_stopped();
    world.restart_daemon(HOUR);
    world.play(secs(2));
    quietly_back(&world, &name, &unit);
    assert_eq!(world.holds.starts.len(), 1);
}
