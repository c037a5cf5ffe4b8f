//! The interface and its client, joined by a socket pair, with a supervisor, a bus driver and a polkit that are made
//! up. (The real bus, its policy and the real polkit are met in the booted tests.)

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{Notify, mpsc};
use zbus::message::{Flags, Message, Type};
use zbus::wire::DynamicType;
use zbus::{Connection, MessageStream, OwnedVariant, connection};

use super::client::{CallError, Client};
use super::interface::Action;
use super::{
    Bus, CHECK, MANAGER, NAME, PATH, Refusal, Request, Served, Signal, Transition, Which, resolve, serve,
};
use crate::check::CheckName;
use crate::status::{CheckStatus, Counts, Explanation, Reason, Snapshot, Topic};
use crate::time::Wall;
use crate::verdict::Health;

mod hold;

/// How the made-up polkit answers.
#[derive(Clone)]
enum Polkit {
    Yes,
    No,
    Challenge,
    Dismissed,
    /// A prompt that stays open until somebody types.
    Prompt(Arc<Notify>),
    Absent,
}

/// One question that polkit was asked: subject, action, details, flags.
type Question = (String, String, HashMap<String, String>, u32);

struct FakePolkit {
    how: Polkit,
    asked: Arc<Mutex<Vec<Question>>>,
}

#[zbus::interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl FakePolkit {
    async fn check_authorization(
        &self,
        subject: (String, HashMap<String, OwnedVariant>),
        action: String,
        details: HashMap<String, String>,
        flags: u32,
        _cancellation: String,
    ) -> zbus::fdo::Result<((bool, bool, HashMap<String, String>),)> {
        let name = <&str>::try_from(&subject.1["name"]).unwrap_or_default().to_owned();
        self.asked.lock().unwrap().push((format!("{} {name}", subject.0), action, details, flags));
        Ok((match &self.how {
            Polkit::Yes => (true, false, HashMap::new()),
            Polkit::No => (false, false, HashMap::new()),
            Polkit::Challenge => (false, true, HashMap::new()),
            Polkit::Dismissed => {
                (false, false, HashMap::from([("polkit.dismissed".to_owned(), "true".to_owned())]))
            }
            Polkit::Prompt(typed) => {
                typed.notified().await;
                (true, false, HashMap::new())
            }
            Polkit::Absent => return Err(zbus::fdo::Error::ServiceUnknown("no polkit".to_owned())),
        },))
    }
}

/// The part of the bus driver that says who is calling.
struct FakeDriver {
    uid: u32,
}

#[zbus::interface(name = "org.freedesktop.DBus")]
impl FakeDriver {
    fn get_connection_unix_user(&self, _name: String) -> u32 {
        self.uid
    }
}

struct Scene {
    /// The caller's end, on which the made-up driver and polkit live too.
    caller: Connection,
    served: Served,
    asked: Arc<Mutex<Vec<Question>>>,
    _daemon: Connection,
}

const SOMEBODY: u32 = 4_294_000_000;

async fn scene(bus: Bus, uid: u32, polkit: Polkit) -> Scene {
    let (scene, inbox) = stage(bus, uid, polkit).await;
    tokio::spawn(supervise(inbox));
    scene
}

/// A scene without a supervisor: its requests wait.
async fn stage(bus: Bus, uid: u32, polkit: Polkit) -> (Scene, mpsc::Receiver<Request>) {
    let (a, b) = UnixStream::pair().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let caller = connection::Builder::unix_stream(b)
        .server(zbus::Guid::generate())
        .p2p()
        .serve_at("/org/freedesktop/DBus", FakeDriver { uid })
        .serve_at(
            "/org/freedesktop/PolicyKit1/Authority",
            FakePolkit { how: polkit, asked: Arc::clone(&asked) },
        );
    a.set_nonblocking(true).unwrap();
    let a = tokio::net::UnixStream::from_std(a).unwrap();
    let daemon = crate::dbus_socket::on(a).p2p();
    let (daemon, caller) = tokio::try_join!(daemon.build(), caller.build()).unwrap();
    let (requests, inbox) = mpsc::channel(8);
    let served = serve(&daemon, &daemon, bus, requests).await.unwrap();
    (Scene { caller, served, asked, _daemon: daemon }, inbox)
}

