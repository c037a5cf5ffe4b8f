//! An SMTP server in the test's own process, for faults that a real one cannot be made to show.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Where in the exchange something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Greeting,
    Ehlo,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// In the middle of the message.
    Middle,
    /// After the message's last dot.
    Accept,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Reply(&'static str),
    /// Nothing is said any more.
    Silent,
    /// The connection is closed.
    Drop,
    /// The message is taken, and the connection is closed before a word of it.
    Taken,
}

/// A fault, at a phase, so many times; only where the command or the message contains `about`.
#[derive(Clone, Debug)]
pub struct Rule {
    pub phase: Phase,
    pub about: &'static str,
    pub times: usize,
    pub fault: Fault,
}

/// How the server protects itself.
#[derive(Clone, Default)]
pub enum Tls {
    #[default]
    None,
    Starttls(Arc<rustls::ServerConfig>),
    Implicit(Arc<rustls::ServerConfig>),
}

#[derive(Clone, Default)]
pub struct Options {
    pub tls: Tls,
    /// AUTH mechanisms that are offered and the one line that is let in: `PLAIN LOGIN`, base64 of the PLAIN response.
    pub auth: Option<(&'static str, String)>,
    /// How long each message is looked at before it is accepted.
    pub slow: Duration,
}

/// A message that was accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub to: String,
    pub text: String,
}

impl Accepted {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

#[derive(Default)]
struct Seen {
    connections: usize,
    accepted: Vec<Accepted>,
    commands: Vec<String>,
}

#[derive(Clone)]
pub struct Server {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
    rules: Arc<Mutex<Vec<Rule>>>,
}

impl Server {
    pub async fn start(options: Options) -> Self {
        Self::start_at(0, options).await
    }

