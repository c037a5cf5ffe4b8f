//! stealthcheck: a systemd-native supervisor. It reconciles unit states: what an administrator declared healthy in YAML
//! against what probes and systemd say, by jobs that systemd runs and mails that people read.
//!
//! A functional core in an imperative shell; one crate, a library and two thin binaries.
//!
//! ```text
//!   targets       systemd        operators        readers        the service manager
//!      │ answers     │ states,       │ stealthctl     │ HTTP          │ SIGHUP, SIGTERM
//!      ▼             ▼ jobs          ▼                ▼               ▼
//!   probe         systemd          bus             listen         (signals, time)
//!      └──────┬──────┴───────┬───────┴────────────────┴───────────────┘
//!             ▼ Event        │
//!        ┌─────────── supervisor: the only loop ───────────┐
//!        │   engine.handle(now, event) -> Vec<Effect>      │◄── config (checked once, replaced whole)
//!        └──────┬──────────┬──────────┬──────────┬─────────┘
//!               ▼          ▼          ▼          ▼
//!             probe     systemd     mail      journal, service_manager, state.json
//!            (a run)    (a job)   (a notification)  (a transition)
//! ```
//!
//! What a probe saw becomes an observation; the engine turns observations and unit states into health, incidents, jobs
//! and notifications. "Asked for" and "done" are always two events: the engine wishes for a job and is told later how
//! it ended. What it decides is written to `state.json` before it is done, so that a crash at any moment forgets
//! nothing.
//!
//! The installed service reads no configuration file itself. Root reads and checks them (`ctl/authorize.rs`), and leaves a
//! copy of the last valid ones ([`config::accepted`]), which the daemon loads, beside the list of what polkit permits it:
//! what runs and what is permitted are always of one configuration.
//!
//! # Layers
//!
//! ```text
//! bin -> supervisor, ctl -> probe, systemd, mail, bus, listen, lease, journal, service_manager -> engine, config
//!                                                       -> check, unit, verdict, notification, status, text, time
//! ```
//!
//! Nothing points back, and the shell's modules do not know each other (`bus` and `systemd` share [`dbus_socket`]). `tests/layers.rs` reads the `use` lines and
//! holds this; it also sees to it that the core speaks of no clock, file or socket.
//!
//! # Where to put things
//!
//! - **Another probe**: its settings as a variant of [`check::Probe`]; how they are written in `config/probes.rs`; one file
//!   in `probe/` with `run(&settings, &attempt) -> Result<String, ProbeError>`. Whose error it is, the target's or our own,
//!   is the only thing it decides. One that measures a stretch of time and not a moment is a sample, taken in
//!   `supervisor/sample.rs` and judged in `engine/usage.rs`; one that only looks at the unit is judged in the core alone.
//!   For `command` no process is started here: `supervisor/command.rs` has systemd run it, `systemd/runs.rs` follows it to
//!   its verdict, and `ctl/run_probe.rs` is what runs in its unit.
//! - **Another rule**: in `engine/`, with a story in `tests/engine/rules.rs` that fails without it. If it is hard to test
//!   there, the design is wrong.
//! - **Another transition**: an [`engine::ChangeKind`], its sentence in `journal/entry.rs`, its id in `journal/ids.rs`, and what
//!   it means to whoever reads it at night in `packaging/stealthcheck.catalog`.
//! - **Another command**: a line in the tables of `bus/interface.rs` (with the polkit action that permits it), the request
//!   in `bus.rs` and what becomes of it in `bus/server.rs`, its answer in `supervisor/`, its words in `ctl/`.
//!
//! # Tests
//!
//! `cargo test` needs nothing but Rust: the core on a simulated machine (`tests/engine/`), months of such a machine
//! where everything goes wrong by chance (`tests/simulator/`: its head says how to play more of them, or one of them),
//! probes and mail against servers in the process, systemd and our own bus interface over peer-to-peer D-Bus,
//! configurations that are wrong beside their exact messages (`tests/config/`). `sudo ./tests/run` adds the package and
//! the booted tests: real machines with a real systemd, D-Bus, polkit, journald and mail server (`tests/lab/`,
//! `tests/booted/`).

pub mod check;
pub mod engine;
pub mod notification;
pub mod status;
pub mod text;
pub mod time;
pub mod unit;
pub mod verdict;

pub mod bus;
pub mod config;
pub mod ctl;
pub mod dbus_socket;
pub mod journal;
pub mod lease;
pub mod listen;
pub mod mail;
pub mod probe;
pub mod service_manager;
pub mod supervisor;
pub mod systemd;
