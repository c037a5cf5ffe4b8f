//! The `tcp` probe: a connection, and where asked for, something sent and something expected.
//!
//! In flows a [`TcpProbe`]; out flows the detail of a pass, or what was wrong. It reads at most [`MOST`] bytes, and
//! only where something is expected.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connect::connect;
use super::error::{EXCERPT, ProbeError};
use super::{Attempt, Phase};
use crate::check::TcpProbe;
use crate::text::{inert_bytes, sanitize};

/// The most that is read in search of the expected text.
const MOST: usize = 64 * 1024;

/// One attempt.
pub(super) async fn run(probe: &TcpProbe, attempt: &Attempt<'_>) -> Result<String, ProbeError> {
    let mut stream = connect(&probe.address.host, probe.address.port, attempt).await?;
    attempt.enter(Phase::Waiting);
    if let Some(send) = &probe.send {
        stream.write_all(send.as_bytes()).await.map_err(|error| ProbeError::from_io(&error))?;
    }
    match &probe.expect {
        Some(expected) => expect(&mut stream, expected).await,
        None => Ok("connected".to_owned()),
    }
}

async fn expect(stream: &mut TcpStream, expected: &str) -> Result<String, ProbeError> {
    let mut seen = Vec::new();
    loop {
        // What was searched before need not be searched again, but for a beginning of the text at its end.
        let from = seen.len().saturating_sub(expected.len());
        let room = MOST.saturating_sub(seen.len()).min(4096);
        let end = if room == 0 {
            Err(format!("not in the first {} KiB", MOST / 1024))
        } else {
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk[..room]).await {
                Ok(0) => Err("before the connection was closed".to_owned()),
                Ok(n) => {
                    seen.extend_from_slice(&chunk[..n]);
                    Ok(())
                }
                Err(error) => match ProbeError::from_io(&error) {
                    ProbeError::Target(reason) => Err(format!("before: {reason}")),
                    ours => return Err(ours),
                },
            }
        };
        if contains(&seen[from..], expected.as_bytes()) {
            return Ok(format!("connected, answered \"{}\"", sanitize(expected, EXCERPT)));
        }
        if let Err(end) = end {
            let came = match seen.as_slice() {
                [] => "nothing came".to_owned(),
                seen => format!("what came begins \"{}\"", inert_bytes(seen, EXCERPT)),
            };
            return Err(ProbeError::target(format!("no \"{}\" {end}; {came}", sanitize(expected, EXCERPT))));
        }
    }
}

/// Whether `needle` stands in `hay`.
pub(super) fn contains(hay: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return true };
    let mut rest = hay;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = &rest[at..];
        if rest.starts_with(needle) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}
