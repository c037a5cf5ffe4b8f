//! What goes wrong on the simulated machine, and what its operators do: one fault after the other, by chance, some of them
//! at the same time.

use std::collections::BTreeSet;
use std::time::Duration;

use stealthcheck::check::CheckName;
use stealthcheck::engine::hold::{HoldEvent, HoldId, Holder, HowEnded};
use stealthcheck::engine::{Command, Event};
use stealthcheck::time::Wall;
use stealthcheck::unit::{JobKind, LoadState, ManagerState, UnitName};

use crate::config::{is_of, rival_of};
use crate::daemon::{Crash, Moment};
use crate::machine::{By, Service};
use crate::post::Server;
use crate::sim::{Coming, Sim};

/// What is wrong with the machine as a whole.
#[derive(Default)]
pub struct Troubles {
    pub network_gone: bool,
    /// Then probes cannot even measure.
    pub unmeasurable: bool,
    /// Checks without a unit whose target is gone.
    pub mute: BTreeSet<CheckName>,
    /// Jobs take this long.
    pub slow_jobs: Option<Duration>,
    pub slow_systemd: bool,
    /// Readings reach the engine late, by up to seconds.
    pub late_readings: bool,
    pub polkit_denies: bool,
}

/// Something that lasts, and ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Service(UnitName),
    Network,
    Mute(CheckName),
    SlowJobs,
    SlowSystemd,
    Polkit,
    Manager,
    Masked(UnitName),
    Gone(UnitName),
    MailServer,
    DiskFull,
    Load(UnitName),
    Frozen(UnitName),
    Condition(UnitName),
}

const DAY: i64 = 86_400_000;

impl Sim {
    /// Something happens, and something else will.
    pub fn next_fault(&mut self) {
        self.fault();
        // In clusters, with quiet days between: some sixty in a month.
        let next = match self.random.below(3) {
            0 => self.random.millis(1, 60_000),
            1 => self.random.heavy(1, 3600),
            _ => self.random.heavy(3600, 2 * 86_400),
        };
        self.later(next, Coming::Fault);
    }

    fn guarded(&mut self) -> UnitName {
        let n = self.random.below(self.plan.units.len());
        self.plan.units[n].name.clone()
    }

    fn some_check(&mut self) -> CheckName {
        let n = self.random.below(self.plan.checks.len());
        self.plan.checks[n].name.clone()
    }

    fn lasting(&mut self, fault: Fault, least: u64, most: u64) {
        let lasting = self.random.heavy(least, most);
        self.note(|| format!("fault: {fault:?} for {lasting:?}"));
        self.later(lasting, Coming::Over(fault));
    }

    fn fault(&mut self) {
        let unit = self.guarded();
        match self.random.below(100) {
            0..=15 => self.a_service_breaks(&unit),
            16..=25 => {
                let failed = self.random.percent(60);
                self.dies(&unit, failed);
            }
            26..=29 => self.many_break(),
            30..=43 => self.somebody_acts(&unit),
            44..=48 => self.somebody_holds(unit),
            49..=53 => self.somebody_pauses(),
            54..=58 => self.something_displaces(&unit),
            59..=61 => {
                if !self.troubles.network_gone {
                    self.troubles.network_gone = true;
                    self.troubles.unmeasurable = self.random.percent(30);
                    self.rules_network_gone();
                    self.lasting(Fault::Network, 20, 7200);
                }
            }
            62..=64 => {
                let check = self.some_check();
                if self.unit_of(&check).is_none() {
                    self.troubles.mute.insert(check.clone());
                    self.lasting(Fault::Mute(check), 20, 86_400);
                }
            }
            65..=66 => {
                self.troubles.slow_jobs = Some(self.random.heavy(5, 1200));
                self.lasting(Fault::SlowJobs, 60, 7200);
            }
            67 => {
                self.troubles.slow_systemd = self.random.percent(50);
                self.troubles.late_readings = !self.troubles.slow_systemd || self.random.percent(50);
                self.lasting(Fault::SlowSystemd, 60, 7200);
            }
            68..=69 => {
                self.troubles.polkit_denies = true;
                self.lasting(Fault::Polkit, 60, 7200);
            }
            70..=72 => self.systemd_is_away(),
            73..=74 => self.clock_jumps(),
            75 => {
                let lasting = self.random.heavy(10, 86_400);
                self.note(|| format!("the machine sleeps for {lasting:?}"));
                self.sleep(lasting);
            }
            76..=78 => self.mail_server_troubles(),
            79 if self.crash.is_none() => {
                self.post.disk_full = true;
                self.lasting(Fault::DiskFull, 10, 3600);
            }
            80..=91 if self.post.is_safe() => self.daemon_is_killed(),
            92..=93 if self.post.is_safe() => {
                let away = self.random.heavy(1, 600);
                self.daemon_stops(away);
            }
            94 if self.post.is_safe() => {
                let away = self.random.secs(1, 20);
                self.power_fails(away);
            }
            95 => {
                let check = self.some_check();
                self.tell(Event::Command(Command::Check(check)));
            }
            96..=97 => {
                self.somebody_reloads();
            }
            79..=94 => {}
            _ => {
                self.count_cpu(&unit);
                let percent = self.random.between(30, 200);
                if let Some(unit) = self.units.get_mut(&unit) {
                    unit.cpu = percent;
                }
                self.lasting(Fault::Load(unit), 60, 14_400);
            }
        }
    }

