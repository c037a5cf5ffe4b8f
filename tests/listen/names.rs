//! By which name the machine is asked: a web page whose own name points to 127.0.0.1 reads nothing (DNS rebinding).

use super::*;

async fn asked_as(address: SocketAddr, path: &str, host: &str) -> String {
    exchange(address, format!("GET {path} HTTP/1.1\r\n{host}\r\n").as_bytes()).await
}

#[tokio::test(flavor = "current_thread")]
async fn over_loopback_the_status_is_told_to_no_foreign_name() {
    let (rig, address) = Rig::on_loopback(limits()).await;
    let own = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    let ours = ["localhost", "127.0.0.1:8484", "[::1]:8484", "192.0.2.1", own.as_str()];
    let foreign =
        ["evil.example.com", "evil.example.com:8484", "localhost.evil.example.com", "127.0.0.1.nip.io"];
    for path in ["/", "/status.json", "/metrics", "/?x=/healthz", "http://127.0.0.1/status.json"] {
        for host in ours {
            let answer = asked_as(address, path, &format!("Host: {host}\r\n")).await;
            assert_eq!(status(&answer), "200", "{path} as {host}: {answer}");
        }
        // An old client says no name, which no browser leaves out.
        assert_eq!(status(&asked_as(address, path, "").await), "200", "{path}");
        let before = rig.reports.load(Ordering::SeqCst);
        for host in foreign {
            for line in [format!("Host: {host}\r\n"), format!("X: y\r\nhOST:{host} \r\n")] {
                let answer = asked_as(address, path, &line).await;
                assert_eq!(status(&answer), "421", "{path} as {host}: {answer}");
                assert!(
                    body(&answer).starts_with("Use an IP address, localhost or the name of this machine"),
                    "{answer}"
                );
                assert!(!answer.contains(host), "{answer}");
            }
            let head =
                exchange(address, format!("HEAD {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await;
            assert_eq!((status(&head), body(&head)), ("421", ""), "{path} as {host}");
        }
        assert_eq!(rig.reports.load(Ordering::SeqCst), before, "who is told nothing costs nothing");
    }
    // Of two names, one would be checked and the other meant.
    let two = asked_as(address, "/", &format!("Host: localhost\r\nHost: {}\r\n", foreign[0])).await;
    assert_eq!(status(&two), "400", "{two}");
    // That the engine turns over is no secret: another instance may know this machine by any name.
    assert_eq!(status(&asked_as(address, "/healthz", "Host: dev.backend.example.org\r\n").await), "200");
}
