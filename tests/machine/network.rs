//! The machine's network: what probes see while it is away, and calls that are rejected.

use stealthcheck::unit::{JobKind, JobResult, UnitName};
use stealthcheck::verdict::Observation;

use super::Machine;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Up,
    /// No packet gets through.
    Gone,
    /// The resolver does not answer: probes cannot measure.
    Unresolved,
}

impl Network {
    /// What every probe over the network sees; `None`: it sees its service.
    pub fn observation(self) -> Option<Observation> {
        match self {
            Self::Up => None,
            Self::Gone => Some(Observation::Failing { reason: "no route to host".into() }),
            Self::Unresolved => Some(Observation::Unknown { reason: "the resolver does not answer".into() }),
        }
    }
}

impl Machine {
    /// The network is gone; probes fail, or cannot measure.
    pub fn cut_network(&mut self, can_measure: bool) {
        self.note("# the network is gone");
        self.network = if can_measure { Network::Gone } else { Network::Unresolved };
    }

    pub fn restore_network(&mut self) {
        self.note("# the network is back");
        self.network = Network::Up;
    }

    pub fn has_network(&self) -> bool {
        self.network == Network::Up
    }

    /// Every job that the daemon requests is rejected with this sentence, or (`None`) none any more.
    pub fn reject_jobs(&mut self, why: Option<&str>) {
        self.answer_jobs(why.map(|why| JobResult::Unasked(why.to_owned())));
    }

    /// The same with any other result.
    pub fn answer_jobs(&mut self, result: Option<JobResult>) {
        self.note(format!("# the daemon's jobs are rejected: {result:?}"));
        self.rejects_jobs = result;
    }

    /// `ResetFailedUnit` is refused to the daemon, or not any more.
    pub fn reject_resets(&mut self, rejected: bool) {
        self.note(format!("# the daemon's calls of ResetFailedUnit are rejected: {rejected}"));
        self.rejects_resets = rejected;
    }

    /// The result of a request that does not become a job. The client looks at a unit that is not down before it asks for
    /// a job: no signal tells that a unit is frozen, and an operator's stop may be a moment old.
    pub(super) fn rejection(&self, target: &UnitName, kind: JobKind) -> Option<JobResult> {
        if !self.has_bus {
            return Some(JobResult::Unasked("systemd cannot be reached".to_owned()));
        }
        let state = self.systemd.read(target);
        let is_stopping = self.systemd.job_on(target).is_some_and(|(_, kind)| kind == JobKind::Stop);
        let why = if state.is_down() {
            None
        } else if state.frozen {
            Some(format!("{target} is frozen: `systemctl thaw {target}`"))
        } else if is_stopping && kind != JobKind::Stop {
            Some(format!("a stop job is queued on {target}"))
        } else {
            None
        };
        why.map(JobResult::Unasked).or_else(|| self.rejects_jobs.clone())
    }
}
