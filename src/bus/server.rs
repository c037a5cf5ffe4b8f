//! The server: one task that reads calls, asks polkit and the supervisor, and answers.
//!
//! In: messages of one connection. Out: requests to the supervisor, replies, signals. A call waits in its user's line
//! (`bounds.rs`) until its turn; one over the bounds is refused. An answer is built when its turn has come, so that a reader
//! who does not read holds up nobody and costs nothing. The bus and polkit are asked over a connection of its own: replies
//! do not wait behind the calls.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use zbus::message::{Flags, Message, Type};
use zbus::names::OwnedUniqueName;
use zbus::wire::DynamicType;
use zbus::{Connection, DBusError as _, MessageStream};

use super::authority::{self, uid_of};
use super::bounds::{Caller, Lines};
use super::interface::*;
use super::objects::{self, CHECKS, Values};
use super::{
    Bus, LONGEST_HOLD, LONGEST_PAUSE, LONGEST_WORDS, MANAGER, PATH, Refusal, Reply, Request, Which,
    introspection,
};
use crate::dbus_socket;
use crate::status::{CheckStatus, Snapshot};
use crate::text::sanitize;

/// No check, unit or hold has a longer name (systemd's UNIT_NAME_MAX): what is longer goes no further, neither to polkit,
/// which would show it, nor into a search for what may have been meant.
const LONGEST_NAME: usize = 255;

/// No call needs more. What is longer is refused before it waits.
const LONGEST_CALL: usize = dbus_socket::CALL;

/// A page of `DescribeChecks`: some 100 kB at most.
const PAGE: u32 = 100;

/// Connections whose user is known. More are asked for anew.
const KNOWN_CALLERS: usize = 1024;

/// The user of a caller that nobody has named: (uid_t) -1, which is none.
const NOBODY: u32 = u32::MAX;

/// Calls that wait until the bus says whose they are: of one connection, and in all. (A user has 256 connections at most.)
const UNKNOWN_PER_CONNECTION: usize = 8;
const UNKNOWN_CALLS: usize = 4096;

/// What has become of something that was under way.
enum Done {
    /// A call is answered.
    Answered(Caller),
    /// The bus says whose connection it is, or that it has gone.
    Known(OwnedUniqueName, Option<u32>),
}

/// Between two refusals of one user.
const REFUSALS_APART: Duration = Duration::from_millis(10);

/// A call that polkit refused keeps its place for this long after its answer: polkit is asked less than twice a second for a
/// user whose calls are refused. polkit evaluates its rules one after the other for all users, and polkit 122 (Debian 12)
/// misses the end of about one evaluation in ten thousand, which then blocks it for 15 s (fixed in 123: "duktape: prevent
/// wrongful termination of runaway thread").
const REFUSED_KEEPS_ITS_PLACE: Duration = Duration::from_secs(10);

/// What a call needs to be answered.
#[derive(Clone)]
struct Host {
    connection: Connection,
    /// For questions to the bus and to polkit.
    questions: Connection,
    bus: Bus,
    requests: mpsc::Sender<Request>,
}

/// The task's state.
struct Server {
    host: Host,
    lines: Lines<Message>,
    callers: HashMap<OwnedUniqueName, u32>,
    unknown: HashMap<OwnedUniqueName, Vec<Message>>,
    /// What is under way: tasks, as one that waits for the bus to take its answer must go on while a refusal is sent.
    running: JoinSet<Done>,
}

/// Answers calls until the connection is lost.
pub(super) async fn run(
    (connection, questions): (Connection, Connection),
    mut messages: MessageStream,
    bus: Bus,
    requests: mpsc::Sender<Request>,
) {
    let mut server = Server {
        host: Host { connection, questions, bus, requests },
        lines: Lines::default(),
        callers: HashMap::new(),
        unknown: HashMap::new(),
        running: JoinSet::new(),
    };
    let mut refusals = tokio::time::interval(REFUSALS_APART);
    refusals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = refusals.tick(), if server.lines.has_refusals() => {
                for answer in server.lines.refusals() {
                    let _ = server.host.connection.send(&answer).await;
                }
            }
            // (None of them panics, and none is aborted.)
            Some(Ok(done)) = server.running.join_next() => server.finish(done),
            message = messages.next() => match message {
                Some(Ok(message)) if message.message_type() == Type::MethodCall => server.accept(message),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
        while let Some((caller, call)) = server.lines.next() {
            let host = server.host.clone();
            server.running.spawn(async move {
                if !host.serve(&caller, &call).await {
                    tokio::time::sleep(REFUSED_KEEPS_ITS_PLACE).await;
                }
                Done::Answered(caller)
            });
        }
    }
}

