//! Calls of any names and arguments on our own D-Bus interface: the real interface reads them and the real core obeys
//! them; between the two stands what the supervisor does. What is refused changes nothing, and says so in one line.
//!
//! An input is lines of `METHOD<tab>ARGUMENT<tab>…`. A whole number is one (`t`), `[a,b]` a list of texts, the rest is
//! text; `!` before the method sends the first argument alone. Callers are root: whether somebody may is not what is
//! tried here.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::Serialize;
use stealthcheck::bus::{self, Bus, Grant, LONGEST_HOLD, Refusal, Request, Which, resolve};
use stealthcheck::ctl;
use stealthcheck::engine::hold::{HoldAction, HoldEvent, HoldId, Holder, HowEnded};
use stealthcheck::engine::saved::Saved;
use stealthcheck::engine::{Command, Effect, Engine, Event};
use stealthcheck::status::Snapshot;
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::UnitName;
use tokio::sync::mpsc;
use zbus::message::{Message, Type};
use zbus::wire::DynamicType;
use zbus::{Connection, MessageStream, connection};

use super::{checks, is_one_line, runtime};

/// The calls of one input; more are no other.
const MOST_CALLS: usize = 24;

/// The part of the bus driver that says who is calling: root.
struct Driver;

#[zbus::interface(name = "org.freedesktop.DBus")]
impl Driver {
    fn get_connection_unix_user(&self, _name: String) -> u32 {
        0
    }
}

/// Makes the calls, one after the other.
pub fn calls(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    runtime().block_on(async {
        let (a, b) = UnixStream::pair().expect("a socket pair");
        let caller = connection::Builder::unix_stream(b).p2p().serve_at("/org/freedesktop/DBus", Driver);
        let daemon = connection::Builder::unix_stream(a).server(zbus::Guid::generate()).p2p();
        let (daemon, caller) = tokio::try_join!(daemon.build(), caller.build()).expect("both ends");
        let (requests, inbox) = mpsc::channel(8);
        let _served =
            bus::serve(&daemon, &daemon, Bus::System, requests).await.expect("the interface is served");
        let made = async {
            for line in text.lines().take(MOST_CALLS) {
                call(&caller, line).await;
            }
        };
        tokio::select! {
            () = made => {}
            () = Daemon::start().serve(inbox) => unreachable!("it serves for ever"),
        }
    });
}

async fn call(caller: &Connection, line: &str) {
    let mut words = line.split('\t');
    let method = words.next().unwrap_or_default();
    let (alone, method) = method.strip_prefix('!').map_or((false, method), |rest| (true, rest));
    let argument = |n: usize| line.split('\t').nth(n).unwrap_or_default();
    let number = |n: usize| argument(n).parse::<u64>().unwrap_or_default();
    let list: Vec<&str> =
        argument(1).trim_matches(['[', ']']).split(',').filter(|each| !each.is_empty()).collect();
    match method {
        _ if alone => answer(caller, method, &(argument(1),)).await,
        "DescribeChecks" => answer(caller, method, &(argument(1), number(2) as u32)).await,
        "PauseCheck" => answer(caller, method, &(argument(1), number(2))).await,
        "HoldUnit" => answer(caller, method, &(argument(1), argument(2), argument(3), number(4))).await,
        "SendTestMail" => answer(caller, method, &(list,)).await,
        "Reload" | "Describe" | "ListChecks" => answer(caller, method, &()).await,
        _ => answer(caller, method, &(argument(1),)).await,
    }
}

