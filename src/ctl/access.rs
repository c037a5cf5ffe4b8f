//! What the daemon reads itself at run time, and whether it can: `validate` and `authorize` run as root, who can read
//! everything.
//!
//! In: a checked configuration. Out: warnings, a sentence each. Each file is opened as the daemon's user, by a thread that
//! has become that user, so that access lists and the directories on the way count too. What the unit's sandbox hides is
//! known by its path. It waits for no file system that hangs.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::account::{self, Account};
use crate::bus::Bus;
use crate::check::Probe;
use crate::config::{Config, NamedCredential, named_credentials};

/// For all files together.
const PATIENCE: Duration = Duration::from_secs(2);
/// What stealthcheck.service does not let the daemon see.
const HIDDEN: [(&str, &str); 5] = [
    ("/home", "ProtectHome="),
    ("/root", "ProtectHome="),
    ("/run/user", "ProtectHome="),
    ("/tmp", "PrivateTmp="),
    ("/var/tmp", "PrivateTmp="),
];
/// The directory that the unit loads as credentials.
const CREDENTIALS: &str = "/etc/stealthcheck/credentials";
/// Where settings of the unit can name other credentials.
const DROP_INS: [&str; 2] =
    ["/etc/systemd/system/stealthcheck.service.d", "/run/systemd/system/stealthcheck.service.d"];

/// What the daemon will not be able to read. Nothing where this process could not tell: it is not root, or there is no
/// daemon's account.
pub(super) fn warnings(config: &Config, bus: Bus) -> Vec<String> {
    let user = match (bus, account::named(account::DAEMON)) {
        (Bus::System, Some(user)) if rustix::process::geteuid().is_root() => user,
        _ => return Vec::new(),
    };
    let mut warnings: Vec<String> = named_credentials(config).iter().filter_map(missing).collect();
    warnings.extend(unloadable(Path::new(CREDENTIALS)));
    let files: Vec<(String, String)> = files(config);
    let results = open_all(&user, files.iter().map(|(_, path)| path.clone()).collect());
    for (n, (key, path)) in files.iter().enumerate() {
        let hidden = HIDDEN.iter().find(|(directory, _)| Path::new(path).starts_with(directory));
        let why = match (hidden, results.get(n)) {
            (Some((directory, setting)), _) => format!("{setting} of stealthcheck.service hides {directory}"),
            (None, Some(Ok(()))) => continue,
            (None, Some(Err(why))) => why.clone(),
            (None, None) => "the file system does not answer".to_owned(),
        };
        warnings.push(format!(
            "{key}: {path} cannot be read by the user {}, as which the daemon runs ({why}): the state will be unknown",
            user.name
        ));
    }
    warnings
}

/// The files that probes read, each with its key.
fn files(config: &Config) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for check in &config.checks {
        if let Probe::Tls(tls) = &check.probe {
            for (key, file) in [("ca_file", &tls.ca_file), ("file", &tls.file)] {
                if let Some(file) = file {
                    files.push((
                        format!("checks.{}.tls.{key}", check.name),
                        file.to_string_lossy().into_owned(),
                    ));
                }
            }
        }
    }
    files
}

/// Whether each can be opened by `user`, as far as that is known in time.
fn open_all(user: &Account, paths: Vec<String>) -> Vec<Result<(), String>> {
    let (result, results) = mpsc::channel();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    thread::spawn(move || {
        // (Of this thread alone.)
        let becomes = set_thread_groups(&[gid])
            .and_then(|()| set_thread_res_gid(gid, gid, gid))
            .and_then(|()| set_thread_res_uid(uid, uid, uid));
        if becomes.is_err() {
            // Without the privilege nothing is known: no warnings.
            paths.iter().for_each(|_| drop(result.send(Ok(()))));
            return;
        }
        for path in paths {
            // Not blocking: a FIFO would wait for its writer.
            let opened =
                rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
            let _ = result.send(opened.map(drop).map_err(|error| std::io::Error::from(error).to_string()));
        }
    });
    let end = std::time::Instant::now() + PATIENCE;
    let next = || results.recv_timeout(end.saturating_duration_since(std::time::Instant::now())).ok();
    std::iter::from_fn(next).collect()
}

/// What is in the directory of credentials with which systemd does not start the service (`credential_name_valid` and
/// CREDENTIALS_TOTAL_SIZE_MAX in systemd's src/shared/creds-util.h; `load_cred_recurse_dir_cb` of its src/core/execute.c).
fn unloadable(directory: &Path) -> Vec<String> {
    /// Of a credential's whole name, which begins with that of the directory's: `stealthcheck_`.
    const LONGEST_NAME: usize = 255 - "stealthcheck_".len();
    const MOST_BYTES: u64 = 1024 * 1024;
    const THEN: &str = "systemd will not start stealthcheck again, nor reload it";
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut sentences = Vec::new();
    let mut bytes = 0;
    for entry in entries.filter_map(Result::ok) {
        let Some(length) = entry.metadata().ok().filter(std::fs::Metadata::is_file).map(|file| file.len())
        else {
            continue;
        };
        bytes += length;
        let name = entry.file_name();
        let sound = name.to_str().is_some_and(|name| {
            name.len() <= LONGEST_NAME
                && name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b':')
        });
        if !sound {
            sentences.push(format!(
                "{}: {THEN}: no name of a credential has a colon, a character outside ASCII or more than {LONGEST_NAME} \
                 characters. Rename the file, or move it away",
                entry.path().display()
            ));
        }
    }
    if bytes > MOST_BYTES {
        sentences.push(format!("{}: {THEN}: its files have more than 1 MB together", directory.display()));
    }
    sentences
}

/// systemd reads credentials as root; what can be missing is the file.
fn missing(NamedCredential { name, key, check, .. }: &NamedCredential<'_>) -> Option<String> {
    let then = if check.is_some() { "the state will be unknown" } else { "no mail will be sent" };
    let named = DROP_INS.iter().any(|directory| {
        let Ok(files) = std::fs::read_dir(directory) else { return false };
        let texts = files.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
        texts
            .into_iter()
            .any(|text| text.lines().any(|line| line.contains("Credential") && line.contains(name.as_str())))
    });
    (!named && !Path::new(CREDENTIALS).join(name.as_str()).exists()).then(|| {
        format!(
            "{key}: there is no file {CREDENTIALS}/{name}, and no drop-in of stealthcheck.service names that credential: \
             {then}"
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn credentials_that_systemd_does_not_load_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: usize| {
            std::fs::write(directory.path().join(name), vec![b'x'; bytes]).unwrap()
        };
        write("smtp-password", 20);
        write(&"n".repeat(242), 20);
        std::fs::create_dir(directory.path().join("a:directory")).unwrap();
        assert_eq!(unloadable(directory.path()), Vec::<String>::new());
        assert_eq!(unloadable(Path::new("/nonexistent")), Vec::<String>::new());
        for name in ["pässwort", "a:b", &"n".repeat(243)] {
            write(name, 20);
            let found = unloadable(directory.path());
            assert!(found.len() == 1 && found[0].contains(name) && found[0].contains("Rename"), "{found:?}");
            std::fs::remove_file(directory.path().join(name)).unwrap();
        }
        write("a", 600_000);
        write("b", 600_000);
        assert!(unloadable(directory.path())[0].contains("more than 1 MB together"));
    }
}
