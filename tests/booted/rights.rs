//! Who may do what: the daemon to systemd, everybody to the daemon, a command to the machine, files to root; what is
//! secret, and what text from outside may do to whoever reads it.

mod daemon;
mod files;
mod flood;
mod hostile;
mod probe;
mod secrets;
mod users;

use std::time::{Duration, Instant};

use crate::lab::{Machine, Output};

/// Refused by rule, not after a prompt's or a service's deadline.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Calls a method of systemd's manager as the daemon's user does.
fn daemon_asks(machine: &Machine, method_and_arguments: &str) -> Output {
    const SYSTEMD: &str =
        "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager";
    call_as(machine, "stealthcheck", SYSTEMD, method_and_arguments)
}

/// Calls a method of the daemon as `user` does.
fn user_asks(machine: &Machine, user: &str, interface: &str, method_and_arguments: &str) -> Output {
    let object = format!("io.iobio.Stealthcheck1 /io/iobio/Stealthcheck1 {interface}");
    call_as(machine, user, &object, method_and_arguments)
}

fn call_as(machine: &Machine, user: &str, object: &str, method_and_arguments: &str) -> Output {
    let words = object.split(' ').chain(method_and_arguments.split(' '));
    machine.run(&["runuser", "-u", user, "--", "busctl", "call"].into_iter().chain(words).collect::<Vec<_>>())
}

const OURS: &str = "io.iobio.Stealthcheck1.Manager";

fn allowed(output: &Output) {
    assert!(output.success(), "{output}");
}

fn refused(what: &str, call: impl FnOnce() -> Output) {
    let start = Instant::now();
    let output = call();
    let denied = ["Access denied", "Permission denied", "Interactive authentication required"];
    assert!(
        !output.success() && denied.iter().any(|word| output.stderr.contains(word)),
        "{what} is not refused: {output}"
    );
    assert!(start.elapsed() < AT_ONCE, "{what} was refused after {:?}", start.elapsed());
}

/// A check on `unit` that only its port's owner can make fail.
fn check(name: &str, unit: &str, port: u16, more: &str) -> String {
    format!(
        "  {name}: {{ unit: {unit}, http: {{ url: \"http://127.0.0.1:{port}/\" }}, interval: 500ms, timeout: 200ms, \
         retry_interval: 100ms, grace: 1s, backoff: {{ initial: 1s, max: 2s }}{more} }}\n"
    )
}
