//! Speaks SMTP with the mail server: one connection, one recipient at a time.
//!
//! In: the settings, a message, a recipient. Out: the server's words, or a [`Refusal`] that says whose fault it was and
//! so what may be tried next. Every wait has an end. The password is read from the service's credentials when a
//! connection is made, is forgotten with it, and stands in no error. It keeps no queue and never decides to try again.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials as LoginData, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters};
use lettre::transport::smtp::commands::{Auth, Data, Mail, Quit, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::{Response, Severity};

use super::limited_stream::LimitedStream;
use super::text;
use crate::config::{Credentials, Smtp, SmtpTls};

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For one of the server's addresses to take the connection.
    pub connect: Duration,
    /// For each answer.
    pub answer: Duration,
    /// For the answer to a whole message: servers look at it first, and one that is given up on here may have accepted
    /// it, which makes a duplicate (RFC 5321, section 4.5.3.2.6).
    pub accept: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            accept: Duration::from_secs(120),
        }
    }
}

/// Why a message was not accepted for a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The server as a whole is not to be had; the connection is gone.
    Server(String),
    /// The connection was lost over this very message.
    Lost(String),
    /// Not this message to this recipient, now; the connection is still good.
    Later(String),
    /// Not this very message, now: others may fare better, or a shorter one. The connection is still good.
    Message(String),
    /// Never this very message: another about the same may fare better. The connection is still good.
    Content(String),
    /// This recipient will never get mail through this server; the connection is still good.
    Never(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server(why) | Self::Lost(why) | Self::Later(why) => why,
            Self::Message(why) | Self::Content(why) | Self::Never(why) => why,
        })
    }
}

/// Makes connections.
#[derive(Clone, Debug)]
pub struct SmtpConnector {
    /// The name that is said in EHLO.
    pub host: String,
    /// Where the password is.
    pub credentials: Credentials,
    /// How long to wait.
    pub patience: Patience,
}

/// A connection that is ready for messages.
pub struct Session {
    connection: AsyncSmtpConnection,
    patience: Patience,
}

impl SmtpConnector {
    /// Connects, makes the connection safe, and logs in, as the settings say.
    ///
    /// # Errors
    /// A sentence with the server's name and everything that is known about the reason.
    pub async fn connect(&self, smtp: &Smtp) -> Result<Session, String> {
        let server = format!("{}:{}", smtp.host, smtp.port);
        let login = self.login(smtp)?;
        let result = self.connect_and_log_in(smtp, login.as_ref()).await;
        result.map_err(|why| {
            let why = format!("mail server {server}: {why}");
            let why = login.map_or(why.clone(), |login| login.hide(&why));
            text::line(&why, text::LINE_MAX)
        })
    }

    async fn connect_and_log_in(&self, smtp: &Smtp, login: Option<&Login>) -> Result<Session, String> {
        let hello = ClientId::Domain(text::domain(&self.host));
        let Patience { connect, answer, .. } = self.patience;
        let stream =
            within(answer, "connecting", LimitedStream::connect(&smtp.host, smtp.port, connect)).await?;
        let stream: Box<dyn AsyncTokioStream> = match smtp.tls {
            SmtpTls::None | SmtpTls::Starttls => Box::new(stream),
            SmtpTls::Implicit => Box::new(within(answer, "TLS", stream.secure(&smtp.host)).await?),
        };
        let greeting = AsyncSmtpConnection::connect_with_transport(stream, &hello);
        let mut connection = within(answer, "the greeting", greeting).await?;
        if smtp.tls == SmtpTls::Starttls {
            if !connection.can_starttls() {
                return Err("it does not offer STARTTLS, which `tls: starttls` requires".to_owned());
            }
            let tls = tls_parameters(smtp.host.clone()).await?;
            within(answer, "STARTTLS", connection.starttls(tls, &hello)).await?;
        }
        if let Some(login) = login {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            if connection.server_info().get_auth_mechanism(&mechanisms).is_none() {
                return Err("it offers no login by PLAIN or LOGIN on this connection".to_owned());
            }
            within(answer, "the login", connection.auth(&mechanisms, &login.credentials))
                .await
                .map_err(|why| login.failed(&why))?;
        }
        Ok(Session { connection, patience: self.patience })
    }

    /// The user's name and password, read anew for each connection: a credential may be replaced.
    fn login(&self, smtp: &Smtp) -> Result<Option<Login>, String> {
        let Some(username) = &smtp.username else { return Ok(None) };
        let Some(name) = &smtp.password_credential else {
            return Err("mail.smtp.username is set, but no password_credential".to_owned());
        };
        let password = self.credentials.read(name).map_err(|why| format!("no SMTP password: {why}"))?;
        Ok(Some(Login::new(username.clone(), password)))
    }
}

