//! What `stealthctl` draws and how it exits, from snapshots that are made here.

use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use jiff::tz::TimeZone;

use super::detail::detail;
use super::exit::{Exit, Failure, of_check, of_snapshot};
use super::render::overview;
use super::style::Style;
use super::text::width;
use super::{Cli, Command, duration};
use crate::bus::client::CallError;
use crate::bus::{Bus, Refusal};
use crate::check::{CheckName, Step};
use crate::notification::{Attempt, AttemptOutcome, IncidentId};
use crate::status::{CheckStatus, ConfigurationStatus, IncidentStatus, MailStatus, Snapshot};
use crate::time::Wall;
use crate::unit::{ActiveState, JobResult, LoadState, UnitName, UnitState};
use crate::verdict::{Health, Observation, Seen, State, SuppressedBy};

mod hold;

/// Mon 2026-11-23 14:06:31 UTC.
const NOW: Wall = Wall(1_795_442_791_000);

fn ago(seconds: u64) -> Wall {
    NOW.before(Duration::from_secs(seconds))
}

fn style(width: Option<usize>) -> Style {
    Style { colour: false, width, height: None, unicode: true, zone: TimeZone::UTC }
}

fn seen(observation: Observation, first: u64, last: u64, count: u64) -> Seen {
    Seen { observation, first: ago(first), last: ago(last), count }
}

fn ok(detail: &str, ms: u64) -> Observation {
    Observation::Passing { detail: detail.into(), latency: Duration::from_millis(ms) }
}

fn fails(reason: &str) -> Observation {
    Observation::Failing { reason: reason.into() }
}

fn check(name: &str, health: Health, since: u64, last: Option<Seen>, next: &str) -> CheckStatus {
    CheckStatus {
        name: CheckName::new(name).unwrap(),
        unit: Some(UnitName::new(&format!("{name}.service")).unwrap()),
        probe: "http GET http://127.0.0.1:9001/".into(),
        health,
        since: ago(since),
        last,
        next: next.into(),
        next_probe: Some(NOW.after(Duration::from_secs(8))),
        incident: None,
        unit_state: None,
        history: Vec::new(),
        runbook: None,
    }
}

fn incident(cause: &str, attempts: u32, action_required: bool) -> IncidentStatus {
    IncidentStatus {
        id: IncidentId("gru-1795442540".into()),
        since: ago(251),
        cause: cause.into(),
        attempts,
        max_attempts: Some(6),
        last_attempt: Some(Attempt {
            number: attempts,
            step: Step::Restart,
            requested: ago(40),
            result: Some(JobResult::Done),
            outcome: Some(AttemptOutcome::Ineffective("it still fails".into())),
        }),
        action_required,
        withheld: None,
        notifications: (2, 1),
        dependents: Vec::new(),
    }
}

fn snapshot(checks: Vec<CheckStatus>) -> Snapshot {
    Snapshot {
        version: env!("CARGO_PKG_VERSION").into(),
        at: NOW,
        started: ago(11_520),
        configuration: ConfigurationStatus {
            loaded: ago(7_200),
            files: vec!["/etc/stealthcheck/stealthcheck.yaml".into()],
            refused: None,
        },
        mail: MailStatus { configured: true, ..MailStatus::default() },
        counts: Default::default(),
        storm: None,
        alerts: Vec::new(),
        checks,
    }
}

fn mixed() -> Snapshot {
    let mut gru = check(
        "gru",
        Health::DOWN,
        251,
        Some(seen(fails("connection refused"), 251, 8, 12)),
        "restart in 40s (attempt 3)",
    );
    gru.incident = Some(incident("connection refused", 2, false));
    let mut dns = check(
        "gru-dns",
        Health::of(State::Failing { n: 2, m: 3 }),
        10,
        Some(seen(Observation::Unknown { reason: "no resolver answers".into() }, 10, 5, 2)),
        "probe in 0s",
    );
    dns.unit = None;
    let mut certificate = check(
        "fibridge-certificate",
        Health::PASSING.suppressed(SuppressedBy::Paused { until: NOW.after(Duration::from_secs(2_880)) }),
        720,
        None,
        "pause ends in 48m",
    );
    certificate.unit = Some(UnitName::new("fibridge-cert-renew.service").unwrap());
    snapshot(vec![
        check(
            "fibridge",
            Health::PASSING,
            266_400,
            Some(seen(ok("200 OK", 3), 266_400, 6, 26_640)),
            "probe in 4s",
        ),
        certificate,
        gru,
        dns,
        check("mosaic", Health::STARTING, 2, None, "probe in 1s"),
    ])
}

