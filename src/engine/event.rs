//! The vocabulary at the engine's border: events go in, effects come out. Values only.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hold::{HoldAction, HoldEvent, Holder, HowEnded};
use super::withheld::Withheld;
use crate::check::{Check, CheckName, Probe, Step};
use crate::notification::{AttemptOutcome, HostNotification, IncidentId, Notification, NotificationId};
use crate::time::Wall;
use crate::unit::{JobResult, ManagerState, UnitName, UnitState};
use crate::verdict::{Health, Observation, Sample};

/// One run of a check's probe. Numbers grow; an observation is taken only from the run that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// One job that the engine requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId(pub u64);

/// What has happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A probe run ended.
    Observed {
        /// The check it ran for.
        check: CheckName,
        /// Which run.
        run: RunId,
        /// Its result.
        observation: Observation,
    },
    /// A probe run that takes a sample of a use ended.
    Sampled {
        /// The check it ran for.
        check: CheckName,
        /// Which run.
        run: RunId,
        /// The sample, or a sentence that says why none could be taken.
        sample: Result<Sample, String>,
    },
    /// A unit's properties were read.
    UnitRead {
        /// The unit's primary id (or the name in use, as long as systemd has not resolved it).
        unit: UnitName,
        /// What systemd says of it.
        state: UnitState,
    },
    /// systemd has resolved a name of the configuration: `name` is an alias of the unit `id`.
    /// Sent before the first [`Event::UnitRead`] of that unit, and again when a daemon-reload changes it.
    UnitResolved {
        /// The name that the configuration uses.
        name: UnitName,
        /// The primary id.
        id: UnitName,
    },
    /// `ResetFailedUnit` for a job that the engine requested has reset systemd's counters of this unit (its primary id).
    /// Sent before a reading can show the job's start.
    FailuresReset(UnitName),
    /// A job that the engine requested has ended, or could not be requested.
    JobEnded {
        /// The unit of the request.
        unit: UnitName,
        /// The request's attempt.
        attempt: AttemptId,
        /// How it ended.
        result: JobResult,
        /// The properties of `unit`, read after the end; `None` where they could not be read.
        state: Option<UnitState>,
    },
    /// systemd boots, runs, shuts down, or cannot be reached.
    ManagerChanged(ManagerState),
    /// Time has passed.
    Tick,
    /// An operator's command.
    Command(Command),
    /// About holds on units.
    Hold(HoldEvent),
    /// A new set of checks is in force. Checks that did not change keep their state.
    Configured(Vec<Check>),
    /// A notification is durably stored.
    NotificationStored(NotificationId),
    /// A notification has been accepted by the receiving server.
    NotificationDelivered(NotificationId),
}

/// An operator's command. Names that are not configured are ignored here; the caller checks them first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Probe now.
    Check(CheckName),
    /// Pause the check for this long.
    Pause(CheckName, Duration),
    /// End a pause.
    Resume(CheckName),
}

/// Takes a requested job back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// The attempt.
    pub attempt: AttemptId,
    /// Why, as a clause.
    pub why: &'static str,
    /// The unit is to stay down: where the job is queued already, it is canceled. (A restart that is canceled otherwise would
    /// leave the unit stopped.)
    pub stays_down: bool,
}

/// What the engine wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Run a probe once and answer within its deadline: with [`Event::Sampled`] for [`Probe::Usage`], with
    /// [`Event::Observed`] otherwise.
    Probe {
        /// The check.
        check: CheckName,
        /// To be handed back.
        run: RunId,
        /// What to do.
        probe: Probe,
        /// The unit of the check, for probes that read it.
        unit: Option<UnitName>,
        /// The deadline.
        timeout: Duration,
    },
    /// Read the unit now, and answer with [`Event::UnitRead`], changed or not: systemd sends no signal for everything
    /// (freezing), and a signal may be on its way.
    ReadUnit(UnitName),
    /// Request a job from systemd; answer with [`Event::JobEnded`].
    StartJob(JobRequest),
    /// A job that was requested is not wanted any more: it is not queued, if systemd has not been asked for it. Answer with
    /// [`Event::JobEnded`] in either case.
    WithdrawJob(Withdrawal),
    /// Notify people; answer with [`Event::NotificationStored`], later with [`Event::NotificationDelivered`].
    Notify(Box<Notification>),
    /// The same about the machine.
    NotifyHost(Box<HostNotification>),
    /// About holds on units.
    Hold(HoldAction),
    /// A transition for the journal, the bus and the state file.
    Changed(Change),
    /// The state must be saved, although nothing else follows from the event.
    Remember,
}

