//! Jobs on one unit that could make systemd do what another unit's settings say: `FailureAction=`, `StartLimitAction=`.

use stealthcheck::notification::NotificationKind;

use crate::machine::*;

/// A restart of the root would restart a dependent whose failure reboots the machine.
#[test]
fn restart_that_could_trigger_action_of_dependent_is_withheld() {
    let app = service("app").requires(&["root"]).after(&["root"]).failure_reboots();
    let mut m = Machine::new().unit(service("root")).unit(app).check(http("root")).up();
    m.hang("root");
    m.run_for(120);
    assert_eq!(m.jobs("root"), 0, "{}", m.timeline());
    assert_eq!(m.notifications("root"), [NotificationKind::ActionRequired]);
    assert!(m.why("root").contains("FailureAction="), "{}", m.why("root"));
    m.assert_not_notified("app");
}

/// A start would start a unit whose failure reboots the machine.
#[test]
fn start_that_could_trigger_action_of_required_unit_is_withheld() {
    let fragile = service("fragile").failure_reboots().fails_to_start().not_enabled();
    let app = service("app").requires(&["fragile"]).after(&["fragile"]).not_enabled();
    let mut m = Machine::new().unit(fragile).unit(app).check(unit_check("app")).up();
    m.run_for(300);
    assert!(!m.rebooted(), "{}", m.timeline());
    assert_eq!(m.jobs("app"), 0);
}

/// One more restart of the root would hit the start limit of a dependent, which reboots the machine.
#[test]
fn restart_that_could_hit_start_limit_of_dependent_is_withheld() {
    let app = service("app").requires(&["root"]).after(&["root"]).start_limit(600, 3).start_limit_reboots();
    let mut m =
        Machine::new().unit(service("root")).unit(app).check(http("root").backoff(1, 2).grace(1)).up();
    m.break_service("root");
    m.run_for(300);
    assert!(!m.rebooted(), "{}", m.timeline());
}

/// Restarts of a dependent that the daemon did not see count towards its start limit, until the interval is over; of one
/// that has not ended since the boot there were none.
#[test]
fn restart_that_could_hit_start_limit_of_dependent_by_unseen_starts_is_withheld() {
    let machine = || {
        let app = service("app").requires(&["root"]).after(&["root"]);
        let app = app.start_limit(600, 4).start_limit_reboots();
        Machine::new().unit(service("root")).unit(app).check(http("root"))
    };
    let without_bus = || {
        let mut m = machine().up();
        m.lose_bus();
        m
    };
    let cases: [&dyn Fn() -> Machine; 2] = [&|| machine().before_daemon(), &without_bus];
    for case in cases {
        let mut m = case();
        for _ in 0..4 {
            m.restart("app");
            m.run_for(5);
        }
        m.start_daemon();
        m.bus_returns();
        m.run_for(30);
        m.hang("root");
        m.run_for(300);
        assert!(!m.rebooted(), "{}", m.timeline());
        assert_eq!(m.jobs("root"), 0, "{}", m.timeline());
        assert!(m.why("root").contains("StartLimitAction="), "{}", m.why("root"));
        m.run_for(400);
        assert!(!m.rebooted() && m.jobs("root") == 1, "{}", m.timeline());
    }
    let mut m = machine().up();
    m.hang("root");
    m.run_for(60);
    assert_eq!(m.jobs("root"), 1, "{}", m.timeline());
}

/// An administrator's own service fences the machine when the unit fails: a job of ours that fails would have it run.
#[test]
fn job_whose_failure_starts_a_fencing_service_is_withheld() {
    for taken_along in [false, true] {
        let fence = oneshot("fence", 1).success_reboots().not_enabled();
        let app = service("app").requires(&["db"]).after(&["db"]).on_failure(&["fence"]);
        let mut m = Machine::new()
            .unit(fence)
            .unit(service("db"))
            .unit(app)
            .check(http("db"))
            .check(http("app"))
            .up();
        let hung = if taken_along { "db" } else { "app" };
        m.edit("app", |file| *file = file.clone().fails_to_start());
        m.hang(hung);
        m.run_for(300);
        assert!(!m.rebooted(), "{}", m.timeline());
        m.assert_no_job(hung);
        assert!(m.why(hung).contains("fence.service"), "{}", m.why(hung));
        assert!(!m.notifications(hung).is_empty());
    }
}