const MIXED: &str = include_str!("golden/unlimited.txt");

#[test]
fn a_table_fits_where_it_is_shown() {
    let ascii = Style { unicode: false, ..style(Some(60)) };
    for (style, golden) in [
        (style(None), MIXED),
        (style(Some(120)), include_str!("golden/120.txt")),
        (style(Some(80)), include_str!("golden/80.txt")),
        (ascii, include_str!("golden/60-ascii.txt")),
    ] {
        let text = overview(&mixed(), &style);
        assert_eq!(text, golden, "{:?}\n{text}", style.width);
        assert!(style.unicode || text.is_ascii());
    }
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let mut snapshot = mixed();
    snapshot.alerts.push("mosaic.service is not known to systemd; was it renamed?".into());
    for columns in 24..140 {
        for line in overview(&snapshot, &style(Some(columns))).lines().skip(1) {
            assert!(width(line) <= columns, "{columns}: {line}");
        }
    }
}

#[test]
fn colours_stand_around_marks_and_healths_and_change_nothing_else() {
    let coloured = overview(&mixed(), &Style { colour: true, ..style(Some(100)) });
    assert!(coloured.contains("\x1b[1;31m✖\x1b[0m gru "), "{coloured}");
    assert!(coloured.contains("\x1b[32mpassing\x1b[0m"), "{coloured}");
    let mut plain = String::new();
    for (i, piece) in coloured.split("\x1b[").enumerate() {
        plain.push_str(if i == 0 { piece } else { piece.split_once('m').unwrap().1 });
    }
    assert_eq!(plain, overview(&mixed(), &style(Some(100))));
}

#[test]
fn what_must_be_known_stands_above_the_table() {
    let mut snapshot = mixed();
    snapshot.version = "0.0.9".into();
    snapshot.configuration.refused = Some((
        ago(180),
        (1..=5).map(|n| format!("/etc/stealthcheck/stealthcheck.yaml:{n}: checks: wrong")).collect(),
    ));
    snapshot.mail = MailStatus {
        configured: true,
        queued: 3,
        oldest: Some(ago(740)),
        last_error: Some("connection to smtp.example.org:587 refused".into()),
        refused: vec![("gone@example.org".into(), "RCPT: 550 5.1.1 no such user\x1b[2J".into())],
        removed: 2,
        removed_total: 2,
    };
    snapshot.alerts.push("mosaic.service is not known to systemd".into());
    snapshot.checks[2].incident = Some(incident("connection refused", 6, true));
    let text = overview(&snapshot, &style(Some(80)));
    assert_eq!(text, include_str!("golden/alerts.txt"), "\n{text}");
}

#[test]
fn what_is_well_has_a_short_headline() {
    let well = |name| check(name, Health::PASSING, 60, None, "probe in 1s");
    let first = |snapshot: &Snapshot| overview(snapshot, &style(None)).lines().next().unwrap().to_owned();
    assert_eq!(first(&snapshot(vec![well("a"), well("b")])), "✔ 2 checks, all passing (up 3h 12m)");
    assert_eq!(first(&snapshot(vec![well("a")])), "✔ 1 check: passing (up 3h 12m)");
    assert_eq!(
        overview(&snapshot(Vec::new()), &style(None)),
        "No check is configured (up 3h 12m)\n\nAdd checks to /etc/stealthcheck/stealthcheck.yaml \
         and run `stealthctl reload`; see stealthcheck.yaml(5).\n"
    );
}

#[test]
fn what_scrolls_away_is_said_again_at_the_end() {
    let text = overview(&mixed(), &Style { height: Some(6), ..style(None) });
    let headline = MIXED.lines().next().unwrap();
    assert_eq!(text, format!("{MIXED}\n{headline}\n"));
}

