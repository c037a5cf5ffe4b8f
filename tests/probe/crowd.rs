//! Many at once: those that hang delay nobody.

use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::server::*;

#[tokio::test]
async fn a_thousand_hanging_targets_delay_nobody() {
    // The kernel takes the connections into the listener's queue; nobody ever accepts them.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(4096).unwrap();
    let hung = listener.local_addr().unwrap();
    let well = answering(page("200 OK", "")).await;

    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();

    let mut hanging = JoinSet::new();
    for n in 0..1000 {
        let probe = if n % 2 == 0 { get_at(hung) } else { get(format!("https://{hung}/")) };
        let mut probe = probe;
        probe.verify_tls = false;
        hanging.spawn(see_within(probe, Duration::from_secs(10)));
    }
    tokio::task::yield_now().await;
    let begun = Instant::now();
    for _ in 0..50 {
        let seen = timeout(Duration::from_secs(5), see(get_at(well))).await;
        passing(&seen.expect("a check that is well waits for those that hang"), "200 OK");
    }
    assert_eq!(hanging.len(), 1000);
    assert!(hanging.try_join_next().is_none(), "nothing should have ended yet, {:?} on", begun.elapsed());
    while let Some(seen) = hanging.join_next().await {
        let seen = seen.unwrap();
        assert!(seen.text().starts_with("no answer within 10s (") && seen.text().ends_with(')'), "{seen:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "they should have ended together");
}
