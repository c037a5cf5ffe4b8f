use super::*;

use std::sync::Arc;

use proptest::prelude::*;

use crate::check::Step;
use crate::notification::AttemptOutcome;
use crate::unit::{ActiveState, JobResult, LoadState, UnitState};

fn place() -> Place {
    Place { host: "lf-proxy".to_owned(), zone: TimeZone::get("Europe/Berlin").unwrap(), user: false }
}

fn notification(kind: NotificationKind, number: u32) -> Notification {
    let opened = Wall(1_795_345_200_000);
    Notification {
        id: NotificationId { incident: IncidentId("fibridge-1795345200".into()), number },
        kind,
        to: vec!["ops@example.org".into(), "Chase <chase@example.org>".into()],
        at: opened.after(Duration::from_secs(42)),
        check: CheckName::new("fibridge").unwrap(),
        unit: Some(UnitName::new("fibridge.service").unwrap()),
        probe: "http GET http://127.0.0.1:9001/".to_owned(),
        since: opened,
        cause: "connection refused".to_owned(),
        attempts: vec![Attempt {
            number: 1,
            step: Step::Restart,
            requested: opened.after(Duration::from_secs(1)),
            result: Some(JobResult::Done),
            outcome: Some(AttemptOutcome::Ineffective(
                "the probe still fails: connection refused".to_owned(),
            )),
        }],
        attempts_total: 1,
        next: "Restart in 20s (attempt 2).".to_owned(),
        state: Some(UnitState {
            load: LoadState::Loaded,
            active: ActiveState::Failed,
            sub: "failed".to_owned(),
            result: "exit-code".to_owned(),
            exit_code: 1,
            exit_status: 3,
            ..UnitState::default()
        }),
        failed_invocation: "aef2bed8a0ae49ad920c192572abd113".to_owned(),
        runbook: Some("Local file support. Not the end of the world.\nssh ubuntu@lf-proxy".into()),
        dependents: Vec::new(),
    }
}

fn sent(email: &Email) -> String {
    let from = "stealthcheck <alerts@example.org>".parse().unwrap();
    String::from_utf8(message(email, &from).unwrap()).unwrap()
}

fn headers(message: &str) -> Vec<&str> {
    message.split("\r\n\r\n").next().unwrap().split("\r\n").collect()
}

#[test]
fn the_first_mail_of_an_incident() {
    let journal = Ok(vec!["Nov 22 16:59:59 fibridge[123]: cannot bind: ünïcode".to_owned()]);
    let email = email(&notification(NotificationKind::Down, 1), Some(&journal), &place());
    assert_eq!(
        email.body,
        "\
fibridge on lf-proxy is down.
connection refused

Since Sun 2026-11-22 12:00:00 CET
Probe: http GET http://127.0.0.1:9001/

RECOVERY ATTEMPTS
12:00:01 restart: done, ineffective: the probe still fails: connection refused

NEXT
Restart in 20s (attempt 2).

UNIT
fibridge.service
failed (Result: exit-code)
main process exited with status 3

RUNBOOK
Local file support. Not the end of the world.
ssh ubuntu@lf-proxy

COMMANDS
stealthctl status fibridge
journalctl -u fibridge.service --since '2026-11-22 11:55:00'

JOURNAL OF fibridge.service
Nov 22 16:59:59 fibridge[123]: cannot bind: ünïcode
"
    );
    let message = sent(&email);
    assert_eq!(
        headers(&message),
        [
            "Date: Sun, 22 Nov 2026 11:00:42 +0000",
            "From: stealthcheck <alerts@example.org>",
            "Subject: [DOWN] fibridge on lf-proxy",
            "Message-ID: <fibridge-1795345200.1@lf-proxy>",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Auto-Submitted: auto-generated",
            "To: ops@example.org, Chase <chase@example.org>",
            "X-Stealthcheck-Check: fibridge",
            "X-Stealthcheck-Incident: fibridge-1795345200",
            "X-Stealthcheck-Unit: fibridge.service",
            "Content-Transfer-Encoding: quoted-printable",
        ]
    );
}

