//! One incident of a check: its attempts, whether it is ending, and which notifications were requested (rules 2, 5, 13).
//!
//! In: what the group decides. Out: the notifications that are due, in order, each once. It requests nothing itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::Check as Settings;
use crate::engine::withheld::Withheld;
use crate::notification::{Attempt, AttemptOutcome, IncidentId, NotificationKind};
use crate::time::{Mono, Now, Wall};

/// The first notification waits this long for the result of the first recovery job, so that it can report it. That of a
/// storm waits as long, so that it can list its checks.
pub(in crate::engine) const WAIT_FOR_RESULT: Duration = Duration::from_secs(10);

/// No proving time is longer than eleven minutes (10 s, doubled by each of six incidents within an hour). An incident whose
/// check passed this long ago and that is still open is not being proven: nothing probes the check, or it is suppressed.
const PROVEN_WITHIN: Duration = Duration::from_secs(900);

/// An incident that is only the end of another one has this long to be over before people are notified: the longest job
/// that systemd waits for by default (90 s), and a little more for the unit to answer.
const MUTED: Duration = Duration::from_secs(120);

/// So many attempts are kept for reports: the first and the latest.
const ATTEMPTS_KEPT: usize = 6;

/// What was requested from the notifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Notified {
    requested: u32,
    delivered: u32,
    down: bool,
    action_required: bool,
    last: Mono,
}

/// An open incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct Incident {
    id: IncidentId,
    since: Wall,
    opened: Mono,
    cause: String,
    crash_loop: bool,
    flapping: Option<usize>,
    not_restartable: bool,
    failed_invocation: String,
    attempts: Vec<Attempt>,
    attempts_total: u32,
    own_attempts: u32,
    not_requested: u32,
    ineffective: u32,
    exhausted: bool,
    successes: u32,
    passing_since: Option<Mono>,
    action_required: Option<String>,
    #[serde(skip)]
    withheld: Option<Withheld>,
    /// The latest reason that was logged since the latest attempt.
    #[serde(skip)]
    logged: Option<Withheld>,
    act_from: Mono,
    muted_until: Option<(Mono, Wall)>,
    /// Something else explains it at present.
    explained: bool,
    notified: Notified,
    /// Whom its notifications went to.
    told: BTreeSet<Arc<str>>,
}

impl Incident {
    pub fn open(id: IncidentId, now: Now, cause: String, failed_invocation: String) -> Self {
        Self {
            id,
            since: now.wall,
            opened: now.mono,
            cause,
            crash_loop: false,
            flapping: None,
            not_restartable: false,
            failed_invocation,
            attempts: Vec::new(),
            attempts_total: 0,
            own_attempts: 0,
            not_requested: 0,
            ineffective: 0,
            exhausted: false,
            successes: 0,
            passing_since: None,
            action_required: None,
            withheld: None,
            logged: None,
            act_from: now.mono,
            muted_until: None,
            explained: false,
            notified: Notified { last: now.mono, ..Notified::default() },
            told: BTreeSet::new(),
        }
    }

    pub fn id(&self) -> &IncidentId {
        &self.id
    }

    pub fn opened(&self) -> Mono {
        self.opened
    }

    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// When it opened, by the wall clock as it is now: the clock may have been set since.
    pub fn since(&self, now: Now) -> Wall {
        now.still(self.since, self.opened)
    }

    // --- what kind of incident it is

    /// The unit is started repeatedly after failures: another restart would not help (rule 7).
    pub fn is_crash_loop(&self) -> bool {
        self.crash_loop
    }

    pub fn set_crash_loop(&mut self, crash_loop: bool) {
        self.crash_loop = crash_loop;
    }

    /// How many incidents there were within the hour, where that is flapping (rule 13).
    pub fn flapping(&self) -> Option<usize> {
        self.flapping
    }

    pub fn set_flapping(&mut self, incidents: usize) {
        self.flapping = Some(incidents);
    }

    /// No job on the check's own unit would change the last observation.
    pub fn is_not_restartable(&self) -> bool {
        self.not_restartable
    }

    pub fn set_not_restartable(&mut self, not_restartable: bool) {
        self.not_restartable = not_restartable;
    }

    /// No job is requested before this: the reading that explains a failed probe may still be on its way.
    pub fn act_from(&self) -> Mono {
        self.act_from
    }

    pub fn wait_until(&mut self, at: Mono) {
        self.act_from = at;
    }

    // --- passing again

    /// A pass that counts.
    pub fn record_pass(&mut self, now: Mono) {
        self.successes = self.successes.saturating_add(1);
        self.passing_since.get_or_insert(now);
    }