/// A job to be requested from systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRequest {
    /// The unit that the attempt is for. For [`Step::StartUnit`] the job is on that other unit.
    pub unit: UnitName,
    /// To be handed back.
    pub attempt: AttemptId,
    /// What to request.
    pub step: Step,
    /// Whether to call `ResetFailedUnit` first. Where it has succeeded, [`Event::FailuresReset`] says so.
    pub reset: Reset,
    /// The job may take the place of others: of the one that starts what has had the unit's place for too long (rule 8).
    pub displaces: bool,
}

/// Whether a start is preceded by `ResetFailedUnit`, as it might hit the unit's start limit otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// No.
    No,
    /// Yes. Where systemd refuses it, the start itself will show whether it mattered.
    IfPossible,
    /// Yes, and where it fails the job is not requested: at the limit systemd would do its `StartLimitAction=`.
    Required,
}

impl JobRequest {
    /// The unit that the job is on.
    #[must_use]
    pub fn target(&self) -> &UnitName {
        match &self.step {
            Step::StartUnit(other) => other,
            _ => &self.unit,
        }
    }
}

/// A transition, with what a log entry needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The check it concerns; `None` for a unit or the machine.
    pub check: Option<CheckName>,
    /// The unit it concerns.
    pub unit: Option<UnitName>,
    /// The incident it belongs to.
    pub incident: Option<IncidentId>,
    /// What happened.
    pub what: ChangeKind,
}

/// The kinds of transition.
#[derive(Clone, Debug, PartialEq)]
pub enum ChangeKind {
    /// A check's state is another (incidents have their own entries besides).
    Health {
        /// Before.
        from: Health,
        /// Now.
        to: Health,
        /// The observation that led to it.
        because: String,
    },
    /// An incident opened.
    IncidentOpened {
        /// What failed.
        cause: String,
    },
    /// An incident closed.
    IncidentClosed {
        /// When it had opened.
        since: Wall,
        /// How many recovery attempts it had.
        attempts: u32,
        /// The latest of them is what helped.
        helped: bool,
        /// `false`: the check is no longer monitored (removed, renamed, or pointed to another unit).
        passes: bool,
    },
    /// A recovery job was requested.
    RecoveryRequested {
        /// The attempt's number in the incident.
        number: u32,
        /// What was requested.
        step: Step,
    },
    /// A recovery job ended.
    RecoveryEnded {
        /// The attempt's number in the incident.
        number: u32,
        /// What was requested.
        step: Step,
        /// How the job ended.
        result: JobResult,
    },
    /// A recovery attempt has an outcome.
    AttemptConcluded {
        /// The attempt's number in the incident.
        number: u32,
        /// The outcome.
        outcome: AttemptOutcome,
    },
    /// A recovery is called for and no job is requested. Reported once for each reason.
    RecoveryWithheld {
        /// Why.
        why: Withheld,
    },
    /// A person must act.
    ActionRequired {
        /// Why.
        why: String,
    },
    /// An incident starts at a later step, as the unit failed again before lasting health (rule 5).
    StepKept {
        /// The step.
        step: Step,
    },
    /// Many incidents of the check within an hour (rule 13).
    Flapping {
        /// How many.
        incidents: usize,
    },
    /// A unit that the configuration names is not known to systemd (`true`), or is known now (`false`).
    UnitUnknown(bool),
    /// Many checks fail together: no unit is restarted for a failing probe (rule 14).
    StormBegan {
        /// How many.
        checks: usize,
        /// Of how many.
        of: usize,
    },
    /// The storm is over; what still fails is recovered, one unit after the other.
    StormOver {
        /// When it had begun.
        since: Wall,
        /// How many of its checks pass again.
        passing: usize,
        /// How many do not.
        failing: usize,
    },
    /// The unit is started repeatedly after failures, by systemd or a person.
    CrashLoop {
        /// How often within the window.
        restarts: u32,
    },
    /// A hold on the unit was granted.
    HoldTaken {
        /// Who has it, and what for.
        holder: Holder,
        /// Until when at the latest.
        until: Wall,
    },
    /// The hold on the unit is over.
    HoldOver {
        /// Who had it.
        holder: Holder,
        /// Why.
        how: HowEnded,
    },
    /// systemd was asked to start the unit after a hold.
    HoldStartRequested {
        /// Who had the hold.
        holder: Holder,
    },
    /// The start after a hold has ended.
    HoldStartEnded {
        /// How the job ended.
        result: JobResult,
    },
}
