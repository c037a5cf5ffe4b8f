//! Runs of commands: from the request to the observation, the deadline, and what is lost on the way.

use stealthcheck::verdict::Observation;

use super::fake::Ran;
use super::*;

const DISK: &str = "stealthcheck-probe@disk.service";
/// Long enough for everything that is expected to end before it.
const AMPLE: Duration = Duration::from_secs(30);
/// So short that it strikes soon.
const BRIEF: Duration = Duration::from_millis(100);

fn exited(status: i32, text: &'static str) -> Ran {
    Ran { main_pid: 0, code: 1, status, text }
}

/// The command is running as job 7.
fn running(fake: &Fake) {
    let mut world = fake.world.lock().unwrap();
    world.units.insert(DISK.into(), unit("activating", "start", 7, 2));
    world.runs.insert(DISK.into(), Ran { main_pid: 4711, ..Ran::default() });
    world.jobs.insert(7, "restart");
}

/// Its unit is what it is after an end.
fn over(fake: &Fake, ran: Ran) {
    let mut world = fake.world.lock().unwrap();
    world.units.insert(DISK.into(), unit("active", "exited", 0, 2));
    world.runs.insert(DISK.into(), ran);
    world.jobs.remove(&7);
}

impl Client {
    async fn run(&self, within: Duration) -> oneshot::Receiver<Observation> {
        self.run_of(DISK, within).await
    }

    async fn run_of(&self, unit: &str, within: Duration) -> oneshot::Receiver<Observation> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Run { unit: name(unit), timeout: within, reply }).await.unwrap();
        answer
    }
}

async fn seen(answer: oneshot::Receiver<Observation>) -> Observation {
    tokio::time::timeout(Duration::from_secs(10), answer).await.expect("no verdict").unwrap()
}

fn job_calls(fake: &Fake) -> Vec<String> {
    let calls = fake.world.lock().unwrap().calls.clone();
    calls.into_iter().filter(|call| call.ends_with("Unit")).collect()
}

fn script(fake: &Fake, script: Script) {
    fake.world.lock().unwrap().scripts.push_back(script);
}

