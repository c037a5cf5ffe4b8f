//! The bus or systemd is lost, silent, or back.

use super::*;

#[tokio::test]
async fn lost_bus_is_reported_and_all_is_read_when_it_is_back() {
    let fake = fake_with(&[("web.service", up()), ("db.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service", "db.service"]).await;
    // One job that still runs when the bus is back, and one that has ended meanwhile.
    fake.world.lock().unwrap().jobs.extend([(7, "restart"), (8, "restart")]);
    fake.world.lock().unwrap().scripts.extend([Script::Queue(7), Script::Queue(8)]);
    client.request_job("web.service", 1, Step::Restart, Reset::No).await;
    client.request_job("db.service", 2, Step::Restart, Reset::No).await;
    eventually(|| fake.world.lock().unwrap().scripts.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    fake.lose_bus().await;
    assert!(matches!(client.next().await, Report::Unreachable(why) if why.contains("was lost")));

    assert!(is_manager(&client.next().await, ManagerState::Unreachable));
    assert!(client.read("web.service").await.unwrap_err().contains("cannot be reached"));
    client.request_job("web.service", 3, Step::Start, Reset::No).await;
    let (_, attempt, result, _) = client.job_ended().await;
    assert_eq!(attempt, AttemptId(3));
    assert!(matches!(result, JobResult::Unasked(why) if why.contains("cannot be reached")));

    fake.world.lock().unwrap().jobs.remove(&8);
    fake.world.lock().unwrap().units.insert("web.service".into(), unit("failed", "failed", 0, 2));
    let mut reports = Vec::new();
    let is_end = |report: &Report| matches!(report, Report::Event(Event::JobEnded { .. }));
    while !reports.iter().any(is_running) || !reports.iter().any(is_end) {
        reports.push(client.next().await);
    }
    let place = |is: &dyn Fn(&Report) -> bool| reports.iter().position(is).expect("it is not reported");
    let failed = place(
        &|report| matches!(report, Report::Event(Event::UnitRead { state, .. }) if state.active == ActiveState::Failed),
    );
    assert!(failed < place(&|report| matches!(report, Report::Reachable)));
    match &reports[place(&is_end)] {
        Report::Event(Event::JobEnded { attempt, result: JobResult::Unknown(why), state, .. }) => {
            assert_eq!(*attempt, AttemptId(2));
            assert!(why.contains("signals were missed"));
            assert_eq!(state.as_ref().unwrap().active, ActiveState::Active);
        }
        other => panic!("{other:?}"),
    }
    fake.job_removed(7, "web.service", "done").await;
    let (_, attempt, result, _) = client.job_ended().await;
    assert_eq!((attempt, result), (AttemptId(1), JobResult::Done));
}

/// Whether a unit that went down while the bus was away was stopped, systemd does not tell.
#[tokio::test]
async fn unit_found_inactive_after_the_bus_was_lost_counts_as_stopped() {
    let fake = fake_with(&[("web.service", up()), ("db.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service", "db.service"]).await;
    {
        let mut world = fake.world.lock().unwrap();
        world.units.insert("web.service".into(), down());
        world.units.insert("db.service".into(), unit("failed", "failed", 0, 1));
    }
    fake.lose_bus().await;
    let mut stopped = Vec::new();
    loop {
        let report = client.next().await;
        if let Report::Event(Event::UnitRead { unit, state }) = &report {
            stopped.push((unit.to_string(), state.stopped_by));
        }
        if is_running(&report) {
            break;
        }
    }
    stopped.sort_by(|a, b| a.0.cmp(&b.0));
    let by = Some(Job { id: 0, kind: JobKind::Other, ours: false });
    assert_eq!(stopped, [("db.service".to_owned(), None), ("web.service".to_owned(), by)]);
}

#[tokio::test]
async fn result_of_a_job_is_reported_though_the_bus_is_lost_then() {
    let fake = fake_with(&[("web.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service"]).await;
    fake.world.lock().unwrap().scripts.push_back(Script::Queue(7));
    client.request_job("web.service", 1, Step::Restart, Reset::No).await;
    eventually(|| fake.world.lock().unwrap().scripts.is_empty()).await;
    fake.world.lock().unwrap().unread = true;
    let asked = || fake.world.lock().unwrap().calls.iter().filter(|call| *call == "GetAll").count();
    let before = asked();
    fake.job_removed(7, "web.service", "done").await;
    eventually(|| asked() > before).await;
    fake.lose_bus().await;
    let (_, attempt, result, state) = client.job_ended().await;
    assert_eq!((attempt, result, state), (AttemptId(1), JobResult::Done, None));
}

#[tokio::test]
async fn missing_bus_is_reported_once() {
    let mut client = Client::start("unix:path=/nonexistent/bus".to_owned(), &["web.service"]);
    assert!(matches!(client.next().await, Report::Unreachable(why) if why.contains("cannot connect")));
    assert!(is_manager(&client.next().await, ManagerState::Unreachable));
    tokio::time::sleep(Duration::from_millis(700)).await;
    client.quiet().await;
}

#[tokio::test]
async fn silent_systemd_is_asked_one_thing_at_a_time() {
    let fake = fake_with(&[("web.service", up()), ("db.service", up())]).await;
    let mut client = Client::ready(&fake, &["web.service", "db.service"]).await;
    // What a bus says of a connection that has too many questions without an answer.
    fake.world.lock().unwrap().error = Some("org.freedesktop.DBus.Error.LimitsExceeded");
    fake.reloaded().await;
    assert!(
        matches!(client.next().await, Report::Unreachable(why) if why == "systemd does not answer: Enough.")
    );
    assert!(is_manager(&client.next().await, ManagerState::Unreachable));
    let asked = || fake.world.lock().unwrap().calls.len();
    let before = asked();
    for _ in 0..20 {
        fake.reloaded().await;
        fake.properties_changed("web.service", fake::SYSTEMD).await;
    }
    let refused = client.read("web.service").await.unwrap_err();
    assert!(refused.contains("cannot be reached: systemd does not answer"));
    client.request_job("web.service", 1, Step::Restart, Reset::No).await;
    let (_, attempt, result, _) = client.job_ended().await;
    assert_eq!(attempt, AttemptId(1));
    assert!(matches!(result, JobResult::Unasked(why) if why.contains("cannot be reached")));
    client.quiet().await;
    assert!(asked() - before <= 1, "asked {} times meanwhile", asked() - before);

    // It answers again: everything is read anew, for signals may have been lost.
    let failed = unit("failed", "failed", 0, 2);
    fake.world.lock().unwrap().units.insert("web.service".into(), failed);
    fake.world.lock().unwrap().error = None;
    let report = tokio::time::timeout(Duration::from_secs(20), client.reports.recv()).await.unwrap();
    assert!(
        matches!(&report, Some(Report::Event(Event::UnitRead { unit, state }))
            if unit.as_str() == "web.service" && state.active == ActiveState::Failed),
        "{report:?}"
    );
    assert!(matches!(client.next().await, Report::Reachable));
    assert!(is_running(&client.next().await));
    fake.set("web.service", up()).await;
    client.unit("web.service", |state| state.active == ActiveState::Active).await;
}
