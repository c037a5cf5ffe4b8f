//! What the service manager that runs this daemon is told, and what it keeps for the daemon's next life: sd_notify(3),
//! its store of file descriptors, sd_listen_fds(3).
//!
//! Everything here does nothing where there is no `$NOTIFY_SOCKET`. It never reads anything but the environment, and it
//! never waits: of a service manager that hangs (a PID 1 that has crashed freezes, and lives on) nobody would restart a
//! daemon that hangs on it. What it does not take now is kept, and offered again with the next word. One socket does
//! for the whole life, so that a daemon that is out of file descriptors still feeds its watchdog.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix};
use sd_notify::NotifyState;

/// So many words are kept for a service manager that takes none. They are few: a new status replaces the one before.
const KEPT: usize = 64;

/// How long [`last_word`] is offered, and how often.
const LAST_WORD: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(20));

/// The daemon guards now; also the end of a reload.
pub fn ready() {
    send(&[NotifyState::Ready], None);
}

/// A reload begins; [`ready`] ends it. systemd 253 and later wants the moment with it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(moment) => send(&[NotifyState::Reloading, moment], None),
        Err(_) => send(&[NotifyState::Reloading], None),
    }
}

/// The daemon ends in good order.
pub fn stopping() {
    send(&[NotifyState::Stopping], None);
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    send(&[NotifyState::Status(line)], None);
}

/// [`status`], from a process that ends now: waits a little for a service manager that is busy.
pub fn last_word(line: &str) {
    let Some(manager) = manager() else { return };
    let (patience, pause) = LAST_WORD;
    let until = Instant::now() + patience;
    manager.say(Word::new(&[NotifyState::Status(line)], None));
    while !manager.catch_up() && Instant::now() < until {
        thread::sleep(pause);
    }
}

/// The loop has turned over: the watchdog starts anew.
pub fn ping() {
    /// Somebody waits for a place for it.
    static WAITS: AtomicBool = AtomicBool::new(false);
    let Some(manager) = manager() else { return };
    let ping = || Word::new(&[NotifyState::Watchdog], None);
    if manager.say(ping()) || WAITS.swap(true, Ordering::AcqRel) {
        return;
    }
    // When the service manager goes on, it looks at its watchdogs at once, and would find that nobody has been heard of
    // since. So one ping waits for the first place, beside the loop.
    let waiting = thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        manager.send(&ping(), SendFlags::NOSIGNAL).ok();
        WAITS.store(false, Ordering::Release);
    });
    if waiting.is_err() {
        WAITS.store(false, Ordering::Release);
    }
}

/// Within what time [`ping`] must come (`WatchdogSec=`); `None` where there is no watchdog.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    let ours = std::env::var("WATCHDOG_PID")
        .map_or(true, |pid| pid.parse::<u32>().is_ok_and(|pid| pid == std::process::id()));
    let usec = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (ours && usec > 0).then(|| Duration::from_micros(usec))
}

/// Puts a copy of a descriptor into the service manager's store, under this name (no colon, no control character). It
/// is there at the next start of the daemon ([`stored`]), unless it was forgotten, or hung up: the service manager
/// itself watches for that.
pub fn store(name: &str, descriptor: BorrowedFd<'_>) {
    // Without a copy there is none at the next start, which is seen then.
    if let Ok(copy) = descriptor.try_clone_to_owned() {
        send(&[NotifyState::FdStore, NotifyState::FdName(name)], Some(copy));
    }
}

/// Takes what is stored under this name out of the store; nothing where there is none.
pub fn forget(name: &str) {
    send(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)], None);
}

/// What was stored, by name. To be called once in the life of a process, as it hands out the same descriptors each
/// time.
///
/// # Errors
/// A sentence, where the environment (`$LISTEN_FDS`) makes no sense.
pub fn stored() -> Result<Vec<(String, OwnedFd)>, String> {
    let stored = sd_listen_fds::get()
        .map_err(|error| format!("the descriptors that systemd kept cannot be taken up: {error}"))?;
    Ok(stored.into_iter().map(|(name, fd)| (name.unwrap_or_default(), fd.into_std())).collect())
}

const STATUS: &str = "STATUS=";
const PING: &str = "WATCHDOG=1\n";

fn send(states: &[NotifyState<'_>], descriptor: Option<OwnedFd>) {
    if let Some(manager) = manager() {
        manager.say(Word::new(states, descriptor));
    }
}

/// The one there is, found out at the first word.
fn manager() -> Option<&'static Manager> {
    static MANAGER: OnceLock<Option<Manager>> = OnceLock::new();
    let find = || Manager::at(&std::env::var("NOTIFY_SOCKET").ok()?).ok();
    MANAGER.get_or_init(find).as_ref()
}

/// One datagram.
struct Word {
    text: String,
    descriptor: Option<OwnedFd>,
}

impl Word {
    fn new(states: &[NotifyState<'_>], descriptor: Option<OwnedFd>) -> Self {
        Self { text: states.iter().map(|state| format!("{state}\n")).collect(), descriptor }
    }
}

/// Where words go.
struct Manager {
    socket: UnixDatagram,
    address: SocketAddrUnix,
    /// What was not taken yet, oldest first.
    kept: Mutex<VecDeque<Word>>,
}

impl Manager {
    /// `@` begins a name that is in no file system.
    fn at(address: &str) -> io::Result<Self> {
        let address = match address.strip_prefix('@') {
            Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
            None => SocketAddrUnix::new(address)?,
        };
        Ok(Self { socket: UnixDatagram::unbound()?, address, kept: Mutex::default() })
    }

