//! Why a probe did not pass, and on whose side: the target's, or our own (rule 15).
//!
//! In flow the errors of sockets; out flow clauses that a person understands. It decides nothing else.

use std::error::Error;
use std::io;

use rustix::io::Errno;

use crate::text::sanitize;
use crate::verdict::Observation;

/// The most of a foreign text that goes into a reason, in characters.
pub(super) const EXCERPT: usize = 200;

/// Why a probe did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProbeError {
    /// The target is not well.
    Target(String),
    /// The target is not well, and no job on its unit would change that.
    NotRestartable(String),
    /// We could not measure; this says nothing about the target.
    Local(String),
}

impl ProbeError {
    pub(super) fn target(reason: impl Into<String>) -> Self {
        Self::Target(reason.into())
    }

    pub(super) fn local(reason: impl Into<String>) -> Self {
        Self::Local(reason.into())
    }

    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Target(reason) | Self::NotRestartable(reason) | Self::Local(reason) => reason,
        }
    }

    /// The same with a clause in front of it.
    pub(super) fn after(self, clause: &str) -> Self {
        self.map(|reason| format!("{clause}: {reason}"))
    }

    /// The same with another reason, made of this one.
    pub(super) fn map(self, change: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Target(reason) => Self::Target(change(&reason)),
            Self::NotRestartable(reason) => Self::NotRestartable(change(&reason)),
            Self::Local(reason) => Self::Local(change(&reason)),
        }
    }

    /// What a socket's error says. Errors that come from this machine's own limits and prohibitions are ours;
    /// everything else is the target's, so that no kind of failure goes unnoticed.
    pub(super) fn from_io(error: &io::Error) -> Self {
        let Some(errno) = Errno::from_io_error(error) else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero => Self::target("connection closed"),
                _ => Self::target(sanitize(&error.to_string(), EXCERPT)),
            };
        };
        match errno {
            Errno::CONNREFUSED => Self::target("connection refused"),
            Errno::CONNRESET => Self::target("connection reset"),
            Errno::PIPE | Errno::CONNABORTED | Errno::NOTCONN => Self::target("connection closed"),
            Errno::TIMEDOUT => Self::target("connection timed out"),
            Errno::HOSTUNREACH | Errno::HOSTDOWN => Self::target("host unreachable"),
            Errno::MFILE => Self::local("this process has no file descriptor left"),
            Errno::NFILE => Self::local("this machine has no file descriptor left"),
            Errno::NOMEM | Errno::NOBUFS => Self::local("this machine has no memory left for a connection"),
            Errno::ADDRNOTAVAIL => Self::local("this machine has no address or port left to connect from"),
            Errno::ACCESS | Errno::PERM => {
                Self::local("this machine does not permit the connection (sandbox or firewall)")
            }
            Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT => {
                Self::local("this machine does not permit this family of addresses")
            }
            Errno::NETDOWN => Self::local("this machine's network is down"),
            // Nobody got as far as the target: the kernel has no route, or a router on the way has none.
            Errno::NETUNREACH => Self::local("network unreachable"),
            _ => Self::target(sanitize(&error.to_string(), EXCERPT)),
        }
    }
}

impl From<ProbeError> for Observation {
    fn from(failure: ProbeError) -> Self {
        match failure {
            ProbeError::Target(reason) => Self::Failing { reason },
            ProbeError::NotRestartable(reason) => Self::NotRestartable { reason },
            ProbeError::Local(reason) => Self::Unknown { reason },
        }
    }
}

/// The first error of type `E` in the chain of `error`, looking into `io::Error`s as well, which do not name what they
/// carry as their source.
pub(super) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match carried {
            Some(carried) => Some(carried as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_errno(errno: Errno) -> ProbeError {
        ProbeError::from_io(&io::Error::from(errno))
    }

    #[test]
    fn own_limits_and_prohibitions_are_no_word_about_the_target() {
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::NOBUFS,
            Errno::ADDRNOTAVAIL,
            Errno::ACCESS,
            Errno::PERM,
            Errno::AFNOSUPPORT,
            Errno::NETDOWN,
            Errno::NETUNREACH,
        ] {
            assert!(matches!(from_errno(errno), ProbeError::Local(_)), "{errno}");
        }
    }

    #[test]
    fn everything_else_is_the_targets() {
        for errno in [
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::PIPE,
            Errno::TIMEDOUT,
            Errno::HOSTUNREACH,
            Errno::INVAL,
        ] {
            assert!(matches!(from_errno(errno), ProbeError::Target(_)), "{errno}");
        }
    }

    #[test]
    fn errors_are_found_inside_io_errors() {
        let inner = rustls::Error::DecryptError;
        let outer = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, inner.clone()));
        assert_eq!(find::<rustls::Error>(&outer), Some(&inner));
        assert!(find::<rustls::Error>(&io::Error::other("nothing")).is_none());
    }
}
