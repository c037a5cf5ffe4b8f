//! Verdicts of the `dns` probe and their words, against a server of a few lines.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stealthcheck::check::{DnsProbe, HostPort, Probe, RecordKind};
use stealthcheck::probe::Prober;
use stealthcheck::verdict::Observation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::server::*;

/// What a server sends for a question, over UDP in so many packets, or over TCP in the first one.
pub type Script = fn(asked: &[u8], tcp: bool) -> Vec<Vec<u8>>;

/// A DNS server that goes by a script, and what it was asked, over TCP or not.
pub async fn server(script: Script) -> (SocketAddr, Arc<Mutex<Vec<(Vec<u8>, bool)>>>) {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    // Another test may have that port: then this one has another pair.
    let Ok(tcp) = TcpListener::bind(address).await else { return Box::pin(server(script)).await };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut packet = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut packet).await {
            log.lock().unwrap().push((packet[..length].to_vec(), false));
            for answer in script(&packet[..length], false) {
                let _ = udp.send_to(&answer, from).await;
            }
        }
    });
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut question = vec![0; usize::from(length)];
            stream.read_exact(&mut question).await.unwrap();
            log.lock().unwrap().push((question.clone(), true));
            for answer in script(&question, true) {
                stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    });
    (address, asked)
}

pub fn probe(name: &str, kind: RecordKind, server: SocketAddr) -> DnsProbe {
    let server = Some(HostPort::parse(&server.to_string()).unwrap());
    DnsProbe { name: name.to_owned(), kind, server, expect: Vec::new(), only: false }
}

async fn ask(probe: DnsProbe) -> Observation {
    Prober::new().run(&Probe::Dns(Arc::new(probe)), AMPLE).await
}

/// What is seen of `gru.example.org` at a server with this script.
async fn gru(kind: RecordKind, script: Script) -> Observation {
    ask(probe("gru.example.org", kind, server(script).await.0)).await
}

/// A name on the wire.
fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A record of the class Internet; `owner` on the wire.
pub fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = owner.to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 0, 60]);
    bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(data);
    bytes
}

/// Where the name of the question stands in every message.
pub const ASKED: &[u8] = &[0xc0, 12];

/// An answer of a resolver: the question, and these records in the answer section.
pub fn answer(asked: &[u8], flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = asked[..2].to_vec();
    bytes.extend((0x8180 | flags).to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, 0]);
    bytes.extend(&asked[12..]);
    bytes.extend(records.concat());
    bytes
}

const NXDOMAIN: u16 = 3;
const SERVFAIL: u16 = 2;
const REFUSED: u16 = 5;
pub const TRUNCATED: u16 = 0x0200;

#[tokio::test]
async fn values_of_each_kind_are_read_and_sorted() {
    let seen = gru(RecordKind::A, |asked, _| {
        vec![answer(asked, 0, &[record(ASKED, 1, &[192, 0, 2, 7]), record(ASKED, 1, &[192, 0, 2, 1])])]
    });
    passing(&seen.await, "A 192.0.2.1, 192.0.2.7");
    let seen = gru(RecordKind::Aaaa, |asked, _| {
        let ip: std::net::Ipv6Addr = "2001:db8::1".parse().unwrap();
        vec![answer(asked, 0, &[record(ASKED, 28, &ip.octets())])]
    });
    passing(&seen.await, "AAAA 2001:db8::1");
    let seen = gru(RecordKind::Cname, |asked, _| {
        vec![answer(asked, 0, &[record(ASKED, 5, &wire("LB.Example.net"))])]
    });
    passing(&seen.await, "CNAME lb.example.net");
    let seen = gru(RecordKind::Mx, |asked, _| {
        // `mail` and, compressed, the name asked for; and the null MX of RFC 7505.
        let ours = [&[0, 10, 4][..], b"mail", ASKED].concat();
        vec![answer(asked, 0, &[record(ASKED, 15, &ours), record(ASKED, 15, &[0, 0, 0])])]
    });
    passing(&seen.await, "MX 0 ., 10 mail.gru.example.org");
    let seen = gru(RecordKind::Txt, |asked, _| {
        vec![answer(
            asked,
            0,
            &[record(ASKED, 16, b"\x07v=spf1 \x04-all\x00"), record(ASKED, 16, b"\x03a\x1bb")],
        )]
    });
    passing(&seen.await, r"TXT a\u{1b}b, v=spf1 -all");
    let seen =
        gru(RecordKind::Ns, |asked, _| vec![answer(asked, 0, &[record(ASKED, 2, &wire("ns.example.org"))])]);
    passing(&seen.await, "NS ns.example.org");
}