    pub async fn start_at(port: u16, options: Options) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let server =
            Self { port: listener.local_addr().unwrap().port(), seen: Arc::default(), rules: Arc::default() };
        let this = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                this.seen.lock().unwrap().connections += 1;
                let (this, options) = (this.clone(), options.clone());
                tokio::spawn(async move { this.serve(stream, options).await });
            }
        });
        server
    }

    pub fn fault(&self, phase: Phase, about: &'static str, times: usize, fault: Fault) {
        self.rules.lock().unwrap().push(Rule { phase, about, times, fault });
    }

    pub fn repair(&self) {
        self.rules.lock().unwrap().clear();
    }

    pub fn accepted(&self) -> Vec<Accepted> {
        self.seen.lock().unwrap().accepted.clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    pub fn commands(&self) -> Vec<String> {
        self.seen.lock().unwrap().commands.clone()
    }

    fn next_fault(&self, phase: Phase, text: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|r| r.phase == phase && r.times > 0 && text.contains(r.about))?;
        rule.times -= 1;
        Some(rule.fault)
    }

    async fn serve(&self, stream: TcpStream, options: Options) {
        match options.tls.clone() {
            Tls::Implicit(config) => {
                let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
                self.talk(BufReader::new(stream), &options, true).await;
            }
            Tls::None => {
                self.talk(BufReader::new(stream), &options, true).await;
            }
            Tls::Starttls(config) => {
                let Some(stream) = self.talk(BufReader::new(stream), &options, false).await else { return };
                let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
                let mut options = options;
                options.tls = Tls::None;
                self.talk(BufReader::new(stream), &options, true).await;
            }
        }
    }

    /// Says `reply`, unless a fault is due. `None` ends the connection.
    async fn answer<S: AsyncWrite + Unpin>(
        &self,
        s: &mut S,
        phase: Phase,
        text: &str,
        reply: &str,
    ) -> Option<bool> {
        let (reply, good) = match self.next_fault(phase, text) {
            None => (reply, true),
            Some(Fault::Reply(reply)) => (reply, false),
            Some(Fault::Drop | Fault::Taken) => return None,
            Some(Fault::Silent) => std::future::pending().await,
        };
        s.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
        s.flush().await.ok()?;
        (good || !reply.starts_with("421")).then_some(good)
    }

    /// One dialogue; gives the stream back where STARTTLS was asked for.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut s: BufReader<S>,
        options: &Options,
        safe: bool,
    ) -> Option<S> {
        let upgraded = safe && matches!(options.tls, Tls::None) && options.auth.is_some();
        if !(upgraded && self.is_second_dialogue()) {
            self.answer(&mut s, Phase::Greeting, "", "220 fake ESMTP").await?;
        }
        let mut to = String::new();
        loop {
            let mut line = String::new();
            if s.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_owned();
            self.seen.lock().unwrap().commands.push(line.clone());
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => {
                    let mut reply = "250-fake\r\n".to_owned();
                    if !safe {
                        reply.push_str("250-STARTTLS\r\n");
                    }
                    if let (true, Some((mechanisms, _))) = (safe, &options.auth) {
                        reply.push_str(&format!("250-AUTH {mechanisms}\r\n"));
                    }
                    reply.push_str("250 8BITMIME");
                    self.answer(&mut s, Phase::Ehlo, &line, &reply).await?;
                }
                "STARTTLS" => {
                    s.write_all(b"220 go on\r\n").await.ok()?;
                    s.flush().await.ok()?;
                    return Some(s.into_inner());
                }
                "AUTH" => {
                    let mut given = line.split(' ').nth(2).unwrap_or_default().to_owned();
                    if line.ends_with("LOGIN") {
                        given.clear();
                        for question in ["334 VXNlcm5hbWU6\r\n", "334 UGFzc3dvcmQ6\r\n"] {
                            s.write_all(question.as_bytes()).await.ok()?;
                            s.flush().await.ok()?;
                            let mut answer = String::new();
                            s.read_line(&mut answer).await.ok()?;
                            given.push_str(answer.trim_end());
                            given.push(' ');
                        }
                    }
                    let wanted = &options.auth.as_ref()?.1;
                    let reply = if given.trim_end() == wanted {
                        "235 welcome".to_owned()
                    } else {
                        // Repeats what it was given, as no server should.
                        format!("535 5.7.8 not with {given}")
                    };
                    self.answer(&mut s, Phase::Auth, &line, &reply).await?;
                }
                "MAIL" => {
                    self.answer(&mut s, Phase::Mail, &line, "250 ok").await?;
                }
                "RCPT" => {
                    if self.answer(&mut s, Phase::Rcpt, &line, "250 ok").await? {
                        to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                    }
                }
                "DATA" => {
                    if self.answer(&mut s, Phase::Data, &to, "354 go on").await? {
                        self.take_message(&mut s, &to, options).await?;
                    }
                }
                "QUIT" => {
                    let _ = s.write_all(b"221 bye\r\n").await;
                    return None;
                }
                _ => {
                    s.write_all(b"250 ok\r\n").await.ok()?;
                    s.flush().await.ok()?;
                }
            }
        }
    }

    async fn take_message<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        s: &mut BufReader<S>,
        to: &str,
        options: &Options,
    ) -> Option<()> {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            if s.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if line == ".\r\n" {
                break;
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            if line == "\r\n" {
                match self.next_fault(Phase::Middle, &text) {
                    Some(Fault::Silent) => std::future::pending().await,
                    Some(_) => return None,
                    None => {}
                }
            }
        }
        tokio::time::sleep(options.slow).await;
        if self.is_taken(&text) {
            self.seen.lock().unwrap().accepted.push(Accepted { to: to.to_owned(), text });
            return None;
        }
        if self.answer(s, Phase::Accept, &text, "250 2.0.0 queued as 4F2A").await? {
            self.seen.lock().unwrap().accepted.push(Accepted { to: to.to_owned(), text });
        }
        Some(())
    }

    /// Whether it is this message's turn to be taken without a word.
    fn is_taken(&self, text: &str) -> bool {
        let mut rules = self.rules.lock().unwrap();
        let mut taken = rules.iter_mut().filter(|rule| matches!(rule.fault, Fault::Taken));
        let rule = taken.find(|rule| rule.times > 0 && text.contains(rule.about));
        rule.map(|rule| rule.times -= 1).is_some()
    }

    /// After STARTTLS there is no greeting.
    fn is_second_dialogue(&self) -> bool {
        self.seen.lock().unwrap().commands.last().is_some_and(|line| line == "STARTTLS")
    }
}

/// Base64 (RFC 4648) of a text.
pub fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * i) & 63).unwrap();
            out.push(if i <= chunk.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    out
}