#[test]
fn the_last_mail_is_in_the_same_thread_and_says_what_it_took() {
    let mut notification = notification(NotificationKind::Recovered, 4);
    notification.at = notification.since.after(Duration::from_secs(11_520));
    notification.attempts_total = 9;
    notification.attempts.push(Attempt {
        number: 9,
        step: Step::StartUnit(UnitName::new("other.service").unwrap()),
        requested: notification.at.before(Duration::from_secs(5)),
        result: Some(JobResult::Done),
        outcome: Some(AttemptOutcome::Recovered),
    });
    notification.next.clear();
    notification.state.as_mut().unwrap().active = ActiveState::Active;
    notification.state.as_mut().unwrap().sub = "running".to_owned();
    let email = email(&notification, None, &place());
    assert_eq!(
        email.body,
        "\
fibridge on lf-proxy has recovered after 3h 12m.
It was: connection refused

Down from Sun 2026-11-22 12:00:00 CET
until Sun 2026-11-22 15:12:00 CET
Probe: http GET http://127.0.0.1:9001/

RECOVERY ATTEMPTS
12:00:01 restart: done, ineffective: the probe still fails: connection refused
… 7 more …
15:11:55 start of other.service: done, recovered

UNIT
fibridge.service
active (running)

COMMANDS
stealthctl status fibridge
journalctl -u fibridge.service --since '2026-11-22 11:55:00'
"
    );
    let message = sent(&email);
    for header in [
        "Subject: [RECOVERED] fibridge on lf-proxy",
        "Message-ID: <fibridge-1795345200.4@lf-proxy>",
        "In-Reply-To: <fibridge-1795345200.1@lf-proxy>",
        "References: <fibridge-1795345200.1@lf-proxy>",
    ] {
        assert!(headers(&message).contains(&header), "{header}\n{message}");
    }
}

#[test]
fn each_kind_says_in_its_first_line_what_it_is() {
    let first = |kind, number| {
        let email = email(&notification(kind, number), None, &place());
        format!("{} / {}", email.subject, email.body.lines().next().unwrap())
    };
    assert_eq!(
        [first(NotificationKind::ActionRequired, 2), first(NotificationKind::StillDown, 3),],
        [
            "[ACTION REQUIRED] fibridge on lf-proxy / fibridge on lf-proxy requires action. It has been down for 42s.",
            "[STILL DOWN] fibridge on lf-proxy / fibridge on lf-proxy is still down, for 42s now.",
        ]
    );
}

#[test]
fn what_is_missing_is_said() {
    let mut notification = notification(NotificationKind::Down, 1);
    notification.attempts.clear();
    notification.attempts_total = 0;
    let why = Err("no permission to read the journal".to_owned());
    let body = email(&notification, Some(&why), &place()).body;
    assert!(body.contains("RECOVERY ATTEMPTS\nNone yet.\n"), "{body}");
    assert!(
        body.ends_with("JOURNAL OF fibridge.service\n(not shown: no permission to read the journal)\n"),
        "{body}"
    );
    notification.kind = NotificationKind::Recovered;
    assert!(email(&notification, None, &place()).body.contains("None: it recovered without one."));
    notification.unit = None;
    let body = email(&notification, None, &place()).body;
    assert!(!body.contains("journalctl") && !body.contains("UNIT"), "{body}");
}

#[test]
fn commands_can_be_pasted() {
    let mut notification = notification(NotificationKind::Down, 1);
    notification.unit = Some(UnitName::new(r"dev-disk-by\x2duuid.mount").unwrap());
    let body = email(&notification, None, &Place { user: true, ..place() }).body;
    assert!(body.contains("\nstealthctl --user status fibridge\n"), "{body}");
    assert!(body.contains(r"journalctl --user -u 'dev-disk-by\x2duuid.mount' --since"), "{body}");
}

#[test]
fn a_email_about_the_daemon_names_the_host_first() {
    let id = NotificationId { incident: IncidentId("host!7".into()), number: 1 };
    let to = vec!["ops@example.org".to_owned()];
    let email = host_email(id, to, "configuration rejected", "a: b\nc: d", Wall(0), &place());
    assert_eq!(email.subject, "[stealthcheck] lf-proxy: configuration rejected");
    assert_eq!(email.body, "a: b\nc: d\n\nFrom stealthcheck on lf-proxy, Thu 1970-01-01 01:00:00 CET.\n");
    assert!(sent(&email).contains("Message-ID: <host%217.1@lf-proxy>"));
}

#[test]
fn a_clock_that_is_out_of_its_mind_stops_no_mail() {
    for at in [i64::MIN, -1, i64::MAX] {
        let mut notification = notification(NotificationKind::Recovered, 2);
        (notification.at, notification.since) = (Wall(at), Wall(at));
        sent(&email(&notification, None, &place()));
    }
}