    /// A failure that counts.
    pub fn record_failure(&mut self) {
        self.successes = 0;
        self.passing_since = None;
    }

    /// The daemon was restarted: nobody has seen since whether its check still passes.
    pub fn resume_after_restart(&mut self, now: Mono) {
        self.passing_since = self.passing_since.map(|_| now);
    }

    pub fn successes(&self) -> u32 {
        self.successes
    }

    /// Since when its check passes without a failure between.
    pub fn passing_since(&self) -> Option<Mono> {
        self.passing_since
    }

    // --- attempts

    /// Adds an attempt that begins, and returns its number. `own`: requested by this check.
    pub fn record_attempt(&mut self, step: crate::check::Step, now: Wall, own: bool) -> u32 {
        self.attempts_total = self.attempts_total.saturating_add(1);
        self.own_attempts = self.own_attempts.saturating_add(u32::from(own));
        self.withheld = None;
        self.logged = None;
        if self.attempts.len() >= ATTEMPTS_KEPT {
            self.attempts.remove(1);
        }
        let number = self.attempts_total;
        self.attempts.push(Attempt { number, step, requested: now, result: None, outcome: None });
        number
    }

    /// The attempt with this number, if it is still kept.
    pub fn attempt_mut(&mut self, number: u32) -> Option<&mut Attempt> {
        self.attempts.iter_mut().rev().find(|attempt| attempt.number == number)
    }

    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    pub fn attempts_total(&self) -> u32 {
        self.attempts_total
    }

    /// Attempts that this check requested; `max_attempts` counts these.
    pub fn own_attempts(&self) -> u32 {
        self.own_attempts
    }

    /// An attempt that was not requested after all does not count for `max_attempts`.
    pub fn refund_attempt(&mut self) {
        self.own_attempts = self.own_attempts.saturating_sub(1);
        self.not_requested = self.not_requested.saturating_add(1);
    }

    /// Attempts without those that systemd was not asked for after all.
    pub fn attempts_made(&self) -> u32 {
        self.attempts_total.saturating_sub(self.not_requested)
    }

    /// A step of this check was ineffective. `last`: the last of several.
    pub fn record_ineffective(&mut self, last: bool) {
        self.ineffective = self.ineffective.saturating_add(1);
        self.exhausted |= last;
    }

