//! What Prometheus would read of a report: every line by the grammar, every metric by its meaning.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::check::CheckName;
use crate::engine::{Change, ChangeKind};
use crate::listen::Counters;
use crate::notification::IncidentId;
use crate::status::{ConfigurationStatus, IncidentStatus, MailStatus, Snapshot};
use crate::unit::UnitName;
use crate::verdict::{Health, Seen, State, SuppressedBy};

fn check(name: &str, unit: Option<&str>, health: Health, last: Option<Observation>) -> CheckStatus {
    let at = Wall(1_795_350_924_123);
    CheckStatus {
        name: CheckName::new(name).unwrap(),
        unit: unit.map(|unit| UnitName::new(unit).unwrap()),
        probe: "http GET http://127.0.0.1/".to_owned(),
        health,
        since: at,
        last: last.map(|observation| Seen { observation, first: at, last: at, count: 1 }),
        next: String::new(),
        next_probe: None,
        incident: None,
        unit_state: None,
        history: Vec::new(),
        runbook: None,
    }
}

fn incident(action_required: bool) -> IncidentStatus {
    IncidentStatus {
        id: IncidentId("gru-1".into()),
        since: Wall(1_795_350_900_000),
        cause: "500\n# HELP forged".to_owned(),
        attempts: 2,
        max_attempts: None,
        last_attempt: None,
        action_required,
        withheld: None,
        notifications: (1, 1),
        dependents: Vec::new(),
    }
}

fn report() -> Report {
    let down = Observation::Failing { reason: "500 \"x\"\n# TYPE forged gauge\nforged 1".to_owned() };
    let well = Observation::Passing { detail: "200 OK".to_owned(), latency: Duration::from_micros(3_250) };
    let mut gru = check("gru", Some("gru.service"), Health::DOWN, Some(down));
    gru.incident = Some(incident(true));
    let checks = vec![
        check("disk", Some(r"dev-disk-by\x2dlabel-a.mount"), Health::PASSING, Some(well)),
        gru,
        check("odd", None, Health::STARTING, Some(Observation::Unknown { reason: "no resolver".to_owned() })),
        check("zero", None, Health::STARTING, None),
    ];
    let mut counters = Counters::default();
    let of_gru = |what| Change { check: CheckName::new("gru").ok(), unit: None, incident: None, what };
    counters.changed(&of_gru(ChangeKind::IncidentOpened { cause: String::new() }));
    for number in 1..=2 {
        counters
            .changed(&of_gru(ChangeKind::RecoveryRequested { number, step: crate::check::Step::Restart }));
    }
    counters.mail_delivered();
    Report {
        status: Snapshot {
            version: "1.2\"3\\4\n5".to_owned(),
            at: Wall(1_795_350_930_000),
            started: Wall(1_795_350_000_000),
            configuration: ConfigurationStatus {
                loaded: Wall(1_795_350_000_500),
                files: Vec::new(),
                refused: Some((Wall(0), vec!["wrong".to_owned()])),
            },
            mail: MailStatus {
                configured: true,
                queued: 2,
                oldest: Some(Wall(1_795_350_868_000)),
                last_error: Some("refused\n".to_owned()),
                refused: vec![("gone@example.org".to_owned(), "550".to_owned())],
                removed: 3,
                removed_total: 4,
            },
            counts: Default::default(),
            storm: None,
            alerts: vec!["one".to_owned()],
            checks,
        },
        counters,
    }
}

/// Every sample by its name and labels; panics where the text breaks the format.
fn read(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let (mut types, mut family): (BTreeSet<&str>, &str) = (BTreeSet::new(), "");
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split_once(' ').expect("a name and a text").0;
            assert!(types.insert(family), "{family} comes twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is no {kind}");
            assert!(kind == "counter" || kind == "gauge", "{kind}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            let name = series.split('{').next().unwrap();
            assert_eq!(name, family, "a sample among those of another metric");
            assert!(name.starts_with("stealthcheck_"), "{name}");
            let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(samples.insert(series.to_owned(), value).is_none(), "{series} comes twice");
        }
    }
    samples
}

