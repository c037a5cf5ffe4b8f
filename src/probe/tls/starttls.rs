//! Asking for TLS within another protocol: SMTP (RFC 3207).
//!
//! In flows a fresh connection; out flows the same, on which the server waits for a handshake, or what it said instead.
//! No mail is sent and nobody logs in.

use std::net::IpAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::super::Attempt;
use super::super::error::{EXCERPT, ProbeError};
use super::served::part;
use crate::text::inert_bytes;

/// The most bytes of one reply. Real ones have some hundred.
const MOST: usize = 16 * 1024;

/// The service is ready (RFC 5321, section 4.2.3), in the greeting and after STARTTLS.
const READY: u16 = 220;
const OK: u16 = 250;

/// Leads an SMTP session up to the handshake.
pub(super) async fn smtp(stream: TcpStream, attempt: &Attempt<'_>) -> Result<TcpStream, ProbeError> {
    // By RFC 5321, section 4.1.3, who has no name that others know gives its address.
    let own = match stream.local_addr().map(|address| address.ip().to_canonical()) {
        Ok(IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
        Ok(IpAddr::V4(ip)) => format!("[{ip}]"),
        Err(error) => return Err(ProbeError::from_io(&error)),
    };
    let mut session = BufReader::new(stream);
    match dialogue(&mut session, &own).await {
        Ok(()) if session.buffer().is_empty() => Ok(session.into_inner()),
        // What came before the handshake could be anybody's, and would count as said after it.
        Ok(()) => {
            Err(ProbeError::target("the server sent more than its answer to STARTTLS before the handshake"))
        }
        Err(Failed::Said(failure)) => {
            part(&mut session, b"QUIT\r\n", attempt).await;
            Err(failure)
        }
        Err(Failed::Broken(failure)) => Err(failure),
    }
}

/// Why there will be no handshake.
enum Failed {
    /// The server said so.
    Said(ProbeError),
    /// There is no conversation.
    Broken(ProbeError),
}

async fn dialogue(session: &mut BufReader<TcpStream>, own: &str) -> Result<(), Failed> {
    let said = |what: &str, reply: &Reply| {
        Err(Failed::Said(ProbeError::target(format!("{what}: {}", reply.shown()))))
    };
    let greeting = reply(session).await?;
    if greeting.code != READY {
        return said("the mail server turns the connection away", &greeting);
    }
    let offers = ask(session, &format!("EHLO {own}")).await?;
    if offers.code != OK {
        return said("the mail server refuses EHLO", &offers);
    }
    if !offers.has("STARTTLS") {
        return Err(Failed::Said(ProbeError::target("the mail server does not offer STARTTLS")));
    }
    let answer = ask(session, "STARTTLS").await?;
    if answer.code != READY {
        return said("the mail server offers STARTTLS, but refuses it", &answer);
    }
    Ok(())
}

async fn ask(session: &mut BufReader<TcpStream>, command: &str) -> Result<Reply, Failed> {
    let line = format!("{command}\r\n");
    session.write_all(line.as_bytes()).await.map_err(|error| Failed::Broken(ProbeError::from_io(&error)))?;
    reply(session).await
}

/// What a server answered: a number, and lines of text.
struct Reply {
    code: u16,
    lines: Vec<Vec<u8>>,
}

impl Reply {
    /// Whether one of the lines is this keyword.
    fn has(&self, keyword: &str) -> bool {
        let is = |line: &Vec<u8>| {
            let word = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            word.eq_ignore_ascii_case(keyword.as_bytes())
        };
        self.lines.iter().any(is)
    }

    /// The number and the first line.
    fn shown(&self) -> String {
        let text = self.lines.first().map_or_else(String::new, |line| inert_bytes(line, EXCERPT));
        format!("{} {text}", self.code).trim_end().to_owned()
    }
}

/// Reads a reply (RFC 5321, section 4.2): lines of `250-...`, and `250 ...` at its end.
async fn reply(session: &mut BufReader<TcpStream>) -> Result<Reply, Failed> {
    let broken = |failure: ProbeError| Err(Failed::Broken(failure));
    let mut lines = Vec::new();
    let mut left = MOST;
    loop {
        let line = match line(session, &mut left).await {
            Ok(Some(line)) => line,
            Ok(None) => {
                return broken(ProbeError::target("the mail server closed the connection without an answer"));
            }
            Err(error) => return broken(ProbeError::from_io(&error)),
        };
        let code =
            line.get(..3).and_then(|code| std::str::from_utf8(code).ok()).and_then(|code| code.parse().ok());
        let (Some(code), separator) = (code, line.get(3)) else {
            let came = inert_bytes(&line, EXCERPT);
            return broken(ProbeError::target(format!(
                "the server does not speak SMTP; what came begins \"{came}\""
            )));
        };
        lines.push(line.get(4..).unwrap_or_default().to_vec());
        if separator != Some(&b'-') {
            return Ok(Reply { code, lines });
        }
        if left == 0 {
            return broken(ProbeError::target(format!(
                "the mail server's answer has more than {} KiB",
                MOST / 1024
            )));
        }
    }
}

/// One line without its end, of at most `left` bytes; `None` where the connection ended before it began.
async fn line(session: &mut BufReader<TcpStream>, left: &mut usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    while *left > 0 {
        let piece = session.fill_buf().await?;
        if piece.is_empty() {
            break;
        }
        let end = piece.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let taken = end.unwrap_or(piece.len()).min(*left);
        line.extend_from_slice(&piece[..taken]);
        session.consume(taken);
        *left -= taken;
        if end.is_some() {
            break;
        }
    }
    let ended = line.is_empty();
    Ok((!ended).then(|| line.trim_ascii_end().to_vec()))
}
