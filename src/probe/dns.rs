//! The `dns` probe: one question, and a judgement of its answer.
//!
//! In flows a [`DnsProbe`]; out flow the values of the answer, or what is wrong with it. Whose trouble it is depends on
//! who is asked. A server that the configuration names is what is checked: that it is silent, cannot find out or
//! refuses is its failure. The resolvers of this machine are only a means: what they say of the name counts (it does
//! not exist, it has no such record, its values are others), and where they say nothing, nothing has been measured.
//!
//! Nothing is remembered from one attempt to the next, `/etc/hosts` is not looked at, and the search list of
//! resolv.conf is not applied.

use std::net::SocketAddr;

use super::error::{EXCERPT, ProbeError};
use super::resolve::literal;
use super::{Attempt, Phase};
use crate::check::{DnsProbe, HostPort};
use crate::text::sanitize;

mod ask;
mod message;
mod system;
#[cfg(test)]
mod tests;

use ask::{NO_SUCH_NAME, Question};
use message::{Found, Message};

/// The most values that a sentence lists.
const VALUES: usize = 5;

/// One attempt.
pub(super) async fn run(probe: &DnsProbe, attempt: &Attempt<'_>) -> Result<String, ProbeError> {
    let question = Question::of(probe)?;
    let (server, answer) = match &probe.server {
        Some(server) => {
            let addresses = addresses(server, attempt).await?;
            attempt.enter(Phase::Waiting);
            ask::first(&addresses, &question, attempt).await?
        }
        None => {
            let resolvers = system::servers(attempt).await?;
            attempt.enter(Phase::LookingUp);
            ask::first(&resolvers, &question, attempt).await.map_err(of_the_means)?
        }
    };
    let message = Message::read(&answer);
    let found =
        message.as_ref().ok_or("cannot be read").and_then(|message| message.find(&probe.name, probe.kind));
    let found =
        found.map_err(|why| ProbeError::target(format!("the answer of {} {why}", ask::shown(server))))?;
    let exists = message.is_some_and(|message| message.code() != NO_SUCH_NAME);
    judge(probe, &found, exists).map_err(|reason| ProbeError::target(sanitize(&reason, 4 * EXCERPT)))
}

/// The addresses of the server that the configuration names.
async fn addresses(server: &HostPort, attempt: &Attempt<'_>) -> Result<Vec<SocketAddr>, ProbeError> {
    let mut addresses = match literal(&server.host) {
        Some(addresses) => addresses,
        None => {
            attempt.enter(Phase::LookingUp);
            attempt.tools.resolver.addresses(&server.host).await?.to_vec()
        }
    };
    for address in &mut addresses {
        address.set_port(server.port);
    }
    Ok(addresses)
}

/// A resolver of this machine that gives no answer says nothing of the name.
fn of_the_means(failure: ProbeError) -> ProbeError {
    ProbeError::local(format!("no resolver of this machine gives an answer: {}", failure.reason()))
}

/// What an answer comes to: the detail of a pass, or what is wrong.
fn judge(probe: &DnsProbe, found: &Found, exists: bool) -> Result<String, String> {
    let DnsProbe { name, kind, expect, only, .. } = probe;
    match (&found.alias_of, exists, found.values.is_empty()) {
        (None, false, true) => return Err(format!("{name} does not exist (NXDOMAIN)")),
        (Some(target), false, true) => {
            return Err(format!("{name} is an alias of {target}, which does not exist (NXDOMAIN)"));
        }
        (None, true, true) => return Err(format!("{name} has no {kind} record")),
        (Some(target), true, true) => {
            return Err(format!("{name} is an alias of {target}, of which the answer has no {kind} record"));
        }
        (_, _, false) => {}
    }
    let values = listed(&found.values);
    let missing: Vec<&String> = expect.iter().filter(|value| !found.values.contains(value)).collect();
    if !missing.is_empty() {
        return Err(format!("{kind} is {values}, expected {}", listed(&missing)));
    }
    if *only && let Some(other) = found.values.iter().find(|value| !expect.contains(value)) {
        return Err(format!("{kind} is {values}, and {} is not expected", message::shown(other)));
    }
    let via = found.alias_of.as_ref().map_or_else(String::new, |target| format!(", by way of {target}"));
    Ok(sanitize(&format!("{kind} {values}{via}"), 4 * EXCERPT))
}

fn listed<T: AsRef<str>>(values: &[T]) -> String {
    let shown = values.iter().take(VALUES).map(|value| message::shown(value.as_ref()));
    let mut list: Vec<String> = shown.collect();
    if values.len() > VALUES {
        list.push(format!("{} more", values.len() - VALUES));
    }
    list.join(", ")
}