    fn a_service_breaks(&mut self, name: &UnitName) {
        let service = self.random.of(&[
            Service::Hung,
            Service::Hung,
            Service::Hung,
            Service::Broken,
            Service::WontStart,
            Service::Crashes,
        ]);
        self.note(|| format!("{name} becomes {service:?}"));
        let Some(unit) = self.units.get_mut(name) else { return };
        unit.service = service;
        match service {
            Service::WontStart | Service::Crashes => {
                self.dies(name, true);
                self.lasting(Fault::Service(name.clone()), 10, 14_400);
            }
            Service::Broken => self.lasting(Fault::Service(name.clone()), 10, 14_400),
            // If nobody else does, somebody restarts it in the end.
            Service::Hung | Service::Healthy => self.lasting(Fault::Service(name.clone()), 3600, 86_400),
        }
    }

    /// Nothing can be started any more, and all that runs is killed.
    pub fn everything_dies(&mut self) {
        for plan in self.plan.units.clone() {
            if let Some(unit) = self.units.get_mut(&plan.name) {
                unit.service = Service::WontStart;
            }
            self.dies(&plan.name, true);
        }
    }

    /// Something that many units share breaks: all are killed, or hang, at once.
    fn many_break(&mut self) {
        let (hang, failed, share) =
            (self.random.percent(40), self.random.percent(50), self.random.between(30, 100));
        self.note(|| format!("{share}% of all units {}", if hang { "hang" } else { "are killed" }));
        for plan in self.plan.units.clone() {
            if !self.random.percent(share) {
                continue;
            }
            if hang {
                if let Some(unit) =
                    self.units.get_mut(&plan.name).filter(|unit| unit.service == Service::Healthy)
                {
                    unit.service = Service::Hung;
                }
            } else {
                self.dies(&plan.name, failed);
            }
        }
    }

    /// `systemctl`, by hand or in a package's script.
    fn somebody_acts(&mut self, unit: &UnitName) {
        match self.random.below(13) {
            10 => {
                if let Some(frozen) =
                    self.units.get_mut(unit).filter(|unit| unit.is_up() && unit.job.is_none())
                {
                    frozen.state.frozen = true;
                    self.is_changed(unit);
                    self.lasting(Fault::Frozen(unit.clone()), 20, 14_400);
                }
            }
            11..=12 => {
                if let Some(unmet) = self.units.get_mut(unit).filter(|unit| unit.runs_for.is_none()) {
                    unmet.unmet = true;
                    if self.random.percent(50) {
                        let _ = self.queue_job(unit, JobKind::Restart, By::Somebody);
                    }
                    self.lasting(Fault::Condition(unit.clone()), 20, 14_400);
                }
            }
            0..=4 => drop(self.queue_job(unit, JobKind::Stop, By::Somebody)),
            5..=6 => drop(self.queue_job(unit, JobKind::Start, By::Somebody)),
            7 => self.somebody_restarts_several(unit),
            8 => {
                if self.units[unit].state.load == LoadState::Loaded {
                    if self.random.percent(70) {
                        let _ = self.queue_job(unit, JobKind::Stop, By::Somebody);
                    }
                    self.becomes(unit, LoadState::Masked);
                    self.lasting(Fault::Masked(unit.clone()), 20, 14_400);
                }
            }
            _ => {
                if self.units[unit].state.load == LoadState::Loaded {
                    self.becomes(unit, LoadState::NotFound);
                    self.lasting(Fault::Gone(unit.clone()), 20, 14_400);
                }
            }
        }
    }

