//! What the output may look like: whether in colour, how wide, with which characters and in which time zone.
//!
//! In: the environment and the terminal, read once. Out: a plain [`Style`], so that everything that draws is pure.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use jiff::{Timestamp, tz::TimeZone};

use crate::time::Wall;

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What the output may look like.
#[derive(Clone, Debug)]
pub struct Style {
    /// Colours.
    pub colour: bool,
    /// Columns there are; `None`: as many as it takes.
    pub width: Option<usize>,
    /// Lines that can be seen at once; `None`: all.
    pub height: Option<usize>,
    /// Marks beyond ASCII.
    pub unicode: bool,
    /// The zone of clock times.
    pub zone: TimeZone,
}

impl Style {
    /// The style that fits the standard output of this process.
    #[must_use]
    pub fn detect(colour: Colour) -> Self {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        let size = terminal.then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
        let measure = |n: u16| (n > 0).then_some(usize::from(n));
        Self {
            colour: match colour {
                Colour::Always => true,
                Colour::Never => false,
                Colour::Auto => terminal && !is_set("NO_COLOR") && !is_dumb_terminal(),
            },
            width: size.and_then(|size| measure(size.ws_col)),
            height: size.and_then(|size| measure(size.ws_row)),
            unicode: is_utf8(|name| std::env::var(name).ok()),
            zone: TimeZone::system(),
        }
    }

    /// A moment as systemctl writes it: `Mon 2026-11-23 14:02:11 CET`.
    #[must_use]
    pub fn moment(&self, at: Wall) -> String {
        self.format(at, "%a %Y-%m-%d %H:%M:%S %Z")
    }

    /// A moment as short as it can be told: the time on the day of `now`, with the date on others.
    #[must_use]
    pub fn clock(&self, at: Wall, now: Wall) -> String {
        let same_day = self.format(at, "%F") == self.format(now, "%F");
        self.format(at, if same_day { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" })
    }

    fn format(&self, at: Wall, format: &str) -> String {
        match Timestamp::from_millisecond(at.0) {
            Ok(time) => time.to_zoned(self.zone.clone()).strftime(format).to_string(),
            Err(_) => "at a time beyond the calendar".to_owned(),
        }
    }
}

/// no-color.org: present and not empty.
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

fn is_dumb_terminal() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// Whether the locale's characters are UTF-8: the first that is set of LC_ALL, LC_CTYPE, LANG decides (locale(7)).
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty());
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_says_whether_marks_may_leave_ascii() {
        let locale = |pairs: &'static [(&str, &str)]| {
            is_utf8(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(locale(&[("LANG", "de_DE.UTF-8")]));
        assert!(locale(&[("LANG", "C"), ("LC_ALL", "C.utf8")]));
        assert!(!locale(&[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")]));
        assert!(locale(&[("LANG", "en_US.UTF-8"), ("LC_ALL", "")]));
        assert!(!locale(&[]));
    }
}
