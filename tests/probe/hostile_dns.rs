//! DNS servers, and whoever is in front of them, that mean harm.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::{Probe, RecordKind};
use stealthcheck::probe::Prober;
use stealthcheck::verdict::Observation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Instant, sleep};

use super::dns::*;
use super::hostile::sentence;
use super::server::*;

/// What is seen of `gru.example.org` at this server, within a second and a half.
async fn see(server: SocketAddr) -> Observation {
    let question = Probe::Dns(Arc::new(probe("gru.example.org", RecordKind::A, server)));
    let begun = Instant::now();
    let seen = Prober::new().run(&question, Duration::from_millis(1500)).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}: {seen:?}", begun.elapsed());
    sentence(&seen);
    seen
}

fn lie(asked: &[u8]) -> Vec<u8> {
    answer(asked, 0, &[record(ASKED, 1, &[192, 0, 2, 66])])
}

#[tokio::test]
async fn an_answer_from_another_port_is_none() {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = udp.local_addr().unwrap();
    tokio::spawn(async move {
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut packet = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut packet).await {
            let _ = other.send_to(&lie(&packet[..length]), from).await;
        }
    });
    failing(&see(at).await, "no answer within 1.5s (while waiting for the response)");
}

#[tokio::test]
async fn a_flood_of_forgeries_neither_passes_nor_hides_the_answer() {
    // For as long as it takes, and one packet of it is the truth or not.
    async fn flooding(with_the_truth: bool) -> SocketAddr {
        let udp = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let at = udp.local_addr().unwrap();
        tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut packet).await {
                let (udp, asked) = (Arc::clone(&udp), packet[..length].to_vec());
                tokio::spawn(async move {
                    let begun = Instant::now();
                    let mut forged = lie(&asked);
                    while begun.elapsed() < Duration::from_secs(2) {
                        for _ in 0..50 {
                            forged[1] = forged[1].wrapping_add(1);
                            if forged[..2] != asked[..2] {
                                let _ = udp.try_send_to(&forged, from);
                            }
                        }
                        if with_the_truth && begun.elapsed() > Duration::from_millis(200) {
                            let truth = answer(&asked, 0, &[record(ASKED, 1, &[192, 0, 2, 1])]);
                            let _ = udp.try_send_to(&truth, from);
                        }
                        tokio::task::yield_now().await;
                    }
                });
            }
        });
        at
    }
    failing(&see(flooding(false).await).await, "no answer within 1.5s (while waiting for the response)");
    passing(&see(flooding(true).await).await, "A 192.0.2.1");
}

#[tokio::test]
async fn names_that_point_at_each_other_end_somewhere() {
    for script in [
        // Two pointers, each to the other; one to the middle of a label; one to itself in the data of an alias.
        (|asked: &[u8], _| {
            let at = u8::try_from(asked.len()).unwrap();
            vec![answer(
                asked,
                0,
                &[vec![0xc0, at + 2, 0xc0, at, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]],
            )]
        }) as Script,
        |asked, _| vec![answer(asked, 0, &[record(&[0xc0, 13], 1, &[192, 0, 2, 1])])],
        |asked, _| {
            let data = u8::try_from(asked.len() + 12).unwrap();
            vec![answer(asked, 0, &[record(ASKED, 5, &[0xc0, data])])]
        },
        // Sixty thousand records are announced, and a label is announced that is no label.
        |asked, _| {
            let mut many = answer(asked, 0, &[]);
            (many[6], many[7]) = (0xff, 0xff);
            vec![many]
        },
        |asked, _| vec![answer(asked, 0, &[record(&[0x80, 1], 1, &[192, 0, 2, 1])])],
    ] {
        let (at, _) = server(script).await;
        let seen = see(at).await;
        assert!(matches!(seen, Observation::Failing { .. }), "{seen:?}");
    }
}

#[tokio::test]
async fn over_tcp_too_there_is_an_end() {
    /// Over UDP the word that the answer is cut off; over TCP what `each` does.
    async fn cutting<F, Fut>(each: F) -> SocketAddr
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = udp.local_addr().unwrap();
        let Ok(tcp) = TcpListener::bind(at).await else { return Box::pin(cutting(each)).await };
        tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut packet).await {
                let _ = udp.send_to(&answer(&packet[..length], TRUNCATED, &[]), from).await;
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                tokio::spawn(each(stream));
            }
        });
        at
    }
    let nothing = "no answer within 1.5s (while waiting for the response)";
    failing(&see(cutting(hang).await).await, nothing);
    // A byte at a time of what is announced to be long.
    let drip = cutting(|mut stream| async move {
        let _ = stream.write_all(&[0xff, 0xff]).await;
        while stream.write_all(&[0]).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    failing(&see(drip.await).await, nothing);
    // More than that, and none of it an answer.
    let endless =
        cutting(|mut stream| async move { while stream.write_all(&[0xff; 65_536]).await.is_ok() {} });
    let seen = see(endless.await).await;
    assert!(seen.text().ends_with("sends over TCP is no answer to the question"), "{seen:?}");
    let empty = cutting(|mut stream| async move {
        let mut asked = [0; 64];
        let _ = stream.read(&mut asked).await;
        let _ = stream.write_all(&[0, 0]).await;
    });
    let seen = see(empty.await).await;
    assert!(matches!(seen, Observation::Failing { .. }), "{seen:?}");
}
