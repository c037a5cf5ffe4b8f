//! Servers that speak nonsense, without end, or as one whose certificate is no good.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use stealthcheck::config::SmtpTls;
use stealthcheck::mail::MailEvent;
use stealthcheck::mail::deliver::Patience;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Rig, id, notification, settings, spooled, surroundings};
use crate::server::{Fault, Options, Phase, Server};

/// A server that says `before`, and then `again` for as long as anybody listens, with so long between.
async fn saying(before: &'static [u8], again: &'static [u8], pause: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(before).await;
                while !again.is_empty() && stream.write_all(again).await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
                swallow(stream).await;
            });
        }
    });
    address
}

async fn swallow(mut stream: TcpStream) {
    let mut rubbish = [0; 1024];
    while let Ok(1..) = stream.read(&mut rubbish).await {}
}

/// This process' memory in bytes.
fn memory() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn nonsense_and_words_without_end_are_an_error_that_is_soon_told_and_takes_no_memory() {
    const LONG: &[u8] = &[b'2'; 1 << 16];
    const LINES: &[u8] =
        b"220-and another, with all that a server has to say of itself to whoever listens\r\n\
        220-and one more, and if anybody is still there then there is yet another one to come after it\r\n";
    let now = Duration::ZERO;
    let servers = [
        ("silent", saying(b"", b"", now).await, "no answer"),
        ("endless line", saying(b"220 ", LONG, now).await, "says more than an answer can have"),
        (
            "endless line later",
            saying(b"220 x\r\n250-", LONG, now).await,
            "says more than an answer can have",
        ),
        ("endless lines", saying(b"220-x\r\n", LINES, now).await, "says more than an answer can have"),
        ("a byte at a time", saying(b"220 ", b"x", Duration::from_millis(20)).await, "no answer"),
        ("no text", saying(b"220 \xff\xfe\x00\r\n", b"", now).await, "UTF-8"),
        (
            "another protocol",
            saying(b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", now).await,
            "does not speak SMTP: HTTP/1.1 400",
        ),
        ("controls", saying(b"554 \x1b[2Jno\rBcc: x\r\n", b"", now).await, "554"),
    ];
    let before = memory();
    for tls in [SmtpTls::None, SmtpTls::Starttls, SmtpTls::Implicit] {
        for (name, address, says) in servers {
            // Long enough for gigabytes, where nothing bounds them.
            let mut patient = surroundings();
            let long =
                if says.starts_with("no") { Duration::from_millis(200) } else { Duration::from_secs(20) };
            patient.patience = Patience { connect: long, answer: long, accept: long };
            let mut settings = settings(address.port());
            settings.smtp.tls = tls;
            let mut rig = Rig::start_in(patient, None, Some(settings));
            let started = Instant::now();
            rig.mailer.submit(notification("a-1", 1, &["x@example.org"]));
            println!("{name}, {tls:?}");
            rig.until(|event| matches!(event, MailEvent::Spooled(_))).await;
            rig.mailer.release(&id("a-1", 1));
            let failed = rig.until(|event| matches!(event, MailEvent::Failed { .. })).await;
            let MailEvent::Failed { error, queued, .. } = failed else { panic!() };
            let cell = format!("{name}, {tls:?}: {error:?}");
            assert!(error.contains(says) || tls == SmtpTls::Implicit, "{cell}");
            assert!(error.starts_with(&format!("mail server localhost:{}: ", address.port())), "{cell}");
            assert!(!error.chars().any(stealthcheck::text::acts) && error.len() < 1200, "{cell}");
            assert_eq!((queued, rig.mailer.status().queued), (1, 1), "{cell}");
            assert!(started.elapsed() < Duration::from_secs(10), "{cell} after {:?}", started.elapsed());
            rig.mailer.stop().await;
        }
    }
    let grown = memory().saturating_sub(before);
    assert!(grown < 48 << 20, "{} MB more than before", grown >> 20);
}

#[tokio::test]
async fn one_address_over_which_the_server_falls_silent_hangs_up_or_shuts_down_holds_up_no_other() {
    for fault in [Fault::Silent, Fault::Drop, Fault::Reply("421 4.3.2 come back later")] {
        let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
        server.fault(Phase::Rcpt, "slow@", usize::MAX, fault);
        let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
        rig.send(notification("a-1", 1, &["slow@example.org", "x@example.org"])).await;
        rig.send(notification("b-1", 1, &["slow@example.org", "y@example.org"])).await;
        while server.accepted().len() < 2 {
            rig.until(|event| matches!(event, MailEvent::Failed { .. })).await;
        }
        let to: Vec<String> = server.accepted().into_iter().map(|mail| mail.to).collect();
        assert_eq!(to, ["x@example.org", "y@example.org"], "{fault:?}");
        assert_eq!(spooled(dir.path()), 2, "what the slow one has not got is kept");
        server.repair();
        while rig.mailer.status().queued > 0 {
            rig.next().await;
        }
        assert_eq!((server.accepted().len(), spooled(dir.path())), (4, 0), "{fault:?}");
    }
}

#[tokio::test]
async fn a_mail_that_was_taken_without_a_word_comes_again_under_the_same_id() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    server.fault(Phase::Accept, "", 1, Fault::Taken);
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    rig.send(notification("a-1", 1, &["x@example.org"])).await;
    rig.send(notification("a-1", 2, &["x@example.org"])).await;
    rig.until_delivered(id("a-1", 2)).await;
    let ids: Vec<String> =
        server.accepted().iter().map(|mail| mail.header("Message-ID").unwrap().to_owned()).collect();
    assert_eq!(ids, ["<a-1.1@lf-proxy>", "<a-1.1@lf-proxy>", "<a-1.2@lf-proxy>"]);
    assert_eq!(
        server.accepted()[0].text,
        server.accepted()[1].text,
        "the same mail, so that readers show it once"
    );
}

