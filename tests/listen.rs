//! The HTTP listener from outside: real sockets, and a loop that answers, or does not.

// Helpers outside of `#[test]` functions may fail a test as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "listen/addresses.rs"]
mod addresses;
#[path = "listen/bounds.rs"]
mod bounds;
#[path = "listen/names.rs"]
mod names;
#[path = "listen/pages.rs"]
mod pages;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use stealthcheck::listen::{self, Counters, Draw, Limits, Question, Report};
use stealthcheck::status::{ConfigurationStatus, MailStatus, Snapshot};
use stealthcheck::time::Wall;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// The deadline of every wait: generous, for a busy host must not fail a test.
const MINUTE: Duration = Duration::from_secs(60);

/// A listener, and a loop behind it.
struct Rig {
    addresses: watch::Sender<Vec<SocketAddr>>,
    troubles: mpsc::Receiver<Vec<String>>,
    /// The loop takes questions and answers none while this is set.
    stuck: Arc<AtomicBool>,
    /// How often it was asked for a report.
    reports: Arc<AtomicUsize>,
}

fn limits() -> Limits {
    Limits {
        answer: Duration::from_millis(300),
        retry_interval: Duration::from_millis(20),
        ..Limits::default()
    }
}

impl Rig {
    fn start(addresses: Vec<SocketAddr>, limits: Limits) -> Self {
        let (addresses, seen) = watch::channel(addresses);
        let (questions, asked) = mpsc::channel(16);
        let (troubles, told) = mpsc::channel(16);
        let (stuck, reports) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(answer(asked, Arc::clone(&stuck), Arc::clone(&reports)));
        let draw = Draw {
            text: |snapshot| format!("version {}\n", snapshot.version),
            json: |snapshot| serde_json::to_string(snapshot).unwrap(),
        };
        tokio::spawn(listen::run(seen, questions, troubles, draw, limits));
        Self { addresses, troubles: told, stuck, reports }
    }

    /// On one free port of loopback; it listens when this returns.
    async fn on_loopback(limits: Limits) -> (Self, SocketAddr) {
        let address = free().await;
        let rig = Self::start(vec![address], limits);
        get(address, "/ready").await;
        (rig, address)
    }

    async fn trouble(&mut self) -> Vec<String> {
        tokio::time::timeout(MINUTE, self.troubles.recv()).await.expect("a word of trouble").unwrap()
    }
}

async fn answer(mut asked: mpsc::Receiver<Question>, stuck: Arc<AtomicBool>, reports: Arc<AtomicUsize>) {
    let mut unanswered = Vec::new();
    while let Some(question) = asked.recv().await {
        if stuck.load(Ordering::SeqCst) {
            unanswered.push(question);
            continue;
        }
        match question {
            Question::Alive(reply) => drop(reply.send(())),
            Question::Report(reply) => {
                let n = reports.fetch_add(1, Ordering::SeqCst);
                let _ = reply.send(Report { status: snapshot(n), counters: Counters::default() });
            }
        }
    }
}

/// The `n`th report.
fn snapshot(n: usize) -> Snapshot {
    Snapshot {
        version: format!("1.{n}"),
        at: Wall(1_000),
        started: Wall(0),
        configuration: ConfigurationStatus::default(),
        mail: MailStatus::default(),
        counts: Default::default(),
        storm: None,
        alerts: vec!["<script>\r\nSet-Cookie: forged=1".to_owned()],
        checks: Vec::new(),
    }
}

/// An address of loopback where nobody listens just now.
async fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Sends these bytes and reads to the end; waits where nobody listens yet.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let exchange = async {
        let mut stream = loop {
            match TcpStream::connect(address).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::time::timeout(MINUTE, exchange).await.expect("an answer within a minute")
}

async fn get(address: SocketAddr, path: &str) -> String {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head and a body").1
}

fn field<'a>(answer: &'a str, name: &str) -> &'a str {
    let head = answer.split_once("\r\n\r\n").expect("a head").0;
    let mut fields = head.split("\r\n").filter_map(|line| line.split_once(": "));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}
