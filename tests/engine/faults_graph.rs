//! Units that need each other, units with two names, and units that a hold or an operator's stop takes down together.

use stealthcheck::engine::hold::HowEnded;
use stealthcheck::notification::HostNotificationKind;
use stealthcheck::notification::NotificationKind::{Down, Recovered};

use crate::machine::*;

/// db, and app that requires it; `content` is a check of db that only notifies.
fn db_and_app() -> Machine {
    db_and_app_within(6)
}

/// The same, where an event takes so many milliseconds until it is read.
fn db_and_app_within(latency: u64) -> Machine {
    Machine::new()
        .latency(latency)
        .unit(service("db"))
        .unit(service("app").requires(&["db"]).after(&["db"]))
        .check(http("db"))
        .check(http("content").on("db").only_notified())
        .check(http("app"))
        .up()
}

/// A unit that is up takes nobody down, whatever its checks say.
#[test]
fn dependent_of_unit_that_is_up_is_recovered() {
    for fail in [Machine::fail as fn(&mut Machine, &str), Machine::fail_for_good] {
        let mut m = db_and_app();
        fail(&mut m, "content");
        m.run_for(120);
        assert!(m.has_incident("content"));
        m.kill("app");
        m.run_for(60);
        assert!(m.is_up("app"), "app was not restarted");
        assert_eq!(m.jobs("app"), 1);
        assert_eq!(m.notifications("app"), [Down, Recovered]);
    }
}

/// The same where the incident's attempts are used up.
#[test]
fn dependent_is_recovered_after_last_attempt_of_its_dependency() {
    let mut m = Machine::new()
        .unit(service("db"))
        .unit(service("app").requires(&["db"]))
        .check(http("db").max_attempts(1))
        .check(http("app"))
        .up();
    m.break_service("db");
    m.run_for(900);
    assert!(m.has_incident("db") && m.is_up("db"));
    m.forget();
    m.kill("app");
    m.run_for(60);
    assert!(m.is_up("app"), "app was not restarted");
}

/// The other side: what is down as a unit has its dependents wait, and they come back with it.
#[test]
fn dependent_of_unit_that_is_down_waits() {
    let mut m = db_and_app();
    m.edit("db", |file| file.program.fails_to_start = true);
    m.edit("app", |file| file.program.needs = vec![unit_name("db")]);
    m.kill("db");
    m.run_for(200);
    m.kill("app");
    m.run_for(100);
    m.assert_not_notified("app");
    let jobs = m.jobs("app");
    m.mend("db");
    m.run_for(400);
    assert_eq!((m.state("db"), m.state("app")), ("passing", "passing"));
    assert!(jobs == 0 && m.jobs("app") <= 1);
}

fn mariadb() -> Machine {
    Machine::new()
        .unit(service("mariadb").alias("mysql"))
        .check(http("by-new-name").on("mariadb"))
        .check(http("by-old-name").on("mysql"))
        .up()
}

/// One unit under two names is restarted once.
#[test]
fn alias_and_own_name_are_one_unit() {
    let mut m = mariadb();
    m.kill("mariadb");
    m.run_for(90);
    assert_eq!(m.jobs("mariadb"), 1);
    assert_eq!((m.state("by-new-name"), m.state("by-old-name")), ("passing", "passing"));
    m.hang("mariadb");
    m.run_for(150);
    assert_eq!(m.jobs("mariadb"), 2);
    assert_eq!((m.state("by-new-name"), m.state("by-old-name")), ("passing", "passing"));
}

/// A hold on one of the names covers the other.
#[test]
fn hold_covers_all_names_of_the_unit() {
    for held in ["mariadb", "mysql"] {
        let mut m = mariadb();
        m.hold_and_stop(held, 400);
        m.run_for(390);
        m.assert_quiet();
        assert_eq!((m.state("by-new-name"), m.state("by-old-name")), ("held", "held"));
        m.run_for(60);
        assert!(m.is_up("mariadb"));
        assert_eq!(m.jobs("mariadb"), 1, "one start");
        assert!(m.record.sent.is_empty());
    }
}

/// What the hold's stop took down comes back with it.
#[test]
fn hold_brings_back_what_was_stopped_with_its_unit() {
    let mut m = db_and_app();
    m.hold_and_stop("db", 3);
    m.run_for(2);
    assert!(!m.is_up("app"), "app requires db");
    m.run_for(30);
    assert!(m.is_up("db"), "db is not back");
    assert!(m.is_up("app"), "app is not back");
    m.run_for(60);
    assert_eq!((m.state("db"), m.state("app")), ("passing", "passing"));
    assert!(m.record.sent.is_empty(), "{:?}", m.record.sent);
}