    /// The last of several steps was ineffective.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    pub fn ineffective(&self) -> u32 {
        self.ineffective
    }

    // --- what is decided about it

    pub fn withheld(&self) -> Option<&Withheld> {
        self.withheld.as_ref()
    }

    /// Remembers why no job is requested. Returns whether that is to be reported.
    pub fn withhold(&mut self, why: &Withheld) -> bool {
        self.withheld = Some(why.clone());
        // (That it passes again is the beginning of every recovery, and of every turn of a crash loop.)
        let worth_it = !why.is_routine() && *why != Withheld::PassesAgain;
        let news = worth_it && self.logged.as_ref().is_none_or(|known| !known.is_same(why));
        if news {
            self.logged = Some(why.clone());
        }
        news
    }

    pub fn action_required(&self) -> Option<&str> {
        self.action_required.as_deref()
    }

    /// A person must act. Returns whether that is news.
    pub fn require_action(&mut self, why: &str) -> bool {
        let news = self.action_required.is_none();
        if news {
            self.action_required = Some(why.to_owned());
        }
        news
    }

    // --- notifications

    /// Whether something else explains it at present. When that ends, people are notified only if the incident outlasts it.
    pub fn set_explained(&mut self, now: Now, explained: bool) {
        if (explained || self.explained) && !self.notified.down {
            self.mute(now);
        }
        self.explained = explained;
    }

    /// Something else explains it until `now`, and that is notified elsewhere: people are notified of this one only if it
    /// outlasts that and a recovery does not help.
    pub fn mute(&mut self, now: Now) {
        self.muted_until = Some((now.mono, now.wall));
    }

    pub fn notified_down(&self) -> bool {
        self.notified.down
    }

    /// Notifications that were requested, and how many of them were delivered.
    pub fn notifications(&self) -> (u32, u32) {
        (self.notified.requested, self.notified.delivered)
    }

    /// When the last notification was requested.
    pub fn last_notified(&self) -> Mono {
        self.notified.last
    }

    pub fn record_delivery(&mut self) {
        self.notified.delivered = self.notified.delivered.saturating_add(1);
    }

    /// Whom a notification of this kind goes to: one that closes the thread, to everybody who knows of it.
    pub fn recipients(&self, kind: NotificationKind, settings: &Settings) -> Vec<Arc<str>> {
        let closes = matches!(kind, NotificationKind::Recovered | NotificationKind::NotMonitored);
        let told = self.told.iter().filter(|told| closes && !settings.alert.to.contains(*told));
        settings.alert.to.iter().chain(told).cloned().collect()
    }

    /// Numbers a notification that is requested now.
    pub fn number_notification(&mut self, now: Mono, settings: &Settings) -> u32 {
        self.told.extend(settings.alert.to.iter().cloned());
        self.notified.requested = self.notified.requested.saturating_add(1);
        self.notified.last = now;
        self.notified.requested
    }

    /// When the next notification is due if nothing happens until then; `None` for never.
    /// `pending`: a first recovery is about to be requested, or its job runs.
    pub fn next_due(&self, settings: &Settings, pending: bool) -> Option<Mono> {
        if settings.alert.is_silent() {
            return None;
        }
        if !self.notified.down {
            let due = self.down_due(settings, pending);
            // One that passes again lasts no longer, though its recovery is not proven yet.
            let passes =
                self.passing_since.filter(|_| self.flapping.is_none() && !settings.alert.after.is_zero());
            return Some(passes.map_or(due, |since| due.max(since.after(PROVEN_WITHIN))));
        }
        if self.action_required.is_some() && !self.notified.action_required {
            return Some(self.notified.last);
        }
        let repeat = settings.alert.repeat_interval.filter(|_| self.flapping.is_none());
        repeat.map(|repeat| self.notified.last.after(repeat))
    }

    fn down_due(&self, settings: &Settings, pending: bool) -> Mono {
        let due = self.opened.after(settings.alert.after).max(self.act_from);
        if let Some((until, wall)) = self.muted_until {
            let grace = settings.recovery.grace;
            let patience = if settings.recovery.steps.is_empty() { grace } else { grace.max(MUTED) };
            let ineffective = |attempt: &Attempt| {
                attempt.requested >= wall && attempt.outcome.as_ref().is_some_and(AttemptOutcome::is_failure)
            };
            let tried = self.attempts.iter().any(ineffective);
            return if tried { due } else { due.max(until.after(patience)) };
        }
        if pending && self.attempts_total <= 1 { due.max(self.opened.after(WAIT_FOR_RESULT)) } else { due }
    }

    /// The kind of the notification that is due now, marked as requested.
    pub fn take_due(&mut self, now: Mono, settings: &Settings, pending: bool) -> Option<NotificationKind> {
        if self.next_due(settings, pending)? > now {
            return None;
        }
        Some(if !self.notified.down {
            self.notified.down = true;
            // What calls for a person from the beginning is one message, not two.
            self.notified.action_required = self.action_required.is_some() && self.flapping.is_none();
            match (self.flapping.is_some(), self.notified.action_required) {
                (true, _) => NotificationKind::Flapping,
                (false, true) => NotificationKind::ActionRequired,
                (false, false) => NotificationKind::Down,
            }
        } else if self.action_required.is_some() && !self.notified.action_required {
            self.notified.action_required = true;
            NotificationKind::ActionRequired
        } else {
            NotificationKind::StillDown
        })
    }

    /// The kinds of the notifications that close it. An incident that ended before people were to be notified ends in
    /// silence; one whose first notification only waited for a job's result is reported completely.
    pub fn take_closing(
        &mut self,
        now: Mono,
        settings: &Settings,
        last: NotificationKind,
    ) -> Vec<NotificationKind> {
        let mut kinds = Vec::new();
        if settings.alert.is_silent() {
            return kinds;
        }
        let long_enough = self.passing_since.unwrap_or(now).since(self.opened) >= settings.alert.after;
        // (Where nobody was notified there is no thread to close.)
        let tells = last != NotificationKind::NotMonitored && long_enough && self.muted_until.is_none();
        if !self.notified.down && tells {
            self.notified.down = true;
            kinds.push(if self.flapping.is_some() {
                NotificationKind::Flapping
            } else {
                NotificationKind::Down
            });
        }
        if self.notified.down {
            kinds.push(last);
        }
        kinds
    }

    /// InvocationID whose journal belongs into a notification of this kind; `latest`: the unit's present one.
    pub fn invocation_for(&self, kind: NotificationKind, latest: Option<&str>) -> String {
        // Of an incident that lasts, the latest run shows why the attempts did not help.
        let lasts = matches!(kind, NotificationKind::ActionRequired | NotificationKind::StillDown);
        let latest = latest.filter(|id| lasts && !id.is_empty());
        latest.unwrap_or(&self.failed_invocation).to_owned()
    }
}
