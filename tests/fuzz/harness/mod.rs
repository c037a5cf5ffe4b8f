//! What each fuzz target does with some bytes: whatever they are, nothing panics, hangs or is half-applied.
//!
//! Used by the targets (`tests/fuzz/targets/`), which libFuzzer feeds, and by `tests/found.rs`, which feeds what they
//! found.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use stealthcheck::check::{Alert, Check, CheckName, Probe, Recovery, Schedule, Step};
use stealthcheck::config;
use stealthcheck::engine::saved::{Saved, VERSION};
use stealthcheck::engine::{Effect, Engine, Event, JobRequest};
use stealthcheck::mail::spool::Spool;
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{JobResult, UnitName};
use stealthcheck::verdict::Observation;

mod bus;
mod import;
mod network;
mod words;

pub use bus::calls;
pub use import::import;
pub use network::{certificate, dns, request};
pub use words::{name, notification, shown};

/// A directory in memory, for the targets: one for the life of the process.
pub fn in_memory() -> &'static Path {
    static DIRECTORY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = || tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    DIRECTORY.get_or_init(made).path()
}

/// The runtime of the targets that speak with somebody: everything in one thread.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Whether a terminal, a log or a header would show the text and not act on it.
pub fn is_one_line(text: &str) -> bool {
    !text.chars().any(stealthcheck::text::acts)
}

/// A configuration file. Every problem names the file, says something, and is one line.
pub fn config(directory: &Path, bytes: &[u8]) {
    let file = directory.join("stealthcheck.yaml");
    fs::write(&file, bytes).expect("a file in memory");
    match config::load(&file) {
        Ok(config) => {
            for check in &config.checks {
                assert!(check.schedule.interval >= Duration::from_millis(100), "{check:?}");
                assert!(check.schedule.timeout <= check.schedule.interval, "{check:?}");
            }
            // What may be asked for is what the checks name.
            let _ = config::permitted(&config);
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let text = problem.to_string();
                assert!(!problem.message.is_empty() && !text.contains(['\n', '\r', '\u{1b}']), "{text:?}");
            }
        }
    }
}

/// A state file: the core goes on from it for an hour, in which everything fails, then passes.
pub fn state(bytes: &[u8]) {
    let Ok(saved) = serde_json::from_slice::<Saved>(bytes) else { return };
    if saved.version != VERSION {
        return;
    }
    let mut now = Now { mono: Mono(Duration::from_secs(1_000_000)), wall: Wall(1_795_000_000_000) };
    let (mut engine, mut effects) = Engine::restore(now, "", saved, checks());
    for step in 0_u32..600 {
        let mut answers = Vec::new();
        for effect in std::mem::take(&mut effects) {
            match effect {
                Effect::Probe { check, run, .. } => {
                    let observation = if step < 400 {
                        Observation::Failing { reason: "no".to_owned() }
                    } else {
                        Observation::Passing { detail: "yes".to_owned(), latency: Duration::ZERO }
                    };
                    answers.push(Event::Observed { check, run, observation });
                }
                Effect::StartJob(JobRequest { unit, attempt, .. }) => {
                    answers.push(Event::JobEnded { unit, attempt, result: JobResult::Failed, state: None });
                }
                Effect::Notify(notification) => {
                    answers.push(Event::NotificationStored(notification.id.clone()))
                }
                _ => {}
            }
        }
        answers.push(Event::Tick);
        for event in answers {
            effects.extend(engine.handle(now, event));
        }
        if let Some(at) = engine.next_wakeup() {
            assert!(at > now.mono, "the core wants to be woken in the past");
        }
        let _ = engine.status(now, &[], true);
        let saved = serde_json::to_vec(&engine.save(now, "boot")).expect("a state can be written");
        assert!(serde_json::from_slice::<Saved>(&saved).is_ok(), "what is written can be read");
        now.mono = now.mono.after(Duration::from_secs(6));
        now.wall = now.wall.after(Duration::from_secs(6));
    }
}

/// A spooled mail: it is read, or set aside with a sentence; never lost, never a reason not to start.
pub fn spool(directory: &Path, bytes: &[u8]) {
    let _ = fs::remove_dir_all(directory.join("spool"));
    fs::create_dir(directory.join("spool")).expect("a directory in memory");
    fs::write(directory.join("spool/00000000000000000007-x.json"), bytes).expect("a file in memory");
    let found = Spool::new(directory).load();
    assert_eq!(found.records.len() + found.warnings.len(), 1, "{found:?}");
    for (number, record) in &found.records {
        Spool::new(directory).write(*number, record).expect("what was read can be written");
    }
    for warning in &found.warnings {
        assert!(!warning.contains(['\n', '\r', '\u{1b}']), "{warning:?}");
    }
}

/// Two checks on one unit and one on none, by the names that the seeds have.
pub fn checks() -> Vec<Check> {
    let check = |name: &str, unit: Option<&str>, steps: Vec<Step>| Check {
        name: CheckName::new(name).expect("a name"),
        unit: unit.map(|unit| UnitName::new(unit).expect("a unit")),
        probe: Probe::Tcp(std::sync::Arc::new(stealthcheck::check::TcpProbe {
            address: stealthcheck::check::HostPort::parse("127.0.0.1:1").expect("an address"),
            send: None,
            expect: None,
        })),
        schedule: Schedule::default(),
        recovery: Recovery { steps, ..Recovery::default() },
        alert: Alert { to: vec!["ops@example.org".into()], ..Alert::default() },
        runbook: None,
    };
    vec![
        check("web", Some("web.service"), vec![Step::Restart]),
        check("web-tls", Some("web.service"), vec![Step::Reload, Step::Restart]),
        check("partner", None, Vec::new()),
    ]
}
