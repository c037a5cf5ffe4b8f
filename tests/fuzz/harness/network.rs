//! What servers and clients send, of any bytes: each has its end within its time, in one line that is inert.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use stealthcheck::check::{DnsProbe, HostPort, Probe, RecordKind, TlsProbe};
use stealthcheck::listen::{self, Counters, Draw, Limits, Question, Report};
use stealthcheck::probe::Prober;
use stealthcheck::status::Snapshot;
use stealthcheck::time::Wall;
use stealthcheck::verdict::Observation;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::{is_one_line, runtime};

/// A probe's deadline: of a server that answers with nothing at all.
const BRIEF: Duration = Duration::from_millis(40);
/// No probe takes longer, however busy the machine is.
const AMPLE: Duration = Duration::from_secs(20);

/// Runs a probe to its end, and looks at its words.
async fn run(probe: &Probe, timeout: Duration) -> Observation {
    let started = Instant::now();
    let seen = Prober::new().run(probe, timeout).await;
    assert!(started.elapsed() < AMPLE, "{:?}", started.elapsed());
    let words = match &seen {
        Observation::Passing { detail, .. } => detail,
        Observation::Failing { reason }
        | Observation::NotRestartable { reason }
        | Observation::Unknown { reason } => reason,
    };
    assert!(is_one_line(words) && words.chars().count() < 2500, "{words:?}");
    seen
}

/// A DNS server answers with the bytes: the first says which type of record is asked for, the next two whether they
/// come as an answer to the very question (its id before them), or as they are.
pub fn dns(bytes: &[u8]) {
    let [kind, fits, rest @ ..] = bytes else { return };
    let kinds =
        [RecordKind::A, RecordKind::Aaaa, RecordKind::Cname, RecordKind::Mx, RecordKind::Txt, RecordKind::Ns];
    let kind = kinds[usize::from(*kind) % kinds.len()];
    runtime().block_on(async {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = server.local_addr().expect("an address");
        let probe = DnsProbe {
            name: "gru.example.org".to_owned(),
            kind,
            server: HostPort::parse(&address.to_string()).ok(),
            expect: Vec::new(),
            only: false,
        };
        let serve = async {
            let mut asked = [0; 512];
            while let Ok((length, from)) = server.recv_from(&mut asked).await {
                let mut answer = Vec::new();
                match fits % 3 {
                    // With its id.
                    0 => answer.extend(&asked[..2]),
                    // With its id, and the head and the question of an answer.
                    1 => {
                        answer.extend(&asked[..2]);
                        answer.extend([0x81, 0x80, 0, 1]);
                        answer.extend(rest.iter().take(6));
                        answer.extend(&asked[12..length]);
                    }
                    _ => {}
                }
                answer.extend(rest.iter().skip(if fits % 3 == 1 { 6 } else { 0 }));
                answer.truncate(60_000);
                let _ = server.send_to(&answer, from).await;
            }
        };
        let probe = Probe::Dns(Arc::new(probe));
        tokio::select! {
            _ = run(&probe, BRIEF) => {}
            () = serve => {}
        }
    });
}

/// Shows whatever it is told to, with a key of its own.
#[derive(Debug)]
struct Shows(Mutex<Vec<u8>>, PrivateKeyDer<'static>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let der = self.0.lock().expect("a lock").clone();
        let key = any_supported_type(&self.1).ok()?;
        Some(Arc::new(CertifiedKey::new(vec![CertificateDer::from(der)], key)))
    }
}

/// A TLS server whose certificate is the bytes.
pub fn certificate(bytes: &[u8]) {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    if bytes.is_empty() || bytes.len() > 1 << 14 {
        return;
    }
    let key = KEY.get_or_init(|| rcgen::KeyPair::generate().expect("a key").serialize_der());
    let key = PrivateKeyDer::try_from(key.clone()).expect("a key");
    let shows = Arc::new(Shows(Mutex::new(bytes.to_vec()), key));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(shows);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let probe = TlsProbe {
            address: HostPort::parse(&address.to_string()).expect("an address"),
            server_name: "localhost".to_owned(),
            valid_for: TlsProbe::VALID_FOR,
            ca_file: None,
            starttls: None,
            file: None,
        };
        let serve = async {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = acceptor.accept(stream).await;
            }
        };
        let probe = Probe::Tls(Arc::new(probe));
        let seen = tokio::select! {
            seen = run(&probe, AMPLE) => seen,
            () = serve => return,
        };
        assert!(!matches!(seen, Observation::Passing { .. }), "nobody's certificate is good: {seen:?}");
    });
}

/// A client of the HTTP listener sends the bytes.
pub fn request(bytes: &[u8]) {
    runtime().block_on(async {
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .and_then(|socket| socket.local_addr())
            .expect("an address");
        let (_addresses, wanted) = watch::channel(vec![free]);
        let (questions, mut asked) = mpsc::channel(16);
        let (troubles, _told) = mpsc::channel(16);
        let draw = Draw { text: |_| "well\n".to_owned(), json: |_| "{}".to_owned() };
        let limits = Limits {
            request: BRIEF,
            linger: Duration::from_millis(5),
            retry_interval: Duration::from_millis(5),
            ..Limits::default()
        };
        let answers = async {
            while let Some(question) = asked.recv().await {
                match question {
                    Question::Alive(reply) => drop(reply.send(())),
                    Question::Report(reply) => drop(reply.send(report())),
                }
            }
        };
        tokio::select! {
            () = exchange(free, bytes) => {}
            _ = listen::run(wanted, questions, troubles, draw, limits) => {}
            () = answers => {}
        }
    });
}

fn report() -> Report {
    let status = Snapshot {
        version: "1".to_owned(),
        at: Wall(0),
        started: Wall(0),
        configuration: Default::default(),
        mail: Default::default(),
        counts: Default::default(),
        storm: None,
        alerts: Vec::new(),
        checks: Vec::new(),
    };
    Report { status, counters: Counters::default() }
}

async fn exchange(address: SocketAddr, bytes: &[u8]) {
    let mut stream = loop {
        match TcpStream::connect(address).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    // One that has heard enough hangs up.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(AMPLE, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "no end within {AMPLE:?}");
    if answer.is_empty() {
        return;
    }
    let answer = String::from_utf8(answer).expect("text");
    let (head, _) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 ") && head.split("\r\n").all(is_one_line), "{head:?}");
    let code = head.split(' ').nth(1).unwrap_or_default();
    assert!(["200", "400", "404", "405", "408", "421", "431", "503"].contains(&code), "{head:?}");
}