fn check(name: &str) -> CheckStatus {
    CheckStatus {
        name: CheckName::new(name).unwrap(),
        unit: None,
        probe: "tcp localhost:1".into(),
        health: Health::PASSING,
        since: Wall(0),
        last: None,
        next: "probe in 1s".into(),
        next_probe: None,
        incident: None,
        unit_state: None,
        history: Vec::new(),
        runbook: None,
    }
}

fn snapshot(checks: impl Iterator<Item = CheckStatus>) -> Snapshot {
    Snapshot {
        version: env!("CARGO_PKG_VERSION").into(),
        at: Wall(1_000),
        started: Wall(0),
        configuration: Default::default(),
        mail: Default::default(),
        counts: Counts { checks: 2, down: 1, ..Counts::default() },
        storm: None,
        alerts: Vec::new(),
        checks: checks.collect(),
    }
}

async fn supervise(mut inbox: mpsc::Receiver<Request>) {
    let names: Vec<CheckName> = ["fibridge", "gru"].iter().map(|n| CheckName::new(n).unwrap()).collect();
    while let Some(request) = inbox.recv().await {
        match request {
            Request::Status { which, reply, .. } => {
                let found = match which {
                    Which::None => Ok(Vec::new()),
                    Which::All => Ok(names.iter().collect()),
                    Which::After(after, limit) => {
                        let later = names.iter().filter(|name| name.as_str() > after.as_str());
                        Ok(later.take(limit).collect())
                    }
                    Which::Named(name) => resolve(&name, &names).map(|name| vec![name]),
                };
                let _ =
                    reply.send(found.map(|found| snapshot(found.iter().map(|name| check(name.as_str())))));
            }
            Request::Names { reply } => drop(reply.send(Ok(names.clone()))),
            Request::Why { name, reply } => {
                let _ = reply.send(resolve(&name, &names).map(|name| Explanation {
                    name: name.clone(),
                    unit: None,
                    at: Wall(1_000),
                    health: Health::PASSING,
                    now: vec![Reason { topic: Topic::Seen, text: "it passed".into() }],
                    log: Vec::new(),
                }));
            }
            Request::Check { name, reply } => {
                let _ = reply.send(resolve(&name, &names).map(|name| check(name.as_str())));
            }
            Request::Pause { name, for_, reply } => {
                assert_eq!(for_, Duration::from_secs(60));
                let _ = reply.send(resolve(&name, &names).map(drop));
            }
            Request::Resume { reply, .. } => drop(reply),
            // Their tests answer for themselves.
            Request::Hold { .. } | Request::Release { .. } => {}
            Request::Reload { reply } => {
                let problems = vec!["a.yaml:1: checks: wrong".into(), "a.yaml:2: mail: wrong".into()];
                let _ = reply.send(Err(Refusal::InvalidConfiguration(problems)));
            }
            Request::TestMail { to, reply } => {
                let _ = reply.send(Ok(format!("250 ok, {}", to.join(" "))));
            }
        }
    }
}

/// One call with a sender, as the bus would put it there, and with or without the will to wait for a prompt.
async fn call<B: serde::Serialize + DynamicType>(
    scene: &Scene,
    method: &str,
    flags: Flags,
    body: &B,
) -> Result<Message, CallError> {
    let message = Message::method_call(PATH, method)
        .interface("io.iobio.Stealthcheck1.Manager")
        .destination(NAME)
        .sender(":1.7")
        .with_flags(flags)
        .build(body)
        .unwrap();
    let serial = message.primary_header().serial_num();
    let mut replies = MessageStream::from(&scene.caller);
    scene.caller.send(&message).await.unwrap();
    loop {
        let reply = replies.next().await.unwrap().unwrap();
        if reply.header().reply_serial() == Some(serial) {
            return match reply.message_type() {
                Type::Error => Err(zbus::Error::from(reply).into()),
                _ => Ok(reply),
            };
        }
    }
}

async fn pause(scene: &Scene, flags: Flags) -> Result<(), CallError> {
    call(scene, "PauseCheck", flags, &("gru", 60_u64)).await.map(drop)
}

