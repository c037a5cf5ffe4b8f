//! Small files of this machine that a probe needs: certificates to compare with, authorities to trust, resolv.conf.
//!
//! In flows a path; out flow its bytes, or why they cannot be had, which is always our trouble and never the target's.
//! A file system that hangs holds a few threads, not one for each attempt.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use tokio::sync::Semaphore;

use super::error::{EXCERPT, ProbeError};
use super::{Attempt, Phase};
use crate::text::sanitize;

/// The largest file that is read; Debian's bundle of all authorities has a fifth of it.
const MOST: u64 = 1024 * 1024;

/// The most files that are read at a time.
const READERS: usize = 4;

/// Reads files, off the loop.
#[derive(Debug)]
pub(super) struct Files {
    readers: Arc<Semaphore>,
}

impl Default for Files {
    fn default() -> Self {
        Self { readers: Arc::new(Semaphore::new(READERS)) }
    }
}

/// The content of the file at `path`.
pub(super) async fn read(path: &Path, attempt: &Attempt<'_>) -> Result<Vec<u8>, ProbeError> {
    attempt.enter(Phase::ReadingFile);
    let lost = || ProbeError::local(format!("{} could not be read", shown(path)));
    let readers = Arc::clone(&attempt.tools.files.readers);
    let permit = readers.acquire_owned().await.map_err(|_| lost())?;
    let owned = PathBuf::from(path);
    let reading = tokio::task::spawn_blocking(move || {
        // Given back when the file system has answered, not when the attempt ends.
        let _permit = permit;
        blocking(&owned)
    });
    let result = reading.await.map_err(|_| lost())?;
    result.map_err(|error| explain(path, &error))
}

fn blocking(path: &Path) -> io::Result<Vec<u8>> {
    // Not blocking: a FIFO would wait for its writer.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut content = Vec::new();
    file.take(MOST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MOST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than a megabyte"));
    }
    Ok(content)
}

/// What keeps the file from being read, and for the usual obstacle what removes it.
fn explain(path: &Path, error: &io::Error) -> ProbeError {
    let file = shown(path);
    ProbeError::local(match error.kind() {
        io::ErrorKind::NotFound => format!("{file} does not exist"),
        io::ErrorKind::PermissionDenied => format!(
            "{file} cannot be read: permission denied; let stealthcheck's user through the folders above it (setfacl -m \
             u:stealthcheck:x FOLDER), or have what renews the certificate copy it to where it can be read"
        ),
        _ => {
            let why = error.to_string();
            format!(
                "{file} cannot be read: {}",
                sanitize(why.split(" (os error").next().unwrap_or(&why), EXCERPT)
            )
        }
    })
}

/// A path for a reason.
pub(super) fn shown(path: &Path) -> String {
    sanitize(&path.to_string_lossy(), EXCERPT)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_is_no_small_file_is_refused_and_nothing_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "content").unwrap();
        assert_eq!(blocking(&file).unwrap(), b"content");
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let huge = folder.path().join("huge");
        std::fs::write(&huge, vec![b'x'; 1024 * 1024 + 1]).unwrap();
        for (path, why) in [
            (folder.path().join("none"), "does not exist"),
            (fifo, "cannot be read: it is no regular file"),
            (folder.path().to_owned(), "cannot be read: it is no regular file"),
            (huge, "cannot be read: it has more than a megabyte"),
        ] {
            let told = explain(&path, &blocking(&path).unwrap_err());
            assert_eq!(told, ProbeError::local(format!("{} {why}", path.display())));
        }
    }

    #[test]
    fn who_may_not_read_a_file_is_told_what_to_do() {
        let told = explain(Path::new("/etc/letsencrypt/live/x/fullchain.pem"), &Errno::ACCESS.into());
        assert!(matches!(told, ProbeError::Local(_)));
        for part in ["/etc/letsencrypt/live/x/fullchain.pem cannot be read", "permission denied", "setfacl"] {
            assert!(told.reason().contains(part), "{told:?}");
        }
    }
}
