//! The client of systemd against a bus and a systemd in this process, where every order of messages can be had. What a
//! real systemd does is for the booted tests.

// Helpers of tests may, as tests may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::time::Duration;

use stealthcheck::check::Step;
use stealthcheck::engine::AttemptId;
use stealthcheck::systemd::{Ask, Bus, Happening, run};
use stealthcheck::unit::{
    ActiveState, Job, JobKind, JobResult, LoadState, ManagerState, UnitName, UnitState,
};
use tokio::sync::{mpsc, oneshot, watch};

#[path = "systemd/fake.rs"]
mod fake;
use fake::{Fake, Script, Unit, unit};
#[path = "systemd/runs.rs"]
mod runs;

fn name(text: &str) -> UnitName {
    UnitName::new(text).unwrap()
}

/// The client under test, and what it tells.
struct Client {
    asks: mpsc::Sender<Ask>,
    units: watch::Sender<BTreeSet<UnitName>>,
    happenings: mpsc::Receiver<Happening>,
}

impl Client {
    fn start(address: String, names: &[&str]) -> Self {
        let (units, watched) = watch::channel(names.iter().map(|text| name(text)).collect());
        let (asks, asked) = mpsc::channel(8);
        // Of one place, so that every wait for the supervisor is waited.
        let (happen, happenings) = mpsc::channel(1);
        tokio::spawn(run(Bus::Address(address), watched, asked, happen));
        Self { asks, units, happenings }
    }

    /// Connected, and every state of the beginning told.
    async fn ready(fake: &Fake, names: &[&str]) -> Self {
        let mut client = Self::start(fake.address(), names);
        while client.next().await != Happening::Manager(ManagerState::Running) {}
        client
    }

    async fn next(&mut self) -> Happening {
        tokio::time::timeout(Duration::from_secs(5), self.happenings.recv())
            .await
            .expect("nothing is told")
            .unwrap()
    }

    /// The next state of this unit that is as wanted.
    async fn unit(&mut self, wanted: &str, is: impl Fn(&UnitState) -> bool) -> UnitState {
        loop {
            if let Happening::Unit { unit, state } = self.next().await
                && unit.as_str() == wanted
                && is(&state)
            {
                return state;
            }
        }
    }

    async fn job_ended(&mut self) -> (UnitName, AttemptId, JobResult, Option<UnitState>) {
        loop {
            if let Happening::JobEnded { unit, attempt, result, state } = self.next().await {
                return (unit, attempt, result, state);
            }
        }
    }

    async fn quiet(&mut self) {
        let told = tokio::time::timeout(Duration::from_millis(100), self.happenings.recv()).await;
        assert!(told.is_err(), "told: {told:?}");
    }

    async fn ask_job(&self, unit: &str, attempt: u64, step: Step, reset_failed: bool) {
        let attempt = AttemptId(attempt);
        self.asks.send(Ask::Job { unit: name(unit), attempt, step, reset_failed }).await.unwrap();
    }
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
async fn the_states_are_told_before_reachable_and_the_manager_after() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::start(fake.address(), &["web.service", "gone.service"]);
    let mut told = Vec::new();
    loop {
        match client.next().await {
            Happening::Unit { unit, state } => told.push((unit.to_string(), state.load, state.active)),
            Happening::Reachable => break,
            other => panic!("{other:?}"),
        }
    }
    told.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        told,
        [
            ("gone.service".to_owned(), LoadState::NotFound, ActiveState::Inactive),
            ("web.service".to_owned(), LoadState::Loaded, ActiveState::Active),
        ]
    );
    assert_eq!(client.next().await, Happening::Manager(ManagerState::Running));
    client.quiet().await;
    let calls = fake.world.lock().unwrap().calls.clone();
    let place = |method: &str| calls.iter().position(|call| call == method).unwrap();
    assert!(place("AddMatch") < place("Subscribe") && place("Subscribe") < place("ListUnitsByNames"));
    assert_eq!(
        calls.iter().filter(|call| *call == "GetAll").count(),
        1,
        "a unit that is not found is not read"
    );
}

