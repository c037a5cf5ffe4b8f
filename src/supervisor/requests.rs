//! What operators ask over the bus. Whether they may was settled before a request comes here.

use super::{Supervisor, clock};
use crate::bus::{Refusal, Request, Which, resolve};
use crate::check::CheckName;
use crate::engine::hold::Holder;
use crate::engine::{Command, Event};
use crate::status::{CheckStatus, Snapshot};

impl Supervisor {
    /// Answers a request, at once or when its answer is known. A caller that has gone is no error.
    pub(super) fn request(&mut self, request: Request) {
        match request {
            Request::Status { which, detail, reply } => {
                let _ = reply.send(self.chosen(which).map(|names| self.snapshot(&names, detail)));
            }
            Request::Names { reply } => {
                let _ = reply.send(Ok(self.engine.names().cloned().collect()));
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

    /// The checks that a status is to have.
    fn chosen(&self, which: Which) -> Result<Vec<CheckName>, Refusal> {
        Ok(match which {
            Which::None => Vec::new(),
            Which::All => self.engine.names().cloned().collect(),
            Which::After(name, limit) => {
                let after = self.engine.names().skip_while(|known| known.as_str() <= name.as_str());
                after.take(limit).cloned().collect()
            }
            Which::Named(name) => vec![self.resolve(&name)?],
        })
    }

    fn status_of(&self, check: &CheckName) -> Option<CheckStatus> {
        self.engine.status(clock::now(), std::slice::from_ref(check), true).pop()
    }

    /// The daemon, and these checks.
    pub(super) fn snapshot(&self, checks: &[CheckName], detail: bool) -> Snapshot {
        let now = clock::now();
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: now.wall,
            started: self.started,
            configuration: self.configuration.clone(),
            mail: self.mailer.status(),
            counts: self.engine.counts(),
            storm: self.engine.storm(now),
            alerts: self.alerts(),
            // (To the engine no name means all.)
            checks: if checks.is_empty() { Vec::new() } else { self.engine.status(now, checks, detail) },
        }
    }

    fn alerts(&self) -> Vec<String> {
        let own = [&self.alerts.systemd, &self.alerts.bus, &self.alerts.state, &self.alerts.forgotten];
        let (unreadable, more) = &self.alerts.unreadable;
        let own = own
            .into_iter()
            .flatten()
            .chain(&self.alerts.listen)
            .chain(&self.alerts.credentials)
            .chain(unreadable);
        let mut alerts: Vec<String> = own.cloned().collect();
        alerts.extend(self.alerts.call_limit.alert());
        if *more > 0 {
            alerts.push(format!("and {more} more unusable mails in the spool: see the journal"));
        }
        alerts.extend(self.engine.storm(clock::now()));
        for (check, unit) in self.engine.unknown_targets() {
            alerts
                .push(format!("{check}: systemd does not know the unit {unit} that a recovery step starts."));
        }
        for (check, unit) in self.engine.unknown_units() {
            alerts.push(format!(
                "{check}: systemd does not know the unit {unit}. Check the name, and run `systemctl daemon-reload` if the unit is new."
            ));
        }
        alerts
    }
}
