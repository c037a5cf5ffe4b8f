//! `stealthctl run-probe` with real commands: what it copies, what it tells the service manager, and with which status
//! it ends. The unit around it is for the booted tests.

// Helpers of tests may, as tests may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What waiting for something in the background would take at least.
const FOREVER: Duration = Duration::from_secs(60);

/// What became of a command.
struct Ran {
    code: Option<i32>,
    /// What was copied.
    out: String,
    /// The status text that the service manager was told.
    status: String,
}

fn run(argv: &[&str]) -> Ran {
    run_json(&serde_json::to_string(argv).unwrap())
}

fn sh(script: &str) -> Ran {
    run(&["sh", "-c", script])
}

fn run_json(json: &str) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    let manager = Manager::in_directory(directory.path());
    let began = Instant::now();
    let output = manager.command(json).output().unwrap();
    assert!(began.elapsed() < FOREVER, "it waited for {:?}", began.elapsed());
    let out = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ran { code: output.status.code(), out, status: manager.status() }
}

/// The part of the service manager.
struct Manager<'d> {
    directory: &'d std::path::Path,
    socket: UnixDatagram,
}

impl<'d> Manager<'d> {
    fn in_directory(directory: &'d std::path::Path) -> Self {
        let socket = UnixDatagram::bind(directory.join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { directory, socket }
    }

    fn command(&self, json: &str) -> Command {
        let file = self.directory.join("argv");
        fs::write(&file, json).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_stealthctl"));
        command
            .arg("run-probe")
            .stdin(File::open(file).unwrap())
            .env("NOTIFY_SOCKET", self.directory.join("notify"));
        command
    }

    /// What was told; it is there when the process has ended.
    fn status(&self) -> String {
        let mut message = [0; 8192];
        let n = self.socket.recv(&mut message).expect("the service manager was told nothing");
        assert!(n <= 4096, "systemd takes no message of {n} bytes");
        let text = String::from_utf8(message[..n].to_vec()).unwrap();
        let text = text.strip_prefix("STATUS=").expect("a status").trim_end_matches('\n').to_owned();
        assert!(self.socket.recv(&mut message).is_err(), "told twice");
        assert!(!text.contains('\\'), "systemd would drop the backslash: {text}");
        stealthcheck::text::from_status(&text)
    }
}

#[test]
fn the_exit_status_and_the_last_line_are_the_commands() {
    let ran = sh("echo one; echo two >&2; echo 'DISK CRITICAL - 3% free'; echo; exit 2");
    assert_eq!((ran.code, ran.status.as_str()), (Some(2), "DISK CRITICAL - 3% free"));
    assert_eq!(ran.out, "one\ntwo\nDISK CRITICAL - 3% free\n\n", "both outputs, in their order");
    let quiet = run(&["true"]);
    assert_eq!((quiet.code, quiet.out.as_str(), quiet.status.as_str()), (Some(0), "", ""));
    assert_eq!(sh("exit 255").code, Some(255));
    assert_eq!(sh("printf 'no end of line'").status, "no end of line");
    assert_eq!(sh("printf '\\033[31mred\\033[0m\\n'").status, "\\u{1b}[31mred\\u{1b}[0m");
}

#[test]
fn arguments_arrive_as_they_are() {
    let ran = run(&["printf", "<%s>\n", "a b", "$HOME", "*", "", "two\nlines", "ü"]);
    assert_eq!(ran.out, "<a b>\n<$HOME>\n<*>\n<>\n<two\nlines>\n<ü>\n");
}

#[test]
fn the_command_has_no_input_and_no_way_to_the_service_manager() {
    let ran = sh("cat; echo \"socket: ${NOTIFY_SOCKET-none}\"");
    assert_eq!(ran.out, "socket: none\n");
}

#[test]
fn a_signal_is_named() {
    let ran = sh("echo half done; kill -KILL $$");
    assert_eq!((ran.code, ran.status.as_str()), (Some(137), "killed by signal 9 (KILL): half done"));
    // One for its whole process group is not for us.
    assert_eq!(sh("kill -TERM 0; sleep 60").code, Some(143));
}

#[test]
fn what_cannot_be_run_is_said_with_a_status_of_systemds() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str, mode: u32| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (program, says) in [
        ("nosuch-check".to_owned(), "nosuch-check is not found in PATH (/"),
        ("/nosuch/check".to_owned(), "/nosuch/check does not exist"),
        (file("plain", "true\n", 0o644), "cannot be executed: Permission denied"),
        (file("no-first-line", "true\n", 0o755), "no script whose first line names one"),
        (file("lost", "#!/nosuch/python\n", 0o755), "the interpreter that its first line names is not there"),
        (directory.path().to_str().unwrap().to_owned(), "cannot be executed: Permission denied"),
    ] {
        let ran = run(&[&program, "--secret=s3cret"]);
        assert_eq!(ran.code, Some(203), "{program}: {}", ran.out);
        assert!(ran.status.contains(says), "{program}: {}", ran.status);
        assert_eq!(ran.out, format!("{}\n", ran.status), "the journal has it too");
        assert!(!ran.out.contains("s3cret"), "{}", ran.out);
    }
    for none in ["", "[]", "no json", "[1]", "{\"argv\": [\"true\"]}"] {
        let ran = run_json(none);
        assert_eq!(ran.code, Some(208), "{none}: {}", ran.out);
        assert!(ran.status.contains("no command line on standard input"), "{none}: {}", ran.status);
    }
}

