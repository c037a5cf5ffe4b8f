//! Outages by chance: whatever fails, whenever and beside whatever else, next to nothing is restarted for it (rule 14).

use std::time::Duration;

use proptest::prelude::*;
use stealthcheck::notification::HostNotificationKind::{Storm, StormOver};

use super::seeds::cases;
use super::storm::{answer_again, assert_all_pass, hang, jobs, kinds, many, name, outage, plain};

proptest! {
    #![proptest_config(cases(16))]

    /// Whatever the schedules are and whenever it strikes: an outage of everything restarts next to nothing, no unit
    /// twice, and in the end all is well and nobody got a mail for each check.
    #[test]
    fn any_outage_causes_at_most_one_job(
        schedules in prop::collection::vec((1..300_u64, 1..4_u32, 1..5_u64), 6..40),
        before in 0..400_u64,
        lasts in 60..4000_u64,
        restart in any::<bool>(),
    ) {
        let count = schedules.len();
        let mut m = many(count, |n, check| {
            let (interval, failure_threshold, retry) = schedules[n];
            check.retry_interval(retry).interval(interval).failure_threshold(failure_threshold).with(|check| {
                check.schedule.timeout = Duration::from_secs(interval.min(5));
            })
        });
        m.run_for(before);
        outage(&mut m, 0..count);
        m.run_for(lasts / 2);
        if restart {
            m.restart_daemon();
        }
        m.run_for(lasts / 2);
        prop_assert!(jobs(&m) <= 1, "{} jobs", jobs(&m));
        prop_assert!(kinds(&m).len() <= 2, "{:?}", kinds(&m));
        answer_again(&mut m, 0..count);
        m.run_for(1200);
        assert_all_pass(&m, count);
        prop_assert!(jobs(&m) <= 1, "{} jobs", jobs(&m));
        prop_assert_eq!(m.storm(), None);
        let told = |kind| m.host_notifications().iter().filter(|sent| **sent == kind).count();
        prop_assert_eq!(told(Storm), told(StormOver));
    }

    /// Outages of any part of the machine come and go, beside everything else that happens to units. While a storm is on,
    /// units that run are restarted one at a time; and all is well in the end.
    #[test]
    fn repeated_outages_leave_nothing_behind(
        script in prop::collection::vec((1..200_000_u64, prop::collection::vec(0..15_usize, 0..15), any::<bool>(), 0..12_u8), 1..25),
    ) {
        let mut m = many(15, plain);
        // No job is over sooner.
        m.systemd.slowness = Duration::from_secs(2);
        for (millis, which, strikes, kind) in script {
            let restarted = m.secs();
            match kind {
                0 => m.restart_daemon(),
                1 => which.iter().for_each(|n| m.kill(&name(*n))),
                2 if strikes => which.iter().for_each(|n| m.start(&name(*n))),
                2 => which.iter().for_each(|n| m.stop(&name(*n))),
                3 => hang(&mut m, which),
                _ if strikes => outage(&mut m, which),
                _ => answer_again(&mut m, which),
            }
            m.run_for_millis(millis);
            let in_storm: Vec<Duration> =
                m.record.jobs.iter().filter(|job| job.in_storm).map(|job| job.at).collect();
            // A daemon that is new does not know of jobs that are under way.
            let apart = in_storm.windows(2).all(|two| {
                two[1] - two[0] >= Duration::from_secs(2) || (kind == 0 && two[1].as_secs_f64() >= restarted)
            });
            prop_assert!(apart, "a storm is on, and one is restarted beside another: {:?}", in_storm);
            m.record.jobs.clear();
        }
        answer_again(&mut m, 0..15);
        (0..15).for_each(|n| m.mend(&name(n)));
        m.run_for(2 * 3600);
        assert_all_pass(&m, 15);
        prop_assert_eq!(m.storm(), None);
        prop_assert_eq!(m.open_threads(), []);
    }
}
