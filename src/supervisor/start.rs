//! The beginning: the state file is read, the core goes on where it was, and the channels between the loop and its
//! tasks are made.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::act::Internal;
use super::configuration::{self, Loaded};
use super::dbus_server::Place;
use super::holds::Holds;
use super::state_file::{self, Found, StateFile};
use super::{Alerts, Options, Supervisor, clock};
use crate::check::Check;
use crate::config::{Config, Credentials};
use crate::engine::{Engine, Event};
use crate::listen::{self, Counters};
use crate::mail::{MailEvent, Mailer, Recipients, Surroundings};
use crate::notification::NotificationId;
use crate::probe::Prober;
use crate::systemd::{Report, Request};
use crate::{bus, journal};

/// Room in the channels. A sender that finds one full waits, so this bounds memory, not correctness.
const CHANNEL: usize = 1024;

/// The receiving ends.
pub(super) struct Inputs {
    pub reports: mpsc::Receiver<Report>,
    pub internal: mpsc::Receiver<Internal>,
    pub mail: mpsc::Receiver<MailEvent>,
    pub requests: mpsc::Receiver<bus::Request>,
    pub places: mpsc::Receiver<Place>,
    pub questions: mpsc::Receiver<listen::Question>,
    /// What keeps the HTTP listener from listening.
    pub unheard: mpsc::Receiver<Vec<String>>,
}

/// The sending ends that tasks are given.
pub(super) struct Asked {
    pub to_systemd: mpsc::Receiver<Request>,
    pub reports: mpsc::Sender<Report>,
    pub requests: mpsc::Sender<bus::Request>,
    pub signals: mpsc::Receiver<bus::Signal>,
    pub places: mpsc::Sender<Place>,
    pub questions: mpsc::Sender<listen::Question>,
    pub unheard: mpsc::Sender<Vec<String>>,
}

impl Supervisor {
    pub(super) fn new(options: Options, loaded: Loaded) -> (Self, Inputs, Asked) {
        let boot = clock::boot();
        let configuration = configuration::status_of(&loaded);
        let config = loaded.config;
        let (requests, to_systemd) = mpsc::channel(CHANNEL);
        let (reports, reports_seen) = mpsc::channel(CHANNEL);
        let (internal, internal_seen) = mpsc::channel(CHANNEL);
        let (mail, mail_seen) = mpsc::channel(CHANNEL);
        let (bus_requests, requests_seen) = mpsc::channel(CHANNEL);
        let (signals, signals_seen) = mpsc::channel(CHANNEL);
        let (places, places_seen) = mpsc::channel(4);
        let (questions, questions_seen) = mpsc::channel(CHANNEL);
        let (unheard, unheard_seen) = mpsc::channel(4);
        let mut alerts = Alerts::default();
        let found = match &options.state_dir {
            Some(dir) => state_file::load(dir, &clock::now().wall.0.to_string()),
            None => {
                alerts.state = Some(
                    "There is no state directory: incidents and mails are lost at a restart.".to_owned(),
                );
                Found::Nothing
            }
        };
        if let Found::State(saved) = &found {
            clock::resume(&boot, saved);
        }
        let now = clock::now();
        let notified_rejection = match &found {
            Found::State(saved) => saved.notified_rejection,
            _ => None,
        };
        let mut in_the_way = None;
        let (engine, effects) = match found {
            Found::State(saved) => Engine::restore(now, &clock::name(&boot), *saved, config.checks.clone()),
            other => {
                if let Found::Unusable { why, aside } = other {
                    journal::log_trouble(&why);
                    alerts.forgotten = Some(why);
                    in_the_way = aside;
                }
                let mut engine = Engine::new();
                let effects = engine.handle(now, Event::Configured(config.checks.clone()));
                (engine, effects)
            }
        };
        let mailer = Mailer::start(
            Surroundings::of_this_process(options.user),
            options.state_dir.clone(),
            config.mail.clone(),
            mail,
        );
        mailer.readdress(recipients(&config));
        let pending: Vec<NotificationId> = engine.pending_notifications().cloned().collect();
        mailer.release_all_except(&pending);
        let credentials = Credentials::of_this_process();
        alerts.credentials = credentials.problems(&config);
        for problem in &alerts.credentials {
            journal::log_trouble(problem);
        }
        let (units, _) = watch::channel(engine.units().cloned().collect());
        let (listen, _) = watch::channel(config.listen.clone());
        let supervisor = Self {
            state: options.state_dir.as_deref().map(|dir| StateFile::new(dir, in_the_way)),
            options,
            config,
            configuration,
            notified_rejection,
            engine,
            prober: Arc::new(Prober::with_credentials(credentials)),
            mailer,
            requests,
            units,
            internal,
            signals,
            listen,
            counters: Counters::default(),
            waiting: Vec::new(),
            holds: Holds::default(),
            probes: BTreeMap::new(),
            effects,
            spooled: Vec::new(),
            dirty: true,
            started: now.wall,
            boot,
            status_line: String::new(),
            alerts,
            announce: true,
            announced: None,
        };
        let inputs = Inputs {
            reports: reports_seen,
            internal: internal_seen,
            mail: mail_seen,
            requests: requests_seen,
            places: places_seen,
            questions: questions_seen,
            unheard: unheard_seen,
        };
        let asked = Asked {
            to_systemd,
            reports,
            requests: bus_requests,
            signals: signals_seen,
            places,
            questions,
            unheard,
        };
        (supervisor, inputs, asked)
    }
}

/// Whom the configuration has told of each check that tells anybody.
pub(super) fn recipients(config: &Config) -> Recipients {
    let checks = config.checks.iter().filter(|check| !check.alert.off);
    let to = |check: &Check| check.alert.to.iter().map(ToString::to_string).collect();
    Recipients {
        checks: checks.map(|check| (check.name.clone(), to(check))).collect(),
        global: config.mail.iter().flat_map(|mail| &mail.to).cloned().collect(),
    }
}