#[test]
fn a_check_in_detail() {
    let mut snapshot = mixed();
    snapshot.checks.swap(0, 2);
    snapshot.checks.truncate(1);
    let gru = &mut snapshot.checks[0];
    gru.unit_state = Some(UnitState {
        load: LoadState::Loaded,
        active: ActiveState::Active,
        sub: "running".into(),
        main_pid: 4711,
        n_restarts: 3,
        ..UnitState::default()
    });
    gru.history = vec![
        seen(ok("200 OK", 1_240), 90_000, 260, 3_211),
        seen(Observation::Unknown { reason: "no file descriptors left".into() }, 255, 255, 1),
        seen(fails("connection refused"), 251, 8, 12),
    ];
    gru.runbook = Some("Not the end of the world for a day or two.\nssh ubuntu@lf-proxy".into());
    gru.incident.as_mut().unwrap().withheld = Some("the backoff has 32s to run".into());
    let text = detail(&snapshot, &style(Some(80)));
    assert_eq!(text, include_str!("golden/detail.txt"), "\n{text}");
}

#[test]
fn hostile_text_stays_text() {
    let evil = "\x1b]0;owned\x07\x1b[2J\u{9b}1m\u{202e}\nroot#";
    let mut snapshot = mixed();
    snapshot.version = evil.into();
    snapshot.alerts.push(evil.into());
    snapshot.configuration.files = vec![evil.into()];
    snapshot.configuration.refused = Some((NOW, vec![evil.into()]));
    snapshot.mail.queued = 1;
    snapshot.mail.last_error = Some(evil.into());
    for check in &mut snapshot.checks {
        check.probe = evil.into();
        check.next = evil.into();
        check.last = Some(seen(fails(evil), 9, 3, 2));
        check.history = vec![seen(ok(evil, 3), 9, 3, 2)];
        check.runbook = Some(evil.into());
        let mut incident = incident(evil, 2, true);
        incident.id = IncidentId(evil.into());
        incident.withheld = Some(evil.into());
        incident.last_attempt.as_mut().unwrap().result = Some(JobResult::Refused(evil.into()));
        incident.last_attempt.as_mut().unwrap().outcome = Some(AttemptOutcome::Ineffective(evil.into()));
        check.incident = Some(incident);
        check.unit_state = Some(UnitState {
            load: LoadState::Loaded,
            sub: evil.into(),
            result: evil.into(),
            ..UnitState::default()
        });
    }
    let mut empty = snapshot.clone();
    empty.checks.clear();
    for text in [
        overview(&snapshot, &style(None)),
        overview(&snapshot, &style(Some(80))),
        overview(&empty, &style(None)),
        detail(&snapshot, &style(Some(80))),
        Failure::of_call(&CallError::Refused(Refusal::Failed(evil.into())), Bus::System).message,
        Failure::of_call(&CallError::Denied(evil.into()), Bus::System).message,
        Failure::of_call(&CallError::Unreachable(evil.into()), Bus::User).message,
        Failure::of_call(&CallError::Unreadable(evil.into()), Bus::User).message,
        Failure::of_call(&CallError::Refused(Refusal::InvalidConfiguration(vec![evil.into()])), Bus::System)
            .message,
    ] {
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("root#")), "{text}");
    }
}

#[test]
fn only_what_is_down_is_told_by_the_exit_code() {
    let one =
        |health| snapshot(vec![check("a", Health::PASSING, 1, None, ""), check("b", health, 1, None, "")]);
    assert_eq!(of_snapshot(&snapshot(Vec::new())), Exit::Ok);
    for health in [
        Health::PASSING,
        Health::STARTING,
        Health::of(State::Failing { n: 1, m: 3 }),
        Health::PASSING.suppressed(SuppressedBy::Paused { until: NOW }),
        Health::DOWN.suppressed(SuppressedBy::Stopped { until: None }),
    ] {
        assert_eq!(of_snapshot(&one(health.clone())), Exit::Ok, "{health}");
        let mut needing = one(health.clone());
        needing.checks[1].incident = Some(incident("x", 6, true));
        let aside = health.suppressed_by.is_some();
        assert_eq!(of_snapshot(&needing), if aside { Exit::Ok } else { Exit::Down }, "{health}");
    }
    assert_eq!(of_snapshot(&one(Health::DOWN)), Exit::Down);
}

