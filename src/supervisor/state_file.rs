//! `state.json`: the core's memory on disk, replaced atomically.
//!
//! In: what is to be saved. Out: whether it was. A crash of the daemon finds the last state; a power failure too, or
//! where it falls within some 20 ms of the write, the one before, but always a whole one. A file that cannot be read is
//! set aside, never overwritten unseen and never a reason not to start.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::saved::{Saved, VERSION};
use crate::time::human;

/// A disk that takes longer than this does not keep a recovery waiting any longer: the write goes on beside.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

/// A disk that takes longer than this is told of.
const SLOW: Duration = Duration::from_secs(5);

/// The states of thousands of checks are well below this.
const FILE_MAX: u64 = 256 << 20;

/// What was found at the start.
#[derive(Debug)]
pub(super) enum Found {
    /// The last state.
    State(Box<Saved>),
    /// There was none: a first start.
    Nothing,
    /// It cannot be used; the sentence says why and where it is.
    Unusable {
        why: String,
        /// It could not be set aside yet: it still has the name, and is to be kept under this one.
        aside: Option<PathBuf>,
    },
}

/// Reads the state in `dir`. One that cannot be used is kept there under a name that ends in `mark`.
pub(super) fn load(dir: &Path, mark: &str) -> Found {
    let path = dir.join("state.json");
    let why = match read(&path) {
        Ok(saved) => return saved.map_or(Found::Nothing, |saved| Found::State(Box::new(saved))),
        Err(why) => why,
    };
    let kept = dir.join(format!("state.json.unusable-{mark}"));
    let (place, aside) = match fs::rename(&path, &kept) {
        Ok(()) => (format!("it is kept as {}", kept.display()), None),
        Err(error) => (format!("it cannot be renamed yet: {error}"), Some(kept)),
    };
    let path = path.display();
    let why = format!("{path} is not usable: {why}; {place}. Open incidents and pauses are lost.");
    Found::Unusable { why, aside }
}

/// The state; nothing where there is none.
fn read(path: &Path) -> Result<Option<Saved>, String> {
    match fs::symlink_metadata(path) {
        // To open a pipe may take for ever.
        Ok(found) if !found.is_file() => return Err("it is no regular file".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut text));
    let length = read.map_err(|error| format!("it cannot be read: {error}"))?;
    if length as u64 > FILE_MAX {
        return Err(format!("it is longer than {} MB", FILE_MAX >> 20));
    }
    match serde_json::from_slice::<Saved>(&text) {
        Ok(saved) if saved.version == VERSION => Ok(Some(saved)),
        Ok(saved) => Err(format!("it has version {}, this program reads {VERSION}", saved.version)),
        Err(error) => Err(error.to_string()),
    }
}

/// The writer, a task of its own: a disk that hangs must not stop the supervisor. While one does, only the newest state
/// waits for it.
#[derive(Debug)]
pub(super) struct StateFile {
    wanted: watch::Sender<(u64, Vec<u8>)>,
    /// The number of the last state that was written, or was not: then why.
    done: watch::Receiver<(u64, Option<String>)>,
    /// The number of the newest state, and since when there is one that is not done.
    newest: u64,
    waiting_since: Instant,
}

impl StateFile {
    /// Starts the writer for `dir` in the current runtime. A file that is in the way is kept as `aside` first.
    pub(super) fn new(dir: &Path, aside: Option<PathBuf>) -> Self {
        let (wanted, mut states) = watch::channel((0, Vec::new()));
        let (tell, done) = watch::channel((0, None));
        let path: Arc<PathBuf> = Arc::new(dir.join("state.json"));
        let renamed = watch::Sender::new(());
        tokio::spawn(sync_dir(dir.to_owned(), renamed.subscribe()));
        tokio::spawn(async move {
            let mut aside = aside;
            while states.changed().await.is_ok() {
                let (number, state) = states.borrow_and_update().clone();
                let (path, keep) = (Arc::clone(&path), aside.clone());
                let write = move || make_way(&path, keep.as_deref()).and_then(|()| replace(&path, &state));
                let written = tokio::task::spawn_blocking(write).await;
                let trouble = match written.unwrap_or_else(|_| Err(io::Error::other("the writer ended"))) {
                    Ok(()) => {
                        aside = None;
                        renamed.send_replace(());
                        None
                    }
                    Err(error) => Some(error.to_string()),
                };
                tell.send_replace((number, trouble));
            }
        });
        Self { wanted, done, newest: 0, waiting_since: Instant::now() }
    }

    /// Writes `saved`. Returns once the daemon's next life will find it, or it could not be written, or after this
    /// patience: then it is still under way. A disk that has been found to hang is not waited for again.
    pub(super) async fn save(&mut self, saved: &Saved, patience: Duration) {
        // What is in there is strings and numbers: there is nothing that JSON could not say.
        let state = serde_json::to_vec(saved).unwrap_or_default();
        let hung = self.is_waiting();
        if !hung {
            self.waiting_since = Instant::now();
        }
        self.newest += 1;
        let newest = self.newest;
        self.wanted.send_replace((newest, state));
        if !hung || patience > PATIENCE {
            let _ = tokio::time::timeout(patience, self.done.wait_for(|done| done.0 == newest)).await;
        }
    }

