//! The guest's mail server (Postfix, a real one), and what has arrived there.
//!
//! It is set up by tests/lab/guest-setup: 587 with STARTTLS and 465 with TLS, both with AUTH, and 25 in
//! the clear, all on 127.0.0.1 as `smtp.example.org`, with a certificate the guest trusts. Every recipient
//! is accepted, and all mails end in one Maildir.

use super::{MINUTE, Machine, checkout};

/// The user that may send, also as `alerts@example.org`.
pub const SMTP_USER: &str = "alerts";
/// The user's password.
pub const SMTP_PASSWORD: &str = "lab-password";

/// The `mail:` part of a configuration that sends by this server, with the credential that `smtp()` writes.
pub const MAIL_YAML: &str = r#"mail:
  from: "stealthcheck <alerts@example.org>"
  to: [ops@example.org]
  smtp: { host: smtp.example.org, port: 587, tls: starttls, username: alerts@example.org, password_credential: smtp-password }
"#;

/// Where an administrator puts what `password_credential: smtp-password` names.
const CREDENTIAL: &str = "/etc/stealthcheck/credentials/smtp-password";

/// A mail that the server has accepted and delivered.
#[derive(Debug, Clone)]
pub struct Mail {
    /// When it was delivered, in microseconds since 1970 by the guest's clock, as the journal has it.
    pub arrived: u64,
    /// All headers in their order, unfolded and decoded. The server adds `Delivered-To`, `Return-Path`, `Received`.
    pub headers: Vec<(String, String)>,
    /// The text, decoded.
    pub body: String,
    /// All of it, as it came over the wire.
    pub raw: String,
}

impl Mail {
    /// The first header of this name, in any case of letters; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(each, _)| each.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// The subject.
    pub fn subject(&self) -> &str {
        self.header("Subject")
    }
}

impl Machine {
    /// Starts the mail server, and puts its password where stealthcheck's credentials are looked for.
    /// `systemctl stop postfix` makes it go away, and this brings it back.
    pub fn smtp(&self) {
        self.push(&checkout().join("tests/lab/mailbox.py"), "/usr/local/lib/mailbox.py");
        self.sh_ok(&format!(
            "mkdir -p -m 0700 $(dirname {CREDENTIAL}) && printf %s {SMTP_PASSWORD} >{CREDENTIAL} &&
             chmod 600 {CREDENTIAL} && systemctl start postfix.service"
        ));
        // Its unit is started before its ports are open.
        self.wait_for("the mail server's port", MINUTE, || {
            self.sh("nc -z 127.0.0.1 587 && nc -z 127.0.0.1 465").success().then_some(())
        });
    }

    /// The mails that have arrived since the machine was made, in order of arrival.
    pub fn mailbox(&self) -> Vec<Mail> {
        let json = self.sh_ok("python3 /usr/local/lib/mailbox.py /var/mail/lab/Maildir");
        let mails: serde_json::Value = serde_json::from_str(&json).expect("mailbox.py prints JSON");
        mails.as_array().expect("a list").iter().map(mail).collect()
    }

    /// Waits until so many mails have arrived, at least, and returns all.
    pub fn mails(&self, at_least: usize) -> Vec<Mail> {
        self.wait_for(&format!("{at_least} mails"), MINUTE, || {
            let mails = self.mailbox();
            (mails.len() >= at_least).then_some(mails)
        })
    }
}

fn mail(json: &serde_json::Value) -> Mail {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let headers = json["headers"].as_array().into_iter().flatten();
    Mail {
        arrived: json["arrived"].as_u64().unwrap_or_default(),
        headers: headers.map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        body: text(&json["body"]),
        raw: text(&json["raw"]),
    }
}
