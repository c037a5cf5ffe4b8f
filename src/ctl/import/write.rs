//! Writes a directory, whole or not at all.
//!
//! In: the files. Out: a new directory, of which nothing is left where something fails.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::{Exit, Failure, PlannedFile, sanitize};

/// The password, and lines that may have one in them, are for nobody else's eyes.
const PRIVATE: u32 = 0o700;

/// Writes the files below `out`, which is not there yet, if `validate` finds nothing wrong with them.
pub(super) fn all(
    out: &Path,
    files: &[PlannedFile],
    validate: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let shown = sanitize(&out.to_string_lossy());
        let message = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                "is there already, and nothing is overwritten; name a new directory".to_owned()
            }
            _ => format!("cannot be written: {error}"),
        };
        Failure::new(Exit::CannotCreate, format!("{shown} {message}"))
    };
    // It fails where anything has the name, also a link.
    DirBuilder::new().mode(PRIVATE).create(out).map_err(failed)?;
    let done = fill(out, files).map_err(failed).and_then(|()| validate(out));
    if done.is_err() {
        let _ = fs::remove_dir_all(out);
    }
    done
}

fn fill(out: &Path, files: &[PlannedFile]) -> io::Result<()> {
    for file in files {
        let path = out.join(&file.path);
        if let Some(parent) = path.parent() {
            DirBuilder::new().mode(PRIVATE).recursive(true).create(parent)?;
        }
        // From its first moment nobody else can read it.
        let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        written.write_all(file.content.as_bytes())?;
        written.set_permissions(Permissions::from_mode(file.mode))?;
    }
    Ok(())
}