impl Session {
    /// Hands over `message` from `from` to the one recipient `to`, and gives the server's words.
    ///
    /// # Errors
    /// A [`Refusal`]; after [`Refusal::Server`] and [`Refusal::Lost`] the session must not be used again.
    pub async fn send(&mut self, from: &Address, to: &str, message: &[u8]) -> Result<String, Refusal> {
        let Ok(mailbox) = to.parse::<lettre::message::Mailbox>() else {
            return Err(Refusal::Never("this is no mail address".to_owned()));
        };
        let recipient = mailbox.email;
        let mut parameters = Vec::new();
        let is_ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
        if !is_ascii(from) || !is_ascii(&recipient) || !message.is_ascii() {
            if !self.connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(Refusal::Later("the address needs SMTPUTF8, which the server lacks".to_owned()));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        self.step("MAIL", Mail::new(Some(from.clone()), parameters)).await.map_err(Step::of_the_server)?;
        if let Err(step) = self.step("RCPT", Rcpt::new(recipient, Vec::new())).await {
            let refusal = step.of_the_recipient();
            self.reset().await;
            return Err(refusal);
        }
        if let Err(step) = self.step("DATA", Data).await {
            let refusal = step.of_the_message();
            self.reset().await;
            return Err(refusal);
        }
        let accepting = self.connection.message(message);
        match tokio::time::timeout(self.patience.accept, accepting).await {
            Ok(Ok(response)) => Ok(words(&response)),
            Ok(Err(error)) => Err(Step::new("the message", &error).of_the_message()),
            Err(_) => Err(Refusal::Lost(no_answer("the message", self.patience.accept))),
        }
    }

    /// Takes leave. Whether the server hears it does not matter.
    pub async fn quit(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.connection.command(Quit)).await;
    }

    async fn step(&mut self, name: &'static str, command: impl fmt::Display) -> Result<Response, Step> {
        match tokio::time::timeout(self.patience.answer, self.connection.command(command)).await {
            Ok(answer) => answer.map_err(|e| Step::new(name, &e)),
            Err(_) => Err(Step { code: None, text: no_answer(name, self.patience.answer) }),
        }
    }

    /// Ends a refused transaction. Where that fails the next command will say so.
    async fn reset(&mut self) {
        let _ = tokio::time::timeout(self.patience.answer, self.connection.command(Rset)).await;
    }
}

/// A step of the exchange that failed: the server's code, if it gave one.
struct Step {
    code: Option<u16>,
    text: String,
}

impl Step {
    fn new(name: &str, error: &Error) -> Self {
        Self {
            code: error.status().map(u16::from),
            text: text::line(&format!("{name}: {}", chain(error)), 500),
        }
    }

    /// Refused before a recipient was named.
    fn of_the_server(self) -> Refusal {
        Refusal::Server(self.text)
    }

    /// Refused at RCPT. Only a permanent word about the address itself is final. A server that falls silent over one
    /// address, or hangs up, may have others for whom it does not.
    fn of_the_recipient(self) -> Refusal {
        match self.code {
            None | Some(421) => Refusal::Lost(self.text),
            Some(code @ 500..=599) if is_about_the_address(code, &self.text) => Refusal::Never(self.text),
            Some(_) => Refusal::Later(self.text),
        }
    }

    /// Refused at DATA or after it: perhaps because of what it says, so that others may fare better.
    fn of_the_message(self) -> Refusal {
        match self.code {
            None | Some(421) => Refusal::Lost(self.text),
            Some(500..=599) => Refusal::Content(self.text),
            Some(_) => Refusal::Message(self.text),
        }
    }
}

/// Whether a permanent refusal at RCPT says that the address is no good, so that no later attempt will do better.
/// Servers also refuse there who sends (by relaying rules, by the sender's address, by the name in EHLO), which the
/// settings or time put right: a notification that is dropped for that would be lost. So an enhanced status code (RFC
/// 3463) must name the address (5.1.x of the recipient), or a mailbox that is switched off (5.2.1); a full one (5.2.2,
/// 552) has room again one day. Where there is none, the code must be one about a mailbox (RFC 5321, section 4.2.2),
/// and no word may tell otherwise.
fn is_about_the_address(code: u16, text: &str) -> bool {
    const OTHERWISE: [&str; 16] = [
        "relay", "sender", "helo", "ehlo", "auth", "login", "block", "spam", "reject", "polic", "dnsbl",
        "rbl", "client", "denied", "full", "quota",
    ];
    let enhanced = text.split(|c: char| !(c.is_ascii_digit() || c == '.')).find_map(|word| {
        let mut numbers = word.strip_prefix("5.")?.split('.');
        Some((numbers.next()?.parse::<u16>().ok()?, numbers.next()?.parse::<u16>().ok()?))
    });
    match enhanced {
        Some((1, 1..=3 | 6 | 10) | (2, 1)) => true,
        Some(_) => false,
        None => {
            let text = text.to_ascii_lowercase();
            matches!(code, 550 | 551 | 553) && !OTHERWISE.iter().any(|word| text.contains(word))
        }
    }
}

