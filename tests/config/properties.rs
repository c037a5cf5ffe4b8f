//! Anything at all: it is read or refused, soon, and never with a panic.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use stealthcheck::check::{Probe, Schedule, Step};

use super::load_text;

/// Far more than any of these takes, also in a debug build on a busy machine.
const SOON: Duration = Duration::from_secs(10);

fn read_soon(what: &str, text: &[u8]) {
    let began = Instant::now();
    if let Err(problems) = load_text(text) {
        assert!(!problems.is_empty());
        for problem in problems {
            assert!(!problem.to_string().contains(char::is_control), "{problem:?}");
        }
    }
    assert!(began.elapsed() < SOON, "{what}: {:?}", began.elapsed());
}

#[test]
fn hostile_files_are_refused_soon() {
    let full = |unit: &str| unit.repeat((1 << 20) / unit.len());
    for unit in [
        "[", "{", "- ", "? ", "[a,", "{a: ", "a: ", "&a ", "*a ", "!a ", "'", "\"", "|\n", "a:\n ", "[]",
        "{}", "\\", "#",
    ] {
        read_soon(unit, full(unit).as_bytes());
    }
    for unit in [
        "a: &a {}\n",
        "- a\n",
        "a: 1\n",
        "? a\n",
        ",",
        "a, ",
        "%YAML 1.2\n",
        "---\n",
        "<<: {a: 1}\n",
        "\u{85}",
    ] {
        read_soon(unit, full(unit).as_bytes());
        read_soon(unit, format!("checks: [{}]", full(unit).get(..1_000_000).unwrap_or_default()).as_bytes());
    }
    read_soon("brackets", "[".repeat(20_000).as_bytes());
    read_soon("brackets in a text", format!("checks: \"{}\"", "[".repeat(20_000)).as_bytes());
    let mut deep = String::new();
    for depth in 0..1_400 {
        let _ = writeln!(deep, "{}a:", " ".repeat(depth));
    }
    read_soon("indentation", deep.as_bytes());
    let mut bomb = "a0: &a0 [x]\n".to_owned();
    for n in 1..40 {
        let _ = writeln!(bomb, "a{n}: &a{n} [{}]", format!("*a{}, ", n - 1).repeat(9));
    }
    read_soon("aliases", bomb.as_bytes());
}

/// Fragments that make up configurations, good and bad.
fn fragment() -> impl Strategy<Value = String> {
    let words = [
        "checks",
        "mail",
        "defaults",
        "unit",
        "http",
        "tcp",
        "interval",
        "recover",
        "alert",
        "a.service",
        "restart",
        "30s",
        "5",
        "-1",
        "0",
        "never",
        "true",
        "~",
        "''",
        "\"\\n\"",
        "http://localhost/",
        "[",
        "]",
        "{",
        "}",
        ":",
        ": ",
        ",",
        "-",
        "- ",
        "?",
        "|",
        ">",
        "&a",
        "*a",
        "<<",
        "!t",
        "!!int",
        "#",
        "\n",
        "\n  ",
        "\n    ",
        "\n- ",
        "\t",
        "é",
        "\u{feff}",
        "\r\n",
        "---\n",
        "...\n",
        "%TAG",
        "'",
        "\"",
    ];
    prop_oneof![8 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    #![proptest_config(crate::seeds::cases(400))]

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_soon("bytes", &bytes);
    }

    #[test]
    fn any_yaml_is_survived(parts in proptest::collection::vec(fragment(), 0..60)) {
        read_soon("fragments", parts.concat().as_bytes());
    }

    #[test]
    fn what_is_written_is_what_is_meant(
        written in proptest::option::of(100_u64..86_400_000),
        share in proptest::option::of(1_u64..=100),
        failure_threshold in proptest::option::of(1_u32..=1000),
        service in any::<bool>(),
        runbook in "[ -~äß€\n]{1,80}",
    ) {
        let default = Schedule::default();
        let interval = written.map_or(default.interval, Duration::from_millis);
        let timeout = share.map(|share| (interval * u32::try_from(share).unwrap() / 100).max(Duration::from_millis(10)));
        let unit = if service { "x.service" } else { "x.socket" };
        let mut yaml = format!("checks:\n  x:\n    unit: {unit}\n");
        if let Some(written) = written {
            let _ = writeln!(yaml, "    interval: {written}ms");
        }
        if let Some(timeout) = timeout {
            let _ = writeln!(yaml, "    timeout: {}us", timeout.as_micros());
        }
        if let Some(count) = failure_threshold {
            let _ = writeln!(yaml, "    failure_threshold: {count}");
        }
        // JSON's strings are YAML's.
        let _ = writeln!(yaml, "    runbook: {}", serde_json::to_string(&runbook).unwrap());
        let config = load_text(yaml.as_bytes()).unwrap();
        let check = &config.checks[0];
        prop_assert_eq!(check.schedule.interval, interval);
        prop_assert_eq!(check.schedule.timeout.as_micros(), timeout.unwrap_or(default.timeout.min(interval)).as_micros());
        prop_assert_eq!(check.schedule.retry_interval, default.retry_interval.min(interval));
        prop_assert!(check.schedule.timeout <= interval && check.schedule.retry_interval <= interval);
        prop_assert_eq!(check.schedule.failure_threshold, failure_threshold.unwrap_or(3));
        prop_assert_eq!(&check.probe, &Probe::Unit);
        prop_assert_eq!(&check.recovery.steps, &if service { vec![Step::Restart] } else { Vec::new() });
        prop_assert_eq!(check.runbook.as_deref(), Some(runbook.as_str()));
    }
}
