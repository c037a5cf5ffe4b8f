//! Jobs: their types, how two of them on one unit merge, and in which order jobs run (src/core/job.c).

use stealthcheck::unit::JobKind;

/// Who requested a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// The daemon under test.
    Daemon,
    /// A person or a program at the machine.
    Operator,
    /// systemd itself: a dependency, a timer, `Restart=`.
    Systemd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobType {
    Start,
    VerifyActive,
    Stop,
    Reload,
    Restart,
}

/// A job on a unit.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    pub id: u32,
    pub kind: JobType,
    pub by: By,
    pub running: bool,
}

impl JobType {
    /// The job that does both (`job_merging_table`); `None` where they conflict. `up`: the unit is active.
    pub fn merge(self, other: Self, up: bool) -> Option<Self> {
        use JobType::{Reload, Restart, Start, Stop, VerifyActive};
        Some(match (self, other) {
            (a, b) if a == b => a,
            (Stop, _) | (_, Stop) => return None,
            (Restart, _) | (_, Restart) => Restart,
            (Reload, Start) | (Start, Reload) => {
                if up {
                    Reload
                } else {
                    Start
                }
            }
            (Reload, VerifyActive) | (VerifyActive, Reload) => Reload,
            (Start | VerifyActive, _) => Start,
            (Reload, Reload) => Reload,
        })
    }

    pub fn stops(self) -> bool {
        matches!(self, Self::Stop | Self::Restart)
    }

    /// As the bus has it.
    pub fn kind(self) -> JobKind {
        match self {
            Self::Start => JobKind::Start,
            Self::Stop => JobKind::Stop,
            Self::Restart => JobKind::Restart,
            Self::Reload => JobKind::Reload,
            Self::VerifyActive => JobKind::Other,
        }
    }
}
