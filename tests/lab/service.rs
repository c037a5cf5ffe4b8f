//! Services in the guest, for stealthcheck to guard.

use super::{MINUTE, Machine, checkout};

impl Machine {
    /// Writes a unit file (`web.service`, `ports.target`, ...) and tells systemd; neither starts nor enables it.
    pub fn service(&self, name: &str, unit_text: &str) {
        self.write(&format!("/etc/systemd/system/{name}"), unit_text);
        self.sh_ok("systemctl daemon-reload");
    }

    /// A property of a unit as `systemctl show` has it: `ActiveState`, `InvocationID`, `NRestarts`, ...
    pub fn unit(&self, name: &str, property: &str) -> String {
        // A systemd that re-executes itself, or a bus that is restarted, answers nobody in that moment.
        self.wait_for(&format!("{property} of {name}"), MINUTE, || {
            let shown = self.sh(&format!("systemctl show -P {property} {name}"));
            shown.success().then(|| shown.stdout.trim_end_matches('\n').to_owned())
        })
    }

    /// Makes and starts NAME.service: a web server on 127.0.0.1:PORT that fails on command. It serves when
    /// this returns. Nothing restarts it but who guards it.
    pub fn victim(&self, name: &str, port: u16) -> Victim<'_> {
        self.victim_with(name, port, "")
    }

    /// The same with more lines for its unit's `[Service]` section, such as `Restart=always`.
    pub fn victim_with(&self, name: &str, port: u16, more: &str) -> Victim<'_> {
        self.push(&checkout().join("tests/lab/victim.py"), "/usr/local/lib/victim.py");
        self.service(
            &format!("{name}.service"),
            &format!(
                "[Unit]\nDescription=A web server that fails on command\n\n\
                 [Service]\nType=notify\nTimeoutStopSec=5\n\
                 ExecStart=/usr/bin/python3 /usr/local/lib/victim.py {port} /run/victim/{name}\n{more}\n\
                 [Install]\nWantedBy=multi-user.target\n"
            ),
        );
        self.sh_ok(&format!("systemctl start {name}.service"));
        Victim { machine: self, name: name.to_owned(), port }
    }
}

/// A web server in the guest that fails on command; its faults are listed in tests/lab/victim.py.
pub struct Victim<'a> {
    machine: &'a Machine,
    name: String,
    port: u16,
}

impl<'a> Victim<'a> {
    /// One that was made before, by name.
    pub fn of(machine: &'a Machine, name: &str, port: u16) -> Self {
        Self { machine, name: name.to_owned(), port }
    }

    /// Gives it a fault: `500`, `hang`, `close-port`, `fail-start`, ...: one that a restart does not heal,
    /// or with `-once` at its end one that a restart heals. Running, it has it within some 20 ms.
    pub fn fault(&self, fault: &str) {
        self.fault_with(fault, "");
    }

    /// The same for a fault that takes a value: the status of `500`, the seconds of `slow`, the `body`.
    pub fn fault_with(&self, fault: &str, value: &str) {
        // By rename: the server must not see the file before the value is in it.
        let file = format!("/run/victim/{}/{fault}", self.name);
        self.machine.write(&format!("{file}.new"), value);
        self.machine.sh_ok(&format!("mv {file}.new {file}"));
    }

    /// Takes all faults away, but for those `-once` that it has already got.
    pub fn heal(&self) {
        self.machine.sh_ok(&format!("rm -f /run/victim/{}/*", self.name));
    }

    /// The status it answers `GET /` with; 0 where it does not within a second.
    pub fn status(&self) -> u16 {
        let url = format!("http://127.0.0.1:{}/", self.port);
        let output =
            self.machine.run(&["curl", "-s", "-o", "/dev/null", "-m", "1", "-w", "%{http_code}", &url]);
        output.stdout.parse().unwrap_or(0)
    }

    /// Its process's number in the guest; 0 where there is none.
    pub fn pid(&self) -> u32 {
        self.machine.unit(&self.unit(), "MainPID").parse().unwrap_or(0)
    }

    /// Sends its process a signal, past systemd, as `kill` and `killall` do: `STOP` hangs it, `KILL`, `TERM`.
    pub fn signal(&self, signal: &str) {
        self.machine.sh_ok(&format!("kill -{signal} {}", self.pid()));
    }

    /// Its unit's name.
    pub fn unit(&self) -> String {
        format!("{}.service", self.name)
    }
}
