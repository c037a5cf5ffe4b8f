//! The jobs that were asked for and have not ended, and what systemd's refusals mean.
//!
//! In: orders, systemd's answers to them, and ends of jobs, in any order: a quick job ends before the answer that names
//! it is here. Out: the result of each order, once. No I/O.

use super::calls::Failure;
use super::state::{job_path, job_result};
use crate::check::Step;
use crate::engine::AttemptId;
use crate::unit::{ActiveState, JobKind, JobResult, UnitName, UnitState};

/// One order that is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// The unit the attempt is for.
    pub unit: UnitName,
    pub attempt: AttemptId,
    pub step: Step,
    /// Forget the unit's failures first.
    pub reset_failed: bool,
    /// The job's object, once systemd has named it.
    job: Option<String>,
    /// The run of the job's unit before it, where that is known.
    before: Option<String>,
    /// The connection was lost before there was an answer.
    lost: bool,
    /// How often it was given.
    given: u32,
}

/// How often an order is given that systemd loses each time, as it does with what waits for polkit when it executes itself
/// anew.
const GIVEN_AT_MOST: u32 = 5;

/// What became of an order of which nobody heard the end.
#[derive(Debug)]
pub(super) enum Found {
    /// Its job is there.
    GoesOn,
    /// systemd never took it: it is to be given again.
    Lost(Order),
    Ended(Order, JobResult),
}

impl Order {
    pub fn new(unit: UnitName, attempt: AttemptId, step: Step, reset_failed: bool) -> Self {
        Self { unit, attempt, step, reset_failed, job: None, before: None, lost: false, given: 1 }
    }

    /// The unit that the job is on.
    pub fn target(&self) -> &UnitName {
        match &self.step {
            Step::StartUnit(other) => other,
            _ => &self.unit,
        }
    }

    /// Of this run the job is to be the end, or what comes after it.
    pub fn after(mut self, invocation: Option<String>) -> Self {
        self.before = invocation;
        self
    }

    /// The kind of its job.
    fn kind(&self) -> JobKind {
        match self.step {
            Step::Restart => JobKind::Restart,
            Step::Start | Step::StartUnit(_) => JobKind::Start,
            Step::Stop => JobKind::Stop,
            Step::Reload => JobKind::Reload,
        }
    }

    /// Whether its unit, in which nobody saw the job end, is now as the job would have made it.
    fn is_done(&self, state: &UnitState) -> bool {
        let another_run = self
            .before
            .as_ref()
            .is_some_and(|before| !state.invocation_id.is_empty() && *before != state.invocation_id);
        match self.step {
            Step::Restart | Step::Start | Step::StartUnit(_) => {
                another_run && state.active != ActiveState::Failed
            }
            Step::Stop => state.active == ActiveState::Inactive,
            Step::Reload => false,
        }
    }

    /// Whether its unit is as it was: nothing of the order has been done, and nothing is being done with the unit.
    fn untouched(&self, state: &UnitState) -> bool {
        state.job.is_none() && self.before.as_ref() == Some(&state.invocation_id)
    }

    /// The manager's method for it.
    pub fn method(&self) -> &'static str {
        match self.step {
            Step::Restart => "RestartUnit",
            Step::Start | Step::StartUnit(_) => "StartUnit",
            Step::Stop => "StopUnit",
            Step::Reload => "ReloadUnit",
        }
    }
}

/// All orders that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    out: Vec<Order>,
    /// Ends of jobs that nobody has named yet, kept while an order waits for its job's name.
    early: Vec<(String, JobResult)>,
    /// Orders that have their result, which is told once their unit is read.
    ended: Vec<(Order, JobResult)>,
}

impl Jobs {
    pub fn add(&mut self, order: Order) {
        self.out.push(order);
    }

    /// The unit on which an order's job is, and what kind of job that is.
    pub fn target(&self, attempt: AttemptId) -> Option<(UnitName, JobKind)> {
        let order = self.out.iter().find(|order| order.attempt == attempt)?;
        Some((order.target().clone(), order.kind()))
    }

    /// systemd has not answered this order yet.
    pub fn waits_for_its_name(&self, attempt: AttemptId) -> bool {
        self.out.iter().any(|order| order.attempt == attempt && order.job.is_none())
    }

    /// systemd has queued the job. Returns the order and its result where the job has ended already.
    pub fn queued(&mut self, attempt: AttemptId, job: String) -> Option<(Order, JobResult)> {
        let early = self.early.iter().position(|(path, _)| *path == job);
        let result = early.map(|at| self.early.swap_remove(at).1);
        let at = self.out.iter().position(|order| order.attempt == attempt)?;
        let ended = match result {
            Some(result) => Some((self.out.swap_remove(at), result)),
            None => {
                self.out[at].job = Some(job);
                None
            }
        };
        self.forget_early();
        ended
    }

