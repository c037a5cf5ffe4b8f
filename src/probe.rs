//! Probes: one attempt to learn something, one deadline, one [`Observation`].
//!
//! In flows a [`Probe`] from the configuration and the time it may take; out flows what was seen. Every kind of probe
//! is one file with one function, `run(&ItsProbe, &Attempt) -> Result<String, ProbeError>`: the detail of a pass, or
//! what was wrong and on whose side. [`Prober::run`] is their only caller, and the only place that sets a deadline and
//! says in which phase it struck. A new kind is a file here, a variant of [`Probe`] and one arm in [`Prober::run`].
//!
//! A probe never schedules, retries, counts, logs or remembers: that is the engine's. It runs no process. It keeps no
//! connection: what a probe opened is closed when its future ends or is dropped.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, timeout_at};

use crate::check::Probe;
use crate::config::Credentials;
use crate::verdict::Observation;

mod certificate;
mod connect;
mod dns;
mod error;
mod file;
pub mod host;
mod http;
mod resolve;
mod secure;
mod tcp;
mod tls;

use error::ProbeError;
use file::Files;
use resolve::Resolver;
use secure::Trust;

/// When a deadline strikes this much too late, it was this process that did not run (stopped, starved), and an answer
/// may have waited all the while: that is no word about the target.
const HELD_UP: Duration = Duration::from_secs(1);

/// Runs probes. A cheap handle: clones share the TLS configurations, which are made at their first use, and the
/// resolver.
///
/// The machine's certificate authorities are read once in a prober's life: make a new one on reload.
#[derive(Clone, Debug, Default)]
pub struct Prober {
    tools: Arc<Tools>,
}

/// What all probes of a [`Prober`] share.
#[derive(Debug, Default)]
struct Tools {
    resolver: Resolver,
    trust: Trust,
    files: Files,
    credentials: Credentials,
}

impl Prober {
    /// A prober that trusts the machine's own certificate authorities.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A prober that trusts `authorities` besides the machine's own.
    #[must_use]
    pub fn trusting(authorities: Vec<CertificateDer<'static>>) -> Self {
        Self { tools: Arc::new(Tools { trust: Trust::besides(authorities), ..Tools::default() }) }
    }

    /// A prober that has these credentials.
    #[must_use]
    pub fn with_credentials(credentials: Credentials) -> Self {
        Self { tools: Arc::new(Tools { credentials, ..Tools::default() }) }
    }

    /// Makes one attempt that ends within `timeout`. Dropping the future abandons it and closes what it opened.
    ///
    /// Needs a tokio runtime with I/O and time. [`Probe::Unit`] and
    /// [`Probe::Command`] are not for here: systemd's word comes over D-Bus, and it is systemd that runs commands.
    pub async fn run(&self, probe: &Probe, timeout: Duration) -> Observation {
        let attempt = Attempt::start(&self.tools, timeout);
        let work = async {
            match probe {
                Probe::Http(probe) => http::run(probe, &attempt).await,
                Probe::Tcp(probe) => tcp::run(probe, &attempt).await,
                Probe::Tls(probe) => Box::pin(tls::run(probe, &attempt)).await,
                Probe::Dns(probe) => Box::pin(dns::run(probe, &attempt)).await,
                Probe::Unit | Probe::Job(_) => {
                    Err(ProbeError::local("a unit's state is for systemd to tell, not for a probe"))
                }
                Probe::Usage(_) => {
                    Err(ProbeError::local("what is used is seen in a row of samples, not by a probe"))
                }
                Probe::Command(_) => {
                    Err(ProbeError::local("a command is for systemd to run, not for a probe"))
                }
            }
        };
        match timeout_at(attempt.deadline, work).await {
            Ok(Ok(detail)) => Observation::Passing { detail, latency: attempt.latency() },
            Ok(Err(failure)) => failure.into(),
            Err(_elapsed) => attempt.overdue().into(),
        }
    }
}

/// What an attempt is doing; the deadline's message tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    LookingUp,
    Connecting,
    Handshake,
    Waiting,
    Body,
    ReadingFile,
}

/// One attempt: its tools, its deadline, and how far it has come.
#[derive(Debug)]
struct Attempt<'a> {
    tools: &'a Tools,
    timeout: Duration,
    started: Instant,
    deadline: Instant,
    /// A [`Phase`]; atomic only so that the future is `Send`.
    phase: AtomicU8,
    /// When the target had answered, where the attempt goes on after that.
    answered: OnceLock<Instant>,
}

impl<'a> Attempt<'a> {
    fn start(tools: &'a Tools, timeout: Duration) -> Self {
        const A_YEAR: Duration = Duration::from_hours(365 * 24);
        let started = Instant::now();
        let deadline = started + timeout.min(A_YEAR);
        Self {
            tools,
            timeout,
            started,
            deadline,
            phase: AtomicU8::new(Phase::Connecting as u8),
            answered: OnceLock::new(),
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// The target has answered: what is done from here on does not count as its time.
    fn answered(&self) {
        self.answered.get_or_init(Instant::now);
    }

    /// How long the target took.
    fn latency(&self) -> Duration {
        self.answered.get().map_or_else(|| self.started.elapsed(), |at| at.duration_since(self.started))
    }

    /// The words for the deadline that has passed.
    fn overdue(&self) -> ProbeError {
        if self.deadline.elapsed() > HELD_UP {
            return ProbeError::local("stealthcheck itself was held up past the deadline");
        }
        let within = self.timeout;
        let phase = self.phase.load(Ordering::Relaxed);
        if phase == Phase::LookingUp as u8 {
            return ProbeError::local(format!("the resolver gave no answer within {within:?}"));
        }
        if phase == Phase::ReadingFile as u8 {
            return ProbeError::local(format!(
                "a file that the probe needs could not be read within {within:?}"
            ));
        }
        let doing = match phase {
            p if p == Phase::Connecting as u8 => "while connecting",
            p if p == Phase::Handshake as u8 => "in the TLS handshake",
            p if p == Phase::Body as u8 => "while reading the body",
            _ => "while waiting for the response",
        };
        ProbeError::target(format!("no answer within {within:?} ({doing})"))
    }
}