    /// `systemctl restart a b c`, which systemd puts in order.
    fn somebody_restarts_several(&mut self, unit: &UnitName) {
        let several = self.random.percent(50);
        let of_several =
            |plan: &crate::config::UnitPlan| several && (plan.requires.contains(unit) || plan.name == *unit);
        let names = self.plan.units.iter().filter(|plan| of_several(plan) || plan.name == *unit);
        let names: Vec<UnitName> = names.map(|plan| plan.name.clone()).collect();
        for name in names {
            let _ = self.queue_job(&name, JobKind::Restart, By::Somebody);
        }
    }

    /// While a job of ours is under way, an operator has other plans.
    pub fn somebody_interferes(&mut self, unit: &UnitName) {
        if !self.quiet && self.random.percent(6) {
            let (after, stop) = (self.random.millis(1, 3000), self.random.percent(80));
            self.later(after, Coming::Operator { unit: unit.clone(), stop });
        }
    }

    fn becomes(&mut self, name: &UnitName, load: LoadState) {
        if let Some(unit) = self.units.get_mut(name) {
            unit.state.load = load;
            self.is_changed(name);
        }
    }

    fn somebody_holds(&mut self, unit: UnitName) {
        if self.random.percent(15) && self.post.is_safe() {
            // All leases are gone: the store was lost.
            self.leases.clear();
            self.daemon_stops(Duration::from_secs(1));
            return;
        }
        self.next_id += 1;
        let id = HoldId(self.next_id.to_string().into());
        let holder = Holder { who: "root (pid 7)".into(), why: "certbot renew".into() };
        let lasting = self.random.heavy(10, 7200);
        let other = self.random.percent(50);
        let mut names =
            self.plan.checks.iter().filter(|check| is_of(check, &unit)).flat_map(|check| &check.unit);
        let name = if other { names.next_back() } else { names.next() }.cloned().unwrap_or(unit);
        self.tell(Event::Hold(HoldEvent::Take { id: id.clone(), unit: name, holder, lasting }));
        if self.random.percent(10) {
            self.settle();
            self.lease_closes(&id, HowEnded::Released);
        }
    }

    /// The configuration is edited, and read again. (A daemon that is killed over it is another matter.)
    fn somebody_reloads(&mut self) {
        if self.daemon.is_none() || self.crash.is_some() {
            return;
        }
        self.settle();
        let before = self.plan.checks.clone();
        for _ in 0..self.random.below(3) {
            self.edit_a_check();
        }
        for check in &before {
            self.former.insert(check.name.clone(), check.clone());
        }
        self.note(|| "the configuration is read again".to_owned());
        self.rules_reconfigures();
        self.tell(Event::Configured(self.plan.checks.clone()));
        self.settle();
        self.rules_reconfigured(&before);
    }

    fn edit_a_check(&mut self) {
        let n = self.random.below(self.plan.checks.len());
        let unit = self.guarded();
        let job = self.plan.checks[n].probe.job().is_some();
        match self.random.below(5) {
            // Renamed.
            0..=1 => {
                let name = &self.plan.checks[n].name;
                let (stem, version) = name.as_str().split_once(".r").unwrap_or((name.as_str(), "0"));
                let version: u32 = version.parse().unwrap_or(0);
                let name = CheckName::new(&format!("{stem}.r{}", version + 1)).unwrap();
                self.plan.checks[n].name = name;
            }
            2 if self.plan.checks.len() > 1 => drop(self.plan.checks.remove(n)),
            // Pointed to another unit.
            3 if !job
                && self.plan.checks[n].unit.is_some()
                && self.plan.units.iter().any(|plan| plan.name == unit && plan.job.is_none()) =>
            {
                self.plan.checks[n].unit = Some(unit);
            }
            _ => {
                let recovery = crate::config::recovery(&mut self.random, job);
                if self.plan.checks[n].unit.is_some() {
                    self.plan.checks[n].recovery = recovery;
                }
            }
        }
    }

    fn somebody_pauses(&mut self) {
        let check = self.some_check();
        if self.random.percent(70) {
            let lasting = self.random.heavy(10, 86_400);
            self.tell(Event::Command(Command::Pause(check, lasting)));
        } else {
            self.tell(Event::Command(Command::Resume(check)));
        }
    }

    /// A unit that conflicts with this one is started, by a timer or by somebody.
    fn something_displaces(&mut self, unit: &UnitName) {
        let lasting = self.random.heavy(5, 2 * 3600);
        let back = self.random.percent(70);
        let Some(rival) = self.units.get_mut(&rival_of(unit)) else { return };
        if !rival.state.is_down() {
            return;
        }
        rival.runs_for = Some(lasting);
        rival.brings_back = back;
        let _ = self.queue_job(&rival_of(unit), JobKind::Start, By::Somebody);
    }

