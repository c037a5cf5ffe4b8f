//! What goes wrong on the simulated machine: one fault after the other, by chance, some of them at the same time.

use std::collections::BTreeSet;
use std::time::Duration;

use stealthcheck::check::CheckName;
use stealthcheck::unit::UnitName;

use crate::machine::{Delay, Exit};
use crate::post::Server;
use crate::shell::{Crash, Moment};
use crate::sim::{Coming, Sim};

/// What is wrong with the machine as a whole.
#[derive(Default)]
pub struct Troubles {
    /// Checks without a unit whose target is gone.
    pub mute: BTreeSet<CheckName>,
    /// Messages are slow, or the daemon takes them late.
    pub slow_systemd: bool,
}

/// Something that lasts, and ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Service(UnitName),
    LeftOver(UnitName),
    Network,
    Mute(CheckName),
    SlowJobs,
    SlowSystemd,
    Rejected,
    Bus,
    Masked(UnitName),
    Gone(UnitName),
    MailServer,
    DiskFull,
    Load(UnitName),
    Frozen(UnitName),
    Condition(UnitName),
}

const DAY: i64 = 86_400;

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

    pub fn some_unit(&mut self) -> UnitName {
        let n = self.random.below(self.plan.units.len());
        self.plan.units[n].name.clone()
    }

    pub fn some_check(&mut self) -> CheckName {
        let n = self.random.below(self.plan.checks.len());
        self.plan.checks[n].name.clone()
    }

    pub fn lasting(&mut self, fault: Fault, least: u64, most: u64) {
        let lasting = self.random.heavy(least, most);
        self.note(|| format!("fault: {fault:?} for {lasting:?}"));
        self.later(lasting, Coming::Over(fault));
    }

    fn fault(&mut self) {
        let unit = self.some_unit();
        match self.random.below(100) {
            0..=15 => self.a_service_breaks(&unit),
            16..=24 => {
                let failed = self.random.percent(60);
                self.dies(&unit, failed);
            }
            25..=28 => self.many_break(),
            29..=44 => self.somebody_acts(&unit),
            45..=49 => self.somebody_holds(unit),
            50..=54 => self.somebody_pauses(),
            55..=59 => self.something_displaces(&unit),
            60..=62 => {
                if self.machine.has_network() {
                    let measures = self.random.percent(70);
                    self.machine.cut_network(measures);
                    self.rules_network_gone();
                    self.lasting(Fault::Network, 20, 7200);
                }
            }
            63..=64 => {
                let check = self.some_check();
                if self.unit_of(&check).is_none() {
                    self.machine.fail(check.as_str());
                    self.troubles.mute.insert(check.clone());
                    self.lasting(Fault::Mute(check), 20, 86_400);
                }
            }
            65..=66 => {
                self.machine.systemd.slowness = self.random.heavy(5, 1200);
                self.lasting(Fault::SlowJobs, 60, 7200);
            }
            67..=68 => self.systemd_is_slow(),
            69..=70 => {
                match self.random.of(&[
                    Some("Interactive authentication required."),
                    Some("the maximum number of pending replies was reached (LimitsExceeded)"),
                    None,
                ]) {
                    Some(why) => self.machine.reject_jobs(Some(why)),
                    None => self.machine.reject_resets(true),
                }
                self.lasting(Fault::Rejected, 20, 7200);
            }
            71..=72 => {
                self.machine.lose_bus();
                self.lasting(Fault::Bus, 1, 3600);
            }
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
            80..=90 if self.post.is_safe() => self.daemon_is_killed(),
            91..=92 if self.post.is_safe() => {
                let away = self.random.heavy(1, 600);
                self.daemon_stops(away);
            }
            93..=94 if self.post.is_safe() => {
                let away = self.random.secs(1, 20);
                if self.random.percent(40) {
                    self.note(|| "the machine shuts down".to_owned());
                    self.machine.systemd.shut_down();
                    self.later(away / 4, Coming::Reboots);
                } else {
                    self.power_fails(away);
                }
            }
            95 => {
                let check = self.some_check();
                self.machine.probe_now(check.as_str());
            }
            96..=97 => self.somebody_reloads(),
            79..=94 => {}
            _ => {
                let percent = u32::try_from(self.random.between(30, 200)).unwrap_or(100);
                self.machine.use_cpu(&unit, Some(percent));
                self.lasting(Fault::Load(unit), 60, 14_400);
            }
        }
    }

    fn a_service_breaks(&mut self, name: &UnitName) {
        let unit = name.as_str();
        let lasting = self.random.secs(2, 20);
        let fault = Fault::Service(name.clone());
        match self.random.below(8) {
            // If nobody else does, somebody restarts it in the end.
            0..=2 => {
                self.machine.hang(unit);
                return self.lasting(fault, 3600, 86_400);
            }
            3 => self.machine.break_service(unit),
            4 => {
                self.note(|| format!("{name} does not start any more"));
                self.machine.systemd.program(name).fails_to_start = true;
                self.dies(name, true);
            }
            // It ends soon after each start: crashes, or with success.
            n => {
                let exit = if n < 7 { Exit::Status(1) } else { Exit::Status(0) };
                self.note(|| format!("each run of {name} ends after {lasting:?}: {exit:?}"));
                self.machine.systemd.program(name).exits_after = Some((lasting, exit));
                self.dies(name, n < 7);
            }
        }
        self.lasting(fault, 10, 14_400);
    }

    /// The process ends by itself: killed, crashed, or a clean exit, without a stop job.
    fn dies(&mut self, name: &UnitName, failed: bool) {
        let exit = if failed { self.random.of(&[Exit::Signal(9), Exit::Status(1)]) } else { Exit::Status(0) };
        if self.machine.systemd.has_process(name) {
            // A child of some survives them, and answers in their place.
            self.machine.systemd.program(name).leaves_child = self.random.percent(10);
            self.machine.exit(name.as_str(), exit);
            self.machine.systemd.program(name).leaves_child = false;
            if self.machine.systemd.has_left_over(name) {
                self.lasting(Fault::LeftOver(name.clone()), 10, 7200);
            }
        }
    }

    /// Nothing can be started any more, and all that runs is killed.
    pub fn everything_dies(&mut self) {
        for plan in self.plan.units.clone() {
            self.machine.systemd.program(&plan.name).fails_to_start = true;
            self.machine.kill(plan.name.as_str());
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
                self.machine.hang(plan.name.as_str());
            } else {
                self.dies(&plan.name, failed);
            }
        }
    }

    fn systemd_is_slow(&mut self) {
        let (slow, late) = (self.random.percent(60), self.random.percent(60));
        let seed = self.random.next();
        let latency = if slow { Delay::random(seed, 50, 8000) } else { Delay::random(seed, 1, 60) };
        let late = if late || !slow { Delay::random(seed ^ 1, 0, 3000) } else { Delay::NONE };
        self.note(|| format!("systemd is slow: {latency:?}, and the daemon late: {late:?}"));
        self.machine.set_delays(latency, late);
        self.troubles.slow_systemd = true;
        self.lasting(Fault::SlowSystemd, 60, 7200);
    }

    pub fn systemd_is_quick(&mut self) {
        let seed = self.random.next();
        self.machine.set_delays(Delay::random(seed, 1, 60), Delay::NONE);
        self.troubles.slow_systemd = false;
        self.rules.blind = self.mono;
    }

    fn clock_jumps(&mut self) {
        let by = match self.random.below(4) {
            0 => -DAY,
            1 => 365 * DAY,
            2 => -i64::try_from(self.random.between(1, 7200)).unwrap(),
            _ => i64::try_from(self.random.between(1, 7200)).unwrap(),
        };
        // Never past the end of what systemd and mails can tell, nor before the machine was made.
        let now = self.wall().0 / 1000;
        let to = (now + by).clamp(1_700_000_000, 4_000_000_000);
        self.machine.set_clock(to - now);
        self.clock_was_set = true;
        self.rules.clock_set = self.mono;
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
            Fault::LeftOver(unit) => self.machine.systemd.kill_left_over(unit),
            Fault::Network => {
                self.machine.restore_network();
                self.rules_network_back();
            }
            Fault::Mute(check) => {
                self.troubles.mute.remove(check);
                self.machine.sees_service(check.as_str());
            }
            Fault::SlowJobs => self.machine.systemd.slowness = Duration::ZERO,
            Fault::SlowSystemd => self.systemd_is_quick(),
            Fault::Rejected => {
                self.machine.reject_jobs(None);
                self.machine.reject_resets(false);
            }
            Fault::Bus => {
                self.machine.bus_returns();
                self.rules.blind = self.mono;
            }
            Fault::Masked(unit) => self.machine.edit(unit.as_str(), |file| file.masked = false),
            Fault::Gone(unit) => self.machine.systemd.set_removed(unit, false),
            Fault::MailServer => self.post.server = Server::Up,
            Fault::DiskFull => self.post.disk_full = false,
            Fault::Frozen(unit) => self.machine.thaw(unit.as_str()),
            Fault::Condition(unit) => {
                self.machine.set_condition(unit.as_str(), true);
                self.machine.start(unit.as_str());
            }
            Fault::Load(unit) => self.machine.use_cpu(unit, None),
        }
    }

    /// What kept the service from running is gone, and the unit is as the daemon left it.
    fn is_repaired(&mut self, name: &UnitName) {
        if self.is_hung(name) {
            self.machine.restart(name.as_str());
        } else {
            self.mend(name);
        }
    }

    /// The program does what it does when nothing is wrong with it.
    pub fn mend(&mut self, name: &UnitName) {
        let usual = self.plan.units.iter().find(|plan| plan.name == *name);
        let usual = usual.map(|plan| plan.file.program.clone()).unwrap_or_default();
        let program = self.machine.systemd.program(name);
        let hung = program.hung;
        *program = usual;
        program.hung = hung;
    }
}
