//! A check whose unit is held, as it is shown, and the command line of a hold.

use super::*;

fn held() -> CheckStatus {
    let held = SuppressedBy::Held {
        id: "1795442731".into(),
        who: "alice (pid 4711)".into(),
        why: "certbot renew".into(),
        until: NOW.after(Duration::from_secs(3_540)),
    };
    let last = Some(seen(fails("connection refused"), 55, 5, 6));
    check("fibridge", Health::DOWN.suppressed(held), 60, last, "held by alice (pid 4711), for 59m at most")
}

#[test]
fn a_held_check_says_who_has_its_unit_and_how_to_end_that() {
    let snapshot = snapshot(vec![held()]);
    let table = overview(&snapshot, &style(None));
    for part in ["◈ 1 check: held", "◈ fibridge", "held by alice (pid 4711), for 59m at most"] {
        assert!(table.contains(part), "{table}");
    }
    let shown = detail(&snapshot, &style(Some(80)));
    for part in [
        "State: held for 1m, since",
        "(59m left)",
        "Held by: alice (pid 4711)\n",
        "Command: certbot renew\n",
        "Hold: 1795442731; `stealthctl release 1795442731` ends it\n",
    ] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    assert_eq!(of_snapshot(&snapshot), Exit::Ok, "it is set aside");
}

#[test]
fn what_a_holder_says_is_text() {
    let evil: std::sync::Arc<str> = "\x1b[2J\u{202e}\nroot#".into();
    let mut check = held();
    let held = SuppressedBy::Held { id: evil.clone(), who: evil.clone(), why: evil, until: NOW };
    check.health = Health::DOWN.suppressed(held);
    let shown = detail(&snapshot(vec![check]), &style(Some(80)));
    assert!(!shown.contains(['\x1b', '\u{202e}']), "{shown:?}");
    assert!(!shown.lines().any(|line| line.starts_with("root#")), "{shown}");
}

#[test]
fn a_hold_needs_a_command_after_two_dashes() {
    let parse = |arguments: &[&str]| Cli::try_parse_from([&["stealthctl", "hold"], arguments].concat());
    assert!(matches!(
        parse(&["fibridge", "--stop", "--for", "10m", "--", "certbot", "renew", "--user"]).unwrap(),
        Cli { user: false, command: Some(Command::Hold(_)) }
    ));
    for wrong in [
        &["fibridge"][..],
        &["--", "certbot"],
        &["fibridge", "certbot", "renew"],
        &["fibridge", "--for", "25h", "--", "true"],
        &["fibridge", "--for", "0s", "--", "true"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}