    fn systemd_is_away(&mut self) {
        if self.manager == ManagerState::Running {
            let state = self.random.of(&[
                ManagerState::Unreachable,
                ManagerState::Unreachable,
                ManagerState::Stopping,
                ManagerState::Starting,
            ]);
            self.set_manager(state);
            self.lasting(Fault::Manager, 1, 3600);
        }
    }

    fn clock_jumps(&mut self) {
        let by = match self.random.below(4) {
            0 => -DAY,
            1 => 365 * DAY,
            2 => -i64::try_from(self.random.between(1, 7_200_000)).unwrap(),
            _ => i64::try_from(self.random.between(1, 7_200_000)).unwrap(),
        };
        // Never past the end of what systemd and mails can tell, nor before the machine was made.
        let to = Wall((self.wall.0 + by).clamp(1_700_000_000_000, 4_000_000_000_000));
        self.note(|| format!("the wall clock is set by {by} ms"));
        self.wall = to;
        self.clock_was_set = true;
    }

    fn mail_server_troubles(&mut self) {
        if self.post.server == Server::Up {
            self.post.server = self.random.of(&[
                Server::Down,
                Server::Down,
                Server::Greylists,
                Server::Loses,
                Server::RefusesLong,
            ]);
            self.note(|| format!("mail server: {:?}", self.post.server));
            self.lasting(Fault::MailServer, 60, 2 * 86_400);
        }
    }

    fn daemon_is_killed(&mut self) {
        let few = self.random.below(4);
        let at = self.random.of(&[
            Moment::BeforeSave,
            Moment::AfterActions(few),
            Moment::AfterActions(0),
            Moment::BeforeRelease,
            Moment::AfterRelease,
            Moment::Spooled,
            Moment::Accepted(0),
            Moment::Accepted(few),
            Moment::Sending,
        ]);
        let after_writes = self.random.between(0, 12);
        let away =
            if self.random.percent(70) { self.random.millis(100, 3000) } else { self.random.heavy(3, 1800) };
        self.plan_crash(Crash { after_writes, at, away });
    }

    /// A fault is over.
    pub fn fault_is_over(&mut self, fault: &Fault) {
        self.note(|| format!("fault over: {fault:?}"));
        match fault {
            Fault::Service(unit) => self.is_repaired(unit),
            Fault::Network => {
                self.troubles.network_gone = false;
                self.troubles.unmeasurable = false;
                self.rules_network_back();
            }
            Fault::Mute(check) => drop(self.troubles.mute.remove(check)),
            Fault::SlowJobs => self.troubles.slow_jobs = None,
            Fault::SlowSystemd => {
                (self.troubles.slow_systemd, self.troubles.late_readings) = (false, false);
            }
            Fault::Polkit => self.troubles.polkit_denies = false,
            Fault::Manager => {
                if self.manager != ManagerState::Running {
                    self.set_manager(ManagerState::Running);
                }
            }
            Fault::Masked(unit) | Fault::Gone(unit) => {
                if self.units.get(unit).is_some_and(|unit| unit.state.load != LoadState::Loaded) {
                    self.becomes(unit, LoadState::Loaded);
                }
            }
            Fault::MailServer => self.post.server = Server::Up,
            Fault::DiskFull => self.post.disk_full = false,
            Fault::Frozen(name) => {
                if let Some(unit) = self.units.get_mut(name).filter(|unit| unit.state.frozen) {
                    unit.state.frozen = false;
                    self.is_changed(name);
                }
            }
            Fault::Condition(name) => {
                if let Some(unit) = self.units.get_mut(name) {
                    unit.unmet = false;
                }
                let _ = self.queue_job(name, JobKind::Start, By::Somebody);
            }
            Fault::Load(name) => {
                self.count_cpu(name);
                if let Some(unit) = self.units.get_mut(name) {
                    unit.cpu = 5;
                }
            }
        }
    }

    /// What kept the service from running is gone, and the unit is as the daemon left it.
    fn is_repaired(&mut self, name: &UnitName) {
        let Some(unit) = self.units.get_mut(name) else { return };
        if unit.service == Service::Hung && unit.is_up() {
            let _ = self.queue_job(name, JobKind::Restart, By::Somebody);
        } else {
            unit.service = Service::Healthy;
        }
    }
}
