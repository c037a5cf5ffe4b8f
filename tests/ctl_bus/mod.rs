//! A bus that is made up: a socket that greets like a message bus, with the daemon's real interface, a supervisor and a
//! systemd behind it. Everything on it is one peer.

mod holds;

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holds::{Holds, Told};
use stealthcheck::bus::{Bus, PATH, Request, resolve, serve};
use stealthcheck::check::CheckName;
use stealthcheck::status::{
    CheckStatus, ConfigurationStatus, Decision, Explanation, MailStatus, Reason, Snapshot, Topic,
};
use stealthcheck::time::Wall;
use stealthcheck::verdict::{Health, Observation, Seen};
use tokio::sync::mpsc;
use zbus::message::Message;
use zbus::{Connection, OwnedObjectPath, connection};

/// Who is on the bus.
#[derive(Clone, Copy)]
pub enum Daemon {
    /// Nobody of that name.
    Absent,
    /// The daemon, and a systemd whose jobs end like this. A reload that ends as `failed` has been refused.
    Running {
        /// The job's result.
        job: &'static str,
    },
    /// One that gives holds, and the same systemd.
    Holding {
        /// The job's result.
        job: &'static str,
    },
}

pub struct FakeBus {
    address: String,
    told: Told,
    _directory: tempfile::TempDir,
}

impl FakeBus {
    /// Listens, and serves whoever comes until the test process ends.
    pub fn start(daemon: Daemon) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("bus");
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let told = Told::default();
        let log = Arc::clone(&told);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(greet(stream.into_std().unwrap(), daemon, Arc::clone(&log)));
                }
            });
        });
        Self { address: format!("unix:path={}", socket.display()), told, _directory: directory }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// What was done about holds, a line each.
    pub fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

async fn greet(stream: std::os::unix::net::UnixStream, daemon: Daemon, told: Told) {
    let refused = Arc::new(AtomicBool::new(false));
    let builder = connection::Builder::unix_stream(stream)
        .server(zbus::Guid::generate())
        .p2p()
        .serve_at("/org/freedesktop/DBus", Driver);
    let (requests, inbox) = mpsc::channel(8);
    let connection = match daemon {
        Daemon::Absent => builder.serve_at(PATH, Nobody).build().await.unwrap(),
        Daemon::Running { job } => {
            let systemd = Systemd { result: job, refused: Arc::clone(&refused), told: Arc::clone(&told) };
            let connection = builder.serve_at("/org/freedesktop/systemd1", systemd).build().await.unwrap();
            serve(&connection, Bus::System, requests).await.unwrap();
            // One peer is all of the bus: once it has a name, zbus drops what is sent to names it has not.
            for name in ["org.freedesktop.DBus", "org.freedesktop.systemd1"] {
                connection.request_name(name).await.unwrap();
            }
            connection
        }
        Daemon::Holding { job } => {
            let systemd = Systemd { result: job, refused: Arc::clone(&refused), told: Arc::clone(&told) };
            let builder = builder.serve_at("/org/freedesktop/systemd1", systemd);
            builder.serve_at(PATH, Holds { told }).build().await.unwrap()
        }
    };
    supervise(inbox, &refused).await;
    connection.closed().await;
}

/// The bus driver: what a client asks of it when it connects and listens.
struct Driver;

#[zbus::interface(name = "org.freedesktop.DBus")]
impl Driver {
    fn hello(&self) -> String {
        ":1.1".to_owned()
    }
    fn add_match(&self, _rule: String) {}
    fn remove_match(&self, _rule: String) {}
    fn get_name_owner(&self, _name: String) -> String {
        SYSTEMD.to_owned()
    }
}

/// What the bus answers for a name that nobody owns.
struct Nobody;

#[zbus::interface(name = "io.iobio.Stealthcheck1.Manager")]
impl Nobody {
    fn get_status(&self, _names: Vec<String>, _detail: bool) -> zbus::fdo::Result<String> {
        Err(zbus::fdo::Error::ServiceUnknown("The name is not activatable".to_owned()))
    }
    fn hold(&self, _name: String, _who: String, _why: String, _seconds: u64) -> zbus::fdo::Result<String> {
        Err(zbus::fdo::Error::ServiceUnknown("The name is not activatable".to_owned()))
    }
}

