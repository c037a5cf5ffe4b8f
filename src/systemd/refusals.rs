//! What a failed job call means: a sentence for the person who must act, and whether it is about the unit. Pure.

use super::calls::Failure;
use crate::check::Step;
use crate::unit::{JobResult, UnitName};

/// What was requested, as a verb.
pub(super) fn verb(step: &Step) -> &'static str {
    match step {
        Step::Restart => "restart",
        Step::Start | Step::StartUnit(_) => "start",
        Step::Stop => "stop",
        Step::Reload => "reload",
    }
}

/// Why systemd refused to `verb` the unit.
pub(super) fn refusal(verb: &str, unit: &UnitName, failure: &Failure) -> String {
    match refused(verb, unit, failure) {
        JobResult::Refused(why) | JobResult::Unasked(why) | JobResult::Unknown(why) => why,
        other => other.to_string(),
    }
}

/// The result of a job that systemd did not queue, with what to do where that is known. The names are those of systemd's
/// src/libsystemd/sd-bus/bus-common-errors.h.
pub(super) fn refused(verb: &str, unit: &UnitName, failure: &Failure) -> JobResult {
    use JobResult::{Refused, Unasked, Unknown};
    // After all the retries. It comes from the bus, or from systemd, whose own call to polkit met the same limit.
    if failure.is_limit() {
        return Unasked(format!(
            "systemd could not {verb} {unit}: too many calls wait for an answer on the bus ({failure}); a process that \
             calls systemd or polkit without end causes this, see `busctl list`"
        ));
    }
    if failure.silent {
        return Unknown(format!("systemd was asked to {verb} {unit} and did not answer: {failure}"));
    }
    // systemd passes on what its own call to polkit met; that is not about the unit.
    if failure.text.contains("polkit.service") && unit.as_str() != "polkit.service" {
        return Unasked(format!(
            "systemd does not let stealthcheck {verb} {unit}, because polkit cannot be reached ({failure}): see \
             `systemctl status polkit`"
        ));
    }
    match failure.name.rsplit('.').next().unwrap_or_default() {
        // No rule of polkit's allows it.
        "InteractiveAuthorizationRequired" | "AuthFailed" => Unasked(format!(
            "systemd does not let stealthcheck {verb} {unit} ({failure}): run `systemctl reload stealthcheck`, which \
             rewrites the list of permitted units"
        )),
        // One forbids it; or systemd cannot reach polkit.
        "AccessDenied" => Unasked(format!(
            "systemd does not let stealthcheck {verb} {unit} ({failure}): a polkit rule of this machine forbids it (see \
             /etc/polkit-1/rules.d), or polkit does not run (see `systemctl status polkit`)"
        )),
        "NoSuchUnit" => {
            Refused(format!("systemd knows no {unit}: install it, or correct its name in the configuration"))
        }
        "UnitMasked" => {
            // It may be one that this one requires: "Unit db.service is masked."
            let named = failure.text.strip_prefix("Unit ").and_then(|text| text.strip_suffix(" is masked."));
            let masked = named.unwrap_or(unit.as_str());
            Refused(format!("{masked} is masked: `systemctl unmask {masked}` permits it again"))
        }
        "LoadFailed" | "BadUnitSetting" | "UnitNotLoaded" => {
            Refused(format!("{unit} cannot be loaded ({failure}): see `systemctl status {unit}`"))
        }
        "OnlyByDependency" => Refused(format!(
            "{unit} must not be asked to {verb} by itself (RefuseManualStart= or RefuseManualStop= in its unit file)"
        )),
        "JobTypeNotApplicable" => {
            Refused(format!("{unit} cannot {verb} ({failure}): give another step in `recover:`"))
        }
        "NoReply" if failure.is_polkit_timeout() => Unasked(format!(
            "systemd does not let stealthcheck {verb} {unit}, because polkit does not answer it ({failure}): see `systemctl \
             status polkit`; `systemctl restart polkit` ends a hang"
        )),
        // systemd re-executes itself, or the bus gave up on it.
        "NoReply" => Unknown(format!(
            "systemd was asked to {verb} {unit}, and whether it did is not known ({failure})"
        )),
        "TransactionIsDestructive"
        | "TransactionJobsConflicting"
        | "TransactionOrderIsCyclic"
        | "ShuttingDown" => {
            Unasked(format!("systemd cannot {verb} {unit} beside what it is doing ({failure})"))
        }
        _ => Refused(format!("systemd refused to {verb} {unit}: {failure}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> UnitName {
        UnitName::new("web.service").unwrap()
    }

    fn failure(name: &str, text: &str) -> Failure {
        Failure { name: name.to_owned(), text: text.to_owned(), silent: false }
    }

    fn says(name: &str) -> String {
        refusal("restart", &web(), &failure(name, "Nope."))
    }

    #[test]
    fn refusal_says_what_to_do() {
        assert!(
            says("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired").contains("systemctl reload")
        );
        assert!(says("org.freedesktop.DBus.Error.AccessDenied").contains("/etc/polkit-1/rules.d"));
        let hung = failure("org.freedesktop.DBus.Error.NoReply", "Method call timed out");
        assert!(refusal("restart", &web(), &hung).contains("polkit does not answer it"));
        assert!(says("org.freedesktop.DBus.Error.NoReply").contains("whether it did is not known"));
        assert!(says("org.freedesktop.DBus.Error.LimitsExceeded").contains("too many calls"));
        assert!(says("org.freedesktop.systemd1.UnitMasked").contains("unmask web.service"));
        assert!(says("org.freedesktop.systemd1.NoSuchUnit").contains("knows no web.service"));
        let polkit = failure("org.freedesktop.systemd1.UnitMasked", "Unit polkit.service is masked.");
        let text = refusal("restart", &web(), &polkit);
        assert!(text.contains("systemctl status polkit") && !text.contains("unmask"), "{text}");
        assert_eq!(says("org.example.Other"), "systemd refused to restart web.service: Nope.");
    }

    #[test]
    fn only_a_refusal_about_the_unit_is_a_reason_for_another_step() {
        for (name, about_the_unit) in [
            ("InteractiveAuthorizationRequired", false),
            ("AccessDenied", false),
            ("NoReply", false),
            ("LimitsExceeded", false),
            ("TransactionIsDestructive", false),
            ("JobTypeNotApplicable", true),
            ("NoSuchUnit", true),
        ] {
            let failure = failure(&format!("org.freedesktop.systemd1.{name}"), "Nope.");
            let result = refused("restart", &web(), &failure);
            assert_eq!(result.not_the_units().is_none(), about_the_unit, "{result}");
        }
    }
}