    /// systemd did not take the order.
    pub fn refused(&mut self, attempt: AttemptId, failure: &Failure) -> Option<(Order, JobResult)> {
        let at = self.out.iter().position(|order| order.attempt == attempt)?;
        let order = self.out.swap_remove(at);
        let result = not_taken(&order, failure);
        self.forget_early();
        Some((order, result))
    }

    /// A job, ours or not, has ended with systemd's word for it. Several orders may have been merged into one job.
    pub fn removed(&mut self, job: &str, word: &str) -> Vec<(Order, JobResult)> {
        let result = job_result(word);
        let mut ended = Vec::new();
        while let Some(at) = self.out.iter().position(|order| order.job.as_deref() == Some(job)) {
            ended.push((self.out.swap_remove(at), result.clone()));
        }
        if self.out.iter().any(|order| order.job.is_none()) {
            self.early.push((job.to_owned(), result));
        }
        ended
    }

    fn forget_early(&mut self) {
        if self.out.iter().all(|order| order.job.is_some()) {
            self.early = Vec::new();
        }
    }

    /// An order has its result, and its unit is being read.
    pub fn ends(&mut self, order: Order, result: JobResult) {
        self.ended.push((order, result));
    }

    /// That is told.
    pub fn told(&mut self, attempt: AttemptId) {
        self.ended.retain(|(order, _)| order.attempt != attempt);
    }

    /// Orders that have their result, of which nothing will be read any more: the connection is lost.
    pub fn take_ended(&mut self) -> Vec<(Order, JobResult)> {
        std::mem::take(&mut self.ended)
    }

    /// The connection is lost: no answer will come, and no word of an end. What became of the orders is found out when
    /// there is another one ([`Jobs::to_look_for`], [`Jobs::to_find`]).
    pub fn lost(&mut self) {
        self.early = Vec::new();
        for order in self.out.iter_mut().filter(|order| order.job.is_none()) {
            order.lost = true;
        }
    }

    /// Nobody will answer this order any more.
    pub fn unheard(&mut self, attempt: AttemptId) {
        for order in self.out.iter_mut().filter(|order| order.attempt == attempt && order.job.is_none()) {
            order.lost = true;
        }
    }

    /// Jobs whose end may have been missed.
    pub fn to_look_for(&self) -> Vec<(AttemptId, String)> {
        self.out.iter().filter_map(|order| Some((order.attempt, order.job.clone()?))).collect()
    }

    /// Orders of which it is not known whether systemd ever took them: what is to be read of them is their unit.
    pub fn to_find(&self) -> Vec<(AttemptId, UnitName)> {
        let lost = self.out.iter().filter(|order| order.lost && order.job.is_none());
        lost.map(|order| (order.attempt, order.target().clone())).collect()
    }

    /// What became of an order of which nobody heard the end, by what its unit is in now.
    pub fn find(&mut self, attempt: AttemptId, state: &UnitState) -> Found {
        let Some(at) = self.out.iter().position(|order| order.attempt == attempt) else {
            return Found::GoesOn;
        };
        let order = &mut self.out[at];
        if order.job.is_none() {
            // Of a restart the second half is a start.
            let ours = |kind| kind == order.kind() || (order.step == Step::Restart && kind == JobKind::Start);
            if let Some(job) = state.job.filter(|job| ours(job.kind)) {
                order.job = Some(job_path(job.id));
                order.lost = false;
                return Found::GoesOn;
            }
            if !order.is_done(state) && order.untouched(state) && order.given < GIVEN_AT_MOST {
                order.lost = false;
                order.given += 1;
                return Found::Lost(order.clone());
            }
        }
        let order = self.out.swap_remove(at);
        let result = if order.is_done(state) {
            JobResult::Done
        } else if order.job.is_some() {
            JobResult::Unknown("the job ended while nobody listened, and its result is not known".to_owned())
        } else {
            let (verb, unit) = (verb(&order.step), order.target());
            JobResult::Unknown(format!(
                "the connection to systemd was lost while it was asked to {verb} {unit}"
            ))
        };
        Found::Ended(order, result)
    }
}

/// What was asked for, as a verb.
fn verb(step: &Step) -> &'static str {
    match step {
        Step::Restart => "restart",
        Step::Start | Step::StartUnit(_) => "start",
        Step::Stop => "stop",
        Step::Reload => "reload",
    }
}

