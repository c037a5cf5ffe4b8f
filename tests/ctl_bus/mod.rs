//! A bus that is made up: a socket that greets like a message bus, with a daemon and a systemd behind it. Everything on it is
//! one peer. The daemon answers what `stealthctl` asks, from a table; unlike the real one it knows no callers, no bounds and
//! no polkit, and no page but the first has checks.

mod holds;

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holds::{Holds, Told};
use stealthcheck::bus::{NAME, PATH, Refusal, resolve};
use stealthcheck::check::CheckName;
use stealthcheck::status::{
    CheckStatus, ConfigurationStatus, Counts, Decision, Explanation, MailStatus, Reason, Snapshot, Topic,
};
use stealthcheck::time::Wall;
use stealthcheck::verdict::{Health, Observation, Seen};
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
    let connection = match daemon {
        Daemon::Absent => builder.serve_at(PATH, Nobody).build().await.unwrap(),
        Daemon::Running { job } => {
            let systemd = Systemd { result: job, refused: Arc::clone(&refused), told: Arc::clone(&told) };
            let builder = builder.serve_at("/org/freedesktop/systemd1", systemd);
            let connection = builder.serve_at(PATH, Guarding { refused }).build().await.unwrap();
            // One peer is all of the bus: once it has a name, zbus drops what is sent to names it has not.
            for name in ["org.freedesktop.DBus", "org.freedesktop.systemd1", NAME] {
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
    fn describe(&self) -> zbus::fdo::Result<String> {
        Err(zbus::fdo::Error::ServiceUnknown("The name is not activatable".to_owned()))
    }
    fn hold_unit(
        &self,
        _name: String,
        _who: String,
        _why: String,
        _seconds: u64,
    ) -> zbus::fdo::Result<String> {
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

/// What is said of the daemon itself.
fn daemon(checks: usize, refused: Option<(Wall, Vec<String>)>) -> String {
    let snapshot = Snapshot {
        version: env!("CARGO_PKG_VERSION").into(),
        at: NOW,
        started: Wall(0),
        configuration: ConfigurationStatus { loaded: Wall(0), files: vec!["a.yaml".into()], refused },
        mail: MailStatus { configured: true, ..MailStatus::default() },
        counts: Counts { checks, ..Counts::default() },
        storm: None,
        alerts: Vec::new(),
        checks: Vec::new(),
    };
    serde_json::to_string(&snapshot).unwrap()
}

/// The daemon.
struct Guarding {
    refused: Arc<AtomicBool>,
}

impl Guarding {
    fn checks() -> [CheckStatus; 2] {
        let passes = Observation::Passing { detail: "connected".into(), latency: Duration::from_millis(2) };
        [
            check("gru", Health::DOWN, Observation::Failing { reason: "connection refused".into() }),
            check("mosaic", Health::PASSING, passes),
        ]
    }

    fn one(name: &str) -> Result<CheckStatus, Refusal> {
        let checks = Self::checks();
        let name = resolve(name, checks.iter().map(|check| &check.name))?;
        Ok(checks.iter().find(|check| check.name == *name).cloned().unwrap())
    }
}

#[zbus::interface(name = "io.iobio.Stealthcheck1.Manager")]
impl Guarding {
    fn describe(&self) -> String {
        let problem = || (NOW, vec!["a.yaml:3: checks.gru: wrong".to_owned()]);
        daemon(2, self.refused.load(Ordering::Relaxed).then(problem))
    }

    fn describe_checks(&self, after: String, _limit: u32) -> String {
        let checks = if after.is_empty() { Self::checks().to_vec() } else { Vec::new() };
        serde_json::to_string(&checks).unwrap()
    }

    fn describe_check(&self, name: String) -> Result<String, Refusal> {
        Ok(serde_json::to_string(&Self::one(&name)?).unwrap())
    }

    fn explain_check(&self, name: String) -> Result<String, Refusal> {
        Ok(serde_json::to_string(&explanation(Self::one(&name)?.name)).unwrap())
    }
}
