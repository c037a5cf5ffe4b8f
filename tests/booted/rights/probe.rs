//! What a command of a check may do to the machine: look, and nothing else.

use super::*;
use crate::guarding::assert_has;

/// Tries everything, and says for each what came of it. `can` lines are what the test compares.
const SPY: &str = r#"#!/usr/bin/python3 -u
import ctypes, os, signal, socket, subprocess, sys

DAEMON, OTHER, ROOTS = (int(argument) for argument in sys.argv[1:4])
libc = ctypes.CDLL(None, use_errno=True)

def attempt(name, action):
    try:
        done = action()
    except Exception as error:
        print(f"cannot: {name} ({error})")
        return
    print(f"can: {name}" if done is not False else f"cannot: {name}")

def run(command):
    ran = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if ran.returncode != 0:
        raise OSError(ran.stdout.decode(errors="replace").strip().replace("\n", " | ")[-120:])

def syscall(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))

# To write the machine's files.
for directory in ["/", "/bin", "/boot", "/dev", "/etc", "/etc/systemd/system", "/home/somebody", "/opt", "/root", "/run", "/srv",
                  "/usr/bin", "/usr/local/bin", "/var", "/var/lib", "/var/log", "/var/log/journal", "/var/lib/stealthcheck",
                  "/run/systemd/system", "/run/stealthcheck.probes", "/sys/fs/cgroup", "/proc/sys/kernel", "/mnt/open"]:
    attempt(f"write {directory}", lambda: open(f"{directory}/spy", "w").close())
attempt("write a file of everybody's", lambda: open("/srv/everybody", "a").write("x"))
attempt("write a kernel setting", lambda: open("/proc/sys/kernel/hostname", "w").write("spied"))
attempt("write its own cgroup", lambda: open("/sys/fs/cgroup" + open("/proc/self/cgroup").read().split("::")[-1].strip() + "/cgroup.procs", "w").write("1"))

# To read what is not everybody's.
for path in ["/etc/shadow", "/etc/stealthcheck/credentials/smtp-password", "/var/lib/stealthcheck/state.json", "/var/lib/stealthcheck.configuration", "/root/secret",
             "/run/credentials/stealthcheck.service/stealthcheck_smtp-password", "/run/stealthcheck.probes/spy", "/dev/mem", "/dev/kmsg"]:
    attempt(f"read {path}", lambda: open(path, "rb").read(1))
attempt("read the journal", lambda: run("journalctl -q -n 1 -u stealthcheck.service | grep ."))
for who, process in [("the daemon", DAEMON), ("another command", OTHER), ("a process of root", ROOTS), ("pid 1", 1)]:
    for file in ["environ", "mem", "maps", "fd/0", "root/etc/passwd", "cwd/etc/passwd"]:
        attempt(f"read {file} of {who}", lambda: open(f"/proc/{process}/{file}", "rb").read(1))
    if who != "another command":
        for signo in [0, signal.SIGTERM, signal.SIGSTOP, signal.SIGHUP]:
            attempt(f"send signal {int(signo)} to {who}", lambda: os.kill(process, signo))
    attempt(f"trace {who}", lambda: syscall(101, 16, process, 0, 0))
    if who != "another command":
        attempt(f"set a limit of {who}", lambda: syscall(302, process, 7, ctypes.byref((ctypes.c_ulong * 2)(9, 9)), None))

