//! What a unit's file says, and how the program that it runs behaves.

use std::time::Duration;

use stealthcheck::unit::UnitName;

/// A unit by the name that tests use: `web` is `web.service`.
pub fn unit_name(name: &str) -> UnitName {
    const SUFFIXES: [&str; 7] = [".service", ".socket", ".timer", ".target", ".path", ".mount", ".slice"];
    let full = if SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        name.to_owned()
    } else {
        format!("{name}.service")
    };
    UnitName::new(&full).unwrap()
}

/// The type of a unit, of a service with its `Type=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Simple,
    /// Becomes active when the program says so.
    Notify,
    Oneshot,
    Target,
    Socket {
        service: UnitName,
    },
    Timer {
        triggers: UnitName,
        interval: Duration,
        /// `Persistent=`: an elapse that was missed while the machine was off is made up for, this long after the boot.
        catches_up_after: Option<Duration>,
    },
}

/// `Restart=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    No,
    OnFailure,
    Always,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    Status(i32),
    Signal(i32),
}

/// `StartLimitIntervalSec=`, `StartLimitBurst=` and `StartLimitAction=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub interval: Duration,
    pub burst: u32,
    pub reboots: bool,
}

/// One line of conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// As in the file: `ConditionPathExists=/etc/x`.
    pub line: String,
    pub met: bool,
}

/// What the service's processes do, once systemd has started them.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Every start ends with status 1.
    pub fails_to_start: bool,
    /// Each run ends so, after so long.
    pub exits_after: Option<(Duration, Exit)>,
    /// Each run answers only after so long.
    pub listens_after: Duration,
    /// Each run stops answering after so long.
    pub hangs_after: Option<Duration>,
    /// This run answers nothing.
    pub hung: bool,
    /// No run answers anything.
    pub broken: bool,
    /// How the main process ends on a reload (`ExecReload=kill -HUP $MAINPID`, and it does not handle that).
    pub reload_exit: Option<Exit>,
    /// A child of the main process survives it and answers in its place (`KillMode=process`).
    pub leaves_child: bool,
    /// It answers only while these answer.
    pub needs: Vec<UnitName>,
    /// While it does not listen, these have its port where they run, and answer.
    pub shares_port_with: Vec<UnitName>,
}

/// A unit file.
#[derive(Clone, Debug)]
pub struct UnitFile {
    pub name: UnitName,
    pub aliases: Vec<UnitName>,
    pub kind: Kind,
    pub remain_after_exit: bool,
    /// `ExecStartPre=` takes so long.
    pub start_pre: Duration,
    /// From the start of the main process until it is ready (`Type=notify`), or has ended (`Type=oneshot`).
    pub start_takes: Duration,
    /// `TimeoutStartSec=`.
    pub start_timeout: Option<Duration>,
    pub stop_takes: Duration,
    /// How the main process ends on SIGTERM.
    pub stop_exit: Exit,
    pub reload_takes: Option<Duration>,
    /// `JobRunningTimeoutSec=`, with `JobTimeoutAction=reboot`.
    pub job_timeout_reboots: Option<Duration>,
    pub restart: Restart,
    pub restart_sec: Duration,
    /// `RestartSteps=` and `RestartMaxDelaySec=` (systemd 254 and later).
    pub restart_steps: Option<(u32, Duration)>,
    pub start_limit: Option<Limit>,
    /// `FailureAction=reboot`.
    pub failure_reboots: bool,
    /// `SuccessAction=reboot`.
    pub success_reboots: bool,
    /// `RefuseManualStart=`.
    pub refuses_start: bool,
    /// `RefuseManualStop=`.
    pub refuses_stop: bool,
    pub condition: Option<Condition>,
    pub assertion: Option<Condition>,
    pub exec_condition: Option<Condition>,
    pub stop_when_unneeded: bool,
    /// Enabled, and so wanted by multi-user.target.
    pub enabled: bool,
    pub masked: bool,
    /// There is no such file any more.
    pub removed: bool,
    /// Made by `systemd-run`.
    pub transient: bool,
    pub requires: Vec<UnitName>,
    pub requisite: Vec<UnitName>,
    pub binds_to: Vec<UnitName>,
    pub wants: Vec<UnitName>,
    pub upholds: Vec<UnitName>,
    pub part_of: Vec<UnitName>,
    /// `PropagatesStopTo=` of those units.
    pub stop_propagated_from: Vec<UnitName>,
    pub conflicts: Vec<UnitName>,
    pub after: Vec<UnitName>,
    /// `OnSuccess=`.
    pub on_success: Vec<UnitName>,
    /// `OnFailure=`.
    pub on_failure: Vec<UnitName>,
    pub program: Program,
}