/// A user's name and password.
struct Login {
    username: String,
    credentials: LoginData,
    secrets: Vec<String>,
}

impl Login {
    fn new(username: String, password: String) -> Self {
        let credentials = LoginData::new(username.clone(), password.clone());
        // A server may repeat what it was sent: the password also in the forms in which it travels.
        let mut secrets = vec![password];
        let challenge = response_334();
        let commands = [
            Auth::new(Mechanism::Plain, credentials.clone(), None),
            Auth::new_from_response(Mechanism::Login, credentials.clone(), &challenge),
        ];
        for command in commands.into_iter().flatten() {
            let sent = command.to_string();
            secrets.extend(sent.split_whitespace().last().map(str::to_owned));
        }
        Self { username, credentials, secrets }
    }

    fn failed(&self, why: &str) -> String {
        // 535: the name or the password is wrong.
        let changed = "; a changed password credential takes effect when stealthcheck is restarted";
        let hint = if why.starts_with("535") { changed } else { "" };
        format!("login as {} failed: {why}{hint}", self.username)
    }

    fn hide(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "(password)"))
    }
}

/// LOGIN's question for the password.
fn response_334() -> Response {
    use lettre::transport::smtp::response::{Category, Code, Detail};
    let code = Code::new(Severity::PositiveIntermediate, Category::Unspecified3, Detail::Four);
    Response::new(code, vec!["UGFzc3dvcmQ6".to_owned()])
}

/// The system's certificates, read when they are needed: neither at start-up nor on the event loop.
async fn tls_parameters(host: String) -> Result<TlsParameters, String> {
    match tokio::task::spawn_blocking(move || TlsParameters::new(host)).await {
        Ok(Ok(parameters)) => Ok(parameters),
        Ok(Err(e)) => Err(format!("TLS cannot be set up: {}", chain(&e))),
        Err(_) => Err("TLS cannot be set up".to_owned()),
    }
}

async fn within<T, E: std::error::Error + 'static>(
    limit: Duration,
    what: &str,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, step).await {
        Ok(result) => result.map_err(|e| match (&e as &dyn std::error::Error).downcast_ref::<Error>() {
            Some(error) => chain(error),
            None => plainly(&e.to_string()),
        }),
        Err(_) => Err(no_answer(what, limit)),
    }
}

fn no_answer(what: &str, limit: Duration) -> String {
    format!("{what}: no answer within {}s", limit.as_secs_f32())
}

/// Everything that lettre knows about an error: the server's code and words, or what failed beneath.
fn chain(error: &Error) -> String {
    use std::error::Error as _;
    let Some(beneath) = error.source() else { return error.to_string() };
    if let Some(inner) = beneath.downcast_ref::<Error>() {
        return chain(inner);
    }
    let beneath = beneath.to_string();
    match error.status() {
        Some(code) => format!("{code} {beneath}"),
        None => plainly(&beneath),
    }
}

/// What failed beneath, in words for who can mend it.
fn plainly(beneath: &str) -> String {
    if beneath == "incomplete response" {
        return "the server closed the connection".to_owned();
    }
    // The parser's own words: where it gave up, and over what.
    if let Some((_, said)) = beneath.strip_prefix("error ").and_then(|rest| rest.split_once(" at: ")) {
        return format!("it does not speak SMTP: {said}");
    }
    // Another authority of the same name shows as a bad signature.
    if beneath.contains("UnknownIssuer") || beneath.contains("BadSignature") {
        return format!("its certificate is not signed by an authority that this machine trusts ({beneath})");
    }
    if beneath.contains("certificate expired") || beneath.contains("Expired") {
        return format!("its certificate has expired ({beneath})");
    }
    beneath.to_owned()
}

/// `250 2.0.0 Ok: queued as 4F2A`.
fn words(response: &Response) -> String {
    let said: Vec<&str> = response.message().collect();
    text::line(&format!("{} {}", response.code(), said.join(" ")), 500)
}