/// Text as an enemy would write it.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\r\nBcc: victim@example.org\r\n\r\n".to_owned()),
        Just("\n.\nMAIL FROM:<x@example.org>\n".to_owned()),
        Just("\r\n.\r\n".to_owned()),
        Just("\u{1b}]0;owned\u{7}\u{1b}[2J".to_owned()),
        Just("\u{202e}\u{2066}\0\u{9b}31m\u{85}\u{2028}".to_owned()),
        Just("=?utf-8?q?=0D=0ABcc:_x?=".to_owned()),
        Just("é".repeat(3000)),
        Just("x".repeat(100_000)),
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nothing_that_is_told_can_do_harm(
        texts in proptest::collection::vec(hostile(), 8),
        lines in proptest::collection::vec(hostile(), 0..21),
        number in 1..4_u32,
    ) {
        let mut notification = notification(NotificationKind::Down, number);
        let text = |n: usize| texts[n].clone();
        notification.id.incident = IncidentId(Arc::from(text(0)));
        (notification.probe, notification.cause, notification.next) = (text(1), text(2), text(3));
        notification.attempts[0].outcome = Some(AttemptOutcome::Ineffective(text(4)));
        notification.attempts[0].result = Some(JobResult::Refused(text(4)));
        notification.runbook = Some(Arc::from(text(5)));
        notification.state.as_mut().unwrap().result = text(6);
        notification.to.push(Arc::from(text(7)));
        let place = Place { host: text(7), ..place() };
        let email = email(&notification, Some(&Ok(lines)), &place);
        let message = sent(&email);

        prop_assert!(message.len() < 64 * 1024, "{} bytes", message.len());
        prop_assert!(message.is_ascii());
        prop_assert!(message.bytes().all(|b| (32..127).contains(&b) || b == b'\r' || b == b'\n'));
        prop_assert_eq!(message.replace("\r\n", "").find(['\r', '\n']), None, "a bare CR or LF");
        prop_assert!(message.split("\r\n").all(|line| line.len() <= 998));
        let known = ["Date", "From", "Subject", "Message-ID", "MIME-Version", "Content-Type", "Auto-Submitted", "To",
            "In-Reply-To", "References", "X-Stealthcheck-Check", "X-Stealthcheck-Incident", "X-Stealthcheck-Unit",
            "Content-Transfer-Encoding"];
        for header in headers(&message) {
            let name = header.split(':').next().unwrap();
            prop_assert!(header.starts_with(' ') || known.contains(&name), "{header:?}");
        }
        let harmless = |c: char| c == '\n' || !(c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c));
        prop_assert!(email.body.chars().all(harmless));
        prop_assert!(email.body.lines().all(|line| line.chars().count() <= text::LINE_MAX + 100));
        prop_assert!(email.body.contains("COMMANDS\nstealthctl status fibridge\n"), "cut off");
    }
}

#[test]
fn that_a_check_cannot_be_measured_is_told_without_a_word_on_its_target() {
    let unmeasured = |kind, number| {
        let id = NotificationId {
            incident: IncidentId::unknown(&CheckName::new("gru-dns").unwrap(), 1_795_345_200),
            number,
        };
        let check = CheckName::new("gru-dns").unwrap();
        let cause = "the resolver gave no answer within 5s".to_owned();
        let (attempts, state, unit) = (Vec::new(), None, None);
        Notification {
            id,
            check,
            cause,
            attempts,
            attempts_total: 0,
            state,
            unit,
            ..notification(kind, number)
        }
    };
    let first = email(&unmeasured(NotificationKind::Unknown, 1), None, &place());
    assert_eq!(first.subject, "[UNKNOWN] gru-dns on lf-proxy");
    assert_eq!(first.message_id, "<gru-dns-1795345200-unmeasured.1@lf-proxy>");
    assert!(
        first.body.starts_with(
            "The state of gru-dns on lf-proxy has been unknown for 42s.\nthe resolver gave no answer within 5s\n\
             The probe failed on this machine"
        ),
        "{}",
        first.body
    );
    assert!(!first.body.contains("RECOVERY ATTEMPTS") && first.body.contains("RUNBOOK"), "{}", first.body);
    let last = email(&unmeasured(NotificationKind::KnownAgain, 2), None, &place());
    assert_eq!(last.subject, "[KNOWN AGAIN] gru-dns on lf-proxy");
    assert_eq!(last.thread.as_deref(), Some("<gru-dns-1795345200-unmeasured.1@lf-proxy>"));
    assert!(last.body.contains("It was: the resolver gave no answer within 5s"), "{}", last.body);
    assert!(last.body.contains("Unknown from") && !last.body.contains("RUNBOOK"), "{}", last.body);
}

#[test]
fn what_goes_down_with_it_is_named_and_a_notification_of_an_older_spool_names_nothing() {
    let taken = |check: &str, well| Dependent {
        check: CheckName::new(check).unwrap(),
        unit: UnitName::new(&format!("{check}.service")).unwrap(),
        well,
    };
    let mut down = notification(NotificationKind::Down, 1);
    down.dependents = vec![taken("app", false), taken("blog", true)];
    let body = email(&down, None, &place()).body;
    let named = "\nAFFECTED UNITS\napp (app.service): waits for it\nblog (blog.service): passing so far\n\n";
    assert!(body.contains(named), "{body}");
    down.kind = NotificationKind::Recovered;
    let body = email(&down, None, &place()).body;
    assert!(body.contains("\nAFFECTED UNITS\napp (app.service): not passing yet\n"), "{body}");
    down.dependents = (0..30).map(|n| taken(&format!("c{n}"), false)).collect();
    assert!(email(&down, None, &place()).body.contains("\n… 10 more\n"));

    let mut json = serde_json::to_value(notification(NotificationKind::Down, 1)).unwrap();
    json.as_object_mut().unwrap().remove("dependents");
    let old: Notification = serde_json::from_value(json).unwrap();
    assert!(!email(&old, None, &place()).body.contains("AFFECTED UNITS"));
}
