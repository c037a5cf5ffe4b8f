//! What the service manager that runs this daemon is told, and what it keeps for the daemon's next life: sd_notify(3), its
//! store of file descriptors, sd_listen_fds(3).
//!
//! Everything here does nothing where there is no `$NOTIFY_SOCKET`. It never reads anything but the environment.
//!
//! Nor does it wait for long: a service manager that has stopped reading (hung, or crashed, when systemd "freezes
//! execution" and the machine goes on without it) leaves a queue that fills, and on a full one a plain send waits for
//! ever. The one who can tell people of that must not hang with it.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sd_notify::NotifyState;

/// How long what is said only once waits for a place in the queue.
const PATIENCE: Duration = Duration::from_secs(1);

/// The daemon guards now; also the end of a reload.
pub fn ready() {
    send(&[NotifyState::Ready], &[], PATIENCE);
}

/// A reload begins; [`ready`] ends it. systemd 253 and later wants the moment with it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(moment) => send(&[NotifyState::Reloading, moment], &[], PATIENCE),
        Err(_) => send(&[NotifyState::Reloading], &[], PATIENCE),
    };
}

/// The daemon ends in good order.
pub fn stopping() {
    send(&[NotifyState::Stopping], &[], PATIENCE);
}

/// One line for `systemctl status`. False where the service manager has no room for it now: say it again later.
pub fn status(line: &str) -> bool {
    send(&[NotifyState::Status(line)], &[], Duration::ZERO)
}

/// The last line that this process has for the service manager: it may wait a moment for its place.
pub fn last_status(line: &str) {
    send(&[NotifyState::Status(line)], &[], PATIENCE);
}

/// The loop has turned over: the watchdog starts anew.
pub fn ping() {
    /// Somebody waits for a place for it.
    static WAITS: AtomicBool = AtomicBool::new(false);
    if send(&[NotifyState::Watchdog], &[], Duration::ZERO) || WAITS.swap(true, Ordering::AcqRel) {
        return;
    }
    // When the service manager goes on, it looks at its watchdogs at once, and would find that nobody has been heard of
    // since. So one ping waits for the first place, beside the loop.
    let waiting = thread::Builder::new().name("watchdog".to_owned()).spawn(|| {
        send(&[NotifyState::Watchdog], &[], Duration::MAX);
        WAITS.store(false, Ordering::Release);
    });
    if waiting.is_err() {
        WAITS.store(false, Ordering::Release);
    }
}

/// Within what time [`ping`] must come (`WatchdogSec=`); `None` where there is no watchdog.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Puts a copy of a descriptor into the service manager's store, under this name (no colon, no control character). It is
/// there at the next start of the daemon ([`stored`]), unless it was forgotten, or hung up: the service manager itself
/// watches for that.
pub fn store(name: &str, descriptor: BorrowedFd<'_>) {
    // Without a copy there is none at the next start, which is seen then.
    send(&[NotifyState::FdStore, NotifyState::FdName(name)], &[descriptor], PATIENCE);
}

/// Takes what is stored under this name out of the store; nothing where there is none.
pub fn forget(name: &str) {
    send(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)], &[], PATIENCE);
}

/// What was stored, by name. To be called once in the life of a process, as it hands out the same descriptors each time.
///
/// # Errors
/// A sentence, where the environment (`$LISTEN_FDS`) makes no sense.
pub fn stored() -> Result<Vec<(String, OwnedFd)>, String> {
    let stored = sd_listen_fds::get()
        .map_err(|error| format!("the descriptors that systemd kept cannot be taken up: {error}"))?;
    Ok(stored.into_iter().map(|(name, fd)| (name.unwrap_or_default(), fd.into_std())).collect())
}

/// Whether it was said. That nobody listens is no reason to stop guarding, and there is nobody else to tell.
fn send(state: &[NotifyState<'_>], descriptors: &[BorrowedFd<'_>], patience: Duration) -> bool {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return true };
    let message: String = state.iter().map(|state| format!("{state}\n")).collect();
    let address = match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
        _ => SocketAddr::from_pathname(&name),
    };
    address.and_then(|address| send_to(&address, &message, descriptors, patience)).is_ok()
}

fn send_to(
    address: &SocketAddr,
    message: &str,
    descriptors: &[BorrowedFd<'_>],
    patience: Duration,
) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    match patience {
        Duration::ZERO => socket.set_nonblocking(true)?,
        Duration::MAX => {}
        patience => socket.set_write_timeout(Some(patience))?,
    }
    socket.connect_addr(address)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(&socket, &[IoSlice::new(message.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_service_manager_that_does_not_read_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_pathname(&path).unwrap();
        let began = Instant::now();
        let mut room = 0;
        while send_to(&address, "WATCHDOG=1\n", &[], Duration::ZERO).is_ok() {
            room += 1;
            assert!(room < 1_000_000, "its queue has no end");
        }
        let soon = Duration::from_millis(50);
        let descriptor = std::fs::File::open("/dev/null").unwrap();
        for descriptors in [&[][..], &[descriptor.as_fd()]] {
            assert!(send_to(&address, "READY=1\n", descriptors, soon).is_err());
        }
        assert!(began.elapsed() < Duration::from_secs(20));

        // It reads again, and is told again.
        let mut buffer = [0; 64];
        manager.recv(&mut buffer).unwrap();
        send_to(&address, "FDSTORE=1\n", &[descriptor.as_fd()], soon).unwrap();
        let mut last = Vec::new();
        for _ in 0..room {
            let length = manager.recv(&mut buffer).unwrap();
            last = buffer[..length].to_vec();
        }
        assert_eq!(last, b"FDSTORE=1\n");
    }
}
