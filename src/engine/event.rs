//! What goes into the core and what comes out of it: events, orders, actions and transitions. Values only.

use std::time::Duration;

use super::hold::{HoldAction, HoldEvent, Holder, HowEnded};
use crate::check::{Check, CheckName, Probe, Rung};
use crate::notice::{HostNotice, IncidentId, Notice, NoticeId, Proof};
use crate::time::Wall;
use crate::unit::{JobResult, ManagerState, UnitName, UnitState};
use crate::verdict::{Health, Observation, Sample};

/// One run of a check's probe. Numbers grow; an observation is taken only from the run that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// One recovery attempt on a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u64);

/// What the core is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// A probe run ended.
    Observed {
        /// The check it ran for.
        check: CheckName,
        /// Which run.
        run: RunId,
        /// What it saw.
        observation: Observation,
    },
    /// A probe run that takes a sample of what is used ended.
    Sampled {
        /// The check it ran for.
        check: CheckName,
        /// Which run.
        run: RunId,
        /// What is used, or a sentence why that could not be measured.
        sample: Result<Sample, String>,
    },
    /// A name from the configuration is an alias of the unit `id`, or is one no longer (then `id` equals `name`). Comes
    /// before the first [`Event::UnitChanged`] of that unit, and again when a reload of systemd's files changes it.
    UnitResolved {
        /// As the configuration has it.
        name: UnitName,
        /// The unit's primary name (`Id`), by which all its events name it.
        id: UnitName,
    },
    /// A unit's properties were read.
    UnitChanged {
        /// The unit's primary name.
        unit: UnitName,
        /// What systemd says of it.
        state: UnitState,
    },
    /// A requested job has ended, or could not be requested.
    JobEnded {
        /// The unit the attempt is for (not the other unit that a ladder may start).
        unit: UnitName,
        /// Which attempt.
        attempt: AttemptId,
        /// How it ended.
        result: JobResult,
        /// The unit's properties, read after the end; `None` when they could not be read.
        state: Option<UnitState>,
    },
    /// systemd boots, runs, shuts down, or cannot be reached.
    ManagerChanged(ManagerState),
    /// Time has passed.
    Tick,
    /// An operator's order.
    Command(Command),
    /// Of holds on units.
    Hold(HoldEvent),
    /// A new set of checks is in force. Checks that did not change keep their state.
    Configured(Vec<Check>),
    /// A notice is safely in the spool.
    NoticeSpooled(NoticeId),
    /// The mail server has accepted a notice.
    NoticeDelivered(NoticeId),
}

/// An operator's order. Names that are not configured are ignored here; whoever takes the order checks them first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Probe now.
    Check(CheckName),
    /// Leave the check alone for so long.
    Pause(CheckName, Duration),
    /// End a pause.
    Resume(CheckName),
}

/// What the core wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Run a probe once; answer within its deadline, whatever happens: with [`Event::Sampled`] where it is
    /// [`Probe::Usage`], with [`Event::Observed`] otherwise.
    Probe {
        /// The check.
        check: CheckName,
        /// To be handed back.
        run: RunId,
        /// What to do.
        probe: Probe,
        /// The unit of the check, for probes that look at it.
        unit: Option<UnitName>,
        /// The deadline.
        timeout: Duration,
    },
    /// Request a job from systemd; answer with [`Event::JobEnded`].
    StartJob(JobRequest),
    /// Mail somebody; answer with [`Event::NoticeSpooled`], later with [`Event::NoticeDelivered`].
    Notify(Box<Notice>),
    /// The same about the machine.
    NotifyHost(Box<HostNotice>),
    /// Of holds on units.
    Hold(HoldAction),
    /// Something happened that belongs into the journal, onto the bus and into the state file.
    Changed(Change),
    /// Something was learned that must survive a restart of the daemon, and nothing else follows from it.
    Remember,
}

/// A job that systemd is to queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRequest {
    /// The unit the attempt is for.
    pub unit: UnitName,
    /// To be handed back in [`Event::JobEnded`].
    pub attempt: AttemptId,
    /// The kind of job. For [`Rung::StartUnit`] the job is on that other unit.
    pub step: Rung,
    /// Call `ResetFailedUnit` first: the start limit has been hit.
    pub reset_failed: bool,
}

impl JobRequest {
    /// The unit that the job is on.
    #[must_use]
    pub fn target(&self) -> &UnitName {
        match &self.step {
            Rung::StartUnit(other) => other,
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
    pub what: What,
}

/// The kinds of transition.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A check's health is another (incidents have their own entries besides).
    Health {
        /// Before.
        from: Health,
        /// Now.
        to: Health,
        /// What was seen.
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
        /// How many recovery attempts it took.
        attempts: u32,
    },
    /// A recovery job was asked for.
    RecoveryAsked {
        /// The attempt's number in the incident.
        number: u32,
        /// What was asked for.
        rung: Rung,
    },
    /// A recovery job ended.
    RecoveryEnded {
        /// The attempt's number in the incident.
        number: u32,
        /// What was asked for.
        rung: Rung,
        /// How the job ended.
        result: JobResult,
    },
    /// It is settled whether a recovery attempt worked.
    RecoveryJudged {
        /// The attempt's number in the incident.
        number: u32,
        /// The judgement.
        proof: Proof,
    },
    /// A recovery is due and is not attempted. Told once for each reason.
    RecoveryHeldBack {
        /// Why.
        why: String,
    },
    /// A person is needed.
    NeedsYou {
        /// Why.
        why: String,
    },
    /// A unit that the configuration names is not known to systemd (`true`), or is known now (`false`).
    UnitUnknown(bool),
    /// Many checks fail together: it is the machine, and no unit is restarted for it.
    StormBegan {
        /// How many.
        checks: usize,
        /// Of how many.
        of: usize,
    },
    /// Checks pass again and stay so; what still fails is recovered, one unit after the other.
    StormOver {
        /// When it had begun.
        since: Wall,
        /// How many of its checks pass again.
        passing: usize,
        /// How many do not.
        failing: usize,
    },
    /// systemd restarts the unit again and again.
    CrashLoop {
        /// How often within the window.
        restarts: u32,
    },
    /// Somebody has a hold on the unit.
    HoldTaken {
        /// Who, and what for.
        holder: Holder,
        /// Until when at the latest.
        until: Wall,
    },
    /// The hold on the unit is over.
    HoldOver {
        /// Whose it was.
        holder: Holder,
        /// Why.
        how: HowEnded,
    },
    /// systemd was asked to start the unit after a hold.
    HoldStartAsked {
        /// Whose hold it was.
        holder: Holder,
    },
    /// The start after a hold has ended.
    HoldStartEnded {
        /// How the job ended.
        result: JobResult,
    },
}
