//! A thread that writes to journald, so that nobody else ever waits for it.
//!
//! In: `tracing` events of all threads. Out: the same events, given to tracing-journald on a thread of its own. A send
//! to a journald that hangs, on a disk that hangs perhaps, waits until it goes on. So what is not taken waits in
//! memory, in order; what is beyond that is lost, and the next entry that gets through says how many were.
//!
//! While all is well, whoever logs waits until the entry is written: one that is killed in the next moment has said it.

use std::fmt;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::field::{Field, Value, Visit};
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Where journald listens (sd_journal_print(3)).
const SOCKET: &str = "/run/systemd/journal/socket";

/// So many entries wait for a journald that takes none: a night's transitions.
const KEPT: usize = 1024;

/// How long the first entry that is not taken is waited for; those behind it are not.
const PATIENCE: Duration = Duration::from_millis(100);

/// From one look for a journald that is gone to the next.
const LOOK: Duration = Duration::from_millis(200);

/// An entry that has waited for so long is late, which is said: journald stamps it when it gets it.
const LATE: Duration = Duration::from_secs(2);

/// An event has at most so many fields (tracing's own limit).
const FIELDS: usize = 32;

/// An event, to be given to another thread.
pub(super) struct Entry {
    metadata: &'static Metadata<'static>,
    values: Vec<(Field, String)>,
    /// So many that came before it are lost.
    lost: u64,
    given: Instant,
}

impl Entry {
    fn of(event: &Event<'_>) -> Self {
        let mut values = Values(Vec::new());
        event.record(&mut values);
        Self { metadata: event.metadata(), values: values.0, lost: 0, given: Instant::now() }
    }

    /// Gives it to `to`, as if it happened now.
    fn replay(&self, to: &Dispatch) {
        let Some((first, _)) = self.values.first() else { return };
        // A set of values has one of a few lengths; what is `None` is no value.
        let mut values: [(&Field, Option<&dyn Value>); FIELDS] = [(first, None); FIELDS];
        for (place, (field, text)) in values.iter_mut().zip(&self.values) {
            *place = (field, Some(text));
        }
        let values = self.metadata.fields().value_set(&values);
        to.event(&Event::new(self.metadata, &values));
    }
}

struct Values(Vec<(Field, String)>);

impl Visit for Values {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.clone(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.clone(), format!("{value:?}")));
    }
}

/// What writes the entries: tracing-journald, once for each meaning of `INFO`.
pub(super) struct Journald {
    plain: Dispatch,
    notification: Dispatch,
    /// It takes entries late, and has been told so.
    late: bool,
}

impl Journald {
    /// `plain` writes `INFO` as informational, `notification` as a notification.
    pub(super) fn new(plain: Dispatch, notification: Dispatch) -> Self {
        Self { plain, notification, late: false }
    }

    fn write(&mut self, entry: &Entry) {
        // Its socket outlives it; where somebody has stopped that as well, it will be made anew.
        while !listens() {
            thread::sleep(LOOK);
        }
        self.explain(entry);
        entry.replay(if entry.metadata.target() == super::NOTICE { &self.notification } else { &self.plain });
    }

    /// Says what is amiss with this entry and those around it.
    fn explain(&mut self, entry: &Entry) {
        let waited = entry.given.elapsed();
        let late = waited >= LATE;
        tracing::dispatcher::with_default(&self.plain, || {
            if late && !self.late {
                let seconds = waited.as_secs();
                tracing::warn!("journald took no entry for {seconds} s: what follows is late, up to so much");
            }
            if entry.lost > 0 {
                let lost = entry.lost;
                let entries = if lost == 1 { "entry is".to_owned() } else { format!("{lost} entries are") };
                tracing::warn!("{entries} missing here: journald took none, and there was no more room");
            }
        });
        self.late = late;
    }
}

/// Whether there is a journald, or at least a socket that systemd will start it for.
fn listens() -> bool {
    UnixDatagram::unbound().is_ok_and(|socket| socket.connect(SOCKET).is_ok())
}

/// The layer that hands the entries over.
pub(super) struct BackgroundWriter {
    given: Mutex<Given>,
    written: Arc<Written>,
}

struct Given {
    entries: SyncSender<Entry>,
    /// How many have been handed over.
    number: u64,
    /// How many were not, since the last one that was.
    lost: u64,
}

#[derive(Default)]
struct Written {
    number: Mutex<u64>,
    one_more: Condvar,
}

impl BackgroundWriter {
    /// Starts the thread. Where there can be none, the error says why.
    pub(super) fn start(mut journald: Journald) -> std::io::Result<Self> {
        Self::start_with(KEPT, move |entry| journald.write(entry))
    }