#[test]
fn every_metric_says_what_is() {
    let samples = read(&text(&report()));
    let has = |series: &str, value: f64| {
        let found = samples.get(&format!("stealthcheck_{series}"));
        assert_eq!(found, Some(&value), "{series} in {samples:#?}");
    };
    has(r#"check_up{check="disk",unit="dev-disk-by\\x2dlabel-a.mount"}"#, 1.0);
    has(r#"check_up{check="gru",unit="gru.service"}"#, 0.0);
    has(r#"check_up{check="zero",unit=""}"#, 1.0);
    has(r#"check_state{check="gru",health="down"}"#, 1.0);
    has(r#"check_state{check="gru",health="passing"}"#, 0.0);
    has(r#"check_state{check="odd",health="starting"}"#, 1.0);
    has(r#"check_state_since_timestamp_seconds{check="gru"}"#, 1_795_350_924.123);
    has(r#"check_last_probe_timestamp_seconds{check="odd"}"#, 1_795_350_924.123);
    has(r#"check_last_probe_success{check="disk"}"#, 1.0);
    has(r#"check_last_probe_success{check="gru"}"#, 0.0);
    has(r#"check_last_probe_duration_seconds{check="disk"}"#, 0.003_25);
    has(r#"incident_start_timestamp_seconds{check="gru"}"#, 1_795_350_900.0);
    has(r#"check_action_required{check="gru"}"#, 1.0);
    has(r#"check_action_required{check="disk"}"#, 0.0);
    has(r#"incidents_total{check="gru"}"#, 1.0);
    has(r#"recovery_attempts_total{check="gru"}"#, 2.0);
    has(r#"recovery_attempts_total{check="disk"}"#, 0.0);
    for (name, value) in [
        ("checks", 4.0),
        ("incidents_open", 1.0),
        ("alerts", 1.0),
        ("mail_configured", 1.0),
        ("mail_queue_size", 2.0),
        ("mail_queue_oldest_age_seconds", 62.0),
        ("mail_addresses_rejected", 1.0),
        ("mail_delivery_failing", 1.0),
        ("mails_delivered_total", 1.0),
        ("mails_removed_total", 4.0),
        ("config_last_reload_successful", 0.0),
        ("config_last_reload_success_timestamp_seconds", 1_795_350_000.5),
        ("start_time_seconds", 1_795_350_000.0),
        ("main_loop_timestamp_seconds", 1_795_350_930.0),
    ] {
        has(name, value);
    }
    has(r#"build_info{version="1.2\"3\\4\n5"}"#, 1.0);
    // What could not be measured is no failure, and what was never probed is nothing.
    for absent in ["last_probe_success{check=\"odd\"}", "last_probe_success{check=\"zero\"}"] {
        assert!(!samples.contains_key(&format!("stealthcheck_check_{absent}")), "{absent}");
    }
    assert!(!samples.contains_key(r#"stealthcheck_check_last_probe_timestamp_seconds{check="zero"}"#));
}

#[test]
fn without_checks_and_mail_there_are_still_metrics() {
    let mut empty = report();
    empty.status.checks.clear();
    empty.status.mail = MailStatus::default();
    empty.status.configuration.refused = None;
    let samples = read(&text(&empty));
    assert_eq!(samples["stealthcheck_checks"], 0.0);
    assert_eq!(samples["stealthcheck_mail_queue_oldest_age_seconds"], 0.0);
    assert_eq!(samples["stealthcheck_config_last_reload_successful"], 1.0);
}

#[test]
fn a_check_that_is_gone_is_no_longer_counted() {
    let mut report = report();
    report.counters.retain(|name| name.as_str() != "gru");
    assert_eq!(read(&text(&report))[r#"stealthcheck_incidents_total{check="gru"}"#], 0.0);
}

#[test]
fn every_health_has_its_word_among_the_words() {
    let at = Wall(0);
    let by = UnitName::new("other.service").unwrap();
    let all = [
        Health::STARTING,
        Health::PASSING,
        Health::of(State::Failing { n: 1, m: 2 }),
        Health::DOWN,
        Health::PASSING.suppressed(SuppressedBy::Paused { until: at }),
        Health::PASSING.suppressed(SuppressedBy::Stopped { until: None }),
        Health::PASSING.suppressed(SuppressedBy::Held {
            id: "1".into(),
            who: "root".into(),
            why: "certbot renew".into(),
            until: at,
        }),
        Health::PASSING.suppressed(SuppressedBy::Conflict { by: by.clone(), until: None }),
        Health::PASSING.suppressed(SuppressedBy::Dependency { by, until: None }),
        Health::PASSING.suppressed(SuppressedBy::Storm),
        Health::UNKNOWN,
    ];
    let words: Vec<&str> = all.iter().map(Health::word).collect();
    assert_eq!(words, Health::WORDS);
    // Another reason belongs into the list above, and its word into `Health::WORDS`.
    for health in all {
        match health.suppressed_by {
            Some(SuppressedBy::Paused { .. } | SuppressedBy::Stopped { .. } | SuppressedBy::Held { .. }) => {}
            Some(SuppressedBy::Conflict { .. } | SuppressedBy::Dependency { .. } | SuppressedBy::Storm)
            | None => {}
        }
    }
}
