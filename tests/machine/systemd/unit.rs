//! One loaded unit: its state, its job, its timestamps, and the processes in it.

use std::sync::Arc;
use std::time::Duration;

use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, LoadState, Relations, StartLimit, UnitName, UnitSettings, UnitState};

use super::job::Job;
use super::unit_file::{Exit, Kind, Restart, UnitFile, unit_name};

/// systemd's sub states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sub {
    Dead,
    Failed,
    Condition,
    StartPre,
    Start,
    Running,
    Exited,
    Reload,
    StopSigterm,
    AutoRestart,
    /// Of a socket, a timer, a target.
    Listening,
    Waiting,
    Active,
}

impl Sub {
    pub fn active(self) -> ActiveState {
        match self {
            Self::Dead => ActiveState::Inactive,
            Self::Failed => ActiveState::Failed,
            Self::Condition | Self::StartPre | Self::Start | Self::AutoRestart => ActiveState::Activating,
            Self::Running | Self::Exited | Self::Listening | Self::Waiting | Self::Active => {
                ActiveState::Active
            }
            Self::Reload => ActiveState::Reloading,
            Self::StopSigterm => ActiveState::Deactivating,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Failed => "failed",
            Self::Condition => "condition",
            Self::StartPre => "start-pre",
            Self::Start => "start",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Reload => "reload",
            Self::StopSigterm => "stop-sigterm",
            Self::AutoRestart => "auto-restart",
            Self::Listening => "listening",
            Self::Waiting => "waiting",
            Self::Active => "active",
        }
    }
}

pub fn is_down(active: ActiveState) -> bool {
    matches!(active, ActiveState::Inactive | ActiveState::Failed)
}

pub fn is_up(active: ActiveState) -> bool {
    matches!(active, ActiveState::Active | ActiveState::Reloading)
}

/// Other units by their index, in both directions of each setting.
#[derive(Clone, Debug, Default)]
pub struct Links {
    pub requires: Vec<usize>,
    pub requisite: Vec<usize>,
    pub binds_to: Vec<usize>,
    pub wants: Vec<usize>,
    pub upholds: Vec<usize>,
    pub conflicts: Vec<usize>,
    pub stop_propagated_from: Vec<usize>,
    pub after: Vec<usize>,
    pub on_success: Vec<usize>,
    pub on_failure: Vec<usize>,
    pub required_by: Vec<usize>,
    pub requisite_of: Vec<usize>,
    pub bound_by: Vec<usize>,
    pub wanted_by: Vec<usize>,
    pub upheld_by: Vec<usize>,
    pub conflicted_by: Vec<usize>,
    pub consists_of: Vec<usize>,
    pub propagates_stop_to: Vec<usize>,
    pub before: Vec<usize>,
    pub triggered_by: Vec<usize>,
    /// Units that name this one in any way: while one of them is loaded, so is this.
    pub referenced_by: Vec<usize>,
}

/// Microseconds since 1970 by the clock as it was then; 0 for never since the unit was loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timestamps {
    pub state_change: u64,
    pub inactive_exit: u64,
    pub inactive_enter: u64,
    pub active_enter: u64,
    pub active_exit: u64,
    /// When the main process ended.
    pub main_exit: u64,
    /// When it was last started, as far as to its conditions.
    pub condition: u64,
}

#[derive(Debug)]
pub struct Unit {
    pub file: UnitFile,
    pub links: Links,
    pub relations: Option<Arc<Relations>>,
    pub settings: Arc<UnitSettings>,
    pub sub: Sub,
    /// systemd's word; `success` unless something went wrong.
    pub result: &'static str,
    pub job: Option<Job>,
    pub invocation: u64,
    pub n_restarts: u32,
    pub flush_n_restarts: bool,
    pub forbid_restart: bool,
    pub times: Timestamps,
    pub main_pid: u32,
    pub exit: Option<Exit>,
    /// The line that was not met at the latest start.
    pub unmet: Option<String>,
    /// Of the start limit: when the counted interval began, and the starts in it.
    pub limit_began: Option<Mono>,
    pub starts: u32,
    pub frozen: bool,
    /// A transient unit that systemd has unloaded is gone for good.
    pub gone: bool,
    /// Timers of an earlier state, or of an earlier run, mean nothing.
    pub state_serial: u64,
    pub run_serial: u64,
    /// What its stop ends in.
    pub stop_result: &'static str,
    /// The present run of its program answers from then on.
    pub listens_from: Mono,
    pub started: Mono,
    /// A child of an earlier run is left and answers.
    pub left_over: bool,
    /// When a timer last elapsed, in microseconds since 1970, also across reboots.
    pub last_trigger: u64,
    /// How many runs of its processes there were.
    pub runs: u64,
}

