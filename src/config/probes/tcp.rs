//! `tcp:`.
//!
//! In: its field. Out: a probe.

use crate::check::TcpProbe;
use crate::config::field::Field;
use crate::config::mail::transpose;
use crate::config::report::Report;

const KEYS: &[&str] = &["address", "send", "expect"];

/// Checks `tcp:`, a mapping or only the address.
pub(super) fn probe(field: &Field<'_>, report: &mut Report) -> Option<TcpProbe> {
    if field.as_text().is_some() {
        let address = field.parsed(super::ADDRESS, report, super::address)?;
        return Some(TcpProbe { address, send: None, expect: None });
    }
    if !field.is_map() {
        return field.expected(super::ADDRESS, report);
    }
    let table = field.table(KEYS, report)?;
    let address =
        table.need("address", report).and_then(|field| field.parsed(super::ADDRESS, report, super::address));
    let send = table
        .get("send")
        .map(|field| field.text("text to send (a number in quotes)", report).map(str::to_owned));
    let expect = table
        .get("expect")
        .map(|field| field.text("text to wait for (a number in quotes)", report).map(str::to_owned));
    Some(TcpProbe { address: address?, send: transpose(send)?, expect: transpose(expect)? })
}