    /// Whether it is taken now. What is not is kept, but for a ping: the next one feeds the watchdog as well.
    fn say(&self, word: Word) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.offer(&mut kept);
        if kept.is_empty() && self.taken(&word) {
            return true;
        }
        if word.text == PING {
            return false;
        }
        if word.text.starts_with(STATUS) {
            kept.retain(|older| !older.text.starts_with(STATUS));
        }
        kept.push_back(word);
        if kept.len() > KEPT {
            kept.pop_front();
        }
        false
    }

    /// Whether all has been taken.
    fn catch_up(&self) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.offer(&mut kept);
        kept.is_empty()
    }

    fn offer(&self, kept: &mut VecDeque<Word>) {
        while kept.front().is_some_and(|word| self.taken(word)) {
            kept.pop_front();
        }
    }

    /// Whether the service manager has it, or never will. One that takes none now, or is not there, may be back: its
    /// successor opens the socket anew.
    fn taken(&self, word: &Word) -> bool {
        let sent = self.send(word, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        !matches!(sent, Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOENT | Errno::CONNREFUSED))
    }

    fn send(&self, word: &Word, flags: SendFlags) -> rustix::io::Result<usize> {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<BorrowedFd<'_>> = word.descriptor.iter().map(AsFd::as_fd).collect();
        if !descriptors.is_empty() {
            with.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        let text = [io::IoSlice::new(word.text.as_bytes())];
        rustix::net::sendmsg_addr(&self.socket, &self.address, &text, &mut with, flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Systemd {
        _dir: tempfile::TempDir,
        socket: UnixDatagram,
    }

    impl Systemd {
        fn listens() -> (Self, Manager) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            let manager = Manager::at(path.to_str().unwrap()).unwrap();
            (Self { _dir: dir, socket }, manager)
        }

        /// All that waits.
        fn reads(&self) -> Vec<String> {
            let mut text = [0; 4096];
            let mut all = Vec::new();
            while let Ok(n) = self.socket.recv(&mut text) {
                all.push(String::from_utf8(text[..n].to_vec()).unwrap());
            }
            all
        }
    }

    fn word(text: &str) -> Word {
        Word { text: text.to_owned(), descriptor: None }
    }

    #[test]
    fn a_manager_that_hangs_holds_up_nobody_and_hears_what_counts_when_it_is_back() {
        let (systemd, manager) = Systemd::listens();
        // Until its queue is full, and far beyond: each of these returns.
        for n in 0..5_000 {
            manager.say(word(&format!("STATUS={n}\n")));
            manager.say(word(PING));
        }
        manager.say(word("RELOADING=1\n"));
        manager.say(word("READY=1\n"));
        assert!(!manager.catch_up(), "the queue of a hanging socket has no end");
        let before = systemd.reads();
        assert!(before.len() < 5_000, "{}", before.len());
        assert!(manager.catch_up());
        let [status, rest @ ..] = &systemd.reads()[..] else { panic!("nothing was kept") };
        assert_eq!(status, "STATUS=4999\n", "the last status, and no other");
        assert_eq!(rest, ["RELOADING=1\n", "READY=1\n"], "in order");
    }

    #[test]
    fn what_is_kept_has_an_end() {
        let (systemd, manager) = Systemd::listens();
        for n in 0..2_000 {
            manager.say(word(&format!("FDSTOREREMOVE=1\nFDNAME={n}\n")));
        }
        systemd.reads();
        let mut kept = Vec::new();
        // A queue at a time.
        while !manager.catch_up() {
            kept.extend(systemd.reads());
        }
        kept.extend(systemd.reads());
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept[KEPT - 1], "FDSTOREREMOVE=1\nFDNAME=1999\n");
    }

    #[test]
    fn a_descriptor_goes_with_its_name_also_by_an_abstract_address() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("stealthcheck-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let manager = Manager::at(&format!("@{name}")).unwrap();
        let file = tempfile::tempfile().unwrap();
        manager.say(Word {
            text: "FDSTORE=1\nFDNAME=x\n".to_owned(),
            descriptor: Some(file.as_fd().try_clone_to_owned().unwrap()),
        });
        let mut text = [0; 64];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let mut into = [io::IoSliceMut::new(&mut text)];
        let got =
            rustix::net::recvmsg(&socket, &mut into, &mut with, rustix::net::RecvFlags::empty()).unwrap();
        assert_eq!(&text[..got.bytes], b"FDSTORE=1\nFDNAME=x\n");
        let came = with.drain().map(|message| match message {
            rustix::net::RecvAncillaryMessage::ScmRights(descriptors) => descriptors.count(),
            _ => 0,
        });
        assert_eq!(came.sum::<usize>(), 1);
    }

    #[test]
    fn a_manager_that_is_gone_is_told_when_it_is_back() {
        let (systemd, manager) = Systemd::listens();
        let path = systemd.socket.local_addr().unwrap().as_pathname().unwrap().to_owned();
        std::fs::remove_file(&path).unwrap();
        manager.say(word("READY=1\n"));
        let back = UnixDatagram::bind(&path).unwrap();
        manager.say(word(PING));
        let mut text = [0; 64];
        let n = back.recv(&mut text).unwrap();
        assert_eq!(&text[..n], b"READY=1\n");
    }
}