impl Unit {
    pub fn new(file: UnitFile) -> Self {
        Self {
            links: Links::default(),
            relations: None,
            settings: Arc::default(),
            sub: Sub::Dead,
            result: "success",
            job: None,
            invocation: 0,
            n_restarts: 0,
            flush_n_restarts: false,
            forbid_restart: false,
            times: Timestamps::default(),
            main_pid: 0,
            exit: None,
            unmet: None,
            limit_began: None,
            starts: 0,
            frozen: false,
            gone: false,
            state_serial: 0,
            run_serial: 0,
            stop_result: "success",
            listens_from: Mono::default(),
            started: Mono::default(),
            left_over: false,
            last_trigger: 0,
            runs: 0,
            file,
        }
    }

    pub fn name(&self) -> &UnitName {
        &self.file.name
    }

    pub fn active(&self) -> ActiveState {
        self.sub.active()
    }

    pub fn is_down(&self) -> bool {
        is_down(self.active())
    }

    /// Active or reloading.
    pub fn is_up(&self) -> bool {
        is_up(self.active())
    }

    pub fn is_up_or_coming(&self) -> bool {
        self.is_up() || self.active() == ActiveState::Activating
    }

    pub fn is_down_or_going(&self) -> bool {
        self.is_down() || self.active() == ActiveState::Deactivating
    }

    pub fn is_service(&self) -> bool {
        matches!(self.file.kind, Kind::Simple | Kind::Notify | Kind::Oneshot)
    }

    /// So long systemd waits before its next restart of the service (service_restart_usec_next of systemd 254).
    pub fn restart_delay(&self) -> Duration {
        let first = self.file.restart_sec;
        let queued = self.sub == Sub::AutoRestart && self.job.is_some();
        let next = if queued { self.n_restarts } else { self.n_restarts + 1 };
        match self.file.restart_steps {
            Some((steps, max)) if next > steps => max,
            Some((steps, max)) if next > 1 => {
                let growth = max.as_secs_f64() / first.as_secs_f64();
                first.mul_f64(growth.powf(f64::from(next - 1) / f64::from(steps)))
            }
            _ => first,
        }
    }

    pub fn can_be_loaded(&self) -> bool {
        !self.gone
    }

    pub fn load_state(&self) -> LoadState {
        if self.gone || self.file.removed {
            LoadState::NotFound
        } else if self.file.masked {
            LoadState::Masked
        } else {
            LoadState::Loaded
        }
    }

    /// Nothing has happened to it since it was loaded.
    pub fn is_pristine(&self) -> bool {
        self.times.state_change == 0 && self.times.condition == 0 && self.starts == 0
    }

    /// systemd forgets the unit: what is loaded again knows nothing of before.
    pub fn unload(&mut self) {
        let gone = self.file.transient;
        let fresh = Self::new(self.file.clone());
        let old = std::mem::replace(self, fresh);
        self.links = old.links;
        self.relations = old.relations;
        self.settings = old.settings;
        self.state_serial = old.state_serial + 1;
        self.run_serial = old.run_serial + 1;
        self.left_over = old.left_over;
        self.last_trigger = old.last_trigger;
        self.runs = old.runs;
        self.gone = old.gone || gone;
    }