#[tokio::test]
async fn an_end_and_a_stop_are_told_apart() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    fake.set("web.service", down()).await;
    let state = client.unit("web.service", |state| state.active == ActiveState::Inactive).await;
    assert_eq!(state.stopped_by, None);

    fake.set("web.service", unit("active", "running", 0, 2)).await;
    client.unit("web.service", |state| state.active == ActiveState::Active).await;
    fake.job_new(9, "web.service", "stop").await;
    fake.set("web.service", unit("deactivating", "stop-sigterm", 9, 2)).await;
    fake.set("web.service", unit("inactive", "dead", 9, 2)).await;
    fake.job_removed(9, "web.service", "done").await;
    fake.set("web.service", unit("inactive", "dead", 0, 2)).await;
    let settled = |state: &UnitState| state.active == ActiveState::Inactive && state.job.is_none();
    let state = client.unit("web.service", settled).await;
    assert_eq!(state.stopped_by, Some(Job { id: 9, kind: JobKind::Stop, ours: false }));
}

#[tokio::test]
async fn a_job_that_ends_before_it_is_named_is_not_missed() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    fake.world.lock().unwrap().scripts.push_back(Script::EndFirst(7, "done"));
    client.ask_job("web.service", 3, Step::Restart, true).await;
    let (unit, attempt, result, state) = client.job_ended().await;
    assert_eq!((unit.as_str(), attempt, result), ("web.service", AttemptId(3), JobResult::Done));
    assert_eq!(state.unwrap().active, ActiveState::Active);
    let calls = fake.world.lock().unwrap().calls.clone();
    let place = |method: &str| calls.iter().position(|call| call == method).unwrap();
    assert!(place("ResetFailedUnit") < place("RestartUnit"), "its failure is not the job's");
}