/// A service of `Type=simple`, enabled, with systemd's defaults.
pub fn service(name: &str) -> UnitFile {
    UnitFile {
        name: unit_name(name),
        aliases: vec![],
        kind: Kind::Simple,
        remain_after_exit: false,
        start_pre: Duration::ZERO,
        start_takes: Duration::ZERO,
        start_timeout: Some(Duration::from_secs(90)),
        stop_takes: Duration::from_millis(20),
        stop_exit: Exit::Signal(15),
        reload_takes: None,
        job_timeout_reboots: None,
        restart: Restart::No,
        restart_sec: Duration::from_millis(100),
        restart_steps: None,
        start_limit: Some(Limit { interval: Duration::from_secs(10), burst: 5, reboots: false }),
        failure_reboots: false,
        success_reboots: false,
        refuses_start: false,
        refuses_stop: false,
        condition: None,
        assertion: None,
        exec_condition: None,
        stop_when_unneeded: false,
        enabled: true,
        masked: false,
        removed: false,
        transient: false,
        requires: vec![],
        requisite: vec![],
        binds_to: vec![],
        wants: vec![],
        upholds: vec![],
        part_of: vec![],
        stop_propagated_from: vec![],
        conflicts: vec![],
        after: vec![],
        on_success: vec![],
        on_failure: vec![],
        program: Program::default(),
    }
}

/// A service of `Type=oneshot` that runs for so many seconds, not enabled.
pub fn oneshot(name: &str, takes: u64) -> UnitFile {
    UnitFile {
        kind: Kind::Oneshot,
        start_takes: Duration::from_secs(takes),
        start_timeout: None,
        enabled: false,
        ..service(name)
    }
}

/// A `Type=oneshot` with `RemainAfterExit=yes` that runs nothing, as Debian's postgresql.service.
pub fn wrapper(name: &str) -> UnitFile {
    UnitFile {
        remain_after_exit: true,
        enabled: true,
        start_takes: Duration::from_millis(5),
        reload_takes: Some(Duration::from_millis(5)),
        ..oneshot(name, 0)
    }
}

pub fn target(name: &str) -> UnitFile {
    UnitFile { kind: Kind::Target, ..service(&format!("{name}.target")) }
}

/// A socket that starts the service of the same name.
pub fn socket(name: &str) -> UnitFile {
    let kind = Kind::Socket { service: unit_name(name) };
    UnitFile { kind, ..service(&format!("{name}.socket")) }
}

/// A timer that starts the service of the same name.
pub fn timer(name: &str, interval: u64) -> UnitFile {
    let kind = Kind::Timer {
        triggers: unit_name(name),
        interval: Duration::from_secs(interval),
        catches_up_after: None,
    };
    UnitFile { kind, ..service(&format!("{name}.timer")) }
}

fn names(names: &[&str]) -> Vec<UnitName> {
    names.iter().map(|name| unit_name(name)).collect()
}

impl UnitFile {
    pub fn notify(self, ready_after: u64) -> Self {
        Self { kind: Kind::Notify, start_takes: Duration::from_secs(ready_after), ..self }
    }

    pub fn alias(mut self, name: &str) -> Self {
        self.aliases.push(unit_name(name));
        self
    }

    /// `ExecStartPre=sleep …`.
    pub fn start_pre(self, secs: u64) -> Self {
        Self { start_pre: Duration::from_secs(secs), ..self }
    }

    pub fn start_timeout(self, secs: Option<u64>) -> Self {
        Self { start_timeout: secs.map(Duration::from_secs), ..self }
    }

    /// Its start ends only when it is stopped.
    pub fn never_ready(self) -> Self {
        Self { start_takes: Duration::MAX, start_timeout: None, ..self }
    }

    pub fn enabled(self) -> Self {
        Self { enabled: true, ..self }
    }

    pub fn stop_takes(self, secs: u64) -> Self {
        Self { stop_takes: Duration::from_secs(secs), ..self }
    }

    pub fn stop_exit(self, stop_exit: Exit) -> Self {
        Self { stop_exit, ..self }
    }

    pub fn can_reload(self) -> Self {
        Self { reload_takes: Some(Duration::from_millis(50)), ..self }
    }

    pub fn restart(self, restart: Restart, restart_sec: Duration) -> Self {
        Self { restart, restart_sec, ..self }
    }

    /// `RestartSteps=` and `RestartMaxDelaySec=`.
    pub fn restart_steps(self, steps: u32, max_delay: u64) -> Self {
        Self { restart_steps: Some((steps, Duration::from_secs(max_delay))), ..self }
    }

