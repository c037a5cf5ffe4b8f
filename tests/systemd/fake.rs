//! A bus with a systemd on it, in this process: as much of both as the client uses, message by message, so that a test
//! can put them in any order.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use zbus::message::{Header, Message, Type};
use zbus::names::BusName;
use zbus::wire::DynamicType;
use zbus::{Connection, MessageStream, ObjectPath, Variant};

pub const SYSTEMD: &str = ":1.1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// What systemd does with the next job that is requested.
pub enum Script {
    /// Queues it as this number; the test ends it.
    Queue(u32),
    /// Ends it as this number with this word, before it answers.
    EndFirst(u32, &'static str),
    /// Refuses with this error.
    Refuse(&'static str),
    /// Queues it as this number, and answers when the test says so.
    AnswerLater(u32),
    /// Asked before to reset the unit's counters, it refuses with this error.
    RefuseReset(&'static str),
}

#[derive(Clone)]
pub struct Unit {
    pub load: &'static str,
    pub active: &'static str,
    pub sub: &'static str,
    pub job: u32,
    pub invocation: u8,
    pub freezer: &'static str,
    /// A condition that was not met at the latest start, and when that was.
    pub unmet: Option<(&'static str, u64)>,
    pub requires: &'static [&'static str],
    pub wants: &'static [&'static str],
    pub conflicted_by: &'static [&'static str],
    pub triggered_by: &'static [&'static str],
}

pub fn unit(active: &'static str, sub: &'static str, job: u32, invocation: u8) -> Unit {
    Unit {
        load: "loaded",
        active,
        sub,
        job,
        invocation,
        freezer: "running",
        unmet: None,
        requires: &[],
        wants: &[],
        conflicted_by: &[],
        triggered_by: &[],
    }
}

/// What a unit's main process is, or was.
#[derive(Clone, Default)]
pub struct Ran {
    pub main_pid: u32,
    /// How it ended: 1 by itself, 2 by a signal.
    pub code: i32,
    pub status: i32,
    pub text: &'static str,
}

#[derive(Default)]
pub struct World {
    pub units: BTreeMap<String, Unit>,
    pub aliases: BTreeMap<String, String>,
    /// Kinds of the jobs there are.
    pub jobs: BTreeMap<u32, &'static str>,
    pub scripts: VecDeque<Script>,
    /// What units have run, by name.
    pub runs: BTreeMap<String, Ran>,
    pub system_state: &'static str,
    /// What every question is answered with, where it is an error.
    pub error: Option<&'static str>,
    /// A reading of a unit is never answered.
    pub unread: bool,
    /// Methods in the order they were called.
    pub calls: Vec<String>,
}

#[derive(Clone)]
pub struct Fake {
    pub world: Arc<Mutex<World>>,
    connection: Arc<Mutex<Option<Connection>>>,
    /// A request that was not answered yet, and its job.
    later: Arc<Mutex<Option<(Message, u32)>>>,
    directory: Arc<tempfile::TempDir>,
}

pub fn unit_path(name: &str) -> String {
    let escaped: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("_{:02x}", c as u32) })
        .collect();
    format!("/org/freedesktop/systemd1/unit/{escaped}")
}

pub fn job_path(id: u32) -> String {
    if id == 0 { "/".to_owned() } else { format!("/org/freedesktop/systemd1/job/{id}") }
}

fn path(text: &str) -> ObjectPath<'static> {
    ObjectPath::try_from(text.to_owned()).unwrap()
}

