//! The vocabulary of what is used: the settings of the probes `cpu` and `memory`, their limits, and sizes and
//! percentages as administrators of systemd write them. Values only; no I/O, no clock.

use std::fmt;
use std::time::Duration;

use crate::time::human;

/// What may be used, by whom, and how long too much of it is borne.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageProbe {
    /// Who uses it.
    pub of: UsedBy,
    /// The use must stay below this.
    pub limit: UsageLimit,
    /// It is too much when it was at the limit or above for all of this time.
    pub over: Duration,
}

/// Whose use is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsedBy {
    /// The check's unit: all processes in its cgroup.
    Unit,
    /// The whole machine.
    Host,
}

/// The limit, which also says what is measured and what it is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageLimit {
    /// CPU time, in percent of one CPU: 200% are two CPUs, as in systemd's `CPUQuota=`.
    OneCpu(Percent),
    /// CPU time, in percent of all CPUs of the machine together.
    AllCpus(Percent),
    /// Memory, in bytes.
    Bytes(u64),
    /// Memory, in percent: of a unit's `MemoryMax=` where it has one, of the machine's memory otherwise.
    Memory(Percent),
}

impl UsageLimit {
    /// It is CPU time that is measured, which is counted up; otherwise it is memory.
    #[must_use]
    pub fn is_cpu(&self) -> bool {
        matches!(self, Self::OneCpu(_) | Self::AllCpus(_))
    }

    /// The limit as a number, in what uses are compared in: hundredths of a percent, or bytes.
    #[must_use]
    pub fn level(&self) -> u64 {
        match self {
            Self::OneCpu(percent) | Self::AllCpus(percent) | Self::Memory(percent) => percent.0,
            Self::Bytes(bytes) => *bytes,
        }
    }

    /// A use, counted as [`UsageLimit::level`] is, with what it is counted in: `12% of one CPU`, `312 MiB`.
    #[must_use]
    pub fn show(&self, used: u64) -> String {
        match self {
            Self::OneCpu(_) => format!("{} of one CPU", Percent(used)),
            Self::AllCpus(_) => format!("{} of all CPUs", Percent(used)),
            Self::Bytes(_) => Size(used).to_string(),
            Self::Memory(_) => Percent(used).to_string(),
        }
    }

    /// The limit alone, where it is clear what it is counted in: `10%`, `1.5 GiB`.
    #[must_use]
    pub fn show_level(&self) -> String {
        match self {
            Self::Bytes(bytes) => Size(*bytes).to_string(),
            other => Percent(other.level()).to_string(),
        }
    }
}

impl UsageProbe {
    /// What is probed, for status and mails: `cpu of the unit below 10% of one CPU over 30m`.
    #[must_use]
    pub fn describe(&self) -> String {
        let what = if self.limit.is_cpu() { "cpu" } else { "memory" };
        let of = match self.of {
            UsedBy::Unit => "the unit",
            UsedBy::Host => "the host",
        };
        let (limit, over) = (self.limit.show(self.limit.level()), human(self.over));
        format!("{what} of {of} below {limit} over {over}")
    }
}

/// A percentage, in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u64);

impl Percent {
    /// All of something.
    pub const WHOLE: Self = Self(10_000);

    /// What part of `whole` this is; 0 of nothing.
    #[must_use]
    pub fn part(used: u128, whole: u128) -> u64 {
        let part = used.saturating_mul(u128::from(Self::WHOLE.0)).checked_div(whole).unwrap_or(0);
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// Reads `10%` or `0.5%`, to the hundredth of a percent.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("expected a percentage such as `10%`, not `{text}`");
        let Some(number) = text.trim().strip_suffix('%') else {
            return Err(if decimal(text, 2).is_some() {
                format!("`{text}` needs its sign: `{text}%`?")
            } else {
                expected()
            });
        };
        let hundredths = decimal(number.trim_end(), 2).ok_or_else(expected)?;
        u64::try_from(hundredths).map(Self).map_err(|_| expected())
    }
}

impl fmt::Display for Percent {
    /// Rounded down; with a decimal where it is small.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, tenths) = (self.0 / 100, self.0 % 100 / 10);
        match (whole, self.0 % 10, tenths) {
            // A limit as fine as 0.05% must not read as 0%.
            (0, fine, _) if fine > 0 => write!(f, "0.{:02}%", self.0),
            (0..=9, _, 1..) => write!(f, "{whole}.{tenths}%"),
            _ => write!(f, "{whole}%"),
        }
    }
}