    pub fn start_limit(self, interval: u64, burst: u32) -> Self {
        let limit = Limit { interval: Duration::from_secs(interval), burst, reboots: false };
        Self { start_limit: Some(limit), ..self }
    }

    pub fn no_start_limit(self) -> Self {
        Self { start_limit: None, ..self }
    }

    /// `StartLimitAction=reboot`.
    pub fn start_limit_reboots(mut self) -> Self {
        if let Some(limit) = &mut self.start_limit {
            limit.reboots = true;
        }
        self
    }

    pub fn failure_reboots(self) -> Self {
        Self { failure_reboots: true, ..self }
    }

    /// `JobRunningTimeoutSec=` with `JobTimeoutAction=reboot`.
    pub fn job_timeout_reboots(self, secs: u64) -> Self {
        Self { job_timeout_reboots: Some(Duration::from_secs(secs)), ..self }
    }

    pub fn refuses_start(self) -> Self {
        Self { refuses_start: true, ..self }
    }

    pub fn refuses_stop(self) -> Self {
        Self { refuses_stop: true, ..self }
    }

    pub fn success_reboots(self) -> Self {
        Self { success_reboots: true, ..self }
    }

    pub fn condition(self, line: &str) -> Self {
        Self { condition: Some(Condition { line: line.to_owned(), met: true }), ..self }
    }

    pub fn assertion(self, line: &str) -> Self {
        Self { assertion: Some(Condition { line: line.to_owned(), met: true }), ..self }
    }

    pub fn exec_condition(self, line: &str) -> Self {
        Self { exec_condition: Some(Condition { line: line.to_owned(), met: true }), ..self }
    }

    pub fn stop_when_unneeded(self) -> Self {
        Self { stop_when_unneeded: true, ..self }
    }

    pub fn not_enabled(self) -> Self {
        Self { enabled: false, ..self }
    }

    pub fn transient(self) -> Self {
        Self { transient: true, enabled: false, ..self }
    }

    pub fn requires(mut self, units: &[&str]) -> Self {
        self.requires.extend(names(units));
        self
    }

    pub fn binds_to(mut self, units: &[&str]) -> Self {
        self.binds_to.extend(names(units));
        self
    }

    pub fn wants(mut self, units: &[&str]) -> Self {
        self.wants.extend(names(units));
        self
    }

    pub fn upholds(mut self, units: &[&str]) -> Self {
        self.upholds.extend(names(units));
        self
    }

    pub fn part_of(mut self, units: &[&str]) -> Self {
        self.part_of.extend(names(units));
        self
    }

    pub fn stop_propagated_from(mut self, units: &[&str]) -> Self {
        self.stop_propagated_from.extend(names(units));
        self
    }

    pub fn conflicts(mut self, units: &[&str]) -> Self {
        self.conflicts.extend(names(units));
        self
    }

    pub fn after(mut self, units: &[&str]) -> Self {
        self.after.extend(names(units));
        self
    }

    /// `OnSuccess=` and `OnFailure=`: these are started when it has ended, in whatever way.
    pub fn starts_at_its_end(mut self, units: &[&str]) -> Self {
        self.on_success.extend(names(units));
        self.on_failure.extend(names(units));
        self
    }

    /// `OnFailure=`.
    pub fn on_failure(mut self, units: &[&str]) -> Self {
        self.on_failure.extend(names(units));
        self
    }

    /// `OnSuccess=`.
    pub fn on_success(mut self, units: &[&str]) -> Self {
        self.on_success.extend(names(units));
        self
    }

    /// `Persistent=` with a `RandomizedDelaySec=` that comes to so much.
    pub fn catches_up_after(mut self, secs: u64) -> Self {
        if let Kind::Timer { catches_up_after, .. } = &mut self.kind {
            *catches_up_after = Some(Duration::from_secs(secs));
        }
        self
    }

    pub fn fails_to_start(mut self) -> Self {
        self.program.fails_to_start = true;
        self
    }

    pub fn exits_after(mut self, secs: u64, exit: Exit) -> Self {
        self.program.exits_after = Some((Duration::from_secs(secs), exit));
        self
    }

    pub fn listens_after(mut self, secs: u64) -> Self {
        self.program.listens_after = Duration::from_secs(secs);
        self
    }

    pub fn hangs_after(mut self, secs: u64) -> Self {
        self.program.hangs_after = Some(Duration::from_secs(secs));
        self
    }

    pub fn leaves_child(mut self) -> Self {
        self.program.leaves_child = true;
        self
    }

    /// Answers only while these answer.
    pub fn needs(mut self, units: &[&str]) -> Self {
        self.program.needs.extend(names(units));
        self
    }
}
