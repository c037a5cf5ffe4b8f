//! Which job took a unit down: the orders of signals and readings that a real systemd was seen to send.

use super::*;

const WEB: &str = "web.service";

fn stop(id: u32) -> Option<Job> {
    Some(Job { id, kind: JobKind::Stop, ours: false })
}

/// It is down, and no job is on it.
fn is_settled(state: &UnitState) -> bool {
    state.is_down() && state.job.is_none()
}

/// An operator's stop, from its job to its end.
async fn operator_stops(fake: &Fake, id: u32, from: &'static str, run: u8) {
    fake.job_new(id, WEB, "stop").await;
    if from != "inactive" {
        fake.set(WEB, unit("deactivating", "stop-sigterm", id, run)).await;
    }
    fake.set(WEB, unit("inactive", "dead", id, run)).await;
    fake.job_removed(id, WEB, "done").await;
    fake.set(WEB, unit("inactive", "dead", 0, run)).await;
}

#[tokio::test]
async fn end_without_a_job_and_stop_differ() {
    let fake = fake_with(&[(WEB, up())]).await;
    let mut client = Client::ready(&fake, &[WEB]).await;
    fake.set(WEB, down()).await;
    let state = client.unit(WEB, |state| state.active == ActiveState::Inactive).await;
    assert_eq!(state.stopped_by, None);

    fake.set(WEB, unit("active", "running", 0, 2)).await;
    client.unit(WEB, |state| state.active == ActiveState::Active).await;
    operator_stops(&fake, 9, "active", 2).await;
    assert_eq!(client.unit(WEB, is_settled).await.stopped_by, stop(9));
}

/// `systemctl stop` while a restart is under way, in each of its phases; the restart is ours or an operator's.
#[tokio::test]
async fn stop_that_replaces_a_restart_is_reported() {
    for phase in ["deactivating", "inactive", "activating"] {
        for ours in [true, false] {
            let fake = fake_with(&[(WEB, up())]).await;
            let mut client = Client::ready(&fake, &[WEB]).await;
            if ours {
                fake.world.lock().unwrap().scripts.push_back(Script::Queue(5));
                client.request_job(WEB, 1, Step::Restart, Reset::No).await;
                fake.requested().await;
            }
            fake.job_new(5, WEB, "restart").await;
            fake.set(WEB, unit("deactivating", "stop-sigterm", 5, 1)).await;
            let run = if phase == "activating" { 2 } else { 1 };
            if phase != "deactivating" {
                fake.world.lock().unwrap().jobs.insert(5, "start");
                fake.set(WEB, unit(phase, "start", 5, run)).await;
            }
            fake.job_removed(5, WEB, "canceled").await;
            operator_stops(&fake, 6, phase, run).await;
            if ours {
                let (_, _, result, state) = client.job_ended().await;
                let state = state.unwrap();
                assert_eq!(result, JobResult::Canceled, "{phase}");
                assert!(!state.is_down() || state.stopped_by == stop(6), "{phase}: {state:?}");
                if is_settled(&state) {
                    continue;
                }
            }
            assert_eq!(client.unit(WEB, is_settled).await.stopped_by, stop(6), "{phase}, ours: {ours}");
        }
    }
}

#[tokio::test]
async fn stop_of_ours_is_reported_as_ours() {
    let fake = fake_with(&[(WEB, up())]).await;
    let mut client = Client::ready(&fake, &[WEB]).await;
    fake.world.lock().unwrap().scripts.push_back(Script::Queue(5));
    client.request_job(WEB, 1, Step::Stop, Reset::No).await;
    fake.requested().await;
    operator_stops(&fake, 5, "active", 1).await;
    let ours = Some(Job { id: 5, kind: JobKind::Stop, ours: true });
    assert_eq!(client.job_ended().await.3.unwrap().stopped_by, ours);

    // One that was on the unit before is not, though systemd has merged the request into it.
    fake.set(WEB, unit("active", "running", 0, 2)).await;
    client.unit(WEB, |state| state.active == ActiveState::Active).await;
    fake.job_new(6, WEB, "stop").await;
    fake.set(WEB, unit("deactivating", "stop-sigterm", 6, 2)).await;
    client.unit(WEB, |state| state.active == ActiveState::Deactivating).await;
    fake.world.lock().unwrap().scripts.push_back(Script::Queue(6));
    client.request_job(WEB, 2, Step::Stop, Reset::No).await;
    fake.requested().await;
    operator_stops(&fake, 6, "active", 2).await;
    assert_eq!(client.job_ended().await.3.unwrap().stopped_by, stop(6));
}

/// `systemctl restart db web`, web ordered after db, which takes its time: web is down, and its job is a start by then. By
/// the time the daemon asks for the kind of the job, systemd has turned the restart into a start, or has not.
#[tokio::test]
async fn restart_that_waits_for_another_unit_is_no_crash() {
    for read_as in ["restart", "start"] {
        let fake = fake_with(&[(WEB, up())]).await;
        let mut client = Client::ready(&fake, &[WEB]).await;
        fake.job_new(5, WEB, read_as).await;
        if read_as == "restart" {
            fake.set(WEB, unit("active", "running", 5, 1)).await;
            client.unit(WEB, |state| state.job.is_some()).await;
        }
        fake.set(WEB, unit("deactivating", "stop-sigterm", 5, 1)).await;
        fake.world.lock().unwrap().jobs.insert(5, "start");
        fake.set(WEB, unit("inactive", "dead", 5, 1)).await;
        let state = client.unit(WEB, UnitState::is_down).await;
        assert!(state.has_start_job(), "{read_as}: {state:?}");
        assert_eq!(state.stopped_by, None);
        client.quiet().await;

        fake.set(WEB, unit("active", "running", 5, 2)).await;
        fake.job_removed(5, WEB, "done").await;
        fake.set(WEB, unit("active", "running", 0, 2)).await;
        client.unit(WEB, |state| state.job.is_none()).await;
    }
}

/// As at each boot: the unit is ordered after something slow.
#[tokio::test]
async fn start_job_that_waits_is_in_the_first_reading() {
    let fake = fake_with(&[(WEB, unit("inactive", "dead", 4, 0))]).await;
    fake.world.lock().unwrap().jobs.insert(4, "start");
    let mut client = Client::start(fake.address(), &[WEB]);
    let state = client.unit(WEB, |_| true).await;
    assert!(state.has_start_job(), "{state:?}");
}

/// A probe of the unit's state reads it at any moment, also amid the signals of a stop.
#[tokio::test]
async fn requested_reading_amid_a_stop_names_the_stop() {
    let fake = fake_with(&[(WEB, up())]).await;
    let client = Client::ready(&fake, &[WEB]).await;
    let readings: Vec<_> = (0..5).map(|_| client.read(WEB)).collect();
    let (readings, ()) =
        tokio::join!(futures_util::future::join_all(readings), operator_stops(&fake, 9, "active", 1));
    for reading in readings {
        let (_, state) = reading.unwrap();
        assert!(!state.is_down() || state.stopped_by == stop(9), "{state:?}");
    }
    let (_, state) = client.read(WEB).await.unwrap();
    assert_eq!(state.stopped_by, stop(9));
    drop(client.reports);
}
