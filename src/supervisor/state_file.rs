//! `state.json`: the core's memory on disk, replaced atomically.
//!
//! In: what is to be saved. Out: whether it was. A file that cannot be read is set aside, never overwritten unseen and
//! never a reason not to start.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::engine::saved::{Saved, VERSION};

/// A disk that takes longer than this does not keep a recovery waiting any longer.
const PATIENCE: Duration = Duration::from_millis(100);

/// What was found at the start.
#[derive(Debug)]
pub(super) enum Found {
    /// The last state.
    State(Box<Saved>),
    /// There was none: a first start.
    Nothing,
    /// It cannot be used and was set aside; the sentence says why and where it is.
    Unusable(String),
}

/// Reads the state in `dir`.
pub(super) fn load(dir: &Path, aside: &str) -> Found {
    let path = dir.join("state.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return Found::Unusable(format!("{} cannot be read: {error}", path.display())),
    };
    let why = match serde_json::from_slice::<Saved>(&text) {
        Ok(saved) if saved.version == VERSION => return Found::State(Box::new(saved)),
        Ok(saved) => format!("it has version {}, this program reads {VERSION}", saved.version),
        Err(error) => error.to_string(),
    };
    let kept = dir.join(format!("state.json.unusable-{aside}"));
    let place = match fs::rename(&path, &kept) {
        Ok(()) => format!("it is kept as {}", kept.display()),
        Err(error) => format!("it could not be set aside: {error}"),
    };
    Found::Unusable(format!(
        "{} is not usable: {why}; {place}. Open incidents and pauses are forgotten.",
        path.display()
    ))
}

/// The writer, a task of its own: a disk that hangs must not stop the supervisor.
#[derive(Debug)]
pub(super) struct StateFile {
    jobs: mpsc::UnboundedSender<Job>,
    /// Why the last write failed.
    pub trouble: Option<String>,
}

#[derive(Debug)]
struct Job {
    state: Vec<u8>,
    durable: bool,
    done: oneshot::Sender<io::Result<()>>,
}

impl StateFile {
    /// Starts the writer for `dir` in the current runtime.
    pub(super) fn new(dir: &Path) -> Self {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let path: Arc<PathBuf> = Arc::new(dir.join("state.json"));
        tokio::spawn(async move {
            while let Some(mut job) = queue.recv().await {
                // Only the newest state matters; whoever waits for an older one has it in the newer.
                let mut waiting = Vec::new();
                while let Ok(newer) = queue.try_recv() {
                    let durable = job.durable || newer.durable;
                    waiting.push(std::mem::replace(&mut job, newer).done);
                    job.durable = durable;
                }
                let (path, state, durable) = (Arc::clone(&path), job.state, job.durable);
                let written = tokio::task::spawn_blocking(move || replace(&path, &state, durable)).await;
                let result = written.unwrap_or_else(|_| Err(io::Error::other("the writer ended")));
                for done in waiting {
                    let same = match &result {
                        Ok(()) => Ok(()),
                        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                    };
                    let _ = done.send(same);
                }
                let _ = job.done.send(result);
            }
        });
        Self { jobs, trouble: None }
    }

    /// Writes `saved`. `durable`: also onto the disk itself, for a power failure; a crash of the daemon needs only the
    /// rename. Returns once it is written, or after a short patience: then it is still under way.
    pub(super) async fn save(&mut self, saved: &Saved, durable: bool) {
        let state = match serde_json::to_vec(saved) {
            Ok(state) => state,
            Err(error) => {
                self.trouble = Some(format!("the state cannot be written: {error}"));
                return;
            }
        };
        let (done, written) = oneshot::channel();
        if self.jobs.send(Job { state, durable, done }).is_err() {
            self.trouble = Some("the state cannot be written: its writer has ended".to_owned());
            return;
        }
        self.trouble = match tokio::time::timeout(PATIENCE, written).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(format!("the state cannot be written: {error}")),
            Ok(Err(_)) => Some("the state cannot be written: its writer has ended".to_owned()),
            Err(_) => Some("the disk with the state directory is slow to answer".to_owned()),
        };
    }
}

/// Writes to a file beside `path` and renames it over `path`.
fn replace(path: &Path, state: &[u8], durable: bool) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut file: File =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(state)?;
    if durable {
        file.sync_data()?;
    }
    drop(file);
    fs::rename(&new, path)?;
    if durable && let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::time::Now;

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_saved_is_found_and_rubbish_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load(dir.path(), "1"), Found::Nothing));
        let saved = Engine::new().save(Now::default(), "");
        let mut file = StateFile::new(dir.path());
        file.save(&saved, true).await;
        assert_eq!(file.trouble, None);
        match load(dir.path(), "1") {
            Found::State(found) => assert_eq!(*found, saved),
            other => panic!("{other:?}"),
        }
        for rubbish in ["", "{", "[]", "{\"version\":99,\"at\":0,\"checks\":{},\"units\":{},\"pending\":[]}"]
        {
            fs::write(dir.path().join("state.json"), rubbish).unwrap();
            match load(dir.path(), "2") {
                Found::Unusable(why) => assert!(why.contains("state.json.unusable-2"), "{why}"),
                other => panic!("{rubbish:?}: {other:?}"),
            }
            assert_eq!(fs::read_to_string(dir.path().join("state.json.unusable-2")).unwrap(), rubbish);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_directory_that_refuses_is_trouble_that_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = StateFile::new(&dir.path().join("gone"));
        file.save(&Engine::new().save(Now::default(), ""), false).await;
        assert!(file.trouble.is_some_and(|why| why.contains("cannot be written")));
    }
}
