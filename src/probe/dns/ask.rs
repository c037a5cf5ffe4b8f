//! One question and its answer: over UDP, and over TCP where the answer is too long for it.
//!
//! In flow servers and a question; out flows the first answer that says something, or why there is none. Against forged
//! answers each question has a random number and goes out from a port that the kernel picks at random, by a socket that
//! takes packets from nobody but the server; an answer must repeat the number and the question, or it is not looked at.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustls::crypto::ring;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use super::super::Attempt;
use super::super::error::ProbeError;
use super::message::{Message, question};
use crate::check::{DnsProbe, RecordKind};

/// A packet can get lost: the question is asked again after this long.
const AGAIN: Duration = Duration::from_secs(1);

/// More than any answer over UDP has to a question that does not speak EDNS, which has 512 bytes at most.
const PACKET: usize = 4096;

/// `NXDOMAIN`: an answer, and no failure of the server.
pub(super) const NO_SUCH_NAME: u16 = 3;

/// What is asked.
pub(super) struct Question<'a> {
    name: &'a str,
    kind: RecordKind,
    id: u16,
    bytes: Vec<u8>,
}

impl<'a> Question<'a> {
    /// The question of `probe`, with a number that nobody can guess.
    pub(super) fn of(probe: &'a DnsProbe) -> Result<Self, ProbeError> {
        let mut random = [0; 2];
        let provider = ring::default_provider();
        provider
            .secure_random
            .fill(&mut random)
            .map_err(|_| ProbeError::local("this machine has no random numbers"))?;
        let id = u16::from_be_bytes(random);
        Ok(Self { name: &probe.name, kind: probe.kind, id, bytes: question(id, &probe.name, probe.kind) })
    }

    fn answered_by(&self, bytes: &[u8]) -> bool {
        Message::read(bytes).is_some_and(|message| message.answers(self.id, self.name, self.kind))
    }
}

/// The first answer that says whether the name exists, and who gave it; or why none of the servers gave one, each with
/// its reason. A server may take its share of the time that is left, so that a dead one does not hide a living one.
pub(super) async fn first(
    servers: &[SocketAddr],
    question: &Question<'_>,
    attempt: &Attempt<'_>,
) -> Result<(SocketAddr, Vec<u8>), ProbeError> {
    let mut failures = Vec::new();
    for (i, server) in servers.iter().enumerate() {
        let left = u32::try_from(servers.len() - i).unwrap_or(u32::MAX);
        let result = if left == 1 {
            // The attempt's own deadline is enough.
            one(*server, question).await
        } else {
            let share = attempt.deadline.saturating_duration_since(Instant::now()) / left;
            let silent = || Err(ProbeError::target(format!("no answer from {}", shown(*server))));
            timeout(share, one(*server, question)).await.unwrap_or_else(|_| silent())
        };
        match result {
            Ok(answer) => return Ok((*server, answer)),
            Err(failure) => failures.push(failure),
        }
    }
    let reasons: Vec<&str> = failures.iter().map(ProbeError::reason).collect();
    let reasons = reasons.join(", ");
    let ours = failures.iter().any(|failure| matches!(failure, ProbeError::Local(_)));
    Err(if ours { ProbeError::Local(reasons) } else { ProbeError::Target(reasons) })
}

/// One server's answer. That it could not find out is none.
async fn one(server: SocketAddr, question: &Question<'_>) -> Result<Vec<u8>, ProbeError> {
    let by = |error: std::io::Error| ProbeError::from_io(&error).after(&shown(server));
    let mut answer = over_udp(server, question).await.map_err(by)?;
    if Message::read(&answer).is_some_and(|message| message.truncated()) {
        answer = over_tcp(server, question).await.map_err(by)?;
        if !question.answered_by(&answer) {
            let server = shown(server);
            return Err(ProbeError::target(format!(
                "what {server} sends over TCP is no answer to the question"
            )));
        }
    }
    let Some(message) = Message::read(&answer) else {
        return Err(ProbeError::target(format!("the answer of {} cannot be read", shown(server))));
    };
    let failed = match message.code() {
        0 if message.refers_elsewhere() => {
            format!("{} does not know {} and does not ask others for it", shown(server), question.name)
        }
        0 | NO_SUCH_NAME => return Ok(answer),
        1 => format!("{} cannot read the question (FORMERR)", shown(server)),
        2 => format!("{} cannot find out (SERVFAIL)", shown(server)),
        4 => format!("{} does not answer such questions (NOTIMP)", shown(server)),
        5 => format!("{} refuses to answer (REFUSED)", shown(server)),
        code => format!("{} answers with the error {code}", shown(server)),
    };
    Err(ProbeError::target(failed))
}

/// Asks until an answer comes. The time is bounded by who calls.
async fn over_udp(server: SocketAddr, question: &Question<'_>) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    loop {
        socket.send(&question.bytes).await?;
        if let Ok(answer) = timeout(AGAIN, answer(&socket, question)).await {
            return answer;
        }
    }
}

/// The first packet that answers the question; others may be forged, or late.
async fn answer(socket: &UdpSocket, question: &Question<'_>) -> std::io::Result<Vec<u8>> {
    let mut packet = vec![0; PACKET];
    loop {
        let length = socket.recv(&mut packet).await?;
        packet.truncate(length);
        if question.answered_by(&packet) {
            return Ok(packet);
        }
        packet.resize(PACKET, 0);
    }
}

/// RFC 1035, section 4.2.2: each message is preceded by its length.
async fn over_tcp(server: SocketAddr, question: &Question<'_>) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.bytes.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes()[..], &question.bytes].concat()).await?;
    let length = usize::from(stream.read_u16().await?);
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// A server for a sentence: its port only where it is another than usual.
pub(super) fn shown(server: SocketAddr) -> String {
    if server.port() == DnsProbe::PORT { server.ip().to_string() } else { server.to_string() }
}