#[test]
fn a_probe_by_hand_is_judged_by_what_it_saw() {
    let saw = |last| of_check(&check("a", Health::PASSING, 1, last, ""));
    assert_eq!(saw(Some(seen(ok("200 OK", 1), 1, 0, 1))), Exit::Ok);
    assert_eq!(saw(Some(seen(fails("no"), 1, 0, 1))), Exit::Down);
    assert_eq!(saw(Some(seen(Observation::Unknown { reason: "no".into() }, 1, 0, 1))), Exit::Down);
    assert_eq!(saw(None), Exit::Down);
}

#[test]
fn every_failure_says_what_to_do_and_has_its_code() {
    let refused = |refusal| CallError::Refused(refusal);
    for (error, bus, exit, says) in [
        (CallError::NotRunning, Bus::System, Exit::NotRunning, "`systemctl enable --now stealthcheck`"),
        (CallError::NotRunning, Bus::User, Exit::NotRunning, "`systemctl --user enable --now stealthcheck`"),
        (
            CallError::Unreachable("x".into()),
            Bus::System,
            Exit::Unavailable,
            "the system bus cannot be reached: x",
        ),
        (CallError::Unreachable("x".into()), Bus::User, Exit::Unavailable, "enable-linger"),
        (CallError::Denied("x".into()), Bus::System, Exit::Denied, "access denied: x; try it with sudo"),
        (CallError::TimedOut, Bus::System, Exit::Unavailable, "`systemctl status stealthcheck`"),
        (
            CallError::Unreadable("x".into()),
            Bus::User,
            Exit::Unavailable,
            "`systemctl --user restart stealthcheck`",
        ),
        (refused(Refusal::NoSuchCheck("x".into())), Bus::System, Exit::Failed, "x"),
        (refused(Refusal::InvalidArgument("x".into())), Bus::System, Exit::Usage, "x"),
        (
            refused(Refusal::InvalidConfiguration(vec!["x".into(), "y".into()])),
            Bus::System,
            Exit::Config,
            ":\nx\ny",
        ),
    ] {
        let failure = Failure::of_call(&error, bus);
        assert_eq!(failure.exit, exit, "{error:?}");
        assert!(failure.message.contains(says), "{}", failure.message);
    }
}

#[test]
fn the_command_line_is_well_formed_and_its_defaults_are_sane() {
    Cli::command().debug_assert();
    let cli = Cli::try_parse_from(["stealthctl", "pause", "gru", "--user"]).unwrap();
    assert!(cli.user);
    assert!(matches!(cli.command, Some(Command::Pause { for_, .. }) if for_ == Duration::from_secs(3_600)));
    assert!(Cli::try_parse_from(["stealthctl", "pause"]).is_err());
}

#[test]
fn durations_are_read_as_the_configuration_reads_them() {
    for (text, seconds) in
        [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("1d", 86_400), ("1h 30m", 5_400), ("1h30m", 5_400)]
    {
        assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    for bad in
        ["", "1", "h", "-1h", "1w", "1.5h", "0s", "99999999999999999999d", "9999999999999999d", "1h\x1b"]
    {
        let error = duration(bad).unwrap_err();
        assert!(!error.contains('\x1b'), "{bad}");
    }
}

#[test]
fn what_cannot_be_measured_is_not_called_well() {
    let unknown = Observation::Unknown { reason: "no resolver answers".into() };
    let dns =
        check("gru-dns", Health::UNKNOWN, 90, Some(seen(unknown, 90, 5, 18)), "not measured for 1m 30s");
    let web = check("web", Health::PASSING, 90, Some(seen(ok("200 OK", 3), 90, 5, 18)), "probe in 4s");
    let both = snapshot(vec![web, dns]);
    assert_eq!(of_snapshot(&both), Exit::Down);
    let text = overview(&both, &style(None));
    assert!(text.starts_with("? 2 checks: 1 unknown, 1 passing"), "{text}");
    let row = text.lines().find(|line| line.contains("gru-dns")).unwrap();
    assert!(row.starts_with("? gru-dns") && row.contains(" unknown ") && row.contains("no resolver answers"));
}
