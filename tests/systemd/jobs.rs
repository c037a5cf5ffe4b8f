//! Job requests: their results, refusals, and what is not requested.

use super::*;

#[tokio::test]
async fn job_that_ends_before_its_reply_is_reported() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    fake.world.lock().unwrap().scripts.push_back(Script::EndFirst(7, "done"));
    client.request_job("web.service", 3, Step::Restart, Reset::IfPossible).await;
    let (unit, attempt, result, state) = client.job_ended().await;
    assert_eq!((unit.as_str(), attempt, result), ("web.service", AttemptId(3), JobResult::Done));
    assert_eq!(state.unwrap().active, ActiveState::Active);
    let calls = fake.calls();
    let place = |method: &str| calls.iter().position(|call| call == method).unwrap();
    assert!(place("ResetFailedUnit") < place("RestartUnit"));
}

#[tokio::test]
async fn reset_is_reported_before_the_job_and_where_it_is_required_and_fails_no_job_is_requested() {
    const DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    let script = |script| fake.world.lock().unwrap().scripts.push_back(script);

    script(Script::EndFirst(7, "done"));
    client.request_job("web.service", 1, Step::Restart, Reset::Required).await;
    assert!(
        matches!(client.next().await, Report::Event(Event::FailuresReset(unit)) if unit == name("web.service"))
    );
    assert_eq!(client.job_ended().await.2, JobResult::Done);

    script(Script::RefuseReset(DENIED));
    script(Script::EndFirst(8, "done"));
    client.request_job("web.service", 2, Step::Restart, Reset::IfPossible).await;
    assert_eq!(client.job_ended().await.2, JobResult::Done);

    script(Script::RefuseReset(DENIED));
    client.request_job("web.service", 3, Step::Restart, Reset::Required).await;
    let JobResult::Unasked(why) = client.job_ended().await.2 else { panic!("not told as not requested") };
    assert!(why.contains("reset the failures of web.service") && why.contains("StartLimitAction="), "{why}");
    client.quiet().await;
}

#[tokio::test]
async fn results_and_refusals_are_reported() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    let helper = Step::StartUnit(name("helper.service"));
    fake.world.lock().unwrap().scripts.push_back(Script::Queue(7));
    client.request_job("web.service", 1, helper, Reset::No).await;
    fake.requested().await;
    fake.job_removed(6, "web.service", "done").await;
    fake.job_removed(7, "helper.service", "canceled").await;
    let (unit, _, result, _) = client.job_ended().await;
    assert_eq!((unit.as_str(), result), ("web.service", JobResult::Canceled));

    let denied = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
    for (error, says) in [(denied, "systemctl reload"), ("org.freedesktop.systemd1.UnitMasked", "unmask")] {
        fake.world.lock().unwrap().scripts.push_back(Script::Refuse(error));
        client.request_job("web.service", 2, Step::Restart, Reset::No).await;
        match client.job_ended().await.2 {
            JobResult::Refused(reason) | JobResult::Unasked(reason) => {
                assert!(reason.contains(says), "{reason}")
            }
            other => panic!("{other}"),
        }
    }
}

/// What the bus says while another process has filled systemd's or polkit's queue.
#[tokio::test]
async fn job_call_at_a_limit_of_the_bus_is_repeated() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    let limit = "org.freedesktop.DBus.Error.LimitsExceeded";
    let mut scripts: Vec<Script> = (0..4).map(|_| Script::Refuse(limit)).collect();
    scripts.push(Script::EndFirst(7, "done"));
    fake.world.lock().unwrap().scripts.extend(scripts);
    let start = std::time::Instant::now();
    client.request_job("web.service", 1, Step::Restart, Reset::No).await;
    let mut limits = 0;
    let (attempt, result) = loop {
        match client.next().await {
            Report::CallLimit => limits += 1,
            Report::Event(Event::JobEnded { attempt, result, .. }) => break (attempt, result),
            _ => {}
        }
    };
    assert_eq!((attempt, result), (AttemptId(1), JobResult::Done));
    assert!(limits > 0, "not reported");
    assert_eq!(fake.count("RestartUnit"), 5);
    // Four pauses of 4 ms and a little more each.
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(16) && took < Duration::from_secs(3), "{took:?}");
}

