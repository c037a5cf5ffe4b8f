//! Samples of what is used are fetched here: of a unit from systemd, of the machine from the kernel.
//!
//! In: the settings of a `cpu` or `memory` probe. Out: one [`Sample`], or a sentence why there is none. What a row of
//! them means is decided in the core.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::check::{UsageLimit, UsageProbe, UsedBy};
use crate::probe::host;
use crate::systemd::Request;
use crate::unit::{UnitName, UnitUsage};
use crate::verdict::Sample;

/// Takes one sample, within `timeout`. `boot`: the kernel's id of this boot.
///
/// # Errors
/// A sentence that says what could not be measured.
pub(super) async fn take(
    probe: &UsageProbe,
    unit: Option<&UnitName>,
    boot: &str,
    requests: &mpsc::Sender<Request>,
    timeout: Duration,
) -> Result<Sample, String> {
    match (probe.of, unit) {
        (UsedBy::Host, _) if probe.limit.is_cpu() => host::cpu(boot),
        (UsedBy::Host, _) => host::memory(boot),
        (UsedBy::Unit, Some(unit)) => {
            let usage = ask(unit, requests, timeout).await?;
            of_unit(&probe.limit, unit, usage)
        }
        (UsedBy::Unit, None) => Err("the check has no unit whose use could be measured".to_owned()),
    }
}

async fn ask(
    unit: &UnitName,
    requests: &mpsc::Sender<Request>,
    timeout: Duration,
) -> Result<UnitUsage, String> {
    let busy = || "systemd was not asked: the client is busy".to_owned();
    let (reply, answer) = oneshot::channel();
    requests.try_send(Request::Usage { unit: unit.clone(), reply }).map_err(|_| busy())?;
    match tokio::time::timeout(timeout, answer).await {
        Ok(answer) => answer.map_err(|_| busy())?,
        Err(_) => Err("systemd did not answer in time".to_owned()),
    }
}

fn of_unit(limit: &UsageLimit, unit: &UnitName, usage: UnitUsage) -> Result<Sample, String> {
    if !usage.running {
        return Ok(Sample::Idle { state: usage.state });
    }
    let off = |what: &str, setting: &str| format!("{what} accounting is off for {unit}, see {setting}=");
    let used = if limit.is_cpu() {
        usage.cpu_nsec.ok_or_else(|| off("CPU", "CPUAccounting"))?
    } else {
        usage.memory.ok_or_else(|| off("memory", "MemoryAccounting"))?
    };
    let whole = match limit {
        UsageLimit::OneCpu(_) | UsageLimit::Bytes(_) => 1,
        UsageLimit::AllCpus(_) => host::cpus()?,
        UsageLimit::Memory(_) => {
            let total = host::memory_total()?;
            usage.memory_max.map_or(total, |max| max.min(total))
        }
    };
    Ok(Sample::Used { run: usage.invocation_id, used, whole })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Percent;

    fn running() -> UnitUsage {
        UnitUsage {
            state: "active (running)".into(),
            running: true,
            invocation_id: "a".into(),
            cpu_nsec: Some(7),
            memory: Some(4096),
            memory_max: None,
        }
    }

    fn sample(limit: UsageLimit, usage: UnitUsage) -> Result<Sample, String> {
        of_unit(&limit, &UnitName::new("gru.service").unwrap(), usage)
    }

    const CPU: UsageLimit = UsageLimit::OneCpu(Percent(1000));
    const MEMORY: UsageLimit = UsageLimit::Memory(Percent(8000));

    #[test]
    fn a_unit_that_does_not_run_has_nothing_to_measure() {
        let usage = UnitUsage { running: false, state: "inactive (dead)".into(), ..running() };
        assert_eq!(sample(CPU, usage), Ok(Sample::Idle { state: "inactive (dead)".into() }));
    }

    #[test]
    fn what_is_not_counted_is_said_with_the_setting_that_counts_it() {
        let usage = UnitUsage { cpu_nsec: None, memory: None, ..running() };
        let cpu = "CPU accounting is off for gru.service, see CPUAccounting=";
        assert_eq!(sample(CPU, usage.clone()), Err(cpu.to_owned()));
        let memory = "memory accounting is off for gru.service, see MemoryAccounting=";
        assert_eq!(sample(MEMORY, usage), Err(memory.to_owned()));
    }

    #[test]
    fn a_percentage_of_memory_is_of_the_units_own_limit_where_it_has_one() {
        let whole = |usage| match sample(MEMORY, usage) {
            Ok(Sample::Used { whole, .. }) => whole,
            other => panic!("{other:?}"),
        };
        let total = host::memory_total().unwrap();
        assert_eq!(whole(running()), total);
        assert_eq!(whole(UnitUsage { memory_max: Some(8192), ..running() }), 8192);
        assert_eq!(
            whole(UnitUsage { memory_max: Some(total * 2), ..running() }),
            total,
            "never more than there is"
        );
    }

    #[tokio::test]
    async fn a_client_that_does_not_answer_keeps_nobody_waiting() {
        let (requests, mut asked) = mpsc::channel(1);
        let probe = UsageProbe { of: UsedBy::Unit, limit: CPU, over: Duration::from_secs(1) };
        let unit = UnitName::new("gru.service").unwrap();
        let taken = take(&probe, Some(&unit), "boot", &requests, Duration::from_millis(10)).await;
        assert_eq!(taken, Err("systemd did not answer in time".to_owned()));
        assert!(matches!(asked.try_recv(), Ok(Request::Usage { .. })));
    }
}
