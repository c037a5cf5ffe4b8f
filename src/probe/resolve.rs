//! Names to addresses, by the system's own resolver (`getaddrinfo`), which blocks and cannot be interrupted.
//!
//! In flows a host name; out flow its addresses, or whether the name does not exist or could not be asked for. So that
//! a dead resolver delays nobody who does not need it:
//! - look-ups run on a few threads of their own, not in tokio's blocking pool: a pool full of hung look-ups would hold
//!   up every file write, and a runtime waits for its pool when it ends;
//! - everybody who asks for the same name waits for the same look-up: a thousand checks of one hung name are one thread;
//! - who gives up waiting leaves nothing but, at most, the one thread that the resolver holds.
//!
//! Literal addresses and `localhost` never come near a thread. Nothing is remembered for longer than [`FRESH`].

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::error::{EXCERPT, ProbeError};
use crate::text::sanitize;

/// The most look-ups at a time. At 20 ms each that is 1,600 a second.
const THREADS: usize = 32;

/// How long an answer serves those who ask next: checks of one name that fall together, not the next round.
const FRESH: Duration = Duration::from_secs(1);

/// From so many names on, stale answers are thrown out whenever a new name comes.
const TIDY_FROM: usize = 64;

/// What a look-up gave: addresses with port 0, or the trouble.
type Answer = Result<Arc<[SocketAddr]>, ProbeError>;

/// Where somebody waits for it.
type Waiting = watch::Receiver<Option<(Instant, Answer)>>;

/// How a name is looked up; blocks.
type LookUp = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Turns names into addresses.
pub(super) struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    look_up: LookUp,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By name: look-ups that wait, run, or ended less than [`FRESH`] ago.
    asked: HashMap<Arc<str>, Arc<Asked>>,
    /// Those that wait for a thread.
    queue: VecDeque<Arc<Asked>>,
    threads: usize,
}

/// One look-up and those who wait for it.
struct Asked {
    name: Arc<str>,
    answer: watch::Sender<Option<(Instant, Answer)>>,
}

impl Asked {
    fn is_stale(&self) -> bool {
        self.answer.borrow().as_ref().is_some_and(|(at, _)| at.elapsed() > FRESH)
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::asking(system)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    fn asking(look_up: LookUp) -> Self {
        Self { shared: Arc::new(Shared { look_up, state: Mutex::default() }) }
    }

    /// The addresses of `host`, with port 0, in the order in which they are to be tried; never empty.
    pub(super) async fn addresses(&self, host: &str) -> Answer {
        let mut answer = self.ask(host)?;
        match answer.wait_for(Option::is_some).await.as_deref() {
            Ok(Some((_, answer))) => answer.clone(),
            _ => Err(ProbeError::local("the look-up was lost")),
        }
    }

    /// Waits for the look-up of `host` that is under way or fresh, or for a new one.
    fn ask(&self, host: &str) -> Result<Waiting, ProbeError> {
        let mut state = self.shared.lock();
        if let Some(asked) = state.asked.get(host)
            && !asked.is_stale()
        {
            return Ok(asked.answer.subscribe());
        }
        if state.threads < THREADS {
            let shared = Arc::clone(&self.shared);
            match thread::Builder::new().name("look-up".to_owned()).spawn(move || shared.work()) {
                Ok(_detached) => state.threads += 1,
                Err(error) if state.threads == 0 => {
                    return Err(ProbeError::local(format!("no thread for a look-up: {error}")));
                }
                // Those that there are will come to it.
                Err(_) => {}
            }
        }
        if state.asked.len() >= TIDY_FROM {
            state.asked.retain(|_, asked| !asked.is_stale());
        }
        let (answer, waiting) = watch::channel(None);
        let asked = Arc::new(Asked { name: Arc::from(host), answer });
        state.asked.insert(Arc::clone(&asked.name), Arc::clone(&asked));
        state.queue.push_back(asked);
        Ok(waiting)
    }
}

impl Shared {
    /// No invariant can be left broken by a panic here, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life: look up what waits, and end when nothing does.
    fn work(&self) {
        while let Some(asked) = self.next() {
            let answer = judge(&asked.name, (self.look_up)(&asked.name));
            asked.answer.send_replace(Some((Instant::now(), answer)));
        }
    }

    /// The next look-up that somebody still waits for; `None` ends the thread that asked.
    fn next(&self) -> Option<Arc<Asked>> {
        let mut state = self.lock();
        while let Some(asked) = state.queue.pop_front() {
            // Under the lock: nobody can begin to wait for it in between.
            if asked.answer.receiver_count() > 0 {
                return Some(asked);
            }
            state.asked.remove(&asked.name);
        }
        state.threads -= 1;
        None
    }
}

/// The address that `host` spells, if it is one; the name of this machine to itself needs no asking (RFC 6761, 6.3).
pub(super) fn literal(host: &str) -> Option<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(vec![SocketAddr::new(address, 0)]);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let top = name.rsplit('.').next().unwrap_or(name);
    top.eq_ignore_ascii_case("localhost").then(|| {
        vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0)]
    })
}

