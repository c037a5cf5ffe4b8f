//! What operators ask over the bus. Whether they may was settled before a request comes here.

use super::{Supervisor, clock};
use crate::bus::{Refusal, Request, resolve};
use crate::check::CheckName;
use crate::engine::hold::Holder;
use crate::engine::{Command, Event};
use crate::status::{CheckStatus, Snapshot};
use crate::unit::LoadState;

impl Supervisor {
    /// Answers a request, at once or when its answer is known. A caller that has gone is no error.
    pub(super) fn request(&mut self, request: Request) {
        match request {
            Request::Status { names, detail, reply } => {
                let _ = reply.send(self.snapshot(&names, detail));
            }
            Request::Why { name, reply } => {
                let known = self.resolve(&name);
                let explained = known.and_then(|name| {
                    let gone = || Refusal::Failed(format!("{name} is gone"));
                    self.engine.why(clock::now(), &name).ok_or_else(gone)
                });
                let _ = reply.send(explained);
            }
            Request::Check { name, reply } => match self.resolve(&name) {
                Ok(name) => {
                    self.waiting.push((name.clone(), reply));
                    self.tell(Event::Command(Command::Check(name)));
                }
                Err(refusal) => {
                    let _ = reply.send(Err(refusal));
                }
            },
            Request::Pause { name, for_, reply } => {
                let done = self.resolve(&name).map(|name| {
                    self.tell(Event::Command(Command::Pause(name, for_)));
                });
                let _ = reply.send(done);
            }
            Request::Resume { name, reply } => {
                let done = self.resolve(&name).map(|name| {
                    self.tell(Event::Command(Command::Resume(name)));
                });
                let _ = reply.send(done);
            }
            Request::Hold { name, who, why, for_, reply } => {
                let holder = Holder { who: who.into(), why: why.into() };
                self.hold(&name, holder, for_, reply);
            }
            Request::Release { name, reply } => {
                let _ = reply.send(self.release(&name));
            }
            Request::Reload { reply } => self.reload(Some(reply)),
            Request::TestMail { to, reply } => {
                let sent = self.mailer.send_test(to);
                tokio::spawn(async move {
                    let _ = reply.send(sent.await.map_err(Refusal::Failed));
                });
            }
        }
    }

    fn resolve(&self, name: &str) -> Result<CheckName, Refusal> {
        resolve(name, self.engine.names()).cloned()
    }

    /// Answers whoever waits for an observation of `check`.
    pub(super) fn answer_waiting(&mut self, check: &CheckName) {
        if !self.waiting.iter().any(|(name, _)| name == check) {
            return;
        }
        let status = self.status_of(check);
        let (answered, still): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(name, _)| name == check);
        self.waiting = still;
        for (_, reply) in answered {
            let answer = status.clone().ok_or_else(|| Refusal::Failed(format!("{check} is gone")));
            let _ = reply.send(answer);
        }
    }

    fn status_of(&self, check: &CheckName) -> Option<CheckStatus> {
        self.engine.status(clock::now(), std::slice::from_ref(check), true).pop()
    }

    pub(super) fn snapshot(&self, names: &[String], detail: bool) -> Result<Snapshot, Refusal> {
        let names = names.iter().map(|name| self.resolve(name)).collect::<Result<Vec<_>, _>>()?;
        let now = clock::now();
        let checks = self.engine.status(now, &names, detail);
        Ok(Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: now.wall,
            started: self.started,
            configuration: self.configuration.clone(),
            mail: self.mailer.status(),
            alerts: self.alerts(&checks),
            checks,
        })
    }

    fn alerts(&self, checks: &[CheckStatus]) -> Vec<String> {
        let own = [&self.alerts.systemd, &self.alerts.bus, &self.alerts.state, &self.alerts.forgotten];
        let (unreadable, more) = &self.alerts.unreadable;
        let own = own.into_iter().flatten().chain(&self.alerts.listen).chain(unreadable);
        let mut alerts: Vec<String> = own.cloned().collect();
        if *more > 0 {
            alerts.push(format!("and {more} more unusable mails in the spool: see the journal"));
        }
        alerts.extend(self.engine.storm(clock::now()));
        for (check, unit) in self.engine.unknown_targets() {
            alerts
                .push(format!("{check}: systemd does not know the unit {unit} that a recovery step starts."));
        }
        for check in checks {
            let (Some(unit), Some(state)) = (&check.unit, &check.unit_state) else { continue };
            if state.load == LoadState::NotFound {
                alerts.push(format!(
                    "{}: systemd does not know the unit {unit}. Check the name, and run `systemctl daemon-reload` if the unit is new.",
                    check.name
                ));
            }
        }
        alerts
    }
}
