//! Holds over the bus: the lease is a descriptor that arrives at the caller, and its end at the daemon.

use std::io::Read as _;

use rustix::pipe::{PipeFlags, pipe_with};
use zbus::wire::OwnedFd;

use super::*;
use crate::bus::Grant;

/// Answers the one hold that is asked for, and returns what was said until its lease was closed.
async fn grant(mut inbox: mpsc::Receiver<Request>) -> String {
    let Some(Request::Hold { name, who, why, for_, reply }) = inbox.recv().await else {
        panic!("no hold was asked for")
    };
    assert_eq!((name.as_str(), why.as_str(), for_), ("gru", "certbot renew", Duration::from_secs(60)));
    let (kept, lease) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let checks = vec![CheckName::new("gru").unwrap(), CheckName::new("gru-port").unwrap()];
    let (id, unit) = (format!("id of {who}"), "gru.service".to_owned());
    reply.send(Ok(Grant { lease, id, unit, checks })).unwrap();
    let said = tokio::task::spawn_blocking(move || {
        let mut said = String::new();
        std::fs::File::from(kept).read_to_string(&mut said).map(|_| said)
    });
    said.await.unwrap().unwrap()
}

const ASKED: (&str, &str, &str, u64) = ("gru", "root", "certbot renew", 60);

#[tokio::test]
async fn the_lease_arrives_and_its_end_is_seen() {
    let (scene, inbox) = stage(Bus::System, 0, Polkit::No).await;
    let daemon = tokio::spawn(grant(inbox));
    let reply = call(&scene, "HoldUnit", Flags::empty(), &ASKED).await.unwrap();
    let (lease, id, unit, checks): (OwnedFd, String, String, Vec<String>) =
        reply.body().deserialize().unwrap();
    // The message that it came with has a copy of its own.
    drop(reply);
    assert_eq!((id.as_str(), unit.as_str()), ("id of root", "gru.service"));
    assert_eq!(checks, ["gru", "gru-port"]);
    rustix::io::write(&lease, b".").unwrap();
    assert!(!daemon.is_finished());
    drop(lease);
    let said = tokio::time::timeout(Duration::from_secs(20), daemon).await;
    assert_eq!(said.expect("its end is not seen").unwrap(), ".", "no copy is left in the daemon");
}

#[tokio::test]
async fn a_hold_and_a_release_need_permission() {
    let (scene, mut inbox) = stage(Bus::System, SOMEBODY, Polkit::No).await;
    for error in [
        call(&scene, "HoldUnit", Flags::empty(), &ASKED).await.unwrap_err(),
        call(&scene, "ReleaseUnit", Flags::empty(), &("gru",)).await.unwrap_err(),
    ] {
        assert!(matches!(error, CallError::Denied(_)), "{error:?}");
    }
    assert!(inbox.try_recv().is_err(), "the supervisor never heard of it");
    let asked = scene.asked.lock().unwrap();
    let verbs: Vec<&str> = asked.iter().map(|question| question.2["verb"].as_str()).collect();
    assert_eq!(verbs, ["hold", "release"]);
}

#[tokio::test]
async fn a_hold_has_an_end_within_a_day() {
    let (scene, mut inbox) = stage(Bus::System, 0, Polkit::No).await;
    for seconds in [0_u64, 86_401, u64::MAX] {
        let error =
            call(&scene, "HoldUnit", Flags::empty(), &("gru", "root", "x", seconds)).await.unwrap_err();
        assert!(matches!(error, CallError::Refused(Refusal::InvalidArgument(_))), "{error:?}");
    }
    assert!(inbox.try_recv().is_err());
}

#[tokio::test]
async fn a_caller_says_no_more_than_a_line() {
    let (scene, mut inbox) = stage(Bus::System, 0, Polkit::No).await;
    let supervisor = async {
        let Some(Request::Hold { who, why, reply, .. }) = inbox.recv().await else { panic!("no hold") };
        assert_eq!(who, "a\\u{1b}[2Jb");
        assert_eq!(why.chars().count(), 200);
        reply.send(Err(Refusal::Failed("no".to_owned()))).unwrap();
    };
    let long = "x".repeat(5_000);
    let asked = ("gru", "a\x1b[2Jb", long.as_str(), 60_u64);
    let (answer, ()) = tokio::join!(call(&scene, "HoldUnit", Flags::empty(), &asked), supervisor);
    assert_eq!(answer.unwrap_err().to_string(), "no");
}

#[tokio::test]
async fn a_release_names_the_unit() {
    let (scene, mut inbox) = stage(Bus::System, 0, Polkit::No).await;
    let supervisor = async {
        let Some(Request::Release { name, reply }) = inbox.recv().await else { panic!("no release") };
        reply.send(Ok(format!("{name}.service"))).unwrap();
    };
    let (answer, ()) = tokio::join!(call(&scene, "ReleaseUnit", Flags::empty(), &("gru",)), supervisor);
    assert_eq!(answer.unwrap().body().deserialize::<&str>().unwrap(), "gru.service");
}