#[tokio::test]
async fn what_a_server_says_of_a_name_is_told_apart() {
    let nothing = gru(RecordKind::A, |asked, _| vec![answer(asked, NXDOMAIN, &[])]);
    failing(&nothing.await, "gru.example.org does not exist (NXDOMAIN)");
    let nothing = gru(RecordKind::Aaaa, |asked, _| vec![answer(asked, 0, &[])]);
    failing(&nothing.await, "gru.example.org has no AAAA record");
    // An address of somebody else's, and one of another class, are none of its.
    let others = gru(RecordKind::A, |asked, _| {
        let mut chaos = record(ASKED, 1, &[192, 0, 2, 1]);
        chaos[5] = 3;
        vec![answer(asked, 0, &[record(&wire("other.example.org"), 1, &[192, 0, 2, 1]), chaos])]
    });
    failing(&others.await, "gru.example.org has no A record");
}

#[tokio::test]
async fn what_a_server_fails_at_is_told_apart() {
    for (script, said) in [
        ((|asked, _| vec![answer(asked, SERVFAIL, &[])]) as Script, "cannot find out (SERVFAIL)"),
        (|asked, _| vec![answer(asked, REFUSED, &[])], "refuses to answer (REFUSED)"),
        (|asked, _| vec![answer(asked, 9, &[])], "answers with the error 9"),
        // Some repeat no question that they could not read.
        (|asked, _| vec![[&asked[..2], &[0x80, 1], &[0; 8]].concat()], "cannot read the question (FORMERR)"),
        (
            |asked, _| {
                let mut referral = answer(asked, 0, &[record(&wire("org"), 2, &wire("ns.example.net"))]);
                // Not recursive, and the record in the section of those responsible.
                (referral[3], referral[7], referral[9]) = (0, 0, 1);
                vec![referral]
            },
            "does not know gru.example.org and does not ask others for it",
        ),
    ] {
        let (at, _) = server(script).await;
        failing(&ask(probe("gru.example.org", RecordKind::A, at)).await, &format!("{at} {said}"));
    }
}

#[tokio::test]
async fn aliases_are_followed_as_far_as_the_answer_goes() {
    fn alias(of: &str, to: &str) -> Vec<u8> {
        record(&wire(of), 5, &wire(to))
    }
    let seen = gru(RecordKind::A, |asked, _| {
        let address = record(&wire("lb.example.com"), 1, &[192, 0, 2, 1]);
        vec![answer(
            asked,
            0,
            &[
                address,
                alias("www.EXAMPLE.net", "lb.example.com"),
                alias("GRU.example.org", "www.example.net"),
            ],
        )]
    });
    passing(&seen.await, "A 192.0.2.1, by way of lb.example.com");
    let seen =
        gru(RecordKind::A, |asked, _| vec![answer(asked, 0, &[alias("gru.example.org", "lb.example.com")])]);
    failing(
        &seen.await,
        "gru.example.org is an alias of lb.example.com, of which the answer has no A record",
    );
    let seen = gru(RecordKind::A, |asked, _| {
        vec![answer(asked, NXDOMAIN, &[alias("gru.example.org", "lb.example.com")])]
    });
    failing(&seen.await, "gru.example.org is an alias of lb.example.com, which does not exist (NXDOMAIN)");
    let (at, _) = server(|asked, _| {
        vec![answer(
            asked,
            0,
            &[alias("gru.example.org", "a.example"), alias("a.example", "gru.example.org")],
        )]
    })
    .await;
    let circle = ask(probe("gru.example.org", RecordKind::A, at)).await;
    failing(&circle, &format!("the answer of {at} leads from one alias to the next without an end"));
}

#[tokio::test]
async fn expected_values_must_be_there_and_alone_where_that_is_demanded() {
    let (at, _) = server(|asked, _| {
        vec![answer(asked, 0, &[record(ASKED, 1, &[192, 0, 2, 1]), record(ASKED, 1, &[192, 0, 2, 2])])]
    })
    .await;
    let judged = async |expect: &[&str], only: bool| {
        let expect = expect.iter().map(|value| (*value).to_owned()).collect();
        ask(DnsProbe { expect, only, ..probe("gru.example.org", RecordKind::A, at) }).await
    };
    passing(&judged(&["192.0.2.2"], false).await, "A 192.0.2.1, 192.0.2.2");
    passing(&judged(&["192.0.2.2", "192.0.2.1"], true).await, "A 192.0.2.1, 192.0.2.2");
    let missing = "A is 192.0.2.1, 192.0.2.2, expected 192.0.2.3";
    failing(&judged(&["192.0.2.1", "192.0.2.3"], false).await, missing);
    let other = "A is 192.0.2.1, 192.0.2.2, and 192.0.2.1 is not expected";
    failing(&judged(&["192.0.2.2"], true).await, other);
}