impl Server {
    fn accept(&mut self, call: Message) {
        let header = call.header();
        let sender = header.sender().map(|sender| OwnedUniqueName::from(sender.to_owned()));
        let known = sender.as_ref().and_then(|sender| self.callers.get(sender)).copied();
        // A bus always says who calls; without one in between, anybody may read, and nobody act.
        let uid = known.unwrap_or(NOBODY);
        let refused = if call.data().len() > LONGEST_CALL {
            Err(Refusal::InvalidArgument(format!("no call here is longer than {LONGEST_CALL} bytes")))
        } else if let Some(sender) = sender.clone().filter(|_| known.is_none()) {
            self.wait_for_user(sender, call.clone()).map_err(Refusal::LimitsExceeded)
        } else {
            let caller = Caller { uid, acts: acts(&call), connection: sender };
            self.lines.add(caller, call.clone()).map_err(Refusal::LimitsExceeded)
        };
        if let Err(why) = refused {
            self.refuse(uid, &call, why);
        }
    }

    /// Refuses a call when it is the user's turn to be refused.
    fn refuse(&mut self, uid: u32, call: &Message, why: Refusal) {
        if let Some(answer) = reply_to(call, Err(why)) {
            self.lines.refuse(uid, answer);
        }
    }

    /// Keeps a call until the bus has said whose it is.
    fn wait_for_user(&mut self, sender: OwnedUniqueName, call: Message) -> Result<(), String> {
        let all: usize = self.unknown.values().map(Vec::len).sum();
        let own = self.unknown.get(&sender).map_or(0, Vec::len);
        if own >= UNKNOWN_PER_CONNECTION || all >= UNKNOWN_CALLS {
            return Err("too many calls are waiting already".to_owned());
        }
        self.unknown.entry(sender.clone()).or_default().push(call);
        if own == 0 {
            let connection = self.host.questions.clone();
            self.running.spawn(async move {
                let uid = uid_of(&connection, sender.as_str()).await;
                Done::Known(sender, uid)
            });
        }
        Ok(())
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Answered(caller) => self.lines.done(&caller),
            Done::Known(sender, uid) => {
                let calls = self.unknown.remove(&sender).unwrap_or_default();
                // Whoever has gone needs no answer.
                let Some(uid) = uid else { return };
                if self.callers.len() >= KNOWN_CALLERS {
                    self.callers.clear();
                }
                self.callers.insert(sender.clone(), uid);
                for call in calls {
                    let caller = Caller { uid, acts: acts(&call), connection: Some(sender.clone()) };
                    if let Err(why) = self.lines.add(caller, call.clone()) {
                        self.refuse(uid, &call, Refusal::LimitsExceeded(why));
                    }
                }
            }
        }
    }
}

impl Host {
    /// Answers one call. Whether the caller was permitted to make it.
    async fn serve(&self, caller: &Caller, call: &Message) -> bool {
        let answer = self.answer(caller, call).await;
        let refused =
            matches!(answer, Err(Refusal::AccessDenied(_) | Refusal::InteractiveAuthorizationRequired(_)));
        if let Some(answer) = reply_to(call, answer) {
            // A connection that is lost is noticed by whoever reads from it.
            let _ = self.connection.send(&answer).await;
        }
        !refused
    }

    async fn answer(&self, caller: &Caller, call: &Message) -> Result<Message, Refusal> {
        let header = call.header();
        let path = header.path().map(ToString::to_string).unwrap_or_default();
        let member = header.member().map(ToString::to_string).unwrap_or_default();
        // Where the interface is left out, the member alone tells.
        let interface = header.interface().map(ToString::to_string).unwrap_or_default();
        let unknown =
            || Err(Refusal::Unknown("UnknownMethod", format!("{path} has no method {interface}.{member}")));
        match (interface.as_str(), member.as_str()) {
            ("org.freedesktop.DBus.Peer" | "", "Ping") => answer_to(call, &()),
            ("org.freedesktop.DBus.Peer" | "", "GetMachineId") => answer_to(call, &machine_id()?),
            ("org.freedesktop.DBus.Introspectable" | "", "Introspect") => {
                let mut names = Vec::new();
                if path == CHECKS {
                    names = self.ask(|reply| Request::Names { reply }).await?;
                } else if let Some(check) = objects::name_of(&path) {
                    self.one(check.to_string()).await?;
                }
                match introspection::of(&path, &names) {
                    Some(xml) => answer_to(call, &xml),
                    None => Err(Refusal::Unknown("UnknownObject", format!("there is no object {path}"))),
                }
            }
            ("org.freedesktop.DBus.Properties", "Get") => {
                let (asked, name): (String, String) = read(call)?;
                let mut values = self.values(&path, &asked).await?;
                match values.remove(name.as_str()) {
                    Some(value) => answer_to(call, &value),
                    None => {
                        Err(Refusal::Unknown("UnknownProperty", format!("{path} has no property {name}")))
                    }
                }
            }
            ("org.freedesktop.DBus.Properties", "GetAll") => {
                let (asked,): (String,) = read(call)?;
                answer_to(call, &self.values(&path, &asked).await?)
            }
            ("org.freedesktop.DBus.Properties", "Set") => Err(Refusal::Unknown(
                "PropertyReadOnly",
                "properties are read here; what can be changed has a method".to_owned(),
            )),
            (MANAGER | "", member) if path == PATH => match self.manager(caller, call, member).await {
                Some(answer) => answer,
                None => unknown(),
            },
            _ => unknown(),
        }
    }

