//! Rule 16: what was decided is explained, and why.

use std::time::Duration;

use stealthcheck::check::{Check, CheckName};
use stealthcheck::engine::Event;
use stealthcheck::status::{Explanation, Topic};
use stealthcheck::unit::{JobResult, LoadState, UnitState};

use crate::machine::{Machine, http, service};

use super::rules::check;
use super::stage::{Stage, activating, ended, killed, secs, stopped, stopping, to_be_started, up};

const ONE: &[(&str, &[&str], &[&str])] = &[("web", &[], &["renew"]), ("renew", &[], &[])];

fn stage(check: Check) -> Stage {
    let mut stage = Stage::before(vec![check], ONE);
    stage.becomes("renew", ended);
    stage.tell_all();
    stage.play(secs(60));
    stage
}

fn why(stage: &Stage) -> Explanation {
    stage.engine.why(stage.now, &CheckName::new("web").unwrap()).unwrap()
}

/// What holds now, a line each.
fn now(stage: &Stage) -> Vec<String> {
    why(stage).now.into_iter().map(|reason| format!("{}: {}", reason.topic, reason.text)).collect()
}

/// What was decided, a line each.
fn trail(stage: &Stage) -> Vec<String> {
    let line = |decision: stealthcheck::status::Decision| match decision.count {
        1 => format!("{}: {}", decision.topic, decision.text),
        n => format!("{n} × {}: {}", decision.topic, decision.text),
    };
    why(stage).log.into_iter().map(line).collect()
}

fn holds(stage: &Stage, sentence: &str) {
    let now = now(stage);
    assert!(now.iter().any(|line| line.contains(sentence)), "{sentence}: {now:#?}\n{}", stage.timeline());
}

#[test]
fn uneventful_check_has_empty_log() {
    let mut stage = stage(check("web", "web.service"));
    stage.play(secs(86_400));
    assert_eq!(trail(&stage), Vec::<String>::new());
    let now = now(&stage);
    assert_eq!(now.len(), 4, "{now:#?}");
    assert!(now[0].starts_with("seen: passed ") && now[0].ends_with(" in a row: 200 OK"), "{}", now[0]);
    assert_eq!(now[1], "unit: web.service is active (running)");
    assert_eq!(now[2], "recovery: if it went down, a restart would be requested");
    assert_eq!(now[3], "notification: notifications would go to ops@example.org");
    assert!(stage.engine.why(stage.now, &CheckName::new("none").unwrap()).is_none());
}

#[test]
fn log_covers_incident_from_failure_to_end() {
    let mut stage = stage(check("web", "web.service"));
    stage.fails("web", true);
    stage.play(secs(18));
    holds(&stage, "failures in a row, 3 make it down (failure_threshold, rule 1)");
    stage.play(secs(10));
    holds(&stage, "a failure does not count: the restart job is running");
    stage.job_ends(JobResult::Done, up);
    stage.play(secs(10));
    holds(&stage, "a failure does not count for 20s more: the unit may come up after the restart (grace)");
    stage.play(secs(25));
    let second = stage.jobs.len();
    assert_eq!(second, 2, "{}", stage.timeline());
    stage.job_ends(JobResult::Failed, killed);
    holds(&stage, "next: restart in 18s (attempt 3); waiting for the backoff to end (18s left, rule 5)");
    stage.reads("web", up);
    stage.fails("web", false);
    stage.play(secs(45));
    let trail = trail(&stage);
    let expected = [
        "2 × seen: a failure: connection refused",
        "incident: down: connection refused",
        "recovery: requested a restart of web.service from systemd (attempt 1)",
        "seen: a failure did not count (connection refused): the restart job is running",
        "recovery: the restart job (attempt 1) ended: done",
        "notification: notification `down` to ops@example.org",
        "seen: a failure did not count (connection refused): the unit may come up after the restart (grace)",
        "recovery: attempt 1: ineffective: connection refused (rule 13)",
        "recovery: requested a restart of web.service from systemd (attempt 2)",
        "recovery: the restart job (attempt 2) ended: failed",
        "recovery: attempt 2: job failed: the job's result is failed (rule 13)",
        "incident: recovered, after 2 recovery attempts that did not help (rule 13)",
        "notification: notification `recovered` to ops@example.org",
    ];
    let mut at = trail.iter();
    for line in expected {
        let line_without_count = line.trim_start_matches("2 × ");
        assert!(at.any(|told| told.ends_with(line_without_count)), "{line}: {trail:#?}");
    }
    assert!(trail.len() <= 24);
}

