//! What the whole machine uses: CPU time from /proc/stat, memory from /proc/meminfo (proc(5)).
//!
//! In: the kernel's two files. Out: [`Sample`]s, or a sentence why there is none. What they mean is decided elsewhere.
//! Files of /proc are made in memory: reading them waits for nothing.

use std::fs;

use crate::verdict::Sample;

/// What /proc/stat counts in: USER_HZ, 100 a second on every architecture of Debian 12 and later (the kernel's
/// include/uapi/asm-generic/param.h).
const NANOS_PER_TICK: u64 = 10_000_000;

/// `boot`: the kernel's id of this boot, which the counters count from.
///
/// # Errors
/// A sentence that says what could not be measured.
pub fn cpu(boot: &str) -> Result<Sample, String> {
    let (ticks, cpus) = busy(&read("/proc/stat")?).ok_or("/proc/stat does not tell the CPU time")?;
    Ok(Sample::Used { run: boot.to_owned(), used: ticks.saturating_mul(NANOS_PER_TICK), whole: cpus })
}

/// Memory that is not available for starting new programs without swapping, by the kernel's own estimate.
///
/// # Errors
/// A sentence that says what could not be measured.
pub fn memory(boot: &str) -> Result<Sample, String> {
    let (total, available) = meminfo(&read("/proc/meminfo")?).ok_or(NO_MEMORY)?;
    Ok(Sample::Used { run: boot.to_owned(), used: total.saturating_sub(available), whole: total })
}

/// How many CPUs the machine has that are online.
///
/// # Errors
/// A sentence that says what could not be measured.
pub fn cpus() -> Result<u64, String> {
    busy(&read("/proc/stat")?).map(|(_, cpus)| cpus).ok_or_else(|| "/proc/stat names no CPU".to_owned())
}

/// How many bytes of memory the machine has.
///
/// # Errors
/// A sentence that says what could not be measured.
pub fn memory_total() -> Result<u64, String> {
    meminfo(&read("/proc/meminfo")?).map(|(total, _)| total).ok_or_else(|| NO_MEMORY.to_owned())
}

const NO_MEMORY: &str = "/proc/meminfo does not tell the memory";

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))
}

/// Clock ticks that the CPUs have worked since the boot, and how many CPUs there are. Not counted: `idle`, `iowait`,
/// and `steal`, which other machines on the same hardware used; `guest` is in `user` already.
fn busy(stat: &str) -> Option<(u64, u64)> {
    let mut ticks = None;
    let mut cpus = 0;
    for line in stat.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("cpu") => {
                let mut numbers = words.map_while(|word| word.parse::<u64>().ok());
                let mut next = || numbers.next();
                let (user, nice, system) = (next()?, next()?, next()?);
                let (_idle, _iowait, irq, softirq) = (next()?, next()?, next()?, next()?);
                ticks = Some([user, nice, system, irq, softirq].into_iter().fold(0, u64::saturating_add));
            }
            Some(word) if word.strip_prefix("cpu").is_some_and(|number| number.parse::<u32>().is_ok()) => {
                cpus += 1;
            }
            _ => {}
        }
    }
    ticks.filter(|_| cpus > 0).map(|ticks| (ticks, cpus))
}

/// `MemTotal` and `MemAvailable`, in bytes.
fn meminfo(text: &str) -> Option<(u64, u64)> {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
        kibibytes.checked_mul(1024)
    };
    Some((bytes("MemTotal")?, bytes("MemAvailable")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_of_all_cpus_is_counted_and_nobody_elses() {
        let stat = "cpu  100 20 30 4000 500 6 7 800 90 10\ncpu0 50 10 15 2000 250 3 3 400 45 5\n\
                    cpu1 50 10 15 2000 250 3 4 400 45 5\nintr 12345\nctxt 99\ncpufreq x\n";
        assert_eq!(busy(stat), Some((163, 2)));
        assert_eq!(busy("cpu  100 20 30\ncpu0 1 2 3\n"), None);
        assert_eq!(busy(""), None);
    }

    #[test]
    fn memory_is_what_is_not_available() {
        let text =
            "MemTotal:       2048 kB\nMemFree:         100 kB\nMemAvailable:    512 kB\nBuffers: 1 kB\n";
        assert_eq!(meminfo(text), Some((2 << 20, 512 << 10)));
        assert_eq!(meminfo("MemTotal: 2048 kB\n"), None);
        assert_eq!(meminfo("MemTotal: many kB\nMemAvailable: 1 kB\n"), None);
    }

    #[test]
    fn this_machine_tells_both() {
        let Sample::Used { run, used, whole } = cpu("boot").unwrap() else {
            panic!("the host is never idle")
        };
        assert_eq!((run.as_str(), whole), ("boot", cpus().unwrap()));
        assert!(used > 0 && whole > 0, "{used} ns on {whole} CPUs");
        let Sample::Used { used, whole, .. } = memory("boot").unwrap() else {
            panic!("the host is never idle")
        };
        assert!(used > 0 && used < whole, "{used} of {whole} bytes");
        assert_eq!(whole, memory_total().unwrap());
    }
}