    /// The properties of an object.
    async fn values(&self, path: &str, interface: &str) -> Result<Values, Refusal> {
        // (An empty name stands for all interfaces.)
        let is = |own: &str| interface.is_empty() || interface == own;
        if path == PATH && is(MANAGER) {
            return Ok(objects::of_manager(&self.snapshot(Which::None, false).await?));
        }
        if let Some(name) = objects::name_of(path).filter(|_| is(super::CHECK)) {
            return Ok(objects::of_check(&self.one(name.to_string()).await?));
        }
        Err(Refusal::Unknown("UnknownInterface", format!("{path} has no interface {interface}")))
    }

    /// Answers a method of the manager. `None`: there is no such method.
    async fn manager(
        &self,
        caller: &Caller,
        call: &Message,
        member: &str,
    ) -> Option<Result<Message, Refusal>> {
        Some(match member {
            GetCheck::NAME => {
                self.run::<GetCheck>(caller, call, async |(name,)| {
                    Ok((objects::path_of(&self.one(name).await?.name),))
                })
                .await
            }
            ListChecks::NAME => {
                self.run::<ListChecks>(caller, call, async |()| {
                    let all = self.snapshot(Which::All, false).await?;
                    Ok((all.checks.iter().map(objects::row).collect(),))
                })
                .await
            }
            Describe::NAME => {
                self.run::<Describe>(caller, call, async |()| json(&self.snapshot(Which::None, false).await?))
                    .await
            }
            DescribeChecks::NAME => {
                self.run::<DescribeChecks>(caller, call, async |(after, limit)| {
                    let limit = if limit == 0 { PAGE } else { limit.min(PAGE) };
                    let mut page = self.snapshot(Which::After(after, limit as usize), false).await?.checks;
                    // Half of every check's JSON, and no table shows it.
                    page.iter_mut().for_each(|check| check.unit_state = None);
                    json(&page)
                })
                .await
            }
            DescribeCheck::NAME => {
                self.run::<DescribeCheck>(caller, call, async |(name,)| json(&self.one(name).await?)).await
            }
            ExplainCheck::NAME => {
                self.run::<ExplainCheck>(caller, call, async |(name,)| {
                    json(&self.ask(|reply| Request::Why { name, reply }).await?)
                })
                .await
            }
            ProbeCheck::NAME => {
                self.run::<ProbeCheck>(caller, call, async |(name,)| {
                    json(&self.ask(|reply| Request::Check { name, reply }).await?)
                })
                .await
            }
            PauseCheck::NAME => {
                self.run::<PauseCheck>(caller, call, async |(name, seconds)| {
                    let for_ = Duration::from_secs(seconds);
                    if seconds == 0 || for_ > LONGEST_PAUSE {
                        return Err(Refusal::InvalidArgument(
                            "a pause lasts between a second and 365 days".to_owned(),
                        ));
                    }
                    self.ask(|reply| Request::Pause { name, for_, reply }).await
                })
                .await
            }
            ResumeCheck::NAME => {
                self.run::<ResumeCheck>(caller, call, async |(name,)| {
                    self.ask(|reply| Request::Resume { name, reply }).await
                })
                .await
            }
            HoldUnit::NAME => {
                self.run::<HoldUnit>(caller, call, async |(name, who, why, seconds)| {
                    let for_ = Duration::from_secs(seconds);
                    if seconds == 0 || for_ > LONGEST_HOLD {
                        return Err(Refusal::InvalidArgument(
                            "a hold lasts between a second and a day".to_owned(),
                        ));
                    }
                    let (who, why) = (sanitize(&who, LONGEST_WORDS), sanitize(&why, LONGEST_WORDS));
                    let grant = self.ask(|reply| Request::Hold { name, who, why, for_, reply }).await?;
                    let checks = grant.checks.iter().map(ToString::to_string).collect();
                    Ok((grant.lease.into(), grant.id, grant.unit, checks))
                })
                .await
            }
            ReleaseUnit::NAME => {
                self.run::<ReleaseUnit>(caller, call, async |(name,)| {
                    Ok((self.ask(|reply| Request::Release { name, reply }).await?,))
                })
                .await
            }
            Reload::NAME => {
                self.run::<Reload>(caller, call, async |()| {
                    Ok((self.ask(|reply| Request::Reload { reply }).await?,))
                })
                .await
            }
            SendTestMail::NAME => {
                self.run::<SendTestMail>(caller, call, async |(to,)| {
                    if !to.is_empty() {
                        self.permit(caller, call, Action::SendTestToAny, SendTestMail::DESCRIBED.verb, "")
                            .await?;
                    }
                    Ok((self.ask(|reply| Request::TestMail { to, reply }).await?,))
                })
                .await
            }
            _ => return None,
        })
    }

