//! A check that passes again, but not often enough yet to count as well (`success_threshold`): nothing is done to its unit
//! meanwhile, least of all what its steps has as the last resort. (A seed of the simulator.)

use stealthcheck::check::Check;
use stealthcheck::unit::JobResult;
use stealthcheck::verdict::Health;

use super::rules::check;
use super::stage::{Stage, secs, up};

/// Down for long, so that attempts come every five minutes, and well only after ten passes, a minute apart.
fn down_for_long() -> Stage {
    let mut web: Check = check("web", "web.service");
    web.schedule.interval = secs(60);
    web.schedule.retry_interval = secs(60);
    web.schedule.success_threshold = 10;
    let mut stage = Stage::new(vec![web], &[("web", &[], &[])]);
    stage.fails("web", true);
    while stage.jobs.len() < 8 {
        stage.play(secs(60));
        if !stage.open.is_empty() {
            stage.job_ends(JobResult::Done, up);
        }
    }
    // The last attempt has been judged.
    stage.play(secs(60));
    stage
}

#[test]
fn no_job_while_the_check_passes_again() {
    let mut stage = down_for_long();
    let asked = stage.jobs.len();
    stage.fails("web", false);
    stage.play(secs(420));
    assert_eq!((stage.health("web"), stage.jobs.len()), (Health::DOWN, asked), "{}", stage.timeline());
    stage.play(secs(400));
    assert_eq!((stage.health("web"), stage.jobs.len()), (Health::PASSING, asked), "{}", stage.timeline());
}

#[test]
fn failure_after_first_pass_continues_the_recovery() {
    let mut stage = down_for_long();
    let asked = stage.jobs.len();
    stage.fails("web", false);
    stage.play(secs(420));
    stage.fails("web", true);
    stage.play(secs(120));
    assert_eq!((stage.health("web"), stage.jobs.len()), (Health::DOWN, asked + 1), "{}", stage.timeline());
}
