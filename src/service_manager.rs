//! What the service manager that runs this daemon is told, and what it keeps for the daemon's next life: sd_notify(3), its
//! store of file descriptors, sd_listen_fds(3).
//!
//! Everything here does nothing where there is no `$NOTIFY_SOCKET`. It never reads anything but the environment.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use sd_notify::NotifyState;

/// The daemon guards now; also the end of a reload.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] ends it. systemd 253 and later wants the moment with it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(moment) => send(&[NotifyState::Reloading, moment]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

/// The daemon ends in good order.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    send(&[NotifyState::Status(line)]);
}

/// The loop has turned over: the watchdog starts anew.
pub fn ping() {
    send(&[NotifyState::Watchdog]);
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
    let state = [NotifyState::FdStore, NotifyState::FdName(name)];
    // As below; without a copy there is none at the next start, which is seen then.
    let _ = sd_notify::notify_with_fds(&state, &[descriptor]);
}

/// Takes what is stored under this name out of the store; nothing where there is none.
pub fn forget(name: &str) {
    send(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
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

fn send(state: &[NotifyState]) {
    // A service manager that does not listen is no reason to stop guarding, and there is nobody else to tell.
    let _ = sd_notify::notify(state);
}
