//! The lease of a hold: a pipe. Whoever has its writing end has the hold; the daemon watches the reading end close.
//!
//! In: nothing. Out: the two ends, and what became of the one that was given away. However its holder ends, the kernel
//! closes it, and that cannot be forgotten, missed or forged (logind's inhibitor locks work the same way). A holder who
//! ends in good order says so by a word first.
//! It knows no hold, no unit and no bus, and never gives an end to anybody itself.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::net::unix::pipe::{Receiver, Sender};

/// What a holder writes whose command has ended.
const DONE: u8 = b'.';

/// A lease.
#[derive(Debug)]
pub struct Lease {
    /// To be kept and watched: [`closed`].
    pub kept: OwnedFd,
    /// To be given away.
    pub given: OwnedFd,
}

/// How a lease closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its holder said that it was done.
    Done,
    /// Without a word.
    Silently,
}

/// Makes a lease. Neither end is inherited by a process that is started.
///
/// # Errors
/// When there are no descriptors left.
pub fn new() -> io::Result<Lease> {
    let (kept, given) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok(Lease { kept, given })
}

/// Waits until every copy of the end that was given away is closed.
///
/// # Errors
/// When `kept` is not the reading end of a pipe, or cannot be watched.
pub async fn closed(kept: OwnedFd) -> io::Result<Closed> {
    let pipe = Receiver::from_owned_fd(kept)?;
    let mut outcome = Closed::Silently;
    let mut words = [0; 64];
    loop {
        pipe.readable().await?;
        match pipe.try_read(&mut words) {
            Ok(0) => return Ok(outcome),
            // The rest is ignored: it is not a way to tell the daemon anything.
            Ok(n) if words.get(..n).is_some_and(|words| words.contains(&DONE)) => outcome = Closed::Done,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// A lease as its holder has it.
#[derive(Debug)]
pub struct Held(Sender);

impl Held {
    /// The end that was given away.
    ///
    /// # Errors
    /// When it is no such end.
    pub fn new(given: OwnedFd) -> io::Result<Self> {
        Sender::from_owned_fd(given).map(Self)
    }

    /// Waits until the other side has let go of the lease: the hold is over, though the holder has not ended it.
    pub async fn revoked(&self) {
        loop {
            match self.0.ready(Interest::ERROR).await {
                Ok(ready) if !ready.is_error() => tokio::task::yield_now().await,
                _ => return,
            }
        }
    }

    /// Ends the hold in good order.
    pub fn done(self) {
        // Past the runtime, which would first want to hear that there is room. A hold that is over already needs no
        // word.
        let _ = rustix::io::write(&self.0, &[DONE]);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Nothing that is waited for here takes time; this only ends a test that has failed.
    async fn soon<T>(what: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), what).await.unwrap()
    }

    #[tokio::test]
    async fn a_lease_that_is_dropped_closes_silently_and_one_that_is_done_says_so() {
        let lease = new().unwrap();
        drop(lease.given);
        assert_eq!(soon(closed(lease.kept)).await.unwrap(), Closed::Silently);
        let lease = new().unwrap();
        Held::new(lease.given).unwrap().done();
        assert_eq!(soon(closed(lease.kept)).await.unwrap(), Closed::Done);
    }

    #[tokio::test]
    async fn it_is_open_as_long_as_any_copy_is() {
        let lease = new().unwrap();
        let copy = lease.given.try_clone().unwrap();
        let watched = tokio::spawn(closed(lease.kept));
        drop(lease.given);
        // Words that mean nothing end nothing.
        rustix::io::write(&copy, b"release me!").unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!watched.is_finished());
        drop(copy);
        assert_eq!(soon(watched).await.unwrap().unwrap(), Closed::Silently);
    }

    #[tokio::test]
    async fn the_holder_sees_that_it_is_revoked_when_all_copies_of_the_other_end_are_gone() {
        let lease = new().unwrap();
        let stored = lease.kept.try_clone().unwrap();
        let held = Held::new(lease.given).unwrap();
        drop(lease.kept);
        let early = tokio::time::timeout(Duration::from_millis(20), held.revoked()).await;
        assert!(early.is_err(), "a copy is left: the service manager's");
        drop(stored);
        soon(held.revoked()).await;
        held.done();
    }

    #[tokio::test]
    async fn what_is_no_pipe_is_no_lease() {
        let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(closed(file()).await.is_err());
        assert!(Held::new(file()).is_err());
    }
}