    /// Why the disk does not have the newest state, as far as it is worth a word.
    pub(super) fn trouble(&self) -> Option<String> {
        let waited = self.waiting_since.elapsed();
        if self.is_waiting() && waited >= SLOW {
            let waited = human(Duration::from_secs(waited.as_secs()));
            return Some(format!("the state cannot be written: the disk has not answered for {waited}"));
        }
        self.done.borrow().1.as_ref().map(|why| format!("the state cannot be written: {why}"))
    }

    /// Whether the writer is alive: it ends where the system has not even a thread left for it.
    pub(super) fn is_running(&self) -> bool {
        !self.wanted.is_closed()
    }

    fn is_waiting(&self) -> bool {
        self.done.borrow().0 != self.newest
    }
}

/// Keeps what has the name and could not be set aside before.
fn make_way(path: &Path, aside: Option<&Path>) -> io::Result<()> {
    match aside.map(|aside| fs::rename(path, aside)) {
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes to a file beside `path` and renames it over `path`. The content is on the disk before the name is, or a power
/// failure could leave the name of an empty file (as on XFS).
fn replace(path: &Path, state: &[u8]) -> io::Result<()> {
    let new = path.with_extension("json.new");
    // One that a crash has left, whoever owns it.
    let _ = fs::remove_file(&new);
    let written = write_new(&new, state).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // Half a state is of no use, and the room may be.
        let _ = fs::remove_file(&new);
    }
    written
}

/// Brings a new name onto the disk itself, for a power failure. Beside the writer and its caller: it takes a commit of
/// the file system's own journal (on ext4 some 18 ms, where the data takes one or two), and a crash of the daemon needs
/// none.
async fn sync_dir(dir: PathBuf, mut renamed: watch::Receiver<()>) {
    while renamed.changed().await.is_ok() {
        let dir = dir.clone();
        let synced = tokio::task::spawn_blocking(move || File::open(dir)?.sync_all()).await;
        if let Ok(Err(error)) = synced {
            tracing::warn!(
                "the state may not outlive a power failure: its directory cannot be synced: {error}"
            );
        }
    }
}

fn write_new(new: &Path, state: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(state)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::time::Now;
    use std::os::unix::fs::PermissionsExt as _;

    fn some() -> Saved {
        Engine::new().save(Now::default(), "")
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_saved_is_found_and_rubbish_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load(dir.path(), "1"), Found::Nothing));
        let saved = some();
        let mut file = StateFile::new(dir.path(), None);
        file.save(&saved, SLOW).await;
        assert_eq!(file.trouble(), None);
        match load(dir.path(), "1") {
            Found::State(found) => assert_eq!(*found, saved),
            other => panic!("{other:?}"),
        }
        let cut = &serde_json::to_vec(&saved).unwrap()[..20];
        let future = b"{\"version\":99,\"at\":0,\"checks\":{},\"units\":{},\"pending\":[]}";
        for rubbish in [&b""[..], b"{", b"[]", b"\xff\0\x1b", cut, future] {
            fs::write(dir.path().join("state.json"), rubbish).unwrap();
            match load(dir.path(), "2") {
                Found::Unusable { why, aside: None } => {
                    assert!(why.contains("it is kept as") && why.contains("state.json.unusable-2"), "{why}");
                }
                other => panic!("{rubbish:?}: {other:?}"),
            }
            assert_eq!(fs::read(dir.path().join("state.json.unusable-2")).unwrap(), rubbish);
        }
    }

    #[test]
    fn what_is_no_file_is_set_aside_too_and_never_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        fs::create_dir(&path).unwrap();
        assert!(matches!(load(dir.path(), "1"), Found::Unusable { aside: None, .. }));
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(matches!(load(dir.path(), "2"), Found::Unusable { aside: None, .. }));
        assert!(dir.path().join("state.json.unusable-1").is_dir());
        assert!(matches!(load(dir.path(), "3"), Found::Nothing));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_could_not_be_set_aside_is_before_it_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let (path, kept) = (dir.path().join("state.json"), dir.path().join("kept"));
        fs::write(&path, "precious").unwrap();
        let mut file = StateFile::new(dir.path(), Some(kept.clone()));
        file.save(&some(), SLOW).await;
        assert_eq!(file.trouble(), None);
        assert_eq!(fs::read_to_string(&kept).unwrap(), "precious");
        file.save(&some(), SLOW).await;
        assert_eq!(file.trouble(), None);
        assert_eq!(fs::read_to_string(&kept).unwrap(), "precious", "once, and not what came after it");
        assert!(matches!(load(dir.path(), "1"), Found::State(_)));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_directory_that_refuses_is_trouble_that_is_told_until_it_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let mut file = StateFile::new(&gone, None);
        file.save(&some(), SLOW).await;
        assert!(file.trouble().is_some_and(|why| why.contains("cannot be written")));
        fs::create_dir(&gone).unwrap();
        // What an earlier life has left is in nobody's way.
        fs::write(gone.join("state.json.new"), "half").unwrap();
        fs::set_permissions(gone.join("state.json.new"), fs::Permissions::from_mode(0o000)).unwrap();
        file.save(&some(), SLOW).await;
        assert_eq!(file.trouble(), None);
        let mode = fs::metadata(gone.join("state.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!gone.join("state.json.new").exists());
    }
}
