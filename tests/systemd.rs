//! The client of systemd against a bus and a systemd in this process, where every order of messages can be had. What a
//! real systemd does is for the booted tests.

// Helpers of tests may, as tests may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::time::Duration;

use stealthcheck::check::Step;
use stealthcheck::engine::{AttemptId, Event, JobRequest, Reset};
use stealthcheck::systemd::{Bus, Report, Request, run};
use stealthcheck::unit::{
    ActiveState, Job, JobKind, JobResult, LoadState, ManagerState, UnitName, UnitState,
};
use tokio::sync::{mpsc, oneshot, watch};

#[path = "systemd/fake.rs"]
mod fake;
use fake::{Fake, Script, Unit, unit};
#[path = "systemd/jobs.rs"]
mod jobs;
#[path = "systemd/lost.rs"]
mod lost;
#[path = "systemd/runs.rs"]
mod runs;
#[path = "systemd/stops.rs"]
mod stops;

fn name(text: &str) -> UnitName {
    UnitName::new(text).unwrap()
}

/// The client under test, and what it reports.
struct Client {
    requests: mpsc::Sender<Request>,
    units: watch::Sender<BTreeSet<UnitName>>,
    reports: mpsc::Receiver<Report>,
}

impl Client {
    fn start(address: String, names: &[&str]) -> Self {
        let (units, watched) = watch::channel(names.iter().map(|text| name(text)).collect());
        let (requests, requested) = mpsc::channel(8);
        // Of one place, so that every wait for the supervisor is waited.
        let (report, reports) = mpsc::channel(1);
        tokio::spawn(run(Bus::Address(address), watched, requested, report));
        Self { requests, units, reports }
    }

    /// Connected, and every state of the beginning reported.
    async fn ready(fake: &Fake, names: &[&str]) -> Self {
        let mut client = Self::start(fake.address(), names);
        client.running().await;
        client
    }

    /// Until the manager is reported to run.
    async fn running(&mut self) {
        while !is_running(&self.next().await) {}
    }

    async fn next(&mut self) -> Report {
        tokio::time::timeout(Duration::from_secs(5), self.reports.recv())
            .await
            .expect("nothing is reported")
            .unwrap()
    }

    /// The next state of this unit that is as wanted.
    async fn unit(&mut self, wanted: &str, is: impl Fn(&UnitState) -> bool) -> UnitState {
        loop {
            if let Report::Event(Event::UnitRead { unit, state }) = self.next().await
                && unit.as_str() == wanted
                && is(&state)
            {
                return state;
            }
        }
    }

    async fn job_ended(&mut self) -> (UnitName, AttemptId, JobResult, Option<UnitState>) {
        loop {
            if let Report::Event(Event::JobEnded { unit, attempt, result, state }) = self.next().await {
                return (unit, attempt, result, state);
            }
        }
    }

    async fn quiet(&mut self) {
        let report = tokio::time::timeout(Duration::from_millis(100), self.reports.recv()).await;
        assert!(report.is_err(), "reported: {report:?}");
    }

    async fn request_job(&self, unit: &str, attempt: u64, step: Step, reset: Reset) {
        let request = JobRequest {
            unit: name(unit),
            attempt: AttemptId(attempt),
            step,
            reset,
            displaces: false,
        };
        self.requests.send(Request::Job(request)).await.unwrap();
    }

    async fn read(&self, unit: &str) -> Result<(UnitName, UnitState), String> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Read { unit: name(unit), reply }).await.unwrap();
        answer.await.unwrap()
    }
}

fn is_manager(report: &Report, state: ManagerState) -> bool {
    matches!(report, Report::Event(Event::ManagerChanged(reported)) if *reported == state)
}

fn is_running(report: &Report) -> bool {
    is_manager(report, ManagerState::Running)
}

fn up() -> Unit {
    unit("active", "running", 0, 1)
}

fn down() -> Unit {
    unit("inactive", "dead", 0, 1)
}

async fn fake_with(units: &[(&str, Unit)]) -> Fake {
    let fake = Fake::start().await;
    for (name, unit) in units {
        fake.world.lock().unwrap().units.insert((*name).to_owned(), unit.clone());
    }
    fake
}

