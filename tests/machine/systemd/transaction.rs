//! Which jobs a request comes to: those on the unit and on what it pulls in (src/core/transaction.c).

use std::collections::BTreeMap;

use super::job::{By, JobType};
use super::{Happened, Systemd, unit};

/// Jobs that are to be installed together.
#[derive(Default)]
struct Transaction {
    /// By unit: the types, each with whether the request cannot do without it.
    jobs: BTreeMap<usize, Vec<(JobType, bool)>>,
}

impl Systemd {
    /// Queues a job and what it pulls in. Returns the id of the job on the unit itself, which is an earlier one where
    /// systemd merges both. `Err` is systemd's sentence, and nothing is queued.
    pub(super) fn add_job(&mut self, unit: usize, kind: JobType, by: By) -> Result<u32, String> {
        let mut transaction = Transaction::default();
        self.collect(&mut transaction, unit, kind, true)?;
        let mut merged = Vec::new();
        for (u, jobs) in &transaction.jobs {
            merged.push((*u, self.merge_all(*u, jobs)?));
        }
        // What is there already needs no job, unless the job was requested or replaces another.
        merged.retain(|(u, kind)| {
            let state = self.units[*u].active();
            let redundant = match kind {
                JobType::Start | JobType::VerifyActive => unit::is_up(state),
                JobType::Stop => unit::is_down(state),
                JobType::Reload | JobType::Restart => false,
            };
            let replaces =
                self.units[*u].job.is_some_and(|job| job.kind.merge(*kind, unit::is_up(state)).is_none());
            *u == unit || !redundant || replaces
        });
        // The daemon's jobs, other than stops, take the place of no other job (mode `fail`).
        let destroys = |(u, kind): &(usize, JobType)| {
            let this = &self.units[*u];
            this.job.is_some_and(|job| job.kind.merge(*kind, unit::is_up(this.active())).is_none())
        };
        if by == By::Daemon && !self.mode_replace && kind != JobType::Stop && merged.iter().any(destroys) {
            return Err("Transaction is destructive.".to_owned());
        }
        let mut id = 0;
        for (u, kind) in merged {
            self.happened(|this| Happened::Queued {
                unit: this.units[u].name().clone(),
                kind,
                root: this.units[unit].name().clone(),
                by,
                merged: this.units[u].job.is_some_and(|job| job.kind == kind),
                was_up: !this.units[u].is_down() || this.units[u].job.is_some_and(|job| !job.kind.stops()),
            });
            let by = if u == unit { by } else { By::Systemd };
            let installed = self.install(u, kind, by);
            if u == unit {
                id = installed;
            }
        }
        Ok(id)
    }

    /// The one job that does all of these. Of two that conflict the one goes that the request can do without.
    fn merge_all(&self, unit: usize, jobs: &[(JobType, bool)]) -> Result<JobType, String> {
        let up = self.units[unit].is_up();
        let all = |only_needed: bool| {
            let mut kinds = jobs.iter().filter(|(_, needed)| *needed || !only_needed).map(|(kind, _)| *kind);
            let first = kinds.next()?;
            kinds.try_fold(first, |merged, kind| merged.merge(kind, up))
        };
        all(false).or_else(|| all(true)).ok_or_else(|| "Transaction contains conflicting jobs.".to_owned())
    }

    fn collect(
        &self,
        transaction: &mut Transaction,
        unit: usize,
        kind: JobType,
        needed: bool,
    ) -> Result<(), String> {
        let this = &self.units[unit];
        let name = this.name();
        if kind != JobType::Stop {
            if !this.can_be_loaded() || this.file.removed {
                return Err(format!("Unit {name} not found."));
            }
            if this.file.masked {
                return Err(format!("Unit {name} is masked."));
            }
        }
        if kind == JobType::Reload && this.file.reload_takes.is_none() {
            return Err(format!("Job type reload is not applicable for unit {name}."));
        }
        let jobs = transaction.jobs.entry(unit).or_default();
        if let Some(known) = jobs.iter_mut().find(|(known, _)| *known == kind) {
            known.1 |= needed;
            return Ok(());
        }
        jobs.push((kind, needed));
        let links = &this.links;
        if matches!(kind, JobType::Start | JobType::Restart) {
            for other in links.requires.iter().chain(&links.binds_to) {
                self.collect(transaction, *other, JobType::Start, needed)?;
            }
            for other in links.wants.iter().chain(&links.upholds) {
                // A unit that is only wanted, and that cannot be started, is ignored.
                let mut attempt = Transaction { jobs: transaction.jobs.clone() };
                if self.collect(&mut attempt, *other, JobType::Start, false).is_ok() {
                    *transaction = attempt;
                }
            }
            for other in &links.requisite {
                self.collect(transaction, *other, JobType::VerifyActive, needed)?;
            }
            for other in links.conflicts.iter().chain(&links.conflicted_by) {
                self.collect(transaction, *other, JobType::Stop, needed)?;
            }
        }
        if kind.stops() {
            let dependents = || {
                let dependents = [&links.required_by, &links.requisite_of, &links.bound_by];
                let along = [&links.consists_of, &links.propagates_stop_to];
                dependents.into_iter().chain(along).flatten().copied()
            };
            for other in dependents() {
                // The dependents of a restart are restarted where they are up, else left alone.
                let up = self.units[other].is_up_or_coming();
                match kind {
                    JobType::Restart if up => self.collect(transaction, other, JobType::Restart, needed)?,
                    JobType::Restart => {}
                    _ => self.collect(transaction, other, JobType::Stop, needed)?,
                }
            }
        }
        Ok(())
    }
}