/// systemd's unique name.
const SYSTEMD: &str = ":1.0";

struct Systemd {
    result: &'static str,
    refused: Arc<AtomicBool>,
    told: Told,
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn subscribe(&self) {}

    async fn reload_unit(
        &self,
        #[zbus(connection)] connection: &Connection,
        unit: String,
        _mode: String,
    ) -> OwnedObjectPath {
        self.refused.store(self.result == "failed", Ordering::Relaxed);
        self.job(connection, unit).await
    }

    async fn stop_unit(
        &self,
        #[zbus(connection)] connection: &Connection,
        unit: String,
        _mode: String,
    ) -> OwnedObjectPath {
        self.told.lock().unwrap().push(format!("stop {unit}"));
        self.job(connection, unit).await
    }
}

impl Systemd {
    /// A job that has ended before the caller knows of it: the hardest order.
    async fn job(&self, connection: &Connection, unit: String) -> OwnedObjectPath {
        let job = OwnedObjectPath::try_from("/org/freedesktop/systemd1/job/7").unwrap();
        let signal =
            Message::signal("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "JobRemoved")
                .sender(SYSTEMD)
                .build(&(7_u32, &job, unit, self.result))
                .unwrap();
        connection.send(&signal).await.unwrap();
        job
    }
}

const NOW: Wall = Wall(1_795_442_791_000);

fn check(name: &str, health: Health, observation: Observation) -> CheckStatus {
    let ago = |seconds| NOW.before(Duration::from_secs(seconds));
    CheckStatus {
        name: CheckName::new(name).unwrap(),
        unit: None,
        probe: "tcp localhost:1".into(),
        health,
        since: ago(60),
        last: Some(Seen { observation, first: ago(60), last: ago(3), count: 7 }),
        next: "probe in 2s".into(),
        next_probe: None,
        incident: None,
        unit_state: None,
        history: Vec::new(),
        runbook: Some("ssh there".into()),
    }
}

fn explanation(name: CheckName) -> Explanation {
    let at = NOW.before(Duration::from_secs(60));
    let text = "no recovery: the unit is masked".to_owned();
    Explanation {
        name,
        unit: None,
        at: NOW,
        health: Health::DOWN,
        now: vec![Reason { topic: Topic::Unit, text: "gru.service is masked".into() }],
        log: vec![Decision { topic: Topic::Recovery, text, first: at, last: at, count: 1 }],
    }
}

async fn supervise(mut inbox: mpsc::Receiver<Request>, refused: &AtomicBool) {
    let checks = [
        check("gru", Health::DOWN, Observation::Failing { reason: "connection refused".into() }),
        check(
            "mosaic",
            Health::PASSING,
            Observation::Passing { detail: "connected".into(), latency: Duration::from_millis(2) },
        ),
    ];
    while let Some(request) = inbox.recv().await {
        let (names, reply) = match request {
            Request::Status { names, reply, .. } => (names, reply),
            Request::Why { name, reply } => {
                let known = resolve(&name, checks.iter().map(|check| &check.name));
                let _ = reply.send(known.map(|name| explanation(name.clone())));
                continue;
            }
            _ => continue,
        };
        let asked: Result<Vec<&CheckName>, _> =
            names.iter().map(|name| resolve(name, checks.iter().map(|check| &check.name))).collect();
        let problem = || (NOW, vec!["a.yaml:3: checks.gru: wrong".to_owned()]);
        let _ = reply.send(asked.map(|asked| {
            Snapshot {
                version: env!("CARGO_PKG_VERSION").into(),
                at: NOW,
                started: Wall(0),
                configuration: ConfigurationStatus {
                    loaded: Wall(0),
                    files: vec!["a.yaml".into()],
                    refused: refused.load(Ordering::Relaxed).then(problem),
                },
                mail: MailStatus { configured: true, ..MailStatus::default() },
                alerts: Vec::new(),
                checks: checks
                    .iter()
                    .filter(|check| asked.is_empty() || asked.contains(&&check.name))
                    .cloned()
                    .collect(),
            }
        }));
    }
}