/// The same for what is only a part of it.
#[test]
fn hold_brings_back_the_parts_of_its_unit() {
    let mut m = Machine::new()
        .unit(service("db"))
        .unit(service("cluster").part_of(&["db"]))
        .check(http("db"))
        .check(http("cluster"))
        .up();
    m.hold_and_stop("db", 3);
    m.run_for(2);
    assert!(!m.is_up("cluster"), "it is a part of db");
    m.run_for(60);
    assert!(m.is_up("db") && m.is_up("cluster"), "not all of it is back");
    assert!(m.record.sent.is_empty(), "{:?}", m.record.sent);
}

/// The command ends before the daemon has read that the unit was stopped.
#[test]
fn hold_that_ends_at_once_brings_its_unit_back() {
    for latency in [6, 300, 1500] {
        let mut m = db_and_app_within(latency);
        m.hold_and_stop("db", 0);
        m.run_for(60);
        assert!(m.is_up("db"), "db is not back (readings take {latency} ms)");
    }
}

/// The holder was killed before its stop had ended.
#[test]
fn unit_stopped_by_killed_holder_comes_back() {
    for latency in [6, 300, 1500] {
        let mut m = db_and_app_within(latency);
        let id = m.hold("db", 60);
        m.stop("db");
        m.release(&id, HowEnded::Gone);
        m.run_for(60);
        assert!(m.is_up("db"), "db is not back (readings take {latency} ms)");
    }
}

/// A script that stops the unit after the hold means it.
#[test]
fn stop_right_after_hold_is_respected() {
    let mut m = db_and_app();
    let id = m.hold("db", 60);
    m.run_for(1);
    m.release(&id, HowEnded::Done);
    m.run_for_millis(100);
    m.stop("db");
    m.run_for(60);
    assert!(!m.is_up("db"), "db was started against the operator");
}

/// An operator who stops one of them meanwhile is respected.
#[test]
fn hold_leaves_what_an_operator_stopped_meanwhile() {
    let mut m = db_and_app();
    m.stop("app");
    m.run_for(5);
    m.hold_and_stop("db", 10);
    m.run_for(60);
    assert!(m.is_up("db"));
    assert!(!m.is_up("app"), "app was stopped by an operator before");
}

/// What shop has to do with db, and whether db has a check.
fn shop(link: fn(UnitFile) -> UnitFile, guarded: bool) -> Machine {
    let shop = link(service("shop").after(&["db"])).needs(&["db"]);
    let machine = Machine::new().unit(service("db")).unit(shop).check(http("shop").interval(5));
    let machine = if guarded { machine.check(http("db").interval(5)) } else { machine };
    machine.up()
}

/// A recovery does not start what an operator has stopped, in whatever way systemd would pull it in.
#[test]
fn recovery_does_not_start_a_wanted_unit_that_was_stopped() {
    let links: [fn(UnitFile) -> UnitFile; 4] = [
        |unit| unit.wants(&["db"]),
        |unit| unit.requires(&["db"]),
        |unit| unit.binds_to(&["db"]),
        |unit| unit.wants(&["middle"]),
    ];
    for (n, link) in links.into_iter().enumerate() {
        for guarded in [true, false] {
            let mut m = shop(link, guarded);
            let runs = m.runs("db");
            m.stop("db");
            m.run_for(280);
            assert!(!m.is_up("db") && m.runs("db") == runs, "link {n}: db was started");
        }
    }
}

/// `db` is started by systemd itself where it is upheld; nothing of that is the daemon's.
#[test]
fn withheld_restart_names_the_unit_that_was_stopped() {
    let mut m = shop(|unit| unit.wants(&["db"]), true);
    m.stop("db");
    m.run_for(60);
    m.assert_no_job("shop");
    assert!(m.why("shop").contains("db.service"), "{}", m.why("shop"));
    m.start("db");
    m.run_for(60);
    assert_eq!((m.state("db"), m.state("shop")), ("passing", "passing"));
}

/// A third of the checks that are watched fail together, and not of all that are configured.
#[test]
fn storm_counts_only_checks_that_are_watched() {
    let names: Vec<String> = (0..30).map(|n| format!("web{n:02}")).collect();
    for paused in [0, 21] {
        let mut m = Machine::new();
        for name in &names {
            m = m.unit(service(name)).check(http(name));
        }
        let mut m = m.up();
        for name in &names[..paused] {
            m.pause(name, 86_400);
        }
        for name in &names[paused..] {
            m.hang(name);
        }
        m.run_for(300);
        assert_eq!(m.host_notifications().first(), Some(&HostNotificationKind::Storm), "{paused} paused");
        assert!(m.record.sent.is_empty(), "{} notifications of single checks", m.record.sent.len());
    }
}