    /// Takes what the file says into the form that a reading has.
    pub fn describe_file(
        &mut self,
        triggered_by: Vec<UnitName>,
        consists_of: Vec<UnitName>,
        required_by: Vec<UnitName>,
        conflicts: Vec<UnitName>,
    ) {
        let file = &self.file;
        let joined = |lists: [&Vec<UnitName>; 3]| lists.into_iter().flatten().cloned().collect();
        let relations = Relations {
            requires: joined([&file.requires, &file.binds_to, &file.requisite]),
            binds_to: joined([&file.binds_to, &file.stop_propagated_from, &vec![]]),
            wants: joined([&file.wants, &file.upholds, &vec![]]),
            part_of: file.part_of.clone(),
            consists_of,
            required_by,
            conflicts,
            at_end: joined([&file.on_failure, &file.on_success, &vec![]]),
        };
        self.relations = (!relations.is_empty()).then(|| Arc::new(relations));
        let reboot = unit_name("reboot.target");
        let limit = file.start_limit.filter(|_| self.is_service());
        let unit_file_state = match (file.transient, file.enabled) {
            (true, _) => "transient",
            (_, true) => "enabled",
            (_, false) => "disabled",
        };
        self.settings = Arc::new(UnitSettings {
            transient: file.transient,
            triggered_by,
            start_limit: limit.map(|limit| StartLimit {
                interval: limit.interval,
                burst: limit.burst,
                action: limit.reboots,
            }),
            failure_action: file.failure_reboots
                || file.job_timeout_reboots.is_some()
                || file.on_failure.contains(&reboot),
            success_action: file.success_reboots || file.on_success.contains(&reboot),
            refuses_start: file.refuses_start,
            refuses_stop: file.refuses_stop,
            restarts: file.restart != Restart::No,
            restarts_on_success: file.restart == Restart::Always,
            restart_delay: if self.is_service() { file.restart_sec } else { Duration::ZERO },
            unit_file_state: unit_file_state.to_owned(),
            can_reload: file.reload_takes.is_some(),
            stop_when_unneeded: file.stop_when_unneeded,
            start_timeout: file.start_timeout.filter(|_| self.is_service()),
        });
    }

    /// What `GetAll` says now. `stopped_by` and `seen_ended_usec` are no properties.
    pub fn read(&self) -> UnitState {
        if self.gone {
            return UnitState::default();
        }
        let (exit_code, exit_status) = match self.exit {
            None => (0, 0),
            Some(Exit::Status(status)) => (1, status),
            Some(Exit::Signal(signal)) => (2, signal),
        };
        let service = self.is_service();
        let triggers = match &self.file.kind {
            Kind::Timer { triggers, .. } => Some(triggers.clone()),
            Kind::Socket { service } => Some(service.clone()),
            _ => None,
        };
        UnitState {
            load: self.load_state(),
            active: self.active(),
            sub: self.sub.word().to_owned(),
            result: if service { self.result.to_owned() } else { String::new() },
            job: None,
            stopped_by: None,
            start_dropped: false,
            invocation_id: if self.invocation == 0 {
                String::new()
            } else {
                format!("{:032x}", self.invocation)
            },
            n_restarts: self.n_restarts,
            oneshot: self.file.kind == Kind::Oneshot && !self.file.remain_after_exit,
            main_pid: self.main_pid,
            exit_status,
            exit_code,
            inactive_enter_usec: self.times.inactive_enter,
            active_enter_usec: self.times.active_enter,
            state_change_usec: self.times.state_change,
            inactive_exit_usec: self.times.inactive_exit,
            active_exit_usec: self.times.active_exit,
            main_exit_usec: self.times.main_exit,
            seen_ended_usec: 0,
            starts_seen: 0,
            failures_seen: 0,
            last_trigger_usec: if triggers.is_some() { self.last_trigger } else { 0 },
            triggers,
            description: self.file.name.to_string(),
            frozen: self.frozen,
            start_skipped: self.unmet.as_ref().map(|line| format!("{line} was not met")),
            settings: match self.file.restart_steps {
                None => Arc::clone(&self.settings),
                Some(_) => {
                    let restart_delay = self.restart_delay();
                    Arc::new(UnitSettings { restart_delay, ..(*self.settings).clone() })
                }
            },
            relations: self.relations.clone(),
        }
    }
}