#[test]
fn every_withheld_job_has_its_reason() {
    let mut stage = stage(check("web", "web.service"));
    stage.fails("web", true);
    stage.reads("web", |state| UnitState { load: LoadState::Masked, ..state });
    stage.play(secs(60));
    holds(&stage, "no recovery: the unit is masked");
    assert!(
        trail(&stage).contains(&"recovery: no recovery: the unit is masked".to_owned()),
        "{:#?}",
        trail(&stage)
    );

    let mut stage = self::stage(check("web", "web.service"));
    stage.reads("web", stopping);
    stage.reads("web", stopped);
    stage.play(secs(100));
    holds(&stage, "suppressed: for 3m 20s more: the unit was stopped by an operator (respect_stop, rule 12)");
    assert_eq!(
        trail(&stage),
        ["suppressed: web.service was stopped by an operator: respected for 5m (rule 12)"]
    );

    let mut stage = self::stage(check("web", "web.service"));
    stage.reads("renew", to_be_started);
    stage.reads("web", stopping);
    stage.reads("web", stopped);
    stage.reads("renew", activating);
    stage.play(secs(60));
    holds(
        &stage,
        "renew.service, which the unit conflicts with, is up; a restart would stop it (respect_conflict, rule 8)",
    );
    assert_eq!(
        trail(&stage),
        ["suppressed: web.service conflicts with renew.service, which is up: suppressed for 1h (rule 8)"]
    );

    let mut silent = check("web", "web.service");
    silent.alert.off = true;
    silent.recovery.steps.clear();
    let mut stage = self::stage(silent);
    stage.reads("web", killed);
    holds(&stage, "no action is taken: no recovery is configured");
    holds(&stage, "no notifications are sent (alert.off)");

    let mut late = check("web", "web.service");
    late.alert.after = secs(600);
    let mut stage = self::stage(late);
    stage.reads("web", killed);
    holds(&stage, "not notified yet; a notification goes to ops@example.org in 10m");
}

#[test]
fn job_is_logged_by_all_checks_of_the_unit() {
    let checks = vec![check("page", "web.service"), check("web", "web.service")];
    let mut stage = Stage::before(checks, ONE);
    stage.becomes("renew", ended);
    stage.tell_all();
    stage.play(secs(60));
    stage.reads("web", killed);
    assert!(
        trail(&stage).contains(
            &"recovery: requested a restart of web.service from systemd (attempt 1), for page".to_owned()
        ),
        "{:#?}",
        trail(&stage)
    );
}

#[test]
fn log_is_bounded_and_survives_restart_and_reload() {
    let mut stage = stage(check("web", "web.service"));
    stage.fails("web", true);
    stage.reads("web", killed);
    for _ in 0..100 {
        stage.play(secs(301));
        stage.job_ends(JobResult::Failed, killed);
    }
    let before = trail(&stage);
    assert_eq!(before.len(), 24);
    stage.daemon_dies(Duration::from_secs(1));
    let after = trail(&stage);
    assert_eq!(after, before);
    let mut changed = check("web", "web.service");
    changed.schedule.interval = secs(10);
    stage.tell(Event::Configured(vec![changed]));
    assert_eq!(trail(&stage), before);
    assert!(why(&stage).log.iter().any(|decision| decision.topic == Topic::Recovery));
}

/// What fails now is not what the incident began with.
#[test]
fn cause_of_the_beginning_is_told_as_that() {
    let mut m = Machine::new().unit(service("web").notify(0)).check(http("web").only_notified()).up();
    m.kill("web");
    m.run_for(60);
    m.start("web");
    m.break_service("web");
    m.run_for(60);
    let why = m.why("web");
    assert!(why.contains("no answer within the timeout") && why.contains("; it began as: unit"), "{why}");
}