#[tokio::test]
async fn command_exit_status_becomes_the_observation() {
    let fake = fake_with(&[(DISK, unit("active", "exited", 0, 1))]).await;
    fake.world.lock().unwrap().runs.insert(DISK.into(), exited(0, "of the run before"));
    let mut client = Client::ready(&fake, &[]).await;
    script(&fake, Script::Queue(7));
    let mut answer = client.run(AMPLE).await;
    fake.requested().await;
    running(&fake);
    // Jobs of others, and on others.
    fake.job_removed(6, DISK, "canceled").await;
    fake.job_removed(7, "web.service", "done").await;
    assert!(tokio::time::timeout(BRIEF, &mut answer).await.is_err(), "it has not ended");
    over(&fake, exited(2, "DISK CRITICAL - 3% free"));
    fake.job_removed(7, DISK, "done").await;
    let reason = "exited with status 2: DISK CRITICAL - 3% free".to_owned();
    assert_eq!(seen(answer).await, Observation::Failing { reason });

    over(&fake, exited(0, "DISK OK"));
    script(&fake, Script::EndFirst(8, "done"));
    match seen(client.run(AMPLE).await).await {
        Observation::Passing { detail, latency } => {
            assert_eq!(detail, "DISK OK");
            assert!(latency < AMPLE && !latency.is_zero(), "{latency:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(job_calls(&fake), ["RestartUnit", "RestartUnit"]);
    client.quiet().await;
}

#[tokio::test]
async fn command_is_stopped_at_the_deadline() {
    let fake = fake_with(&[]).await;
    let mut client = Client::ready(&fake, &[]).await;
    running(&fake);
    fake.world.lock().unwrap().scripts.extend([Script::Queue(7), Script::Queue(8)]);
    let reason = "no result within 100ms, the command was killed".to_owned();
    assert_eq!(seen(client.run(BRIEF).await).await, Observation::Failing { reason });
    assert_eq!(job_calls(&fake), ["RestartUnit", "StopUnit"]);
    // Its end concerns no run any more, and its unit is not watched.
    fake.job_removed(7, DISK, "canceled").await;
    client.quiet().await;

    // A refused stop is reported, but the target has had its time.
    let denied = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
    fake.world.lock().unwrap().scripts.extend([Script::Queue(7), Script::Refuse(denied)]);
    match seen(client.run(BRIEF).await).await {
        Observation::Failing { reason } => {
            assert!(reason.contains("may still run") && reason.contains("systemctl reload"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn command_that_did_not_begin_in_time_is_unknown() {
    let fake = fake_with(&[(DISK, unit("inactive", "dead", 7, 0))]).await;
    let client = Client::ready(&fake, &[]).await;
    fake.world.lock().unwrap().scripts.extend([Script::Queue(7), Script::Queue(8)]);
    match seen(client.run(BRIEF).await).await {
        Observation::Unknown { reason } => assert!(reason.contains("had not begun"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(job_calls(&fake), ["RestartUnit", "StopUnit"], "it must not begin now either");
}

#[tokio::test]
async fn end_whose_signal_was_missed_is_found_at_the_deadline() {
    let fake = fake_with(&[]).await;
    let client = Client::ready(&fake, &[]).await;
    script(&fake, Script::Queue(7));
    let answer = client.run(Duration::from_millis(500)).await;
    fake.requested().await;
    over(&fake, exited(1, "bad"));
    let reason = "exited with status 1: bad".to_owned();
    assert_eq!(seen(answer).await, Observation::Failing { reason });
    assert_eq!(job_calls(&fake), ["RestartUnit"], "nothing is left to be stopped");
}

#[tokio::test]
async fn run_is_read_again_when_systemd_comes_back() {
    let fake = fake_with(&[]).await;
    let mut client = Client::ready(&fake, &[]).await;
    script(&fake, Script::Queue(7));
    let mut answer = client.run(AMPLE).await;
    fake.requested().await;
    running(&fake);
    let gone = async |owner: &str, now: &str| {
        let body = ("org.freedesktop.systemd1", owner, now);
        let bus = "org.freedesktop.DBus";
        fake.signal(bus, "/org/freedesktop/DBus", bus, "NameOwnerChanged", &body).await;
    };
    // It re-executes itself: the command runs on.
    gone(fake::SYSTEMD, "").await;
    assert!(matches!(client.next().await, Report::Unreachable(_)));
    gone("", fake::SYSTEMD).await;
    client.running().await;
    assert!(tokio::time::timeout(BRIEF, &mut answer).await.is_err(), "it has not ended");
    // And once more, while it ends.
    gone(fake::SYSTEMD, "").await;
    assert!(matches!(client.next().await, Report::Unreachable(_)));
    over(&fake, exited(0, "well"));
    script(&fake, Script::Queue(9));
    let waiting = client.run_of("stealthcheck-probe@load.service", AMPLE).await;
    gone("", fake::SYSTEMD).await;
    assert!(matches!(seen(answer).await, Observation::Passing { .. }));

    // What was wished for meanwhile is begun when it is back.
    eventually(|| job_calls(&fake).len() == 2).await;
    drop(waiting);
}

#[tokio::test]
async fn refusals_say_what_to_do_and_are_no_failure() {
    let fake = fake_with(&[]).await;
    let client = Client::ready(&fake, &[]).await;
    for (error, says) in [
        ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", "systemctl reload stealthcheck"),
        ("org.freedesktop.systemd1.NoSuchUnit", "install the package"),
        ("org.freedesktop.systemd1.UnitMasked", "systemctl unmask stealthcheck-probe@disk.service"),
        ("org.freedesktop.systemd1.ShuttingDown", "beside what it is doing"),
    ] {
        script(&fake, Script::Refuse(error));
        match seen(client.run(AMPLE).await).await {
            Observation::Unknown { reason } => assert!(reason.contains(says), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn later_run_is_not_stopped_at_the_deadline_of_the_earlier() {
    let fake = fake_with(&[]).await;
    let client = Client::ready(&fake, &[]).await;
    running(&fake);
    script(&fake, Script::Queue(7));
    let earlier = client.run(Duration::from_millis(400)).await;
    fake.requested().await;
    // systemd has merged the two requests into one job.
    script(&fake, Script::Queue(7));
    let later = client.run(AMPLE).await;
    match seen(earlier).await {
        Observation::Unknown { reason } => assert!(reason.contains("another run"), "{reason}"),
        other => panic!("{other:?}"),
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(job_calls(&fake), ["RestartUnit", "RestartUnit"]);
    over(&fake, exited(0, ""));
    fake.job_removed(7, DISK, "done").await;
    assert!(matches!(seen(later).await, Observation::Passing { .. }));
}

#[tokio::test]
async fn run_is_lost_with_the_bus_and_refused_without_one() {
    let fake = fake_with(&[]).await;
    let mut client = Client::ready(&fake, &[]).await;
    running(&fake);
    script(&fake, Script::Queue(7));
    let answer = client.run(AMPLE).await;
    fake.requested().await;
    fake.lose_bus().await;
    let lost = tokio::time::timeout(Duration::from_secs(5), answer).await.expect("no answer");
    assert!(lost.is_err(), "{lost:?}");
    assert!(matches!(client.next().await, Report::Unreachable(_)));
    match seen(client.run(AMPLE).await).await {
        Observation::Unknown { reason } => assert!(reason.contains("cannot be reached"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn many_runs_may_be_under_way() {
    /// More than a bus lets wait for answers at once (128), would each wait there for its end.
    const RUNS: u32 = 140;
    let fake = fake_with(&[]).await;
    let client = Client::ready(&fake, &[]).await;
    let unit_of = |n: u32| format!("stealthcheck-probe@n{n}.service");
    let mut answers = Vec::new();
    for n in 0..RUNS {
        script(&fake, Script::Queue(100 + n));
        answers.push(client.run_of(&unit_of(n), AMPLE).await);
    }
    fake.requested().await;
    // The calls came in the order of the requests.
    for n in 0..RUNS {
        {
            let mut world = fake.world.lock().unwrap();
            world.units.insert(unit_of(n), unit("active", "exited", 0, 2));
            world.runs.insert(unit_of(n), exited(0, "fine"));
        }
        fake.job_removed(100 + n, &unit_of(n), "done").await;
    }
    for answer in answers {
        assert!(matches!(seen(answer).await, Observation::Passing { .. }));
    }
}
