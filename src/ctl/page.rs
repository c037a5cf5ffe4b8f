//! The status as the daemon's HTTP listener serves it: what this command shows where it is not on a terminal. Pure.
//!
//! In: a snapshot. Out: text, or JSON, both sanitized. The listener stands below this layer, so whoever starts the
//! daemon hands these over.

use jiff::tz::TimeZone;

use super::render;
use super::style::Style;
use super::text::sanitize_json;
use crate::status::Snapshot;

/// As `stealthctl status` shows it: without colours, and as wide as it takes.
#[must_use]
pub fn text(snapshot: &Snapshot) -> String {
    let style = Style { colour: false, width: None, height: None, unicode: true, zone: TimeZone::system() };
    render::overview(snapshot, &style)
}

/// As `stealthctl status --json` prints it, on one line.
#[must_use]
pub fn json(snapshot: &Snapshot) -> String {
    // A snapshot is a tree of numbers and texts, of which none can be refused; nobody could be told here if one were.
    let json = serde_json::to_string(snapshot).unwrap_or_else(|_| "null".to_owned());
    format!("{}\n", sanitize_json(&json))
}