# To become somebody.
attempt("setuid", lambda: os.setuid(0))
attempt("setgroups", lambda: os.setgroups([0]))
attempt("make a setuid program", lambda: run("cp /bin/sh /tmp/sh && chmod 4755 /tmp/sh && test -u /tmp/sh"))
attempt("su", lambda: run("su root -c true"))
attempt("gain by a setuid program", lambda: run("/usr/local/bin/rootid | grep -x 0"))
attempt("a user namespace", lambda: run("unshare -Ur true"))
attempt("a mount", lambda: run("mount -t tmpfs none /mnt"))
attempt("a device", lambda: os.mknod("/tmp/null", 0o20666, os.makedev(1, 3)))
attempt("a root directory", lambda: os.chroot("/tmp"))
attempt("another's namespaces", lambda: run("nsenter -t 1 -m true"))
attempt("real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
attempt("the clock", lambda: run("date -s 2020-01-01"))
attempt("the host's name", lambda: socket.sethostname("spied"))
attempt("a packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("a raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("a port of root", lambda: socket.socket().bind(("127.0.0.1", 81)))
attempt("bpf", lambda: syscall(321, 0, 0, 0))
attempt("kernel modules", lambda: syscall(313, 0, b"", 0))
attempt("reboot", lambda: syscall(169, 0xfee1dead, 672274793, 0x1234567, 0))
attempt("swap", lambda: syscall(168, b"/dev/null"))
attempt("personality", lambda: syscall(135, 0x0040000))

# To have others do it. (On this machine, which has no libnss-systemd, the bus does not even let a dynamic user in; what it
# lets a user do who has no rights is shown in users.rs.)
for command in ["systemctl restart web.service", "systemctl stop stealthcheck.service", "systemctl daemon-reload",
                "systemctl start stealthcheck-probe@other.service", "systemd-run true", "systemd-run --user true",
                "stealthctl pause web", "stealthctl check web", "stealthctl reload", "stealthctl test-mail", "stealthctl hold web -- true",
                "stealthctl authorize", "loginctl enable-linger", "hostnamectl set-hostname spied", "busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus RequestName su io.iobio.Stealthcheck1 0 | grep 'u 1'"]:
    attempt(f"run: {command}", lambda: run(command))

# To look.
for command in ["test -r /etc/passwd", "pgrep -f victim.py", "df /home", "grep MemTotal /proc/meminfo", "curl -s http://127.0.0.1:9001/", "ls /home/somebody", "cat /home/somebody/open",
                "touch /tmp/own /var/tmp/own", "bash -c 'echo < /dev/tcp/127.0.0.1/9001'", "getent passwd somebody"]:
    attempt(f"look: {command}", lambda: run(command))
print("done")
"#;

/// Runs it, and returns what it found.
fn spied(machine: &Machine) -> String {
    machine.sh("stealthctl check spy");
    machine.wait_for("the end of the spy", crate::lab::MINUTE, || {
        let run = machine.unit("stealthcheck-probe@spy.service", "InvocationID");
        let found = machine
            .sh_ok(&format!("journalctl --sync; journalctl --no-pager -o cat _SYSTEMD_INVOCATION_ID={run}"));
        found.ends_with("\ndone").then_some(found)
    })
}

/// What it could do, besides looking.
fn beyond_looking(found: &str) -> Vec<&str> {
    found.lines().filter(|line| line.starts_with("can: ") && !line.starts_with("can: look: ")).collect()
}

#[test]
fn a_command_can_look_at_the_machine_and_do_nothing_to_it() {
    let machine = Machine::boot("rights-probe");
    machine.victim("web", 9001);
    machine.smtp();
    machine.install_deb();
    machine.write("/usr/local/bin/spy", SPY);
    machine.sh_ok(
        "chmod 755 /usr/local/bin/spy; useradd -m somebody; echo open >/home/somebody/open; chmod 755 /home/somebody
         install -m 666 /dev/null /srv/everybody; install -d -m 1777 /mnt/open; echo s >/root/secret; chmod 600 /root/secret
         cp /usr/bin/id /usr/local/bin/rootid; printf '#include <unistd.h>\\n' >/dev/null; chmod 4755 /usr/local/bin/rootid",
    );
    let root =
        machine.sh_ok("systemd-run -q --unit=roots sleep infinity; systemctl show -P MainPID roots.service");
    let configure = |daemon: &str, other: &str| {
        machine.configure(&format!(
            "{}checks:\n{}  other: {{ command: [sleep, '600'], interval: 1h, timeout: 50m }}\n  \
             spy: {{ command: [spy, '{daemon}', '{other}', '{root}'], interval: 1h, timeout: 5m, failure_threshold: 100 }}\n",
            crate::lab::MAIL_YAML,
            check("web", "web.service", 9001, "")
        ));
    };
    configure("0", "0");
    machine.start_stealthcheck();
    machine.sh_ok("systemd-run -q --collect stealthctl check other");
    let process = |unit: &str| {
        machine.wait_for(&format!("the process of {unit}"), crate::lab::MINUTE, || {
            Some(machine.unit(unit, "MainPID")).filter(|pid| pid != "0")
        })
    };
    let (daemon, other) = (process("stealthcheck.service"), process("stealthcheck-probe@other.service"));
    let running = || {
        machine.sh_ok(
            "systemctl show -P InvocationID -P MainPID web.service stealthcheck.service roots.service; hostname; \
             cat /srv/everybody; ls /mnt/open; ls /tmp /var/tmp | grep -v ^systemd-private",
        )
    };
    let before = running();
    configure(&daemon, &other);
    machine.sh_ok("systemctl reload stealthcheck");
    let found = spied(&machine);
    println!("{found}");
    let looks = found.lines().filter(|line| line.starts_with("can: look: ")).count();
    assert_eq!(looks, 10, "{found}");
    assert_eq!(beyond_looking(&found), Vec::<&str>::new(), "{found}");
    assert!(found.lines().count() > 110, "{found}");
    // And nothing has come of what it could not be told of.
    assert_eq!(running(), before);
    assert_eq!(machine.unit("stealthcheck.service", "MainPID"), daemon);

    // The machine's own opinion.
    let text = machine.sh_ok("systemd-analyze security --no-pager stealthcheck-probe@spy.service");
    let number = text.lines().last().unwrap().split_whitespace().find_map(|word| word.parse::<f64>().ok());
    println!("systemd-analyze security stealthcheck-probe@: {number:?}");
    assert!(number.is_some_and(|number| number <= 1.7), "{text}");
    // What an administrator loosens is loose, for this one, and as far as it was loosened.
    machine
        .service("stealthcheck-probe@spy.service.d/loose.conf", "[Service]\nReadWritePaths=/srv/everybody\n");
    let found = spied(&machine);
    assert_eq!(beyond_looking(&found), ["can: write a file of everybody's"], "{found}");
    assert_has(&machine.sh_ok("cat /srv/everybody"), &["x"]);
}