fn system(host: &str) -> io::Result<Vec<SocketAddr>> {
    let result = (host, 0).to_socket_addrs();
    if result.is_err() {
        // Without a file descriptor left, the C library cannot open what it reads the answer from, and says that
        // the name does not exist.
        let _spare = [File::open("/dev/null")?, File::open("/dev/null")?];
    }
    Ok(result?.collect())
}

/// Whether the name does not exist, or could not be asked for. The standard library keeps of `getaddrinfo`'s codes only
/// their text, which the C library translates only for programs that set a locale, as this one does not. A text that is
/// not known here counts as *could not ask*: it restarts nothing.
fn judge(host: &str, result: io::Result<Vec<SocketAddr>>) -> Answer {
    /// `EAI_NONAME` and `EAI_NODATA`, as glibc and musl say them.
    const NO_SUCH: [&str; 4] = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
    ];
    let name = sanitize(host, EXCERPT);
    match result {
        Ok(addresses) if addresses.is_empty() => Err(ProbeError::target(format!("{name} has no address"))),
        Ok(addresses) => Ok(addresses.into()),
        // Only an error that never came out of a system call is the resolver's word.
        Err(error) if error.raw_os_error().is_some() => {
            let why = ProbeError::from_io(&error);
            Err(ProbeError::local(format!("{name} could not be looked up: {}", why.reason())))
        }
        Err(error) => {
            let text = error.to_string();
            if NO_SUCH.iter().any(|said| text.contains(said)) {
                return Err(ProbeError::target(format!("name {name} does not exist")));
            }
            let said = text.rsplit(": ").next().unwrap_or(&text);
            Err(ProbeError::local(format!("{name} could not be looked up: {}", sanitize(said, EXCERPT))))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    fn one(_: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)])
    }

    /// Names that begin with `hung` are never answered.
    fn some_hang(host: &str) -> io::Result<Vec<SocketAddr>> {
        while host.starts_with("hung") {
            thread::park();
        }
        one(host)
    }

    #[test]
    fn addresses_and_localhost_are_not_looked_up() {
        assert_eq!(literal("127.0.0.1").unwrap()[0].to_string(), "127.0.0.1:0");
        assert_eq!(literal("::1").unwrap()[0].to_string(), "[::1]:0");
        for host in ["localhost", "LOCALHOST.", "gru.localhost"] {
            assert_eq!(literal(host).unwrap().len(), 2, "{host}");
        }
        assert!(literal("localhost.example.org").is_none());
    }

    #[test]
    fn a_name_that_does_not_exist_is_the_targets_and_a_resolver_that_fails_is_ours() {
        let judged =
            |text: &str| judge("gru", Err(io::Error::other(format!("failed to lookup address: {text}"))));
        assert_eq!(judged("Name or service not known"), Err(ProbeError::target("name gru does not exist")));
        assert_eq!(
            judged("Temporary failure in name resolution"),
            Err(ProbeError::local("gru could not be looked up: Temporary failure in name resolution"))
        );
        assert!(matches!(judged("something new"), Err(ProbeError::Local(_))));
        assert_eq!(judge("gru", Ok(vec![])), Err(ProbeError::target("gru has no address")));
    }

    #[tokio::test]
    async fn who_asks_for_the_same_name_shares_a_look_up() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let resolver = Resolver::asking(|host| {
            CALLS.fetch_add(1, Ordering::SeqCst);
            thread::sleep(SOON);
            one(host)
        });
        let all = futures_util::future::join_all((0..1000).map(|_| resolver.addresses("gru"))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(CALLS.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_hung_look_up_delays_nobody_else() {
        let resolver = Resolver::asking(some_hang);
        for _ in 0..1000 {
            assert!(timeout(Duration::ZERO, resolver.addresses("hung")).await.is_err());
        }
        assert_eq!(resolver.shared.lock().threads, 1);
        for n in 0..100 {
            assert!(timeout(LONG, resolver.addresses(&format!("gru{n}"))).await.unwrap().is_ok());
        }
    }

    #[tokio::test]
    async fn threads_are_bounded_and_the_abandoned_leave_nothing() {
        let resolver = Resolver::asking(some_hang);
        for n in 0..1000 {
            let _ = timeout(Duration::ZERO, resolver.addresses(&format!("hung{n}"))).await;
        }
        assert!(resolver.shared.lock().threads <= THREADS);
        let _ = timeout(SOON, resolver.addresses("gru")).await;
        let state = resolver.shared.lock();
        assert!(state.threads == THREADS);
    }

    #[tokio::test]
    async fn an_answer_is_soon_forgotten() {
        let resolver = Resolver::asking(one);
        for n in 0..500 {
            resolver.addresses(&format!("gru{n}")).await.unwrap();
        }
        tokio::time::sleep(FRESH + SOON).await;
        resolver.addresses("last").await.unwrap();
        assert_eq!(resolver.shared.lock().asked.len(), 1);
    }
}
