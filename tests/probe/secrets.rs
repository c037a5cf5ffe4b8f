//! What the configuration entrusts to a server reaches that server alone, and is in no reason.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http::HeaderName;
use stealthcheck::check::{CredentialName, HttpProbe, Probe, Source};
use stealthcheck::config::Credentials;
use stealthcheck::probe::Prober;
use stealthcheck::verdict::Observation;
use tokio::io::AsyncWriteExt;

use super::server::*;

const TOKEN: &str = "t0ken-51b2e8";

fn name(name: &str) -> CredentialName {
    CredentialName::new(name).unwrap()
}

fn with_credential(mut probe: HttpProbe) -> HttpProbe {
    probe.headers.push((HeaderName::from_static("x-api-key"), Source::Credential(name("key"))));
    probe
}

async fn see_with(directory: &Path, probe: HttpProbe) -> Observation {
    let prober = Prober::with_credentials(Credentials::at(directory));
    prober.run(&Probe::Http(Arc::new(probe)), AMPLE).await
}

/// A server that keeps what it is asked, and answers with it.
async fn parrot(status: &'static str, location: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let copy = Arc::clone(&seen);
    let address = serve(move |mut stream| {
        let copy = Arc::clone(&copy);
        async move {
            let head = head(&mut stream).await;
            let location = location.replace("{path}", head.split(' ').nth(1).unwrap());
            let answer = format!(
                "HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: {}\r\n\r\n{head}",
                head.len()
            );
            copy.lock().unwrap().push(head);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    (address, seen)
}

#[tokio::test]
async fn a_query_is_sent_and_not_shown() {
    for (status, location) in [
        ("302 Found", "{path}"),
        ("302 Found", "http://me:t0ken-51b2e8@other/x?t0ken-51b2e8"),
        ("500 Oops", ""),
    ] {
        let (server, seen) = parrot(status, location).await;
        let observed = see(get(format!("http://{server}/health?token={TOKEN}"))).await;
        assert!(!observed.text().contains(TOKEN), "{observed:?}");
        assert!(seen.lock().unwrap()[0].contains(TOKEN));
        // The body has all of it.
        let mut probe = get(format!("http://{server}/health?token={TOKEN}"))
            .header("x-token", "h3ader-s3cret")
            .containing("nothing of the kind");
        probe.status.0 = vec![100..=599];
        let observed = see(probe).await;
        assert!(!observed.text().contains(TOKEN), "{observed:?}");
        assert!(!observed.text().contains("h3ader"), "{observed:?}");
    }
}

#[tokio::test]
async fn credentials_are_sent_and_not_shown_and_read_when_they_are_needed() {
    let dir = tempfile::tempdir().unwrap();
    let (server, seen) = parrot("302 Found", "{path}/again").await;
    let mut probe = with_credential(get_at(server).following().containing("nothing of the kind"));
    probe.url = Source::Credential(name("url"));

    let observed = see_with(dir.path(), probe.clone()).await;
    assert!(matches!(observed, Observation::Unknown { .. }), "{observed:?}");
    assert!(observed.text().contains("/etc/stealthcheck/credentials/url"), "{observed:?}");

    std::fs::write(dir.path().join("stealthcheck_url"), format!("http://{server}/hooks/{TOKEN}?a=b\n"))
        .unwrap();
    let observed = see_with(dir.path(), probe.clone()).await;
    assert!(observed.text().contains("there is no credential `key`"), "{observed:?}");

    std::fs::write(dir.path().join("stealthcheck_key"), "k3y-from-a-credential\n").unwrap();
    for following in [true, false] {
        probe.follow_redirects = following;
        let observed = see_with(dir.path(), probe.clone()).await;
        assert!(matches!(observed, Observation::Failing { .. }), "{observed:?}");
        for secret in [TOKEN, "hooks", "k3y-from"] {
            assert!(!observed.text().contains(secret), "{observed:?}");
        }
        assert!(observed.text().contains(&format!("http://{server}/…")), "{observed:?}");
    }
    let head = seen.lock().unwrap()[0].clone();
    assert!(head.starts_with(&format!("GET /hooks/{TOKEN}?a=b ")), "{head}");
    assert!(head.contains("x-api-key: k3y-from-a-credential\r\n"), "{head}");

    std::fs::write(dir.path().join("stealthcheck_url"), "ftp://t0ken-51b2e8/").unwrap();
    let observed = see_with(dir.path(), probe).await;
    assert!(matches!(observed, Observation::Unknown { .. }), "{observed:?}");
    assert!(observed.text().contains("the credential `url` does not contain a URL"), "{observed:?}");
}

#[tokio::test]
async fn a_header_from_a_credential_goes_to_no_other_server() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "k3y-from-a-credential").unwrap();
    let (other, seen) = parrot("200 OK", "").await;
    let server =
        answering(format!("HTTP/1.1 302 Found\r\nLocation: http://{other}/\r\nContent-Length: 0\r\n\r\n"))
            .await;
    let observed = see_with(dir.path(), with_credential(get_at(server).following())).await;
    passing(&observed, &format!("200 OK after a redirect to http://{other}/"));
    assert!(!seen.lock().unwrap()[0].contains("k3y"));
}