/// Why systemd refused an order: a sentence for the person who must act.
pub(super) fn refusal(order: &Order, failure: &Failure) -> String {
    match not_taken(order, failure) {
        JobResult::Refused(why) | JobResult::Unasked(why) | JobResult::Unknown(why) => why,
        other => other.to_string(),
    }
}

/// What an order comes to that systemd did not take: whether that is about the unit, and a sentence for the person who must act, with what to do
/// where that is known. The names are those of systemd's src/libsystemd/sd-bus/bus-common-errors.h.
fn not_taken(order: &Order, failure: &Failure) -> JobResult {
    use JobResult::{Refused, Unasked, Unknown};
    let unit = order.target();
    let verb = verb(&order.step);
    if failure.silent {
        return Unknown(format!("systemd was asked to {verb} {unit} and did not answer: {failure}"));
    }
    // systemd passes on what it heard when it asked polkit; that is not about the unit.
    if failure.text.contains("polkit.service") && unit.as_str() != "polkit.service" {
        return Unasked(format!(
            "systemd does not let stealthcheck {verb} {unit}, for polkit cannot be asked ({failure}): see \
             `systemctl status polkit`"
        ));
    }
    match failure.name.rsplit('.').next().unwrap_or_default() {
        // No rule of polkit's says yes.
        "InteractiveAuthorizationRequired" | "AuthFailed" => Unasked(format!(
            "systemd does not let stealthcheck {verb} {unit} ({failure}): run `systemctl reload stealthcheck`, which \
             writes the list of permitted units anew"
        )),
        // One says no; or, where systemd cannot ask it, nobody says anything.
        "AccessDenied" => Unasked(format!(
            "systemd does not let stealthcheck {verb} {unit} ({failure}): a polkit rule of this machine forbids it (see \
             /etc/polkit-1/rules.d), or polkit does not run (see `systemctl status polkit`)"
        )),
        "NoSuchUnit" => {
            Refused(format!("systemd knows no {unit}: install it, or correct its name in the configuration"))
        }
        "UnitMasked" => Refused(format!("{unit} is masked: `systemctl unmask {unit}` permits it again")),
        "LoadFailed" | "BadUnitSetting" | "UnitNotLoaded" => {
            Refused(format!("{unit} cannot be loaded ({failure}): see `systemctl status {unit}`"))
        }
        "OnlyByDependency" => Refused(format!(
            "{unit} must not be asked to {verb} by itself (RefuseManualStart= or RefuseManualStop= in its unit file)"
        )),
        "JobTypeNotApplicable" => {
            Refused(format!("{unit} cannot {verb} ({failure}): give another step in `recover:`"))
        }
        "NoReply" if failure.is_polkits_hang() => Unasked(format!(
            "systemd does not let stealthcheck {verb} {unit}, for polkit does not answer it ({failure}): see `systemctl \
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
    use crate::unit::Job;

    fn order(attempt: u64) -> Order {
        Order::new(UnitName::new("web.service").unwrap(), AttemptId(attempt), Step::Restart, false)
    }

    #[test]
    fn a_job_may_end_before_or_after_it_is_named() {
        let mut jobs = Jobs::default();
        jobs.add(order(1));
        assert!(jobs.removed("/job/9", "canceled").is_empty(), "somebody else's, or ours not named yet");
        assert!(jobs.removed("/job/7", "done").is_empty());
        assert_eq!(jobs.queued(AttemptId(1), "/job/7".into()).unwrap().1, JobResult::Done);
        assert!(jobs.early.is_empty());

        jobs.add(order(2));
        assert!(jobs.queued(AttemptId(2), "/job/8".into()).is_none());
        assert!(jobs.removed("/job/9", "done").is_empty());
        assert!(jobs.early.is_empty(), "nobody waits for a name");
        assert_eq!(jobs.removed("/job/8", "timeout")[0].1, JobResult::Timeout);
        assert!(jobs.removed("/job/8", "done").is_empty(), "answered once");
    }

    #[test]
    fn orders_merged_into_one_job_are_each_answered() {
        let mut jobs = Jobs::default();
        jobs.add(order(1));
        jobs.add(order(2));
        jobs.queued(AttemptId(1), "/job/7".into());
        jobs.queued(AttemptId(2), "/job/7".into());
        assert_eq!(jobs.removed("/job/7", "done").len(), 2);
    }

    #[test]
    fn of_an_order_that_a_lost_bus_left_open_the_unit_tells_what_became() {
        let state = |active, job: Option<(u32, JobKind)>, run: &str| UnitState {
            active,
            job: job.map(|(id, kind)| Job { id, kind, ours: false }),
            invocation_id: run.to_owned(),
            ..UnitState::default()
        };
        let lost = || {
            let mut jobs = Jobs::default();
            jobs.add(order(1).after(Some("first".to_owned())));
            jobs.add(order(2).after(Some("first".to_owned())));
            jobs.queued(AttemptId(2), "/job/7".into());
            jobs.lost();
            assert_eq!(jobs.to_find(), [(AttemptId(1), UnitName::new("web.service").unwrap())]);
            assert_eq!(jobs.to_look_for(), [(AttemptId(2), "/job/7".to_owned())]);
            jobs
        };
        let (old, new) =
            (state(ActiveState::Active, None, "first"), state(ActiveState::Active, None, "second"));
        let refused = |found: Found| matches!(found, Found::Ended(_, JobResult::Unknown(_)));
        for attempt in [1, 2].map(AttemptId) {
            let mut jobs = lost();
            assert!(matches!(jobs.find(attempt, &new), Found::Ended(_, JobResult::Done)));
            assert!(matches!(jobs.find(attempt, &new), Found::GoesOn), "answered once");
            assert!(refused(lost().find(attempt, &state(ActiveState::Failed, None, "second"))));
        }
        // Nothing has become of it: it is given again, but not for ever. A job that systemd had named is another matter.
        assert!(refused(lost().find(AttemptId(2), &old)));
        let mut jobs = lost();
        for _ in 1..GIVEN_AT_MOST {
            assert!(matches!(jobs.find(AttemptId(1), &old), Found::Lost(_)));
            assert!(jobs.to_find().is_empty(), "it waits for its answer");
            jobs.lost();
        }
        assert!(refused(jobs.find(AttemptId(1), &old)));
        // It was taken, and is under way: its end is still to come.
        for kind in [JobKind::Restart, JobKind::Start] {
            let mut jobs = lost();
            let job = state(ActiveState::Activating, Some((9, kind)), "second");
            assert!(matches!(jobs.find(AttemptId(1), &job), Found::GoesOn));
            assert!(jobs.to_find().is_empty());
            assert_eq!(jobs.removed(&job_path(9), "done")[0].1, JobResult::Done);
        }
        // A job of somebody else's is not ours.
        let stop = state(ActiveState::Deactivating, Some((9, JobKind::Stop)), "first");
        assert!(refused(lost().find(AttemptId(1), &stop)));
        // Where nobody knows what ran before, nothing is claimed.
        let mut unwatched = Jobs::default();
        unwatched.add(order(3));
        unwatched.lost();
        assert!(refused(unwatched.find(AttemptId(3), &new)));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let failure = |name: &str| Failure { name: name.into(), text: "Nope.".into(), silent: false };
        let says = |name: &str| refusal(&order(1), &failure(name));
        assert!(
            says("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired").contains("systemctl reload")
        );
        assert!(says("org.freedesktop.DBus.Error.AccessDenied").contains("/etc/polkit-1/rules.d"));
        let hung = Failure {
            text: "Method call timed out".to_owned(),
            ..failure("org.freedesktop.DBus.Error.NoReply")
        };
        assert!(refusal(&order(1), &hung).contains("polkit does not answer it"));
        assert!(says("org.freedesktop.DBus.Error.NoReply").contains("whether it did is not known"));
        assert!(says("org.freedesktop.systemd1.UnitMasked").contains("unmask web.service"));
        assert!(says("org.freedesktop.systemd1.NoSuchUnit").contains("knows no web.service"));
        let polkit = Failure {
            text: "Unit polkit.service is masked.".to_owned(),
            ..failure("org.freedesktop.systemd1.UnitMasked")
        };
        let told = refusal(&order(1), &polkit);
        assert!(told.contains("systemctl status polkit") && !told.contains("unmask"), "{told}");
        // Only what is about the unit is a reason to try something else with it.
        for (name, about_the_unit) in [
            ("InteractiveAuthorizationRequired", false),
            ("AccessDenied", false),
            ("NoReply", false),
            ("TransactionIsDestructive", false),
            ("JobTypeNotApplicable", true),
            ("NoSuchUnit", true),
        ] {
            let result = not_taken(&order(1), &failure(&format!("org.freedesktop.systemd1.{name}")));
            assert_eq!(result.not_the_units().is_none(), about_the_unit, "{result}");
        }
        assert_eq!(says("org.example.Other"), "systemd refused to restart web.service: Nope.");
    }
}
