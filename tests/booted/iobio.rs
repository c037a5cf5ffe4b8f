//! The fleet: each of its systems guarded by the samples in `units/` and `config/iobio/`, as they say themselves, with
//! what usually befalls it. Its programs are played by the scripts in `tests/booted/iobio/`.

mod fibridge;
mod fleet;
mod gru;
mod services;

use crate::lab::{MAIL_YAML, Machine, checkout};

impl Machine {
    /// Puts a stand-in at the place of the program that it plays.
    fn stand_in(&self, script: &str, program: &str) {
        self.push(&checkout().join("tests/booted/iobio").join(script), program);
        self.sh_ok(&format!("chmod 755 {program}"));
    }

    /// Installs sample units.
    fn sample_units(&self, units: &[&str]) {
        for unit in units {
            self.push(&checkout().join("units").join(unit), "/etc/systemd/system/");
        }
        self.sh_ok("systemctl daemon-reload");
    }

    /// Guards by a sample configuration, with the times in it shortened: pairs of what stands there and what shall.
    fn guard_by(&self, sample: &str, shortened: &[(&str, &str)]) {
        let mut yaml = std::fs::read_to_string(checkout().join("config/iobio").join(sample)).unwrap();
        for (from, to) in shortened {
            assert!(yaml.contains(from), "{sample} has no \"{from}\"");
            yaml = yaml.replace(from, to);
        }
        self.write(&format!("/etc/stealthcheck/conf.d/{sample}"), &yaml);
        // What the samples leave to the defaults, quicker than a person wants it; but three failures take longer than
        // systemd's own restart (RestartSec=1).
        self.configure(&format!(
            "{MAIL_YAML}defaults: {{ timeout: 900ms, retry_interval: 700ms, grace: 5s }}\n"
        ));
        self.sh_ok("stealthctl validate");
        self.start_stealthcheck();
    }
}
