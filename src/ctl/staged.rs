//! Files that are replaced together: each is written whole beside its place first, and only when all are on the disk is
//! one after the other renamed into it. Where one cannot be written, none is replaced.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};

/// Files that are written and wait for their rename. Dropped before that, they are removed.
#[derive(Debug, Default)]
pub(super) struct Staged {
    files: Vec<(PathBuf, PathBuf)>,
}

impl Staged {
    /// Writes `content` for the file at `path`, with this mode and, where one is named, this group.
    pub(super) fn add(
        &mut self,
        path: &Path,
        content: &[u8],
        mode: u32,
        group: Option<u32>,
    ) -> Result<(), Failure> {
        let mut hidden = OsString::from(".");
        hidden.push(path.file_name().unwrap_or_default());
        hidden.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(hidden);
        let written = write_new(&temporary, content, mode, group);
        self.files.push((temporary, path.to_owned()));
        written.map_err(|error| unwritten(path, &error))
    }

    /// Renames each into its place, in the order in which they were added.
    pub(super) fn commit(mut self) -> Result<(), Failure> {
        // No rename replaces a directory: nothing is to be renamed before that one.
        if let Some((_, path)) = self.files.iter().find(|(_, path)| path.is_dir()) {
            return Err(unwritten(path, &io::ErrorKind::IsADirectory.into()));
        }
        for (temporary, path) in std::mem::take(&mut self.files) {
            if let Err(error) = fs::rename(&temporary, &path).and_then(|()| sync_directory(&path)) {
                self.files.push((temporary, path.clone()));
                return Err(unwritten(&path, &error));
            }
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for (temporary, _) in &self.files {
            let _ = fs::remove_file(temporary);
        }
    }
}

/// The name must outlive a power failure, too.
fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn write_new(path: &Path, content: &[u8], mode: u32, group: Option<u32>) -> io::Result<()> {
    // What a process of this number left behind when it was killed; `create_new` follows no link and takes no other's
    // file.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    if group.is_some() {
        fchown(&file, None, group)?;
    }
    // Not at creation: the umask would have its say there.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// The failure of a file that cannot be written.
pub(super) fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Denied,
        _ => Exit::CannotCreate,
    };
    Failure::new(exit, format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_replaced_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        fs::write(place("a"), "old").unwrap();
        let mut staged = Staged::default();
        staged.add(&place("a"), b"new", 0o644, None).unwrap();
        assert!(staged.add(&place("no/such/b"), b"new", 0o644, None).is_err());
        drop(staged);
        assert_eq!(fs::read_to_string(place("a")).unwrap(), "old");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "something is left behind");

        fs::create_dir(place("d")).unwrap();
        let mut staged = Staged::default();
        staged.add(&place("a"), b"new", 0o644, None).unwrap();
        staged.add(&place("d"), b"new", 0o644, None).unwrap();
        assert!(staged.commit().unwrap_err().message.contains("is a directory"));
        assert_eq!(fs::read_to_string(place("a")).unwrap(), "old");

        let mut staged = Staged::default();
        for name in ["a", "b"] {
            staged.add(&place(name), b"new", 0o640, None).unwrap();
        }
        assert_eq!(fs::read_to_string(place("a")).unwrap(), "old");
        staged.commit().unwrap();
        for name in ["a", "b"] {
            assert_eq!(fs::read_to_string(place(name)).unwrap(), "new");
            assert_eq!(fs::metadata(place(name)).unwrap().permissions().mode() & 0o7777, 0o640);
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 3);
    }
}