#[tokio::test]
async fn reading_needs_no_permission_and_an_unknown_check_names_the_near_miss() {
    let scene = scene(Bus::System, SOMEBODY, Polkit::Absent).await;
    let client = Client::on(&scene.caller).await.unwrap();
    let snapshot = client.details(&["gru", "fibridge", "gru"]).await.unwrap();
    assert_eq!(snapshot.checks.len(), 2, "a check that is named often is told once");
    assert_eq!(client.details(&[]).await.unwrap().checks.len(), 2);
    assert_eq!(client.overview().await.unwrap().checks.len(), 2);
    let error = client.details(&["fibrigde"]).await.unwrap_err();
    assert!(matches!(error, CallError::Refused(Refusal::NoSuchCheck(_))), "{error:?}");
    assert_eq!(error.to_string(), "no check is named `fibrigde`: did you mean `fibridge`?");
    let why = client.why("gru").await.unwrap();
    assert_eq!((why.name.as_str(), why.now[0].text.as_str()), ("gru", "it passed"));
    let error = client.why("grru").await.unwrap_err();
    assert!(matches!(error, CallError::Refused(Refusal::NoSuchCheck(_))), "{error:?}");
    assert!(scene.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_question_that_is_too_long_is_refused_before_anybody_works_on_it() {
    let scene = scene(Bus::System, SOMEBODY, Polkit::Yes).await;
    let client = Client::on(&scene.caller).await.unwrap();
    let error = client.why(&"x".repeat(8 << 20)).await.unwrap_err();
    assert!(error.to_string().contains("no call here is longer than"), "{error}");
    let long = "x".repeat(300);
    let error = client.why(&long).await.unwrap_err();
    assert_eq!(error.to_string(), "no name here is longer than 255 bytes");
    for method in ["ProbeCheck", "ResumeCheck", "ReleaseUnit"] {
        let error = call(&scene, method, Flags::empty(), &(&long,)).await.unwrap_err();
        assert_eq!(error.to_string(), "no name here is longer than 255 bytes", "{method}");
    }
    assert!(scene.asked.lock().unwrap().is_empty(), "polkit, which would show it, was asked");
}

#[tokio::test]
async fn root_and_the_daemons_own_user_need_no_polkit() {
    for bus in [Bus::System, Bus::User] {
        for uid in [0, rustix::process::getuid().as_raw()] {
            let scene = scene(bus, uid, Polkit::No).await;
            pause(&scene, Flags::empty()).await.unwrap();
            assert!(scene.asked.lock().unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn polkit_is_asked_about_the_sender_and_told_what_for() {
    let scene = scene(Bus::System, SOMEBODY, Polkit::Yes).await;
    pause(&scene, Flags::ALLOW_INTERACTIVE_AUTH).await.unwrap();
    pause(&scene, Flags::empty()).await.unwrap();
    let asked = scene.asked.lock().unwrap();
    let details = HashMap::from([("verb".into(), "pause".into()), ("name".into(), "gru".into())]);
    let action = Action::ManageChecks.id().to_owned();
    assert_eq!(asked[0], ("system-bus-name :1.7".into(), action, details, 1));
    assert_eq!(asked[1].3, 0, "no prompt for a caller that does not wait for one");
}

#[tokio::test]
async fn a_refusal_says_why() {
    for (bus, polkit, flags, says) in [
        (Bus::System, Polkit::No, Flags::ALLOW_INTERACTIVE_AUTH, "polkit does not allow it"),
        (Bus::System, Polkit::Challenge, Flags::empty(), "needs authentication"),
        (Bus::System, Polkit::Challenge, Flags::ALLOW_INTERACTIVE_AUTH, "nothing here can ask"),
        (Bus::System, Polkit::Dismissed, Flags::ALLOW_INTERACTIVE_AUTH, "dismissed"),
        (Bus::System, Polkit::Absent, Flags::ALLOW_INTERACTIVE_AUTH, "only root may"),
        (Bus::User, Polkit::Yes, Flags::ALLOW_INTERACTIVE_AUTH, "only its owner"),
    ] {
        let scene = scene(bus, SOMEBODY, polkit).await;
        let error = pause(&scene, flags).await.unwrap_err();
        assert!(matches!(&error, CallError::Denied(why) if why.contains(says)), "{error:?}");
    }
}

#[tokio::test]
async fn a_call_without_a_sender_may_not_act() {
    let scene = scene(Bus::System, 0, Polkit::Yes).await;
    let client = Client::on(&scene.caller).await.unwrap();
    let error = client.check("gru").await.unwrap_err();
    assert!(matches!(error, CallError::Denied(_)), "{error:?}");
}

#[tokio::test]
async fn an_open_prompt_keeps_nobody_waiting() {
    let typed = Arc::new(Notify::new());
    let scene = scene(Bus::System, SOMEBODY, Polkit::Prompt(Arc::clone(&typed))).await;
    let prompted = pause(&scene, Flags::ALLOW_INTERACTIVE_AUTH);
    let others = async {
        while scene.asked.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let client = Client::on(&scene.caller).await.unwrap();
        let status = client.overview();
        tokio::time::timeout(Duration::from_secs(5), status).await.expect("an open prompt blocks").unwrap();
        typed.notify_one();
    };
    let (prompted, ()) = tokio::join!(prompted, others);
    prompted.unwrap();
}

#[tokio::test]
async fn every_method_reaches_the_supervisor_and_its_answer_the_caller() {
    let scene = scene(Bus::System, 0, Polkit::Absent).await;
    let body = call(&scene, "ProbeCheck", Flags::empty(), &("fibridge",)).await.unwrap().body();
    let check: CheckStatus = serde_json::from_str(body.deserialize::<&str>().unwrap()).unwrap();
    assert_eq!(check.name.as_str(), "fibridge");

    let error = call(&scene, "PauseCheck", Flags::empty(), &("gru", 0_u64)).await.unwrap_err();
    assert!(matches!(error, CallError::Refused(Refusal::InvalidArgument(_))), "{error:?}");

    let error = call(&scene, "Reload", Flags::empty(), &()).await.unwrap_err();
    let CallError::Refused(Refusal::InvalidConfiguration(problems)) = error else { panic!("{error:?}") };
    assert_eq!(problems, ["a.yaml:1: checks: wrong", "a.yaml:2: mail: wrong"]);

    let body = call(&scene, "SendTestMail", Flags::empty(), &(vec!["a@b.example"],)).await.unwrap().body();
    assert_eq!(body.deserialize::<&str>().unwrap(), "250 ok, a@b.example");

    let error = call(&scene, "ResumeCheck", Flags::empty(), &("gru",)).await.unwrap_err();
    assert_eq!(error.to_string(), "the daemon is stopping", "an answer that never comes is an answer");
}

#[tokio::test]
async fn any_address_for_a_test_mail_needs_another_action() {
    let scene = scene(Bus::System, SOMEBODY, Polkit::Yes).await;
    call(&scene, "SendTestMail", Flags::empty(), &(vec!["a@b.example"],)).await.unwrap();
    let none: Vec<&str> = Vec::new();
    call(&scene, "SendTestMail", Flags::empty(), &(none,)).await.unwrap();
    let asked: Vec<String> = scene.asked.lock().unwrap().iter().map(|question| question.1.clone()).collect();
    let (any, own) = (Action::SendTestToAny.id(), Action::SendTest.id());
    assert_eq!(asked, [own, any, own]);
}

#[tokio::test]
async fn transitions_and_properties_are_signalled() {
    let scene = scene(Bus::System, 0, Polkit::Absent).await;
    let mut messages = MessageStream::from(&scene.caller);
    let name = CheckName::new("gru-api").unwrap();
    let transition =
        Transition::IncidentOpened { incident: "gru-17".to_owned(), cause: "connection refused".to_owned() };
    scene.served.signal(&Signal::Transition(name.clone(), transition)).await.unwrap();
    scene.served.signal(&Signal::Check(Box::new(check("gru-api")))).await.unwrap();
    scene.served.signal(&Signal::Configured(name, false)).await.unwrap();
    let opened = messages.next().await.unwrap().unwrap();
    assert_eq!(opened.header().member().unwrap().as_str(), "IncidentOpened");
    let body = opened.body();
    assert_eq!(
        body.deserialize::<(&str, &str, &str)>().unwrap(),
        ("gru-api", "gru-17", "connection refused")
    );
    let changed = messages.next().await.unwrap().unwrap();
    assert_eq!(changed.header().path().unwrap().as_str(), "/io/iobio/Stealthcheck1/check/gru_2dapi");
    let body = changed.body();
    let (interface, values, _): (&str, HashMap<String, OwnedVariant>, Vec<String>) =
        body.deserialize().unwrap();
    assert_eq!((interface, <&str>::try_from(&values["State"]).unwrap()), (CHECK, "passing"));
    assert!(!values.contains_key("NextProbe"), "it changes all the time");
    let removed = messages.next().await.unwrap().unwrap();
    assert_eq!(removed.header().member().unwrap().as_str(), "CheckRemoved");
}

#[tokio::test]
async fn objects_have_their_properties_and_are_found() {
    let scene = scene(Bus::System, SOMEBODY, Polkit::Absent).await;
    let manager = zbus::Proxy::new(&scene.caller, NAME, PATH, MANAGER).await.unwrap();
    let version: String = manager.get_property("Version").await.unwrap();
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let down: u32 = manager.get_property("NDown").await.unwrap();
    assert_eq!(down, 1);
    let (path,): (zbus::OwnedObjectPath,) = manager.call("GetCheck", &("gru",)).await.unwrap();
    let gru = zbus::Proxy::new(&scene.caller, NAME, path.as_str(), CHECK).await.unwrap();
    let state: String = gru.get_property("State").await.unwrap();
    assert_eq!(state, "passing");
    let introspect = async |path: &str| -> zbus::Result<String> {
        let proxy =
            zbus::Proxy::new(&scene.caller, NAME, path, "org.freedesktop.DBus.Introspectable").await.unwrap();
        proxy.call("Introspect", &()).await
    };
    assert!(introspect(&format!("{PATH}/check/nosuch")).await.is_err());
    let introspect = async |path: &str| introspect(path).await.unwrap();
    // An empty name of an interface stands for all of them.
    let properties = zbus::Proxy::new(&scene.caller, NAME, path.as_str(), "org.freedesktop.DBus.Properties");
    let all: HashMap<String, OwnedVariant> = properties.await.unwrap().call("GetAll", &("",)).await.unwrap();
    assert_eq!(<&str>::try_from(&all["State"]).unwrap(), "passing");
    assert!(introspect("/").await.contains("<node name=\"io\"/>"));
    assert!(introspect("/io/iobio").await.contains("<node name=\"Stealthcheck1\"/>"));
    let xml = introspect(PATH).await;
    assert!(xml.contains("<method name=\"PauseCheck\">") && xml.contains("<node name=\"check\"/>"), "{xml}");
    assert!(introspect(&format!("{PATH}/check")).await.contains("<node name=\"fibridge\"/>"));
    assert!(introspect(path.as_str()).await.contains("<property name=\"State\" type=\"s\""));
    let rows: (Vec<super::interface::Row>,) = manager.call("ListChecks", &()).await.unwrap();
    assert_eq!(rows.0.len(), 2);
}

#[tokio::test]
async fn a_pause_has_an_end_that_people_live_to_see() {
    let scene = scene(Bus::System, 0, Polkit::Absent).await;
    for (seconds, accepted) in [(60, true), (0, false), (365 * 86_400 + 1, false), (u64::MAX, false)] {
        let answer = call(&scene, "PauseCheck", Flags::empty(), &("gru", seconds)).await;
        assert_eq!(answer.is_ok(), accepted, "{seconds}: {answer:?}");
    }
}

/// A caller that sends many calls at once, before it reads an answer: those over the bound are refused, and all are
/// answered.
#[tokio::test]
async fn what_is_over_the_bounds_is_refused_at_once() {
    let (scene, inbox) = stage(Bus::System, SOMEBODY, Polkit::Absent).await;
    let mut replies = MessageStream::from(&scene.caller);
    let send = async || {
        for _ in 0..132 {
            let message = Message::method_call(PATH, "ExplainCheck").interface(MANAGER).destination(NAME);
            scene.caller.send(&message.sender(":1.7").build(&("gru",)).unwrap()).await.unwrap();
        }
    };
    let read = async {
        let (mut limits, mut answers) = (0, 0);
        let mut inbox = Some(inbox);
        while limits + answers < 132 {
            let reply = replies.next().await.unwrap().unwrap();
            match reply.message_type() {
                Type::Error => {
                    let header = reply.header();
                    assert_eq!(
                        header.error_name().unwrap().as_str(),
                        "org.freedesktop.DBus.Error.LimitsExceeded"
                    );
                    limits += 1;
                }
                Type::MethodReturn => answers += 1,
                _ => {}
            }
            // Only then does the supervisor turn to its requests.
            if limits > 90
                && let Some(inbox) = inbox.take()
            {
                tokio::spawn(supervise(inbox));
            }
        }
        (limits, answers)
    };
    let (_, (limits, answers)) = tokio::join!(send(), read);
    // (Fewer than a connection may have, where they came before the bus had said whose they are.)
    assert!((8..=32).contains(&answers), "{limits} refused, {answers} answered");
}

/// A daemon that rejects its first calls.
struct Flooded {
    refusals: usize,
}

#[zbus::interface(name = "io.iobio.Stealthcheck1.Manager")]
impl Flooded {
    fn describe(&mut self) -> zbus::fdo::Result<String> {
        if self.refusals == 0 {
            return Ok(serde_json::to_string(&snapshot(std::iter::empty())).unwrap());
        }
        self.refusals -= 1;
        Err(zbus::fdo::Error::LimitsExceeded("destination has a full message queue".to_owned()))
    }
}

#[tokio::test]
async fn a_call_without_room_is_made_again() {
    let (a, b) = UnixStream::pair().unwrap();
    let daemon = connection::Builder::unix_stream(a).server(zbus::Guid::generate()).p2p();
    let daemon = daemon.serve_at(PATH, Flooded { refusals: 4 });
    let caller = connection::Builder::unix_stream(b).p2p();
    let (_daemon, caller) = tokio::try_join!(daemon.build(), caller.build()).unwrap();
    let client = Client::on(&caller).await.unwrap();
    assert_eq!(client.daemon().await.unwrap().version, env!("CARGO_PKG_VERSION"));
}

/// polkit is everybody's: who may not do what he asks for does not have it asked without end.
#[tokio::test]
async fn a_refused_call_keeps_its_place_for_a_while() {
    let scene = scene(Bus::System, SOMEBODY, Polkit::No).await;
    for _ in 0..16 {
        let error = pause(&scene, Flags::empty()).await.unwrap_err();
        assert!(matches!(error, CallError::Denied(_)), "{error:?}");
    }
    let asked = || scene.asked.lock().unwrap().len();
    assert_eq!(asked(), 16, "the first are answered at once");
    let more = pause(&scene, Flags::empty());
    tokio::pin!(more);
    let client = Client::on(&scene.caller).await.unwrap();
    for _ in 0..50 {
        tokio::select! {
            answer = &mut more => panic!("answered: {answer:?}"),
            why = client.why("gru") => assert!(why.is_ok(), "reading does not wait for it"),
        }
    }
    assert_eq!(asked(), 16);
}

#[test]
fn a_check_is_found_by_its_name_alone() {
    let known: Vec<CheckName> = ["fibridge", "gru"].iter().map(|n| CheckName::new(n).unwrap()).collect();
    assert_eq!(resolve("gru", &known).unwrap().as_str(), "gru");
    for (asked, says) in [
        ("gru.service", "no check is named `gru.service`: did you mean `gru`?"),
        ("zzz", "no check is named `zzz`"),
        ("a\x1b[2J\nb", "no check is named `a\\u{1b}[2J\\nb`"),
    ] {
        assert_eq!(resolve(asked, &known).unwrap_err().to_string(), says);
    }
}

#[tokio::test]
async fn errors_of_the_bus_are_told_apart() {
    let call = Message::method_call(PATH, "ListChecks").destination(NAME).build(&()).unwrap();
    let error = |name: &str| -> CallError {
        zbus::Error::from(Message::error(&call.header(), name).build(&"why").unwrap()).into()
    };
    assert!(matches!(error("org.freedesktop.DBus.Error.ServiceUnknown"), CallError::NotRunning));
    assert!(matches!(error("org.freedesktop.DBus.Error.NameHasNoOwner"), CallError::NotRunning));
    assert!(matches!(error("org.freedesktop.DBus.Error.AccessDenied"), CallError::Denied(_)));
    let error = connection::Builder::address("unix:path=/nonexistent/bus").build().await.unwrap_err();
    let error = CallError::from(error);
    assert!(matches!(&error, CallError::Unreachable(why) if why.contains("/nonexistent/bus")), "{error:?}");
}