impl Fake {
    fn calls(&self) -> Vec<String> {
        self.world.lock().unwrap().calls.clone()
    }

    /// How often this method was called.
    fn count(&self, method: &str) -> usize {
        self.calls().iter().filter(|call| *call == method).count()
    }

    /// All jobs that the test expects have been requested.
    async fn requested(&self) {
        eventually(|| self.world.lock().unwrap().scripts.is_empty()).await;
    }
}

async fn eventually(what: impl Fn() -> bool) {
    for _ in 0..500 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to that");
}

#[tokio::test]
async fn states_are_reported_before_reachable_and_the_manager_after() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::start(fake.address(), &["web.service", "gone.service"]);
    let mut reported = Vec::new();
    loop {
        match client.next().await {
            Report::Event(Event::UnitRead { unit, state }) => {
                reported.push((unit.to_string(), state.load, state.active));
            }
            Report::Reachable => break,
            other => panic!("{other:?}"),
        }
    }
    reported.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        reported,
        [
            ("gone.service".to_owned(), LoadState::NotFound, ActiveState::Inactive),
            ("web.service".to_owned(), LoadState::Loaded, ActiveState::Active),
        ]
    );
    assert!(is_running(&client.next().await));
    client.quiet().await;
    let calls = fake.calls();
    let place = |method: &str| calls.iter().position(|call| call == method).unwrap();
    assert!(place("AddMatch") < place("Subscribe") && place("Subscribe") < place("ListUnitsByNames"));
    assert_eq!(fake.count("GetAll"), 1, "a unit that is not found is not read");
}

#[tokio::test]
async fn alias_and_primary_name_are_reported_as_one_unit() {
    let fake = fake_with(&[("mariadb.service", up()), ("percona.service", down())]).await;
    let alias = |id: &str| {
        fake.world.lock().unwrap().aliases.insert("mysql.service".to_owned(), id.to_owned());
    };
    let resolved = |report: &Report, to: &str| {
        matches!(report, Report::Event(Event::UnitResolved { name, id })
            if name.as_str() == "mysql.service" && id.as_str() == to)
    };
    alias("mariadb.service");
    let mut client = Client::start(fake.address(), &["mysql.service", "mariadb.service"]);
    assert!(resolved(&client.next().await, "mariadb.service"));
    client.unit("mariadb.service", |_| true).await;
    assert!(matches!(client.next().await, Report::Reachable));
    assert!(is_running(&client.next().await));
    assert_eq!(fake.count("GetAll"), 1);

    fake.set("mariadb.service", down()).await;
    let state = client.unit("mariadb.service", |_| true).await;
    assert_eq!(state.active, ActiveState::Inactive);
    client.quiet().await;
    let (id, state) = client.read("mysql.service").await.unwrap();
    assert_eq!((id, state.active), (name("mariadb.service"), ActiveState::Inactive));

    // A reload of systemd's files has it name another unit.
    alias("percona.service");
    fake.reloaded().await;
    assert!(resolved(&client.next().await, "percona.service"));
    client.unit("percona.service", |_| true).await;
    client.quiet().await;
}

#[tokio::test]
async fn settings_are_read_with_the_state() {
    let app = Unit {
        freezer: "frozen",
        wants: &["cache.service", "network.target"],
        triggered_by: &["app.socket"],
        ..up()
    };
    let fake = fake_with(&[("app.service", app)]).await;
    let mut client = Client::ready(&fake, &["app.service"]).await;
    let (_, state) = client.read("app.service").await.unwrap();
    assert!(state.frozen);
    assert_eq!(state.relations.unwrap().wants, [name("cache.service"), name("network.target")]);
    let settings = &state.settings;
    assert_eq!(settings.triggered_by, [name("app.socket")]);
    assert_eq!(settings.start_limit.unwrap().burst, 5);
    assert_eq!(settings.start_timeout, Some(Duration::from_secs(90)));
    assert!(settings.restarts && !settings.transient && !settings.failure_action);
    client.quiet().await;
}