    /// Reads the arguments of a method, has polkit asked, carries it out and writes the answer.
    async fn run<M: Method>(
        &self,
        caller: &Caller,
        call: &Message,
        carry_out: impl AsyncFnOnce(M::In) -> Result<M::Out, Refusal>,
    ) -> Result<Message, Refusal> {
        let input: M::In = read(call)?;
        let name = input.name().to_owned();
        if name.len() > LONGEST_NAME {
            // The error does not repeat it.
            return Err(Refusal::InvalidArgument(format!(
                "no name here is longer than {LONGEST_NAME} bytes"
            )));
        }
        if let Some(action) = M::DESCRIBED.action {
            self.permit(caller, call, action, M::DESCRIBED.verb, &name).await?;
        }
        answer_to(call, &carry_out(input).await?)
    }

    /// Asks whether the caller may do that.
    async fn permit(
        &self,
        caller: &Caller,
        call: &Message,
        action: Action,
        verb: &str,
        name: &str,
    ) -> Result<(), Refusal> {
        authority::permit(&self.questions, self.bus, caller.uid, &call.header(), (action, verb, name)).await
    }

    /// Hands a request to the supervisor and waits for the answer.
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Refusal> {
        let stopping = || Refusal::Failed("the daemon is stopping".to_owned());
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    async fn snapshot(&self, which: Which, detail: bool) -> Result<Snapshot, Refusal> {
        self.ask(|reply| Request::Status { which, detail, reply }).await
    }

    /// One check, in detail.
    async fn one(&self, name: String) -> Result<CheckStatus, Refusal> {
        let gone = Refusal::NoSuchCheck(format!("{name} is gone"));
        self.snapshot(Which::Named(name), true).await?.checks.pop().ok_or(gone)
    }
}

/// Whether polkit is asked about the method.
fn acts(call: &Message) -> bool {
    let header = call.header();
    let member = header.member().map(|member| member.as_str());
    METHODS.iter().any(|method| Some(method.name) == member && method.action.is_some())
}

/// The reply to a call; `None`: none is wanted.
fn reply_to(call: &Message, answer: Result<Message, Refusal>) -> Option<Message> {
    let header = call.header();
    let wanted = !header.primary().flags().contains(Flags::NO_REPLY_EXPECTED);
    wanted.then(|| answer.or_else(|refusal| refusal.create_reply(&header)).ok()).flatten()
}

/// The arguments of a call.
fn read<T: serde::de::DeserializeOwned + zbus::Type>(call: &Message) -> Result<T, Refusal> {
    let invalid = |error: zbus::Error| Refusal::InvalidArgument(format!("the arguments do not fit: {error}"));
    call.body().deserialize().map_err(invalid)
}

fn answer_to<T: serde::Serialize + DynamicType>(call: &Message, body: &T) -> Result<Message, Refusal> {
    let failed = |error: zbus::Error| Refusal::Failed(format!("the answer could not be written: {error}"));
    Message::method_return(&call.header()).build(body).map_err(failed)
}

fn json<T: serde::Serialize>(value: &T) -> Result<(String,), Refusal> {
    let failed =
        |error: serde_json::Error| Refusal::Failed(format!("the answer could not be written: {error}"));
    serde_json::to_string(value).map(|text| (text,)).map_err(failed)
}

fn machine_id() -> Result<String, Refusal> {
    let read = std::fs::read_to_string("/etc/machine-id");
    read.map(|id| id.trim().to_owned())
        .map_err(|error| Refusal::Failed(format!("/etc/machine-id cannot be read: {error}")))
}
