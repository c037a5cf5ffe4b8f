//! What cannot be seen from the outside: several resolvers, and bytes that no server sends.

use std::time::Duration;

use tokio::net::UdpSocket;

use super::*;
use crate::check::RecordKind;
use crate::probe::Tools;

fn gru() -> DnsProbe {
    let (name, kind) = ("gru.example.org".to_owned(), RecordKind::A);
    DnsProbe { name, kind, server: None, expect: Vec::new(), only: false }
}

/// A resolver that answers each question with its own bytes behind this code, as an answer without records.
async fn resolver(code: u8) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            (packet[2], packet[3]) = (0x81, 0x80 | code);
            let _ = socket.send_to(&packet[..length], from).await;
        }
    });
    address
}

#[tokio::test]
async fn the_first_resolver_that_knows_is_believed() {
    let (tools, probe) = (Tools::default(), gru());
    let question = Question::of(&probe).unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (failing, knowing) = (resolver(2).await, resolver(3).await);
    let all = [silent.local_addr().unwrap(), dead, failing, knowing];

    // Each takes its share at most: the silent one a quarter.
    let attempt = Attempt::start(&tools, Duration::from_secs(4));
    let (who, answer) = ask::first(&all, &question, &attempt).await.unwrap();
    assert_eq!((who, Message::read(&answer).unwrap().code()), (knowing, NO_SUCH_NAME));

    let attempt = Attempt::start(&tools, Duration::from_secs(2));
    let none = ask::first(&all[..3], &question, &attempt).await.unwrap_err();
    let silent = all[0];
    let reasons =
        format!("no answer from {silent}, {dead}: connection refused, {failing} cannot find out (SERVFAIL)");
    assert_eq!(none, ProbeError::target(&reasons));
    let told = format!("no resolver of this machine gives an answer: {reasons}");
    assert_eq!(of_the_means(none), ProbeError::local(told), "which says nothing of the name");
}

#[test]
fn no_bytes_make_it_panic() {
    let probe = gru();
    let mut answer = message::question(7, &probe.name, RecordKind::Mx);
    (answer[2], answer[3], answer[7]) = (0x81, 0x80, 2);
    answer.extend([0xc0, 12, 0, 15, 0, 1, 0, 0, 0, 60, 0, 9, 0, 10, 4]);
    answer.extend(b"mail\xc0\x10");
    answer.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, 45]);
    let read = |bytes: &[u8]| {
        let message = Message::read(bytes)?;
        let _ = (message.answers(7, &probe.name, RecordKind::Mx), message.refers_elsewhere());
        message.find(&probe.name, RecordKind::Mx).ok()
    };
    assert_eq!(read(&answer).unwrap().values, ["10 mail.example.org"]);
    for end in 0..answer.len() {
        let _ = read(&answer[..end]);
    }
    for at in 0..answer.len() {
        for byte in 0..=255 {
            let mut bad = answer.clone();
            bad[at] = byte;
            let _ = read(&bad);
        }
    }
}
