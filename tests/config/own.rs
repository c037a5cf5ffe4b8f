//! Checks on stealthcheck itself, and on what it stands on.

use super::*;

fn warnings(checks: &str) -> Vec<String> {
    let config = load_text(format!("checks:\n{checks}").as_bytes()).unwrap_or_else(|why| panic!("{why:?}"));
    // The first is that nobody will be told.
    config.warnings.iter().skip(1).map(|w| format!("{}: {}", w.key, w.message)).collect()
}

#[test]
fn what_would_take_stealthcheck_down_is_warned_about() {
    let told = |job: &str, unit: &str| {
        format!(
            "a {job} of {unit} ends stealthcheck too, and much else on the machine: `recover: none` only notifies"
        )
    };
    assert_eq!(
        warnings(
            "  a: { unit: dbus.service }\n  b: { unit: system.slice, recover: [start, stop] }\n  \
             c: { unit: dbus.service, recover: none }\n  d: { unit: dbus.service, recover: reload }\n  \
             e: { unit: dbus.service, recover: { start: dbus-rescue.service } }\n  f: { unit: my-dbus.service }\n"
        ),
        [
            format!("checks.a.unit: {}", told("restart", "dbus.service")),
            format!("checks.b.recover: {}", told("stop", "system.slice")),
        ]
    );
}

/// What other instances are for; and what is not itself, however its name begins.
#[test]
fn stealthcheck_may_be_looked_at_and_others_of_the_name_restarted() {
    assert!(
        warnings(
            "  a: { unit: stealthcheck.service, recover: none }\n  b: { unit: stealthcheck-config-backup.service }\n  \
             c: { unit: stealthcheck.service, recover: { start: tell-somebody.service } }\n"
        )
        .is_empty()
    );
}