/// Makes one call and looks at its answer.
async fn answer<B: Serialize + DynamicType>(caller: &Connection, method: &str, body: &B) {
    // What cannot stand on a bus at all (a text with a NUL, a method of no name) comes from nobody.
    if zbus::names::MemberName::try_from(method).is_err() {
        return;
    }
    let message = Message::method_call(bus::PATH, method)
        .interface("io.iobio.Stealthcheck1.Manager")
        .destination(bus::NAME)
        .sender(":1.7");
    let Ok(message) = message.build(body) else { return };
    let serial = message.primary_header().serial_num();
    let mut replies = MessageStream::from(caller);
    caller.send(&message).await.expect("the daemon's end is open");
    let reply = async {
        loop {
            let reply =
                futures_util::StreamExt::next(&mut replies).await.expect("an answer").expect("a message");
            if reply.header().reply_serial() == Some(serial) {
                return reply;
            }
        }
    };
    let reply =
        tokio::time::timeout(Duration::from_secs(20), reply).await.expect("no call is left unanswered");
    if reply.message_type() == Type::Error {
        let body = reply.body();
        let said = body.deserialize::<&str>().unwrap_or_default();
        assert!(is_one_line(said) && said.len() < 4096, "{said:?}");
    }
}

/// The core, and what the supervisor does between it and the bus.
struct Daemon {
    engine: Engine,
    now: Now,
    holds: i64,
}

impl Daemon {
    fn start() -> Self {
        let now = Now { mono: Mono(Duration::from_secs(1_000_000)), wall: Wall(1_795_000_000_000) };
        let mut engine = Engine::new();
        engine.handle(now, Event::Configured(checks()));
        Self { engine, now, holds: 0 }
    }

    async fn serve(mut self, mut inbox: mpsc::Receiver<Request>) {
        while let Some(request) = inbox.recv().await {
            let before = self.saved();
            let refused = self.request(request);
            assert!(!refused || self.saved() == before, "refused, and half applied");
            self.holds_together();
        }
        std::future::pending::<()>().await;
    }

    /// Does what is asked; whether it was refused.
    fn request(&mut self, request: Request) -> bool {
        match request {
            Request::Names { reply } => {
                let _ = reply.send(Ok(self.engine.names().cloned().collect()));
                false
            }
            Request::Status { which, reply, .. } => {
                let found = match which {
                    Which::None => Ok(Vec::new()),
                    Which::All => Ok(self.engine.names().cloned().collect()),
                    Which::After(after, limit) => {
                        let later = self.engine.names().filter(|name| name.as_str() > after.as_str());
                        Ok(later.take(limit).cloned().collect())
                    }
                    Which::Named(name) => self.resolve(&name).map(|name| vec![name]),
                };
                let found: Result<Snapshot, Refusal> = found.map(|names| self.snapshot(&names));
                let refused = found.is_err();
                let _ = reply.send(found);
                refused
            }
            Request::Why { name, reply } => {
                let found =
                    self.resolve(&name).map(|name| self.engine.why(self.now, &name).expect("it is known"));
                let refused = found.is_err();
                let _ = reply.send(found);
                refused
            }
            Request::Check { name, reply } => {
                let found = self.resolve(&name).map(|name| {
                    self.tell(Event::Command(Command::Check(name.clone())));
                    self.snapshot(&[name]).checks.remove(0)
                });
                let refused = found.is_err();
                let _ = reply.send(found);
                refused
            }
            Request::Pause { name, for_, reply } => {
                assert!(!for_.is_zero());
                let done = self
                    .resolve(&name)
                    .map(|name| drop(self.tell(Event::Command(Command::Pause(name, for_)))));
                let refused = done.is_err();
                let _ = reply.send(done);
                refused
            }
            Request::Resume { name, reply } => {
                let done =
                    self.resolve(&name).map(|name| drop(self.tell(Event::Command(Command::Resume(name)))));
                let refused = done.is_err();
                let _ = reply.send(done);
                refused
            }
            Request::Hold { name, who, why, for_, reply } => {
                assert!(!for_.is_zero() && for_ <= LONGEST_HOLD, "{for_:?}");
                assert!(is_one_line(&who) && is_one_line(&why), "{who:?} {why:?}");
                let granted = self.hold(&name, Holder { who: who.into(), why: why.into() }, for_);
                let refused = granted.is_err();
                let _ = reply.send(granted);
                refused
            }
            Request::Release { name, reply } => {
                let released = self.release(&name);
                let refused = released.is_err();
                let _ = reply.send(released);
                refused
            }
            Request::Reload { reply } => {
                let _ = reply.send(Ok(Vec::new()));
                false
            }
            Request::TestMail { reply, .. } => {
                let _ =
                    reply.send(Err(Refusal::Failed("the configuration has no `mail:` section".to_owned())));
                true
            }
        }
    }

