use super::*;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tracing_subscriber::layer::SubscriberExt as _;

struct Journald {
    dir: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Journald {
    fn listens() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = bind(&dir.path().join("socket"));
        Self { dir, socket }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    fn journal(&self) -> Arc<Journal> {
        Arc::new(Journal::open(self.path().to_str().unwrap()).unwrap())
    }

    /// All that waits, without the empty one of the beginning.
    fn reads(&self) -> Vec<String> {
        let mut text = vec![0; 256 * 1024];
        let mut all = Vec::new();
        while let Ok(n) = self.socket.recv(&mut text) {
            all.push(String::from_utf8_lossy(&text[..n]).into_owned());
        }
        all.retain(|entry| !entry.is_empty());
        all
    }
}

fn bind(path: &std::path::Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn entry(n: usize) -> Vec<u8> {
    let mut entry = begin(6);
    put(&mut entry, "MESSAGE", &format!("number {n}."));
    entry
}

fn number(entry: &str) -> Option<usize> {
    let (_, rest) = entry.split_once("MESSAGE=number ")?;
    rest.split_once('.')?.0.parse().ok()
}

#[test]
fn a_journald_that_hangs_holds_up_nobody_and_gets_all_in_order_and_the_number_of_the_rest() {
    let journald = Journald::listens();
    let journal = journald.journal();
    const ALL: usize = 20_000;
    let start = Instant::now();
    for n in 0..ALL {
        journal.write(entry(n));
    }
    assert!(start.elapsed() < Duration::from_secs(20), "it waits: {:?}", start.elapsed());

    let mut got = Vec::new();
    // It comes back, and is slow at first: a queue at a time.
    loop {
        let read = journald.reads();
        if read.is_empty() {
            break;
        }
        got.extend(read);
        journal.catch_up();
    }
    let numbers: Vec<usize> = got.iter().filter_map(|entry| number(entry)).collect();
    assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "not in order, or with gaps");
    assert_eq!(numbers[0], 0);
    assert!(numbers.len() > 1_000 && numbers.len() < ALL, "{}", numbers.len());
    // Those that waited say since when.
    assert!(!got[0].contains("SYSLOG_TIMESTAMP="), "{}", got[0]);
    assert!(got[numbers.len() - 1].contains("SYSLOG_TIMESTAMP="), "{}", got[numbers.len() - 1]);
    let last = &got[numbers.len()..];
    let missing = format!("MESSAGE={} entries are missing here", ALL - numbers.len());
    assert!(last.len() == 1 && last[0].contains(&missing), "{last:?}");

    journal.write(entry(ALL));
    assert_eq!(number(&journald.reads()[0]), Some(ALL), "and on it goes");
}

#[test]
fn a_journald_that_is_restarted_with_its_socket_loses_nothing() {
    let mut journald = Journald::listens();
    let journal = journald.journal();
    std::fs::remove_file(journald.path()).unwrap();
    journal.write(entry(1));
    journald.socket = bind(&journald.path());
    journal.write(entry(2));
    let numbers: Vec<_> = journald.reads().iter().map(|entry| number(entry)).collect();
    assert_eq!(numbers, [Some(1), Some(2)]);
    assert!(Journal::open(journald.dir.path().join("nobody").to_str().unwrap()).is_none());
}

#[test]
fn events_become_fields_and_no_value_feigns_one() {
    let journald = Journald::listens();
    let layers = tracing_subscriber::registry().with(Entries(journald.journal()));
    tracing::subscriber::with_default(layers, || {
        let (some, none) = (Some("web"), None::<&str>);
        tracing::event!(
            target: NOTICE,
            Level::INFO,
            STEALTHCHECK_CHECK = some,
            STEALTHCHECK_UNIT = none,
            "{}", "one\nPRIORITY=0"
        );
        tracing::event!(target: "zbus::connection", Level::WARN, n.x = 7, "plain {}", 1);
        tracing::info!(big = "ü".repeat(LONGEST), "long");
    });
    let got = journald.reads();
    let length = "\u{e}\0\0\0\0\0\0\0";
    assert_eq!(
        got[0],
        format!(
            "PRIORITY=5\nSYSLOG_IDENTIFIER=stealthcheck\nMESSAGE\n{length}one\nPRIORITY=0\nSTEALTHCHECK_CHECK=web\n"
        )
    );
    assert_eq!(
        got[1],
        "PRIORITY=4\nSYSLOG_IDENTIFIER=stealthcheck\nMESSAGE=plain 1\nN_X=7\nTARGET=zbus::connection\n"
    );
    assert!(got[2].len() < LONGEST + 200, "{}", got[2].len());
}
