//! The `MESSAGE_ID=` of each kind of entry. They are the keys of packaging/stealthcheck.catalog, which says for each
//! what it means and what to do (`journalctl -x`). Never change one: people match on them.

/// An incident was opened: a check is down.
pub const INCIDENT_OPENED: &str = "37b1109219714d0397f2fe951e243f4f";
/// An incident was closed: the check passes again.
pub const INCIDENT_CLOSED: &str = "1dd7ecd3fdc74a9d96de9210f221a0a4";
/// systemd was asked for a recovery job.
pub const RECOVERY_REQUESTED: &str = "be2aa119f1c34b8484ef602264e1d276";
/// A recovery job has ended.
pub const RECOVERY_ENDED: &str = "7ed29b6c2f25424395b1a1680245c8f7";
/// A recovery is due and is not attempted.
pub const RECOVERY_WITHHELD: &str = "b9e3101d0e314afaa9e678c0ce2da7b8";
/// Nothing that may be tried is left.
pub const ACTION_REQUIRED: &str = "c9073225b87a401d9966c3a53a778bee";
/// A configuration is in force.
pub const CONFIGURATION_LOADED: &str = "30393869d97d4229a3497ea0c2f2f3ff";
/// A configuration has mistakes.
pub const CONFIGURATION_REFUSED: &str = "a3bbc32dcf334a8babb662d95b1bbafb";
/// A mail was accepted by the server.
pub const MAIL_DELIVERED: &str = "a1ea01f4dbb948999b37ebe602effde7";
/// A mail was not accepted, and is kept.
pub const MAIL_FAILED: &str = "29d6bf57c8144b828f5753a185f4afa0";
/// The configuration names a unit that systemd does not know.
pub const UNIT_UNKNOWN: &str = "070d571c05814305a7cac362118fbde0";
/// An operator has paused a check.
pub const PAUSED: &str = "e9adcf6005934d09a7301a083e6ecc46";
/// A pause has ended.
pub const RESUMED: &str = "2045df8760c64023b874e46571276e71";
/// The daemon has started.
pub const STARTED: &str = "79988e9ffb774770850198662f13db6a";
/// The daemon is stopping.
pub const STOPPING: &str = "d6475b9b598e4af79da358bb610a646f";
/// It is settled whether a recovery attempt worked.
pub const ATTEMPT_CONCLUDED: &str = "8a57885666ad4fb184e1b95088ffac83";
/// systemd restarts a unit again and again.
pub const CRASH_LOOP: &str = "c6434a2a11734c87b61c5e7cdaafcf2f";
/// Somebody stopped a unit, which is respected for a while.
pub const STOPPED: &str = "6ee59da564af4a64ba44ed4a4ba2c61e";
/// A unit is down because one that it conflicts with is up.
pub const CONFLICT: &str = "e1126226617f4a389b52e6c221116b47";
/// A unit requires one that is not well.
pub const DEPENDENCY: &str = "b2d8ed9f935c44b68a5aaf37a7868ecb";
/// A check's health is another, and none of the above says so.
pub const HEALTH: &str = "f69518efd231405c9eaff51028a12111";
/// systemd knows a unit that it did not know before.
pub const UNIT_KNOWN: &str = "f217d715208c4f75b8ef222d953c0dc5";
/// Somebody's command has a unit.
pub const HOLD_TAKEN: &str = "2078d26028eb4b74af2c132caeb71fbd";
/// A hold on a unit is over.
pub const HOLD_OVER: &str = "16c5ab45c82747d09fd196c0c7399b22";
/// systemd was asked to start a unit after a hold.
pub const HOLD_START_ASKED: &str = "a8cd9fa37e564c1b9c8954afa268409c";
/// The start of a unit after a hold has ended.
pub const HOLD_START_ENDED: &str = "4e80a34914aa48f2ac39fcc8b76b0249";
/// Many checks began to fail together: it is the machine, and no unit is restarted for it.
pub const STORM_BEGAN: &str = "d58a653339584abda74204f6c08d155d";
/// Checks pass again after a storm.
pub const STORM_OVER: &str = "c6ece865218f4bbf8769949e2dadc893";
/// A check could not be measured for as long as it takes to be down when it fails.
pub const UNKNOWN: &str = "fe5d7555cd6c4954bc6e78e5ab7b69e7";
