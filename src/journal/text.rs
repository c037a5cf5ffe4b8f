//! Log lines for a person at a terminal, and text made harmless for any reader.
//!
//! In: `tracing` events. Out: a line each on stderr: time, level, message, and the fields that are not the journal's
//! own. Colour only on a terminal, and not where `NO_COLOR` is set (no-color.org).

use std::fmt::{self, Write as _};
use std::io::{IsTerminal as _, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Longer text is cut: a log entry is no dump.
const LONGEST: usize = 2000;

/// `text` with nothing in it that could steer a terminal or feign a line.
pub(super) fn sanitize(text: &str) -> String {
    crate::text::sanitize(text, LONGEST)
}

/// The layer that writes the lines.
pub(super) struct Lines {
    colour: bool,
    /// Somebody is reading along: the day is known.
    terminal: bool,
}

impl Lines {
    pub fn stderr() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self { colour, terminal }
    }

    fn line(&self, time: &str, level: Level, fields: &Fields) -> String {
        let (word, colour) = match level {
            Level::ERROR => ("error: ", "\x1b[1;31m"),
            Level::WARN => ("warning: ", "\x1b[1;33m"),
            Level::INFO => ("", ""),
            _ => ("debug: ", "\x1b[2m"),
        };
        let (on, off) = if self.colour && !colour.is_empty() { (colour, "\x1b[0m") } else { ("", "") };
        format!("{time} {on}{word}{off}{}{}\n", sanitize(&fields.message), sanitize(&fields.others))
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let format = if self.terminal { "%H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S%:z" };
        let time = jiff::Zoned::now().strftime(format).to_string();
        let line = self.line(&time, *event.metadata().level(), &fields);
        // Nobody can be told that stderr is gone.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Fields {
    /// Fields in the journal's own spelling say again what the message says.
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        if field.name() == "message" {
            let _ = self.message.write_fmt(value);
        } else if field.name().bytes().any(|byte| byte.is_ascii_lowercase()) {
            let _ = write!(self.others, " {}={value}", field.name());
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_steers_nothing() {
        assert_eq!(sanitize("200 OK, größer"), "200 OK, größer");
        assert_eq!(sanitize("a\nb\x1b[2J\u{202e}c\u{9b}"), "a\\nb\\u{1b}[2J\\u{202e}c\\u{9b}");
        assert_eq!(sanitize(&"x".repeat(LONGEST + 5)).chars().count(), LONGEST);
    }

    #[test]
    fn a_line_has_time_level_message_and_fields() {
        let fields = Fields { message: "cannot read".into(), others: " unit=web.service".into() };
        let plain = Lines { colour: false, terminal: true };
        assert_eq!(
            plain.line("12:00:00", Level::WARN, &fields),
            "12:00:00 warning: cannot read unit=web.service\n"
        );
        let colour = Lines { colour: true, terminal: true };
        assert!(colour.line("12:00:00", Level::ERROR, &fields).contains("\x1b[1;31merror: \x1b[0m"));
    }
}