#[tokio::test]
async fn what_a_service_says_cannot_keep_its_mails_from_being_taken() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    // A filter that refuses whatever has this text in it, for good.
    server.fault(Phase::Accept, "X5O!P%@AP", usize::MAX, Fault::Reply("554 5.7.1 virus found"));
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    let cause = "unexpected body: X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR".to_owned();
    let down =
        stealthcheck::notification::Notification { cause, ..notification("a-1", 1, &["x@example.org"]) };
    rig.send(down).await;
    rig.send(notification("a-1", 2, &["x@example.org"])).await;
    let failed = rig.until(|event| matches!(event, MailEvent::Failed { .. })).await;
    let MailEvent::Failed { error, .. } = failed else { panic!() };
    assert!(error.contains("554 5.7.1 virus found"), "{error}");
    rig.until_delivered(id("a-1", 2)).await;
    let accepted = server.accepted();
    assert_eq!(accepted.len(), 2);
    assert_eq!(accepted[0].header("Message-ID"), Some("<a-1.1@lf-proxy>"));
    assert_eq!(accepted[0].header("Subject"), Some("[DOWN] fibridge on lf-proxy"));
    let text = accepted[0].text.replace("=\r\n", "");
    assert!(text.contains("has refused this mail as it was written"), "{text}");
    assert!(text.contains("stealthctl status fibridge"), "{text}");
    assert_eq!(spooled(dir.path()), 0);
}

#[tokio::test]
async fn only_a_word_about_the_address_itself_is_final() {
    // Servers put all kinds of refusal into their answer to RCPT.
    let later = [
        "504 5.5.2 <lf-proxy>: Helo command rejected: need fully-qualified hostname",
        "550 5.1.8 <alerts@example.org>: Sender address rejected: Domain not found",
        "550 5.7.1 Service unavailable; client host blocked",
        "530 5.7.0 Must issue a STARTTLS command first",
        "554 5.7.1 <x@example.org>: Relay access denied",
        "550 relay not permitted",
        "550 Sender verify failed",
        "552 5.2.2 mailbox full",
        "452 4.2.2 mailbox full",
        "552 requested mail action aborted: exceeded storage allocation",
        "451 4.3.0 <x@example.org>: Temporary lookup failure",
    ];
    let never = [
        "550 5.1.1 <x@example.org>: Recipient address rejected: User unknown",
        "550 5.1.2 <x@example.org>: Recipient address rejected: Domain not found",
        "550 No Such User Here",
        "553 5.1.3 malformed address",
        "550 5.2.1 this mailbox is disabled",
    ];
    for (said, is_final) in later.map(|said| (said, false)).into_iter().chain(never.map(|said| (said, true)))
    {
        let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
        server.fault(Phase::Rcpt, "x@", usize::MAX, Fault::Reply(said));
        let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
        rig.send(notification("a-1", 1, &["x@example.org", "y@example.org"])).await;
        let told =
            rig.until(|event| matches!(event, MailEvent::Dropped { .. } | MailEvent::Failed { .. })).await;
        assert_eq!(matches!(told, MailEvent::Dropped { .. }), is_final, "{said}: {told:?}");
        if !is_final {
            server.repair();
            rig.until_delivered(id("a-1", 1)).await;
            assert_eq!(server.accepted().len(), 2, "{said}");
        }
    }
}

#[tokio::test]
async fn an_address_that_is_refused_for_good_is_told_to_the_others_once_and_shown_until_it_is_taken() {
    let (server, dir) = (Server::start(Options::default()).await, tempfile::tempdir().unwrap());
    server.fault(Phase::Rcpt, "gone@", 3, Fault::Reply("550 5.1.1 no such user"));
    let mut rig = Rig::start(Some(dir.path()), Some(settings(server.port)));
    rig.send(notification("a-1", 1, &["gone@example.org", "x@example.org"])).await;
    rig.until_delivered(id("a-1", 1)).await;
    // One for nobody else.
    rig.send(notification("b-1", 1, &["gone@example.org"])).await;
    rig.until(|event| *event == MailEvent::Undeliverable(id("b-1", 1))).await;
    rig.send(notification("c-1", 1, &["gone@example.org", "y@example.org"])).await;
    rig.until_delivered(id("c-1", 1)).await;
    let delivered = |mine: &MailEvent| *mine == MailEvent::Delivered(id("b-1", 1));
    assert!(!rig.seen.iter().any(delivered), "nobody has it: {:?}", rig.seen);
    let refused = rig.mailer.status().refused;
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].0, "gone@example.org");
    assert!(refused[0].1.contains("550 5.1.1 no such user"), "{refused:?}");

    let subject = "[stealthcheck] lf-proxy: mail to gone@example.org is rejected";
    let told = || {
        let all = server.accepted().into_iter();
        all.filter(|mail| mail.header("Subject") == Some(subject)).collect::<Vec<_>>()
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while told().is_empty() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(told().iter().map(|mail| mail.to.as_str()).collect::<Vec<_>>(), ["ops@example.org"], "once");
    assert!(told()[0].text.contains("550 5.1.1 no such user"), "{}", told()[0].text);
    // The address is there after all.
    rig.send(notification("d-1", 1, &["gone@example.org"])).await;
    rig.until_delivered(id("d-1", 1)).await;
    assert!(rig.mailer.status().refused.is_empty());
    assert_eq!(spooled(dir.path()), 0);
}
