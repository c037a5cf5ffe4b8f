//! What the service manager that runs this daemon is told: sd_notify(3).
//!
//! Everything here does nothing where there is no `$NOTIFY_SOCKET`. It never reads anything but the environment.

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

fn send(state: &[NotifyState]) {
    // A service manager that does not listen is no reason to stop guarding, and there is nobody else to tell.
    let _ = sd_notify::notify(state);
}
