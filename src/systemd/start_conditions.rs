//! Whether a unit's conditions and assertions were met when it was last started. Pure.
//!
//! systemd evaluates them at every start of a unit that is down, before anything else, and notes the moment, also where
//! the unit has none (unit_start in systemd's src/core/unit.c). So `ConditionTimestamp` is the time of the latest start.

use serde::Deserialize;
use zbus::wire::Type;

const EXEC_CONDITION: &str = "ExecCondition= was not met";

/// One line of `Conditions` or `Asserts`.
#[derive(Clone, Debug, Deserialize, Type)]
pub(super) struct Condition {
    /// `ConditionPathExists`, `AssertPathExists`, …
    kind: String,
    /// Written with `|`: one of these is enough.
    trigger: bool,
    /// Written with `!`.
    negate: bool,
    parameter: String,
    /// 0: not evaluated; above: met; below: not met, or not known.
    result: i32,
}

impl Condition {
    /// As in the unit file.
    fn describe(&self) -> String {
        let (trigger, negate) = (if self.trigger { "|" } else { "" }, if self.negate { "!" } else { "" });
        format!("{}={trigger}{negate}{}", self.kind, self.parameter)
    }
}

/// What may keep a unit from being started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConditionKind {
    /// `Condition…=`: the start is skipped, and its job is done.
    Condition,
    /// `Assert…=`: the job ends as `assert`.
    Assert,
    /// `ExecCondition=` of a service: systemd runs it after the others, and sets `ConditionResult` back where it fails.
    ExecCondition,
}

/// What the properties say of one list.
#[derive(Clone, Debug, Default)]
pub(super) struct ConditionProperties {
    /// `ConditionResult`, `AssertResult`.
    pub met: Option<bool>,
    /// `ConditionTimestamp`, `AssertTimestamp`; 0 where systemd has not evaluated it since it loaded the unit.
    pub at: Option<u64>,
    /// `Conditions`, `Asserts`. Not in signals.
    pub list: Vec<Condition>,
}

impl ConditionProperties {
    fn failed(&self) -> bool {
        self.met == Some(false) && self.at.is_some_and(|at| at != 0)
    }

    /// The first that was not met: systemd evaluates no further. Of those with `|` none was met.
    fn describe_unmet(&self, settings: &str) -> String {
        let unmet =
            |trigger: bool| self.list.iter().filter(move |one| one.trigger == trigger && one.result < 0);
        if let Some(first) = unmet(false).next() {
            return format!("{} was not met", first.describe());
        }
        let of_triggers: Vec<String> = unmet(true).map(Condition::describe).collect();
        match (&of_triggers[..], &self.list[..]) {
            // systemd has forgotten the results with the unit; a single line leaves no doubt.
            ([only], _) => format!("{only} was not met"),
            ([], [only]) => format!("{} was not met", only.describe()),
            ([], []) => EXEC_CONDITION.to_owned(),
            ([], _) => format!("one of the {settings} was not met"),
            (several, _) => format!("none of {} was met", several.join(", ")),
        }
    }
}

/// Both lists.
#[derive(Clone, Debug, Default)]
pub(super) struct StartConditions {
    pub conditions: ConditionProperties,
    pub asserts: ConditionProperties,
}

impl StartConditions {
    /// When the unit was last started, whatever became of it; `None`: not since systemd loaded it.
    pub fn started(&self) -> Option<u64> {
        self.conditions.at.filter(|at| *at != 0)
    }

    /// What was not met at that start. (Where a condition is not met, the assertions are not evaluated: what they say is
    /// of an earlier start.)
    pub fn unmet(&self) -> Option<ConditionKind> {
        if self.conditions.failed() {
            Some(ConditionKind::Condition)
        } else {
            self.asserts.failed().then_some(ConditionKind::Assert)
        }
    }

    /// The same as a clause.
    pub fn describe(&self, unmet: ConditionKind) -> String {
        match unmet {
            ConditionKind::Condition => self.conditions.describe_unmet("unit's Condition…= settings"),
            ConditionKind::Assert => self.asserts.describe_unmet("unit's Assert…= settings"),
            ConditionKind::ExecCondition => EXEC_CONDITION.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str, trigger: bool, negate: bool, parameter: &str, result: i32) -> Condition {
        Condition { kind: kind.to_owned(), trigger, negate, parameter: parameter.to_owned(), result }
    }

    fn says(met: bool, list: Vec<Condition>) -> Option<String> {
        let conditions = ConditionProperties { met: Some(met), at: Some(7), list };
        let start = StartConditions { conditions, ..StartConditions::default() };
        start.unmet().map(|unmet| start.describe(unmet))
    }

    #[test]
    fn unmet_condition_is_named_as_in_the_unit_file() {
        let list = || {
            vec![
                condition("ConditionPathExists", false, false, "/etc/ok", 1),
                condition("ConditionPathExists", false, true, "/etc/x", -1),
                condition("ConditionUser", false, false, "root", -1),
            ]
        };
        assert_eq!(says(false, list()).unwrap(), "ConditionPathExists=!/etc/x was not met");
        assert_eq!(says(true, list()), None);
    }

    #[test]
    fn trigger_conditions_are_all_named() {
        let list = ["/a", "/b"].map(|path| condition("ConditionPathExists", true, false, path, -1)).to_vec();
        let expected = "none of ConditionPathExists=|/a, ConditionPathExists=|/b was met";
        assert_eq!(says(false, list).unwrap(), expected);
    }

    #[test]
    fn condition_without_a_result_is_named_if_it_is_the_only_one() {
        let one = vec![condition("ConditionPathExists", false, false, "/a", 0)];
        assert_eq!(says(false, one.clone()).unwrap(), "ConditionPathExists=/a was not met");
        assert_eq!(says(false, Vec::new()).unwrap(), "ExecCondition= was not met");
        let two = [one.clone(), one].concat();
        assert_eq!(says(false, two).unwrap(), "one of the unit's Condition…= settings was not met");
    }

    #[test]
    fn assertions_count_where_the_conditions_are_met() {
        let met = ConditionProperties { met: Some(true), at: Some(9), list: Vec::new() };
        let list = vec![condition("AssertPathExists", false, false, "/a", -1)];
        let asserts = ConditionProperties { met: Some(false), at: Some(9), list };
        let start = StartConditions { conditions: met, asserts };
        assert_eq!(start.describe(start.unmet().unwrap()), "AssertPathExists=/a was not met");
    }

    #[test]
    fn unit_that_was_never_started_has_nothing_unmet() {
        let untested = ConditionProperties { met: Some(false), at: Some(0), list: Vec::new() };
        let start = StartConditions { conditions: untested.clone(), asserts: untested };
        assert_eq!((start.unmet(), start.started()), (None, None));
    }
}