#[tokio::test]
async fn results_and_refusals_are_told_as_such() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    let helper = Step::StartUnit(name("helper.service"));
    fake.world.lock().unwrap().scripts.push_back(Script::Queue(7));
    client.ask_job("web.service", 1, helper, false).await;
    eventually(|| fake.world.lock().unwrap().scripts.is_empty()).await;
    fake.job_removed(6, "web.service", "done").await;
    fake.job_removed(7, "helper.service", "canceled").await;
    let (unit, _, result, _) = client.job_ended().await;
    assert_eq!((unit.as_str(), result), ("web.service", JobResult::Canceled));

    let denied = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
    for (error, says) in [(denied, "systemctl reload"), ("org.freedesktop.systemd1.UnitMasked", "unmask")] {
        fake.world.lock().unwrap().scripts.push_back(Script::Refuse(error));
        client.ask_job("web.service", 2, Step::Restart, false).await;
        match client.job_ended().await.2 {
            JobResult::Refused(reason) | JobResult::Unasked(reason) => {
                assert!(reason.contains(says), "{reason}")
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn an_alias_is_told_by_its_own_name() {
    let fake = fake_with(&[("dbus-broker.service", up())]).await;
    let alias = ("dbus.service".to_owned(), "dbus-broker.service".to_owned());
    fake.world.lock().unwrap().aliases.extend([alias]);
    let mut client = Client::ready(&fake, &["dbus.service", "dbus-broker.service"]).await;
    fake.set("dbus-broker.service", down()).await;
    let mut told = BTreeSet::new();
    while told.len() < 2 {
        if let Happening::Unit { unit, state } = client.next().await {
            assert_eq!(state.active, ActiveState::Inactive);
            told.insert(unit.to_string());
        }
    }
}

#[tokio::test]
async fn a_unit_that_was_not_there_appears_with_a_reload_and_one_may_be_watched_later() {
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
async fn signals_of_strangers_are_not_believed() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    let reads = || fake.world.lock().unwrap().calls.iter().filter(|call| *call == "GetAll").count();
    let before = reads();
    fake.properties_changed("web.service", ":1.666").await;
    fake.properties_changed("unrelated.service", fake::SYSTEMD).await;
    client.quiet().await;
    assert_eq!(reads(), before);
}

#[tokio::test]
async fn a_shutdown_is_told() {
    let fake = fake_with(&[]).await;
    let mut client = Client::ready(&fake, &[]).await;
    fake.world.lock().unwrap().system_state = "stopping";
    fake.job_new(3, "shutdown.target", "start").await;
    assert_eq!(client.next().await, Happening::Manager(ManagerState::Stopping));
}

#[tokio::test]
async fn what_a_unit_uses_is_read_when_it_is_asked_for_and_only_then() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    let ask = async |client: &Client, unit: &str| {
        let (reply, answer) = oneshot::channel();
        client.asks.send(Ask::Usage { unit: name(unit), reply }).await.unwrap();
        answer.await.unwrap()
    };
    let usage = ask(&client, "web.service").await.unwrap();
    assert!(usage.running);
    assert_eq!((usage.invocation_id, usage.memory, usage.cpu_nsec), ("01".repeat(16), Some(7), None));
    assert!(!ask(&client, "gone.service").await.unwrap().running);
    client.quiet().await;

    fake.lose_bus().await;
    assert!(matches!(client.next().await, Happening::Unreachable(_)));
    assert!(ask(&client, "web.service").await.unwrap_err().contains("cannot be reached"));
}

#[tokio::test]
async fn a_lost_bus_is_told_and_what_happened_meanwhile_is_read() {
    let fake = fake_with(&[("web.service", up()), ("db.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service", "db.service"]).await;
    // One job that still runs when the bus is back, and one that has ended unheard.
    fake.world.lock().unwrap().jobs.extend([(7, "restart"), (8, "restart")]);
    fake.world.lock().unwrap().scripts.extend([Script::Queue(7), Script::Queue(8)]);
    client.ask_job("web.service", 1, Step::Restart, false).await;
    client.ask_job("db.service", 2, Step::Restart, false).await;
    eventually(|| fake.world.lock().unwrap().scripts.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    fake.lose_bus().await;
    assert!(matches!(client.next().await, Happening::Unreachable(why) if why.contains("was lost")));

    let (reply, answer) = oneshot::channel();
    client.asks.send(Ask::Read { unit: name("web.service"), reply }).await.unwrap();
    assert!(answer.await.unwrap().unwrap_err().contains("cannot be reached"));
    client.ask_job("web.service", 3, Step::Start, false).await;
    let (_, attempt, result, _) = client.job_ended().await;
    assert_eq!(attempt, AttemptId(3));
    assert!(matches!(result, JobResult::Unasked(why) if why.contains("cannot be reached")));

    fake.world.lock().unwrap().jobs.remove(&8);
    fake.world.lock().unwrap().units.insert("web.service".into(), unit("failed", "failed", 0, 2));
    let mut told = Vec::new();
    while !told.iter().any(|told| matches!(told, Happening::Manager(_)))
        || !told.iter().any(|told| matches!(told, Happening::JobEnded { .. }))
    {
        told.push(client.next().await);
    }
    let place = |is: &dyn Fn(&Happening) -> bool| told.iter().position(is).expect("it is not told");
    let failed =
        place(&|told| matches!(told, Happening::Unit { state, .. } if state.active == ActiveState::Failed));
    assert!(failed < place(&|told| *told == Happening::Reachable));
    let ended = place(&|told| matches!(told, Happening::JobEnded { attempt: AttemptId(2), .. }));
    match &told[ended] {
        Happening::JobEnded { result: JobResult::Unknown(why), state: Some(state), .. } => {
            assert!(why.contains("nobody listened"));
            assert_eq!(state.active, ActiveState::Active);
        }
        other => panic!("{other:?}"),
    }
    fake.job_removed(7, "web.service", "done").await;
    let (_, attempt, result, _) = client.job_ended().await;
    assert_eq!((attempt, result), (AttemptId(1), JobResult::Done));
}

#[tokio::test]
async fn a_job_whose_end_was_heard_is_told_though_the_bus_is_lost_before_its_unit_is_read() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    fake.world.lock().unwrap().scripts.push_back(Script::Queue(7));
    client.ask_job("web.service", 1, Step::Restart, false).await;
    eventually(|| fake.world.lock().unwrap().scripts.is_empty()).await;
    fake.world.lock().unwrap().unread = true;
    let asked = || fake.world.lock().unwrap().calls.iter().filter(|call| *call == "GetAll").count();
    let before = asked();
    fake.job_removed(7, "web.service", "done").await;
    eventually(|| asked() > before).await;
    fake.lose_bus().await;
    let (_, attempt, result, state) = client.job_ended().await;
    assert_eq!((attempt, result, state), (AttemptId(1), JobResult::Done, None));
}

#[tokio::test]
async fn where_there_is_no_bus_the_reason_is_told_once() {
    let mut client = Client::start("unix:path=/nonexistent/bus".to_owned(), &["web.service"]);
    assert!(matches!(client.next().await, Happening::Unreachable(why) if why.contains("cannot connect")));
    tokio::time::sleep(Duration::from_millis(700)).await;
    client.quiet().await;
}

#[tokio::test]
async fn what_a_unit_has_to_do_with_others_is_told_with_it_and_what_every_unit_has_is_not() {
    let app = Unit { requires: &["db.service"], conflicted_by: &["renew.service"], ..up() };
    let fake = fake_with(&[("app.service", app.clone()), ("plain.service", up())]).await;
    let mut client = Client::start(fake.address(), &["app.service", "plain.service"]);
    let mut relations = Vec::new();
    while relations.len() < 2 {
        if let Happening::Unit { unit, state } = client.next().await {
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
    while client.next().await != Happening::Manager(ManagerState::Running) {}
    fake.world.lock().unwrap().units.insert("app.service".into(), up());
    fake.reloaded().await;
    let state = client.unit("app.service", |state| state.relations.is_none()).await;
    assert_eq!(state.active, ActiveState::Active);
}

#[tokio::test]
async fn a_systemd_that_does_not_answer_is_asked_one_thing_at_a_time_until_it_does() {
    let fake = fake_with(&[("web.service", up()), ("db.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service", "db.service"]).await;
    // What a bus says of a connection that has too many questions without an answer.
    fake.world.lock().unwrap().error = Some("org.freedesktop.DBus.Error.LimitsExceeded");
    fake.reloaded().await;
    assert!(
        matches!(client.next().await, Happening::Unreachable(why) if why == "systemd does not answer: Enough.")
    );
    let asked = || fake.world.lock().unwrap().calls.len();
    let before = asked();
    for _ in 0..20 {
        fake.reloaded().await;
        fake.properties_changed("web.service", fake::SYSTEMD).await;
    }
    let (reply, answer) = oneshot::channel();
    client.asks.send(Ask::Read { unit: name("web.service"), reply }).await.unwrap();
    assert!(answer.await.unwrap().unwrap_err().contains("cannot be reached: systemd does not answer"));
    client.ask_job("web.service", 1, Step::Restart, false).await;
    let (_, attempt, result, _) = client.job_ended().await;
    assert_eq!(attempt, AttemptId(1));
    assert!(matches!(result, JobResult::Unasked(why) if why.contains("cannot be reached")));
    client.quiet().await;
    assert!(asked() - before <= 1, "asked {} times meanwhile", asked() - before);

    // It answers again: everything is read anew, for signals may have been lost.
    let failed = unit("failed", "failed", 0, 2);
    fake.world.lock().unwrap().units.insert("web.service".into(), failed);
    fake.world.lock().unwrap().error = None;
    let told = tokio::time::timeout(Duration::from_secs(20), client.happenings.recv()).await.unwrap();
    assert!(
        matches!(&told, Some(Happening::Unit { unit, state }) if unit.as_str() == "web.service"
            && state.active == ActiveState::Failed),
        "{told:?}"
    );
    assert_eq!(client.next().await, Happening::Reachable);
    assert_eq!(client.next().await, Happening::Manager(ManagerState::Running));
    fake.set("web.service", up()).await;
    client.unit("web.service", |state| state.active == ActiveState::Active).await;
}

#[tokio::test]
async fn an_order_that_is_not_answered_is_not_given_up_and_holds_up_nothing() {
    let fake = fake_with(&[("web.service", up()), ("db.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service", "db.service"]).await;
    let scripts = [Script::AnswerLater(7), Script::EndFirst(8, "done")];
    fake.world.lock().unwrap().scripts.extend(scripts);
    client.ask_job("web.service", 1, Step::Restart, false).await;
    eventually(|| fake.world.lock().unwrap().scripts.len() == 1).await;
    client.ask_job("db.service", 2, Step::Restart, false).await;
    assert_eq!(client.job_ended().await.1, AttemptId(2));
    // Whether systemd answers at all is asked after a while. It does, so this is all that is late.
    let looked = || fake.world.lock().unwrap().calls.iter().filter(|call| *call == "Get").count();
    let before = looked();
    tokio::time::timeout(Duration::from_secs(30), async {
        while looked() == before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("systemd is not looked after");
    client.quiet().await;

    fake.answer_order().await;
    fake.job_removed(7, "web.service", "done").await;
    let (_, attempt, result, _) = client.job_ended().await;
    assert_eq!((attempt, result), (AttemptId(1), JobResult::Done));
    let orders = fake.world.lock().unwrap().calls.iter().filter(|call| *call == "RestartUnit").count();
    assert_eq!(orders, 2, "an order cannot be taken back, so it is not given twice");
}
