//! The old tool's two files, of any bytes, imported: what comes of them is a configuration that the daemon takes, units
//! whose every line is one that the importer means, and nothing at all where it is refused.

use std::fs;
use std::path::Path;

use stealthcheck::config;
use stealthcheck::ctl::import::{Plan, PlannedFile, Surroundings, plan};

use super::is_one_line;

/// Between config.json and checks.json.
const SEPARATOR: &str = "\n---\n";

/// What may stand before `=` in a unit file that is written.
const KEYS: &[&str] = &[
    "After",
    "CapabilityBoundingSet",
    "Description",
    "DevicePolicy",
    "DynamicUser",
    "ExecStart",
    "ExitType",
    "KeyringMode",
    "KillMode",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoNewPrivileges",
    "PrivateDevices",
    "PrivateIPC",
    "PrivateTmp",
    "PrivateUsers",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "RemoveIPC",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "SystemCallArchitectures",
    "SystemCallFilter",
    "Type",
    "UMask",
    "User",
    "WantedBy",
    "WorkingDirectory",
];

/// Imports them for a machine and for a user.
pub fn import(directory: &Path, bytes: &[u8]) {
    // The command reads text alone; what is no UTF-8 is refused before.
    let text = String::from_utf8_lossy(bytes);
    let (config, checks) = text.split_once(SEPARATOR).unwrap_or(("{}", &text));
    for run_as in [Some("ubuntu"), None] {
        let around = Surroundings {
            old: "/srv/stealth1",
            out: "/root/new",
            cwd: "/srv/stealth1",
            run_as,
            program_exists: &|program| !program.contains("missing"),
            unit_exists: &|unit| unit.starts_with("nginx"),
        };
        match plan(config, checks, &around) {
            Err(problems) => {
                assert!(!problems.is_empty());
                for problem in &problems {
                    assert!(is_one_line(problem), "{problem:?}");
                    let named = problem.starts_with("config.json:") || problem.starts_with("checks.json:");
                    assert!(named, "it does not say where: {problem}");
                }
            }
            Ok(planned) => {
                loads(directory, &planned);
                planned.files.iter().filter(|file| is_unit(file)).for_each(unit);
                secret(config, checks, &planned);
                let again = plan(config, checks, &around).expect("what was taken once is taken twice");
                let told = |plan: &Plan| format!("{:?}", plan.files);
                assert_eq!(told(&again), told(&planned), "the same files, imported again");
            }
        }
    }
}

fn is_unit(file: &PlannedFile) -> bool {
    file.path.ends_with(".service") || file.path.ends_with(".conf")
}

/// The daemon takes the configuration.
fn loads(directory: &Path, plan: &Plan) {
    let _ = fs::remove_dir_all(directory.join("import"));
    for file in &plan.files {
        let outside =
            file.path.starts_with('/') || file.path.split('/').any(|part| part == ".." || part.is_empty());
        assert!(!outside && is_one_line(&file.path), "{:?}", file.path);
        let path = directory.join("import").join(&file.path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory in memory");
        assert!(!path.exists(), "{} is written twice", file.path);
        fs::write(path, &file.content).expect("a file in memory");
    }
    let loaded = config::load(&directory.join("import/stealthcheck.yaml"));
    if let Err(problems) = loaded {
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("an import that does not load: {said:#?}\n{plan:#?}");
    }
}

/// Nothing stands in a unit file but sections, comments and settings that the importer writes.
fn unit(file: &PlannedFile) {
    for line in file.content.lines() {
        let key = line.split_once('=').map_or("", |(key, _)| key);
        let section = ["[Unit]", "[Service]", "[Install]"].contains(&line);
        let known = line.is_empty() || line.starts_with("# ") || section || KEYS.contains(&key);
        // A backslash at its end would take the next line for its own.
        let goes_on = line.ends_with('\\') && !line.starts_with('#');
        assert!(known && !goes_on && is_one_line(line), "{}: {line:?}\n{}", file.path, file.content);
    }
}

/// The password is in the credential's file, which nobody else can read, and in no other.
fn secret(config: &str, checks: &str, plan: &Plan) {
    let parsed: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
    let Some(password) = parsed["smtp"]["password"].as_str().filter(|password| password.len() > 15) else {
        return;
    };
    // One that is also an address or stands in a command is told with that.
    let written = serde_json::to_string(password).unwrap_or_default();
    let once = config.matches(written.trim_matches('"')).count() == 1;
    if !once || checks.contains(password) || checks.contains(written.trim_matches('"')) {
        return;
    }
    for file in &plan.files {
        let its_own = file.path.starts_with("credentials/");
        assert!(its_own || !file.content.contains(password), "the password is in {}", file.path);
        assert!(!its_own || file.mode == 0o600, "{}: {:o}", file.path, file.mode);
    }
    assert!(!plan.summary.contains(password), "the terminal has the password");
}