#[tokio::test]
async fn what_does_not_fit_into_a_packet_comes_over_tcp() {
    fn long(asked: &[u8], tcp: bool) -> Vec<Vec<u8>> {
        let records: Vec<Vec<u8>> = (0..200).map(|n| record(ASKED, 1, &[192, 0, 2, n])).collect();
        vec![if tcp { answer(asked, 0, &records) } else { answer(asked, TRUNCATED, &records[..3]) }]
    }
    let (at, asked) = server(long).await;
    let seen = ask(probe("gru.example.org", RecordKind::A, at)).await;
    passing(&seen, "A 192.0.2.0, 192.0.2.1, 192.0.2.10, 192.0.2.100, 192.0.2.101, 195 more");
    let asked: Vec<bool> = asked.lock().unwrap().iter().map(|(_, tcp)| *tcp).collect();
    assert_eq!(asked, [false, true]);
    // What is cut off where nothing can be, or no answer at all.
    let (at, _) = server(|asked, tcp| if tcp { Vec::new() } else { long(asked, false) }).await;
    let cut = ask(probe("gru.example.org", RecordKind::A, at)).await;
    failing(&cut, &format!("{at}: connection closed"));
    let (at, _) = server(|asked, tcp| if tcp { vec![vec![7; 30]] } else { long(asked, false) }).await;
    let other = ask(probe("gru.example.org", RecordKind::A, at)).await;
    failing(&other, &format!("what {at} sends over TCP is no answer to the question"));
}

#[tokio::test]
async fn forged_answers_are_not_looked_at() {
    let (at, asked) = server(|asked, _| {
        let lie = |asked: &[u8]| answer(asked, 0, &[record(ASKED, 1, &[192, 0, 2, 66])]);
        let mut number = asked.to_vec();
        number[1] ^= 1;
        let mut name = asked.to_vec();
        name[13] ^= 1;
        let mut kind = asked.to_vec();
        let end = kind.len();
        kind[end - 3] = 28;
        let mut query = lie(asked);
        query[2] &= 0x7f;
        let mut unasked = lie(asked);
        unasked[5] = 0;
        // Its own name in another case is still its name.
        let mut truth = answer(asked, 0, &[record(ASKED, 1, &[192, 0, 2, 1])]);
        truth[13..16].make_ascii_uppercase();
        vec![lie(&number), lie(&name), lie(&kind), query, unasked, vec![], asked[..11].to_vec(), truth]
    })
    .await;
    for _ in 0..20 {
        passing(&ask(probe("gru.example.org", RecordKind::A, at)).await, "A 192.0.2.1");
    }
    let mut numbers: Vec<[u8; 2]> =
        asked.lock().unwrap().iter().map(|(asked, _)| [asked[0], asked[1]]).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert!(numbers.len() > 10, "they can be guessed: {numbers:?}");
}

#[tokio::test]
async fn silence_and_a_closed_port_are_told_apart() {
    let (silent, asked) = server(|_, _| Vec::new()).await;
    let patient = Duration::from_secs(3);
    let question = Probe::Dns(Arc::new(probe("gru.example.org", RecordKind::A, silent)));
    let seen = Prober::new().run(&question, patient).await;
    failing(&seen, "no answer within 3s (while waiting for the response)");
    let asked = asked.lock().unwrap().clone();
    assert!(asked.len() >= 2 && asked[0] == asked[1], "a lost packet is sent again: {asked:?}");
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let seen = ask(probe("gru.example.org", RecordKind::A, closed)).await;
    failing(&seen, &format!("{closed}: connection refused"));
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_none() {
    for script in [
        // A record that says it is longer than the message, addresses of a wrong length, names that end nowhere, that
        // point to themselves, forwards, or go on for ever, and fewer records than announced.
        (|asked, _| {
            let mut long = answer(asked, 0, &[record(ASKED, 1, &[192, 0, 2, 1])]);
            let end = long.len();
            long[end - 5] = 200;
            vec![long]
        }) as Script,
        |asked, _| vec![answer(asked, 0, &[record(ASKED, 1, &[192, 0, 2])])],
        |asked, _| vec![answer(asked, 0, &[vec![0xc0]])],
        |asked, _| {
            vec![answer(asked, 0, &[record(&[0xc0, u8::try_from(asked.len()).unwrap()], 1, &[192, 0, 2, 1])])]
        },
        |asked, _| vec![answer(asked, 0, &[record(&[0xc0, 0xff], 1, &[192, 0, 2, 1])])],
        |asked, _| vec![answer(asked, 0, &[record(ASKED, 5, &[1, b'a'].repeat(200))])],
        |asked, _| {
            let mut fewer = answer(asked, 0, &[record(ASKED, 1, &[192, 0, 2, 1])]);
            fewer[7] = 2;
            vec![fewer]
        },
    ] {
        let (at, _) = server(script).await;
        let seen = ask(probe("gru.example.org", RecordKind::A, at)).await;
        failing(&seen, &format!("the answer of {at} cannot be read"));
    }
}

#[tokio::test]
async fn a_server_can_be_named() {
    let (at, _) = server(|asked, _| vec![answer(asked, 0, &[record(ASKED, 1, &[192, 0, 2, 1])])]).await;
    let server = Some(HostPort { host: "localhost".to_owned(), port: at.port() });
    let seen = ask(DnsProbe { server, ..probe("gru.example.org", RecordKind::A, at) }).await;
    passing(&seen, "A 192.0.2.1");
}