#[tokio::test]
async fn skipped_start_is_reported_with_its_condition() {
    let fake = fake_with(&[("web.service", down())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    fake.world.lock().unwrap().scripts.push_back(Script::Queue(7));
    client.request_job("web.service", 1, Step::Start, Reset::No).await;
    fake.requested().await;
    // It is done before its kind can be read.
    let skipped = Unit { job: 7, unmet: Some(("/etc/x", 9)), ..down() };
    fake.set("web.service", skipped.clone()).await;
    fake.world.lock().unwrap().units.insert("web.service".into(), Unit { job: 0, ..skipped });
    fake.job_removed(7, "web.service", "done").await;
    let (_, _, result, state) = client.job_ended().await;
    let state = state.unwrap();
    assert_eq!((result, state.stopped_by), (JobResult::Done, None));
    assert_eq!(state.start_skipped.as_deref(), Some("ConditionPathExists=/etc/x was not met"));
}

#[tokio::test]
async fn unit_that_appears_with_a_reload_is_reported() {
    let fake = fake_with(&[("other.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    fake.world.lock().unwrap().units.insert("web.service".into(), down());
    fake.reloaded().await;
    let state = client.unit("web.service", |_| true).await;
    assert_eq!((state.load, state.active), (LoadState::Loaded, ActiveState::Inactive));

    client.units.send(BTreeSet::from([name("other.service")])).unwrap();
    client.unit("other.service", |state| state.active == ActiveState::Active).await;
    fake.set("web.service", up()).await;
    client.quiet().await;
}

#[tokio::test]
async fn signals_of_other_senders_are_ignored() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    let reads = || fake.count("GetAll");
    let before = reads();
    fake.properties_changed("web.service", ":1.666").await;
    fake.properties_changed("unrelated.service", fake::SYSTEMD).await;
    client.quiet().await;
    assert_eq!(reads(), before);
}

#[tokio::test]
async fn shutdown_is_reported() {
    let fake = fake_with(&[]).await;
    let mut client = Client::ready(&fake, &[]).await;
    fake.world.lock().unwrap().system_state = "stopping";
    fake.job_new(3, "shutdown.target", "start").await;
    assert!(is_manager(&client.next().await, ManagerState::Stopping));
}

#[tokio::test]
async fn usage_is_read_on_request_only() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    let ask = async |client: &Client, unit: &str| {
        let (reply, answer) = oneshot::channel();
        client.requests.send(Request::Usage { unit: name(unit), reply }).await.unwrap();
        answer.await.unwrap()
    };
    let usage = ask(&client, "web.service").await.unwrap();
    assert!(usage.running);
    assert_eq!((usage.invocation_id, usage.memory, usage.cpu_nsec), ("01".repeat(16), Some(7), None));
    assert!(!ask(&client, "gone.service").await.unwrap().running);
    client.quiet().await;

    fake.lose_bus().await;
    assert!(matches!(client.next().await, Report::Unreachable(_)));
    assert!(ask(&client, "web.service").await.unwrap_err().contains("cannot be reached"));
}

#[tokio::test]
async fn relations_are_reported_without_the_default_ones() {
    let app = Unit { requires: &["db.service"], conflicted_by: &["renew.service"], ..up() };
    let fake = fake_with(&[("app.service", app.clone()), ("plain.service", up())]).await;
    let mut client = Client::start(fake.address(), &["app.service", "plain.service"]);
    let mut relations = Vec::new();
    while relations.len() < 2 {
        if let Report::Event(Event::UnitRead { unit, state }) = client.next().await {
            relations.push((unit.to_string(), state.relations));
        }
    }
    relations.sort_by(|a, b| a.0.cmp(&b.0));
    let read = relations[0].1.as_ref().expect("the app has relations");
    assert_eq!(
        (&read.requires[..], &read.conflicts[..]),
        (&[name("db.service")][..], &[name("renew.service")][..])
    );
    assert_eq!(relations[1].1, None);

    // They are others after a change of its file, which no signal of the unit tells.
    client.running().await;
    fake.world.lock().unwrap().units.insert("app.service".into(), up());
    fake.reloaded().await;
    let state = client.unit("app.service", |state| state.relations.is_none()).await;
    assert_eq!(state.active, ActiveState::Active);
}