/// The letters of sizes, with systemd's base of 1024 (systemd.syntax(7)).
const LETTERS: [(char, u32); 6] = [('K', 10), ('M', 20), ('G', 30), ('T', 40), ('P', 50), ('E', 60)];

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// Reads a size as systemd writes them: `512M`, `1.5G`, base 1024. A bare number is refused: it is rarely meant.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("expected a size such as `512M` or `1.5G`, not `{text}`");
        let trimmed = text.trim();
        if decimal(trimmed, 3).is_some() {
            return Err(format!("`{trimmed}` needs its unit, as in `512M` or `1.5G`"));
        }
        let mut letters = trimmed.chars();
        let shift = match letters.next_back() {
            Some('B') => 0,
            Some(letter) => LETTERS.iter().find(|(known, _)| *known == letter).ok_or_else(expected)?.1,
            None => return Err(expected()),
        };
        let thousandths = decimal(letters.as_str().trim_end(), 3).ok_or_else(expected)?;
        let bytes = thousandths.checked_mul(1 << shift).map(|bytes| bytes / 1000);
        let too_much = || format!("`{text}` is more than any machine has");
        bytes.and_then(|bytes| u64::try_from(bytes).ok()).map(Self).ok_or_else(too_much)
    }
}

impl fmt::Display for Size {
    /// Rounded down, as `1.5 GiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((letter, shift)) = LETTERS.iter().rev().find(|(_, shift)| self.0 >> shift > 0) else {
            return write!(f, "{} B", self.0);
        };
        let whole = self.0 >> shift;
        let tenths = (u128::from(self.0 - (whole << shift)) * 10) >> shift;
        if whole < 10 && tenths > 0 {
            write!(f, "{whole}.{tenths} {letter}iB")
        } else {
            write!(f, "{whole} {letter}iB")
        }
    }
}

/// A number with up to `places` decimals, as a whole number of the last place's unit.
fn decimal(text: &str, places: u32) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fraction_written = text.contains('.');
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction_written == fraction.is_empty() {
        return None;
    }
    let length = u32::try_from(fraction.len()).ok().filter(|length| *length <= places)?;
    let whole: u128 = whole.parse::<u64>().ok()?.into();
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some(whole * 10_u128.pow(places) + fraction * 10_u128.pow(places - length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_read_and_shown() {
        for (text, hundredths, shown) in [
            ("10%", 1000, "10%"),
            ("200%", 20_000, "200%"),
            ("0.5%", 50, "0.5%"),
            ("0.05%", 5, "0.05%"),
            ("3.25 %", 325, "3.2%"),
            ("99.9%", 9990, "99%"),
        ] {
            assert_eq!(Percent::parse(text), Ok(Percent(hundredths)), "{text}");
            assert_eq!(Percent(hundredths).to_string(), shown);
        }
        assert_eq!(Percent(0).to_string(), "0%");
        for (text, says) in [
            ("10", "needs its sign: `10%`?"),
            ("ten%", "such as `10%`"),
            ("%", "such as"),
            ("-5%", "such as"),
            ("1.234%", "such as"),
            ("1.%", "such as"),
            ("99999999999999999999%", "such as"),
        ] {
            let error = Percent::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_read_and_shown_by_1024() {
        for (text, bytes, shown) in [
            ("512M", 512 << 20, "512 MiB"),
            ("1.5G", 3 << 29, "1.5 GiB"),
            ("1G", 1 << 30, "1 GiB"),
            ("300 K", 300 << 10, "300 KiB"),
            ("17B", 17, "17 B"),
            ("15.9T", 17_482_234_881_638, "15 TiB"),
        ] {
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
            assert_eq!(Size(bytes).to_string(), shown);
        }
        for (text, says) in [
            ("512", "`512` needs its unit, as in `512M`"),
            ("1.5", "`1.5` needs its unit"),
            ("512m", "such as `512M`"),
            ("1.5GB", "such as"),
            ("", "such as"),
            ("G", "such as"),
            ("99E", "more than any machine has"),
        ] {
            let error = Size::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn limits_say_what_they_count() {
        let probe = |limit, of| UsageProbe { of, limit, over: Duration::from_secs(1800) }.describe();
        assert_eq!(
            probe(UsageLimit::OneCpu(Percent(1000)), UsedBy::Unit),
            "cpu of the unit below 10% of one CPU over 30m"
        );
        assert_eq!(
            probe(UsageLimit::Bytes(3 << 29), UsedBy::Host),
            "memory of the host below 1.5 GiB over 30m"
        );
    }
}