#[test]
fn what_the_command_leaves_in_the_background_is_not_waited_for() {
    let ran = sh("sleep 1000 & echo $!");
    let left: i32 = ran.status.parse().expect("the number of a process");
    let kill =
        |signal: &str| Command::new("kill").args([signal, &left.to_string()]).status().unwrap().success();
    assert!(kill("-KILL"), "it is systemd's to kill, and lived until here");
    assert_eq!(ran.code, Some(0));
    // Neither is one that goes on writing, and what the command itself has said is not lost for it.
    let ran = sh("sh -c 'echo $$ && exec yes' & sleep 0.2; exec >&-; exit 1");
    let left: i32 = ran.out.lines().find_map(|line| line.parse().ok()).expect("the number of a process");
    assert!(Command::new("kill").args(["-KILL", &left.to_string()]).status().is_ok());
    assert_eq!(ran.code, Some(1));
}

#[test]
fn of_very_much_output_the_beginning_and_the_last_line_are_kept() {
    let ran = sh("head -c 50000000 /dev/zero | tr '\\0' 'x'; echo; yes | head -n 100000; echo 'all is well'");
    assert_eq!((ran.code, ran.status.as_str()), (Some(0), "all is well"));
    assert!(ran.out.len() < 66_000, "{} bytes are copied", ran.out.len());
    assert!(ran.out.starts_with("xxxx") && ran.out.ends_with("its last line)\nall is well\n"));

    let ran = sh("head -c 100000 /dev/zero | tr '\\0' 'x'");
    assert_eq!(ran.status.chars().count(), 500);
    let ran = sh("head -c 100000 /dev/zero");
    let told = ran.status.chars().count();
    assert!((480..=500).contains(&told), "what is written out does not make it longer: {told}");
}

#[test]
fn an_output_that_nobody_takes_does_not_hold_up_the_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let manager = Manager::in_directory(directory.path());
    let json =
        serde_json::to_string(&["sh", "-c", "head -c 1000000 /dev/zero; echo; echo done; exit 3"]).unwrap();
    let mut child = manager.command(&json).stdout(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > FOREVER {
            child.kill().unwrap();
            panic!("it waits for its reader");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(3));
    assert_eq!(manager.status(), "done");
    drop(child.stdout.take());
}
