//! What the probes say when this process itself is at its limits. One test, in a process of its own, because it takes
//! away what others need.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use stealthcheck::check::{HostPort, HttpProbe, Probe, Source, StatusSet, TcpProbe, Url};
use stealthcheck::probe::Prober;
use stealthcheck::verdict::Observation;
use tokio::net::TcpListener;

#[tokio::test]
async fn without_file_descriptors_nothing_is_known() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tcp = Probe::Tcp(Arc::new(TcpProbe {
        address: HostPort::parse(&address.to_string()).unwrap(),
        send: None,
        expect: None,
    }));
    let http = |host: &str| {
        Probe::Http(Arc::new(HttpProbe {
            url: Source::Written(Url::parse(&format!("http://{host}:{}/", address.port())).unwrap()),
            method: http::Method::GET,
            headers: Vec::new(),
            status: StatusSet::default(),
            body_contains: None,
            body_matches: None,
            follow_redirects: false,
            verify_tls: true,
        }))
    };
    let prober = Prober::new();
    let within = Duration::from_secs(20);

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(64);
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    for probe in [&tcp, &http("127.0.0.1"), &http("localhost")] {
        let seen = prober.run(probe, within).await;
        assert!(matches!(seen, Observation::Unknown { .. }), "{seen:?}");
        assert_eq!(seen.text(), "this process has no file descriptor left");
    }
    // A resolver that cannot open its socket has not said that the name does not exist.
    let seen = prober.run(&http("gru.example.org"), within).await;
    assert!(matches!(seen, Observation::Unknown { .. }), "{seen:?}");

    drop(taken);
    let seen = prober.run(&tcp, within).await;
    assert!(matches!(seen, Observation::Passing { .. }), "{seen:?}");
}
