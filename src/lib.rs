//! stealthcheck: a systemd-native supervisor. It reconciles unit states: what an administrator declared healthy in YAML
//! against what probes and systemd say, by jobs that systemd runs and mails that people read.

pub mod check;
pub mod engine;
pub mod notice;
pub mod status;
pub mod text;
pub mod time;
pub mod unit;
pub mod verdict;

pub mod bus;
pub mod config;
pub mod ctl;
pub mod journal;
pub mod mail;
pub mod probe;
pub mod service_manager;
pub mod supervisor;
pub mod systemd;