impl Fake {
    pub async fn start() -> Self {
        let fake = Self {
            world: Arc::new(Mutex::new(World { system_state: "running", ..World::default() })),
            connection: Arc::default(),
            later: Arc::default(),
            directory: Arc::new(tempfile::tempdir().unwrap()),
        };
        let listener = tokio::net::UnixListener::bind(fake.directory.path().join("bus")).unwrap();
        let serving = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let guid = zbus::Guid::generate();
                let stream = stream.into_std().unwrap();
                let build = zbus::connection::Builder::unix_stream(stream).server(guid).p2p().build();
                // A client that goes away during the handshake is its own affair.
                let Ok(connection) = build.await else { continue };
                // Before the reader task first runs: nothing is missed.
                let messages = MessageStream::from(&connection);
                *serving.connection.lock().unwrap() = Some(connection.clone());
                tokio::spawn(serving.clone().serve(connection, messages));
            }
        });
        fake
    }

    pub fn address(&self) -> String {
        format!("unix:path={}", self.directory.path().join("bus").display())
    }

    /// The bus goes away; a client may come back at once.
    pub async fn lose_bus(&self) {
        let connection = self.connection.lock().unwrap().take();
        if let Some(connection) = connection {
            connection.close().await.unwrap();
        }
    }

    async fn serve(self, connection: Connection, mut messages: MessageStream) {
        while let Some(Ok(message)) = messages.next().await {
            if message.message_type() == Type::MethodCall {
                self.answer(&connection, &message, &message.header()).await;
            }
        }
    }

    async fn answer(&self, connection: &Connection, message: &Message, header: &Header<'_>) {
        let method = header.member().unwrap().to_string();
        let object = header.path().unwrap().to_string();
        self.world.lock().unwrap().calls.push(method.clone());
        let body = message.body();
        let error = self.world.lock().unwrap().error;
        if let Some(error) = error {
            return connection.reply_error(header, error, &"Enough.").await.unwrap();
        }
        match method.as_str() {
            "Hello" => connection.reply(header, &":1.7").await,
            "GetNameOwner" => match body.deserialize::<&str>().unwrap() {
                "org.freedesktop.systemd1" => connection.reply(header, &SYSTEMD).await,
                _ => connection.reply_error(header, "org.freedesktop.DBus.Error.NameHasNoOwner", &"no").await,
            },
            "AddMatch" | "Subscribe" => connection.reply(header, &()).await,
            "ListUnitsByNames" => {
                let names: Vec<String> = body.deserialize().unwrap();
                let lines: Vec<_> = names.iter().map(|name| self.line(name)).collect();
                connection.reply(header, &lines).await
            }
            "GetAll" if self.world.lock().unwrap().unread => return,
            "GetAll" => connection.reply(header, &self.properties(&object)).await,
            "Get" => {
                let (_, name): (&str, &str) = body.deserialize().unwrap();
                let job = object.rsplit('/').next().and_then(|id| id.parse().ok());
                let value = {
                    let world = self.world.lock().unwrap();
                    match name {
                        "SystemState" => Some(world.system_state),
                        _ => job.and_then(|id: u32| world.jobs.get(&id).copied()),
                    }
                };
                match value {
                    Some(value) => connection.reply(header, &Variant::from(value)).await,
                    None => {
                        let error = "org.freedesktop.DBus.Error.UnknownObject";
                        connection.reply_error(header, error, &"gone").await
                    }
                }
            }
            "ResetFailedUnit" => {
                let refused = {
                    let scripts = &mut self.world.lock().unwrap().scripts;
                    match scripts.front() {
                        Some(Script::RefuseReset(error)) => {
                            let error = *error;
                            scripts.pop_front();
                            Some(error)
                        }
                        _ => None,
                    }
                };
                match refused {
                    Some(error) => connection.reply_error(header, error, &"no").await,
                    None => connection.reply(header, &()).await,
                }
            }
            _ => return self.job(connection, message, header).await,
        }
        .unwrap();
    }

    async fn job(&self, connection: &Connection, message: &Message, header: &Header<'_>) {
        let (name, mode): (String, String) = message.body().deserialize().unwrap();
        let ours = name.starts_with("stealthcheck-probe@") || header.member().unwrap().as_str() == "StopUnit";
        assert_eq!(mode, if ours { "replace" } else { "fail" });
        let script = self.world.lock().unwrap().scripts.pop_front().expect("no job was expected");
        match script {
            Script::Queue(id) => connection.reply(header, &path(&job_path(id))).await.unwrap(),
            Script::EndFirst(id, word) => {
                self.job_removed(id, &name, word).await;
                connection.reply(header, &path(&job_path(id))).await.unwrap();
            }
            Script::Refuse(error) => connection.reply_error(header, error, &"Nope.").await.unwrap(),
            Script::RefuseReset(_) => panic!("nothing was to be reset"),
            Script::AnswerLater(id) => {
                *self.later.lock().unwrap() = Some((message.clone(), id));
            }
        }
    }

    /// The reply to the request that was not answered.
    pub async fn answer_request(&self) {
        let connection = self.connection.lock().unwrap().clone().expect("no client is connected");
        let (message, id) = self.later.lock().unwrap().take().expect("no request waits");
        connection.reply(&message.header(), &path(&job_path(id))).await.unwrap();
    }

    fn canonical(&self, name: &str) -> String {
        self.world.lock().unwrap().aliases.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    #[allow(clippy::type_complexity)]
    fn line(
        &self,
        name: &str,
    ) -> (String, String, String, String, String, String, ObjectPath<'static>, u32, String, ObjectPath<'static>)
    {
        let id = self.canonical(name);
        let unit = self.world.lock().unwrap().units.get(&id).cloned();
        let unit = unit.unwrap_or(Unit { load: "not-found", ..unit_down() });
        let text = |word: &str| word.to_owned();
        (
            id.clone(),
            text("a unit"),
            text(unit.load),
            text(unit.active),
            text(unit.sub),
            String::new(),
            path(&unit_path(&id)),
            unit.job,
            String::new(),
            path(&job_path(unit.job)),
        )
    }

    fn properties(&self, object: &str) -> HashMap<&'static str, Variant<'static>> {
        let world = self.world.lock().unwrap();
        let named = world.aliases.iter().find(|(alias, _)| unit_path(alias) == object);
        let object = named.map_or_else(|| object.to_owned(), |(_, id)| unit_path(id));
        let found = world.units.iter().find(|(name, _)| unit_path(name) == object);
        let id = found.map_or_else(String::new, |(name, _)| name.clone());
        let unit = found.map_or(Unit { load: "not-found", ..unit_down() }, |(_, unit)| unit.clone());
        let ran = found.and_then(|(name, _)| world.runs.get(name)).cloned().unwrap_or_default();
        let (unmet, tested) = unit.unmet.unwrap_or(("", 0));
        let conditions: Vec<_> =
            unit.unmet.iter().map(|_| ("ConditionPathExists", false, false, unmet, -1)).collect();
        HashMap::from([
            ("FreezerState", unit.freezer.into()),
            ("ConditionResult", unit.unmet.is_none().into()),
            ("ConditionTimestamp", tested.into()),
            ("Conditions", conditions.into()),
            ("AssertResult", false.into()),
            ("AssertTimestamp", 0_u64.into()),
            ("Asserts", Vec::<(&str, bool, bool, &str, i32)>::new().into()),
            ("Transient", false.into()),
            ("TriggeredBy", names(unit.triggered_by)),
            ("StartLimitIntervalUSec", 10_000_000_u64.into()),
            ("StartLimitBurst", 5_u32.into()),
            ("StartLimitAction", "none".into()),
            ("FailureAction", "none".into()),
            ("SuccessAction", "none".into()),
            ("Restart", "on-failure".into()),
            ("RestartUSec", 100_000_u64.into()),
            ("UnitFileState", "enabled".into()),
            ("CanReload", false.into()),
            ("StopWhenUnneeded", false.into()),
            ("TimeoutStartUSec", 90_000_000_u64.into()),
            ("JobTimeoutUSec", u64::MAX.into()),
            ("Wants", names(unit.wants)),
            ("Upholds", names(&[])),
            ("PartOf", names(&[])),
            ("ConsistsOf", names(&[])),
            ("MainPID", ran.main_pid.into()),
            ("ExecMainCode", ran.code.into()),
            ("ExecMainStatus", ran.status.into()),
            ("StatusText", ran.text.into()),
            ("LoadState", unit.load.into()),
            ("ActiveState", unit.active.into()),
            ("SubState", unit.sub.into()),
            ("Result", "success".into()),
            ("Job", (unit.job, path(&job_path(unit.job))).into()),
            ("InvocationID", vec![unit.invocation; 16].into()),
            ("MemoryCurrent", 7_u64.into()),
            ("Id", id.into()),
            ("Requires", names(&[&["sysinit.target", "system.slice"], unit.requires].concat())),
            ("BindsTo", names(&[])),
            ("Conflicts", names(&["shutdown.target"])),
            ("ConflictedBy", names(unit.conflicted_by)),
        ])
    }

    /// The unit becomes this, and systemd says so.
    pub async fn set(&self, name: &str, unit: Unit) {
        self.world.lock().unwrap().units.insert(name.to_owned(), unit);
        self.properties_changed(name, SYSTEMD).await;
    }

    /// The unit's `PropertiesChanged`, from this sender.
    pub async fn properties_changed(&self, name: &str, sender: &str) {
        let object = unit_path(name);
        let mut properties = self.properties(&object);
        properties.remove("LoadState");
        let body = ("org.freedesktop.systemd1.Unit", properties, Vec::<String>::new());
        self.signal(sender, &object, "org.freedesktop.DBus.Properties", "PropertiesChanged", &body).await;
    }

    pub async fn job_new(&self, id: u32, unit: &str, kind: &'static str) {
        self.world.lock().unwrap().jobs.insert(id, kind);
        let body = (id, path(&job_path(id)), unit);
        self.signal(SYSTEMD, MANAGER_PATH, MANAGER, "JobNew", &body).await;
    }

    pub async fn job_removed(&self, id: u32, unit: &str, word: &str) {
        self.world.lock().unwrap().jobs.remove(&id);
        let body = (id, path(&job_path(id)), unit, word);
        self.signal(SYSTEMD, MANAGER_PATH, MANAGER, "JobRemoved", &body).await;
    }

    pub async fn reloaded(&self) {
        self.signal(SYSTEMD, MANAGER_PATH, MANAGER, "Reloading", &true).await;
        self.signal(SYSTEMD, MANAGER_PATH, MANAGER, "Reloading", &false).await;
    }

    pub async fn signal<B>(&self, sender: &str, object: &str, interface: &str, member: &str, body: &B)
    where
        B: serde::Serialize + DynamicType,
    {
        let connection = self.connection.lock().unwrap().clone().expect("no client is connected");
        let BusName::Unique(sender) = BusName::try_from(sender).unwrap() else { panic!("{sender}") };
        let message = Message::signal(object, interface, member).sender(sender);
        connection.send(&message.build(body).unwrap()).await.unwrap();
    }
}

fn names(names: &[&str]) -> Variant<'static> {
    names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>().into()
}

fn unit_down() -> Unit {
    unit("inactive", "dead", 0, 0)
}
