//! REPORT.txt: what a person must look at, how to install what is written, and what was made of each line. And the few
//! lines of it that go to the terminal.
//!
//! In: what is planned. Out: text. The old lines stand in it as they were, but for one in which a secret was found; the
//! mail password never does.

use super::plan::Draft;
use crate::ctl::reload::plural;
use crate::ctl::text::wrap;
use crate::text::visible;

/// The whole report.
pub(super) fn text(draft: &Draft<'_>) -> String {
    let numbered = (1..).zip(&draft.look);
    let look: String = numbered
        .map(|(number, sentence)| format!("{number:>3}. {}\n", wrap(sentence, 95).join("\n     ")))
        .collect();
    format!(
        "What `stealthctl import` made of {}\n\nNothing is installed or started yet. Read this, then follow INSTALL.\n\
         What became of each line is in stealthcheck.yaml, below the old lines. What else is different now: \
         stealthcheck-import(7).\n\nLOOK AT\n-------\n{look}\nINSTALL\n-------\n{}",
        visible(draft.around.old),
        install(draft)
    )
}

/// What a person must look at in the settings of the mail: sentences.
pub(super) fn look_at_mail(draft: &Draft<'_>) -> Vec<String> {
    let Some(smtp) = draft.smtp() else {
        return vec!["mail: the old files have no server or no address, so nobody is notified.".to_owned()];
    };
    let no_list = draft.config.alert_emails.is_empty();
    let is_local = matches!(smtp.server.as_str(), "localhost" | "127.0.0.1" | "::1");
    let no_password = smtp.username.is_empty() || smtp.password.is_empty();
    let all = [
        (no_list, "`to` has all addresses; checks without any notify nobody, as before"),
        (smtp.port == 465, "port 465 is `tls: implicit`, which the old tool could not do"),
        (is_local, "STARTTLS is required now; where the server does not offer it, write `tls: none`"),
        (no_password, "there is no username, or no password"),
    ];
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, clause)| format!("mail: {clause}.")).collect()
}

/// The steps of the installation, with their commands.
fn install(draft: &Draft<'_>) -> String {
    let (sudo, user, etc, units, owner) = match draft.around.run_as {
        Some(_) => {
            ("sudo ", "", "/etc/stealthcheck", "/etc/systemd/system", "-o root -g stealthcheck -m 0640")
        }
        None => ("", " --user", "~/.config/stealthcheck", "~/.config/systemd/user", "-m 0600"),
    };
    let line = |command: String| format!("       {command}\n");
    let files = draft.files.iter().map(|file| match file.path.strip_prefix("units/") {
        Some(unit) => format!("{sudo}install -D -m 0644 {} {units}/{unit}", file.path),
        None => format!("{sudo}install -m 0600 {} {etc}/credentials/", file.path),
    });
    let files: String = files.map(line).collect();
    let enable = draft.enabled.iter().map(|unit| format!("{sudo}systemctl{user} enable --now {unit}"));
    let enable: String = enable.map(line).collect();
    let linger = r#"loginctl enable-linger "$(id -un)""#;
    let linger = if user.is_empty() { String::new() } else { line(linger.to_owned()) };
    let mail = draft.smtp().map_or_else(String::new, |_| line(format!("{sudo}stealthctl{user} test-mail")));
    let out = quoted(draft.around.out);
    format!(
        "1. Stop the old tool, all instances of it, and whatever starts it (crontab, rc.local, tmux):\n       \
         pgrep -af 'stealthcheck.*-(port|dir)'\n\n\
         2. Install (the second command takes the place of the configuration that is there):\n       \
         cd {out}\n       \
         {sudo}install -D {owner} stealthcheck.yaml {etc}/stealthcheck.yaml\n       \
         {sudo}install -d -m 0700 {etc}/credentials\n\
         {files}       \
         {sudo}systemctl{user} daemon-reload\n       \
         {sudo}stealthctl{user} validate\n\n\
         3. Of each of these services, if there are any, end the process that the old tool has left running, for a\n   \
         second one would find its port taken; then have systemd run it:\n\
         {enable}\n\
         4. Start, and look:\n\
         {linger}       \
         {sudo}systemctl{user} enable stealthcheck\n       \
         {sudo}systemctl{user} restart stealthcheck\n\
         {mail}       \
         stealthctl{user} status\n\n\
         5. Keep this report. Secrets are still in the old files, and the mail password in this directory:\n       \
         rm -rf {out}/credentials\n"
    )
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// What is said on the terminal.
pub(super) fn summary(draft: &Draft<'_>) -> String {
    let out = visible(draft.around.out);
    let (checks, look) = (plural(draft.checks.len(), "check"), plural(draft.look.len(), "thing"));
    format!("{checks} in {out}; {look} to look at. Read {out}/REPORT.txt: it says how to install them.\n")
}
