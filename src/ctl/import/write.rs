//! Writes a directory, whole or not at all.
//!
//! In: the files. Out: the directory, which appears under its name in one rename, and only after it was found to be
//! good. It takes the place of nothing but an empty directory.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{Exit, Failure, PlannedFile, exit_of, sanitize};

/// The absolute path of a directory that can be written: it is not there yet, or is empty.
pub(super) fn free(out: &Path) -> Result<PathBuf, Failure> {
    let shown = sanitize(&out.to_string_lossy());
    let failed =
        |error: &io::Error| Failure::new(exit_of(error), format!("{shown} cannot be written: {error}"));
    let taken = |why: &str| {
        Failure::new(
            Exit::CannotCreate,
            format!("{shown} {why}, and nothing is overwritten; name a new directory"),
        )
    };
    match fs::symlink_metadata(out) {
        Ok(found) if !found.is_dir() => return Err(taken("is there already and no directory")),
        Ok(_) => {
            if fs::read_dir(out).map_err(|error| failed(&error))?.next().is_some() {
                return Err(taken("is not empty"));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&error)),
    }
    // `..` or nothing has no name to rename to.
    let absolute = std::path::absolute(out).map_err(|error| failed(&error))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(taken("is no name for a new directory"));
    };
    Ok(fs::canonicalize(parent).map_err(|error| failed(&error))?.join(name))
}

/// Writes the files below `out`, if `judge` likes them.
pub(super) fn all(
    out: &Path,
    files: &[PlannedFile],
    judge: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error: &io::Error| {
        let shown = sanitize(&out.to_string_lossy());
        Failure::new(exit_of(error), format!("{shown} cannot be written: {error}"))
    };
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let draft = out.with_file_name(format!(".{name}.{}", std::process::id()));
    // Not one that is there: it would be another's.
    DirBuilder::new().mode(PRIVATE).create(&draft).map_err(|error| failed(&error))?;
    let done =
        fill(&draft, files).map_err(|error| failed(&error)).and_then(|()| judge(&draft)).and_then(|()| {
            // It replaces an empty directory, and fails where there is anything in it by now.
            fs::rename(&draft, out).map_err(|error| failed(&error))
        });
    if done.is_err() {
        let _ = fs::remove_dir_all(&draft);
    }
    done
}

/// The password, and lines that may have one in them, are for nobody else's eyes.
const PRIVATE: u32 = 0o700;

fn fill(draft: &Path, files: &[PlannedFile]) -> io::Result<()> {
    for file in files {
        let path = draft.join(&file.path);
        if let Some(parent) = path.parent() {
            DirBuilder::new().mode(PRIVATE).recursive(true).create(parent)?;
        }
        // From its first moment nobody else can read it.
        let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        written.write_all(file.content.as_bytes())?;
        written.set_permissions(Permissions::from_mode(file.mode))?;
        written.sync_all()?;
    }
    fs::File::open(draft)?.sync_all()
}