    fn start_with(kept: usize, write: impl FnMut(&Entry) + Send + 'static) -> std::io::Result<Self> {
        let (entries, waiting) = sync_channel(kept);
        let written = Arc::new(Written::default());
        let count = Arc::clone(&written);
        thread::Builder::new().name("journal".to_owned()).spawn(move || run(&waiting, &count, write))?;
        Ok(Self { given: Mutex::new(Given { entries, number: 0, lost: 0 }), written })
    }

    fn give(&self, mut entry: Entry) {
        let number = {
            let mut given = lock(&self.given);
            entry.lost = given.lost;
            if given.entries.try_send(entry).is_err() {
                given.lost += 1;
                return;
            }
            given.lost = 0;
            given.number += 1;
            given.number
        };
        self.written.wait_for(number);
    }
}

impl<S: Subscriber> Layer<S> for BackgroundWriter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.give(Entry::of(event));
    }
}

impl Written {
    /// Waits until that many are written, where it is the next one.
    fn wait_for(&self, number: u64) {
        let written = lock(&self.number);
        if *written + 1 == number {
            drop(self.one_more.wait_timeout_while(written, PATIENCE, |written| *written < number));
        }
    }
}

/// The thread: it ends with the layer.
fn run(entries: &Receiver<Entry>, written: &Written, mut write: impl FnMut(&Entry)) {
    while let Ok(entry) = entries.recv() {
        write(&entry);
        *lock(&written.number) += 1;
        written.one_more.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// A journald that takes an entry for each word.
    fn stage(kept: usize) -> (Dispatch, Sender<()>, Receiver<(String, u64)>) {
        let (go, may) = channel::<()>();
        let (wrote, read) = channel();
        let beside = BackgroundWriter::start_with(kept, move |entry| {
            let _ = may.recv();
            let text: Vec<String> =
                entry.values.iter().map(|(name, text)| format!("{name}={text}")).collect();
            let _ = wrote.send((text.join(" "), entry.lost));
        });
        (Dispatch::new(tracing_subscriber::registry().with(beside.unwrap())), go, read)
    }

    #[test]
    fn a_journald_that_hangs_holds_up_nobody_and_gets_all_in_order_and_the_number_of_the_rest() {
        let (log, go, read) = stage(10);
        let began = Instant::now();
        tracing::dispatcher::with_default(&log, || {
            for n in 0..1000 {
                tracing::info!("number {n}");
            }
        });
        assert!(began.elapsed() < Duration::from_secs(10), "it waits for each: {:?}", began.elapsed());
        // It goes on: what waits comes in order, and the next one knows how many are missing.
        drop(go);
        let (mut got, mut said) = (Vec::new(), 1000);
        let lost = loop {
            tracing::dispatcher::with_default(&log, || tracing::info!("the next"));
            match read.recv_timeout(Duration::from_secs(10)).unwrap() {
                (text, lost) if text == "message=the next" => break lost,
                (text, lost) => {
                    assert_eq!((text, lost), (format!("message=number {}", got.len()), 0));
                    got.push(());
                    said += 1;
                }
            }
        };
        assert!((10..=20).contains(&got.len()), "{} were kept", got.len());
        assert!(
            lost >= 980 && lost + got.len() as u64 <= said,
            "{lost} lost, {} kept, {said} said",
            got.len()
        );
    }

    #[test]
    fn an_entry_is_written_before_its_writer_goes_on() {
        let (log, go, read) = stage(10);
        drop(go);
        tracing::dispatcher::with_default(&log, || {
            for n in 0..100 {
                tracing::info!("number {n}");
                // (On a busy machine its thread may not have got a turn within the patience.)
                let got =
                    read.try_recv().or_else(|_| read.recv_timeout(Duration::from_secs(10)).map_err(|_| ()));
                assert_eq!(got.unwrap().0, format!("message=number {n}"));
            }
        });
    }

    #[test]
    fn an_entry_reaches_the_other_side_with_all_its_fields() {
        struct Catch(Sender<Vec<(String, String)>>);
        impl<S: Subscriber> Layer<S> for Catch {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                let entry = Entry::of(event);
                let fields = entry.values.iter().map(|(name, text)| (name.to_string(), text.clone()));
                let _ = self.0.send(fields.collect());
            }
        }
        let (caught, read) = channel();
        let other = Dispatch::new(tracing_subscriber::registry().with(Catch(caught)));
        let beside = BackgroundWriter::start_with(10, move |entry| entry.replay(&other)).unwrap();
        let log = Dispatch::new(tracing_subscriber::registry().with(beside));
        tracing::dispatcher::with_default(&log, || {
            tracing::warn!(UNIT = "web.service", NONE = None::<&str>, N = 7_u64, "it {}", "fails");
        });
        let mut got = read.recv_timeout(Duration::from_secs(10)).unwrap();
        got.sort();
        let expected = [("N", "7"), ("UNIT", "web.service"), ("message", "it fails")];
        assert_eq!(got, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }
}