    fn hold(&mut self, name: &str, holder: Holder, lasting: Duration) -> Result<Grant, Refusal> {
        let unit = self.unit(name)?;
        self.holds += 1;
        let id = HoldId(self.holds.to_string().into());
        let event = HoldEvent::Take { id: id.clone(), unit: unit.clone(), holder, lasting };
        for effect in self.tell(Event::Hold(event)) {
            match effect {
                Effect::Hold(HoldAction::Granted { checks, .. }) => {
                    let lease = std::fs::File::open("/dev/null").expect("a descriptor").into();
                    return Ok(Grant { lease, id: id.to_string(), unit: unit.to_string(), checks });
                }
                Effect::Hold(HoldAction::Refused { why, .. }) => return Err(Refusal::Failed(why)),
                _ => {}
            }
        }
        panic!("a hold was neither granted nor refused")
    }

    fn release(&mut self, name: &str) -> Result<String, Refusal> {
        let id = HoldId(name.into());
        let id = match self.engine.held_unit(&id) {
            Some(_) => id,
            None => {
                let unit = self.unit(name)?;
                let nobody = || Refusal::Failed(format!("{unit} is not held"));
                self.engine.hold_on(&unit).cloned().ok_or_else(nobody)?
            }
        };
        let unit = self.engine.held_unit(&id).map(ToString::to_string).unwrap_or_default();
        self.tell(Event::Hold(HoldEvent::End(id, HowEnded::Released)));
        Ok(unit)
    }

    fn unit(&self, name: &str) -> Result<UnitName, Refusal> {
        let check = resolve(name, self.engine.names())?;
        let known = checks().into_iter().find(|known| known.name == *check);
        let nothing = || Refusal::InvalidArgument(format!("{check} speaks for no unit"));
        known.and_then(|known| known.unit).ok_or_else(nothing)
    }

    fn resolve(&self, name: &str) -> Result<stealthcheck::check::CheckName, Refusal> {
        resolve(name, self.engine.names()).cloned()
    }

    fn tell(&mut self, event: Event) -> Vec<Effect> {
        self.engine.handle(self.now, event)
    }

    fn saved(&self) -> Saved {
        self.engine.save(self.now, "boot")
    }

    fn snapshot(&self, names: &[stealthcheck::check::CheckName]) -> Snapshot {
        Snapshot {
            version: "1".to_owned(),
            at: self.now.wall,
            started: self.now.wall,
            configuration: Default::default(),
            mail: Default::default(),
            counts: Default::default(),
            storm: None,
            alerts: Vec::new(),
            checks: self.engine.status(self.now, names, true),
        }
    }

    /// What is kept is read as it was, what is shown is inert, and what was asked for has an end.
    fn holds_together(&mut self) {
        self.now.mono = self.now.mono.after(Duration::from_secs(1));
        self.now.wall = self.now.wall.after(Duration::from_secs(1));
        self.tell(Event::Tick);
        if let Some(at) = self.engine.next_wakeup() {
            assert!(at > self.now.mono, "the core wants to be woken in the past");
        }
        let saved = self.saved();
        let written = serde_json::to_vec(&saved).expect("a state can be written");
        assert_eq!(
            serde_json::from_slice::<Saved>(&written).ok(),
            Some(saved),
            "what is written is read as it was"
        );
        let style = ctl::style::Style::detect(ctl::style::Colour::Never);
        let snapshot = self.snapshot(&[]);
        for text in [ctl::render::overview(&snapshot, &style), ctl::detail::detail(&snapshot, &style)] {
            assert!(text.lines().all(is_one_line), "{text:?}");
        }
    }
}
