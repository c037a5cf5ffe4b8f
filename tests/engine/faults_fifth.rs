//! What a further adversarial user of the package found: starts between two readings, `alert.after`, ends by the watchdog.

use std::time::Duration;

use stealthcheck::unit::{ActiveState, UnitState};

use crate::machine::*;

/// The client is slow for a moment, in which an operator restarts the unit several times: its start limit is as near as
/// the starts have brought it, not as near as the one reading after them shows.
#[test]
fn starts_between_two_readings_count() {
    for dependent in [false, true] {
        let web = service("web").start_limit(120, 5).start_limit_reboots();
        let root = service("root");
        let web = if dependent { web.requires(&["root"]).after(&["root"]) } else { web };
        let hit = if dependent { "root" } else { "web" };
        let mut m = Machine::new()
            .unit(root)
            .unit(web)
            .check(http("root").interval(2))
            .check(http("web").interval(2).only_notified())
            .latency(400);
        if !dependent {
            m = m.check(http("again").on("web").interval(2));
        }
        let mut m = m.up();
        for _ in 0..4 {
            m.restart("web");
            m.run_for_millis(50);
        }
        m.run_for(30);
        m.hang(hit);
        m.run_for(60);
        assert!(!m.rebooted(), "{dependent}: the machine rebooted\n{}", m.timeline());
    }
}

/// What passes again lasts no longer: with `after`, nobody is told of it while its recovery is not proven yet.
#[test]
fn incident_that_passes_again_has_not_lasted() {
    let after = Duration::from_secs(15);
    let mut m = Machine::new()
        .unit(service("web"))
        .check(http("web").interval(2).with(|check| check.alert.after = after))
        .up();
    for _ in 0..3 {
        m.hang("web");
        m.run_for(90);
        assert!(m.is_up("web"));
    }
    m.assert_not_notified("web");
}

/// systemd ends a process itself for its watchdog, in the daemon's absence: that is no operator's stop.
#[test]
fn end_by_the_watchdog_is_no_stop() {
    let ended = |result: &str| UnitState {
        active: ActiveState::Failed,
        result: result.to_owned(),
        active_exit_usec: 1,
        main_exit_usec: 2,
        ..UnitState::default()
    };
    assert!(ended("exit-code").ended_in_stop());
    assert!(!ended("watchdog").ended_in_stop() && !ended("oom-kill").ended_in_stop());
}