/// `systemctl freeze` sends no signal: only a reading shows it.
#[tokio::test]
async fn no_job_is_requested_on_a_frozen_unit() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    fake.world.lock().unwrap().units.insert("web.service".into(), Unit { freezer: "frozen", ..up() });
    client.request_job("web.service", 1, Step::Restart, Reset::No).await;
    let (_, _, result, state) = client.job_ended().await;
    assert!(
        matches!(&result, JobResult::Unasked(why) if why.contains("systemctl thaw web.service")),
        "{result}"
    );
    assert!(state.unwrap().frozen);
    assert_eq!(fake.count("RestartUnit"), 0);
}

#[tokio::test]
async fn no_restart_is_requested_beside_a_stop_job() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    // The signals of an operator's stop have not come yet.
    fake.world.lock().unwrap().jobs.insert(9, "stop");
    fake.world.lock().unwrap().units.insert("web.service".into(), unit("deactivating", "stop-sigterm", 9, 1));
    client.request_job("web.service", 1, Step::Restart, Reset::No).await;
    let (_, _, result, state) = client.job_ended().await;
    assert!(matches!(&result, JobResult::Unasked(why) if why.contains("a stop job is queued")), "{result}");
    assert_eq!(state.unwrap().stopped_by, Some(Job { id: 9, kind: JobKind::Stop, ours: false }));
    assert_eq!(fake.count("RestartUnit"), 0);
}

#[tokio::test]
async fn request_without_a_reply_delays_no_other() {
    let fake = fake_with(&[("web.service", up()), ("db.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service", "db.service"]).await;
    let scripts = [Script::AnswerLater(7), Script::EndFirst(8, "done")];
    fake.world.lock().unwrap().scripts.extend(scripts);
    client.request_job("web.service", 1, Step::Restart, Reset::No).await;
    eventually(|| fake.world.lock().unwrap().scripts.len() == 1).await;
    client.request_job("db.service", 2, Step::Restart, Reset::No).await;
    assert_eq!(client.job_ended().await.1, AttemptId(2));
    // Whether systemd answers at all is asked after a while. It does, so this is all that is late.
    let looked = || fake.count("Get");
    let before = looked();
    tokio::time::timeout(Duration::from_secs(30), async {
        while looked() == before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("systemd is not looked after");
    assert!(
        matches!(client.next().await, Report::CallLimit),
        "an administrator is told that an answer is late"
    );
    client.quiet().await;

    fake.answer_request().await;
    fake.job_removed(7, "web.service", "done").await;
    let (_, attempt, result, _) = client.job_ended().await;
    assert_eq!((attempt, result), (AttemptId(1), JobResult::Done));
    assert_eq!(fake.count("RestartUnit"), 2, "a request cannot be taken back, so it is not made twice");
}

/// A thousand probes that fail at once have their units read: a job does not wait for all of them.
#[tokio::test]
async fn job_waits_for_few_of_the_readings_that_were_requested_before() {
    const READINGS: usize = 300;
    let fake = fake_with(&[("web.service", up()), ("db.service", down())]).await;
    let client = Client::ready(&fake, &["web.service", "db.service"]).await;
    {
        let mut world = fake.world.lock().unwrap();
        world.scripts.push_back(Script::Queue(7));
        // As slow as can be.
        world.unread = true;
    }
    let before = fake.count("GetAll");
    for _ in 0..READINGS {
        client.requests.send(Request::Report(name("web.service"))).await.unwrap();
    }
    client.request_job("db.service", 1, Step::Restart, Reset::No).await;
    fake.requested().await;
    let calls = fake.calls();
    let job = calls.iter().position(|call| call == "RestartUnit").unwrap();
    let first = calls[..job].iter().filter(|call| *call == "GetAll").count() - before;
    assert!((1..=16).contains(&first), "{first} readings came before the job");
}
