//! The methods, properties and signals, each written once: the server parses and answers by this table, the client calls by
//! it, the introspection data and polkit's actions are checked against it.
//!
//! Values only. Names and types are in the manner of org.freedesktop.systemd1(5): times are microseconds since 1970, 0 for
//! none; text that is not there is empty.

use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::OwnedObjectPath;
use zbus::wire::{DynamicType, OwnedFd, Type};

/// What polkit is asked before a method is carried out; a rule sees the method as `action.lookup("verb")`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Pause and resume checks, hold and release units.
    ManageChecks,
    /// Probe now.
    ProbeChecks,
    /// Load the configuration again.
    ReloadConfiguration,
    /// Send a test notification to the configured recipients.
    SendTest,
    /// Send one to any address.
    SendTestToAny,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 5] = [
        Self::ManageChecks,
        Self::ProbeChecks,
        Self::ReloadConfiguration,
        Self::SendTest,
        Self::SendTestToAny,
    ];

    /// Its id, as in packaging/io.iobio.Stealthcheck1.policy.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::ManageChecks => "io.iobio.Stealthcheck1.manage-checks",
            Self::ProbeChecks => "io.iobio.Stealthcheck1.probe-checks",
            Self::ReloadConfiguration => "io.iobio.Stealthcheck1.reload-configuration",
            Self::SendTest => "io.iobio.Stealthcheck1.send-test",
            Self::SendTestToAny => "io.iobio.Stealthcheck1.send-test-to-any-address",
        }
    }
}

/// The arguments of a method: a tuple.
pub trait Arguments {
    /// The check, unit or hold that the call is about; empty for none.
    fn name(&self) -> &str {
        ""
    }
}

impl Arguments for () {}
impl Arguments for (Vec<String>,) {}
/// `DescribeChecks`: where a page begins is no check that is acted on.
impl Arguments for (String, u32) {}

impl Arguments for (String,) {
    fn name(&self) -> &str {
        &self.0
    }
}

impl Arguments for (String, u64) {
    fn name(&self) -> &str {
        &self.0
    }
}

impl Arguments for (String, String, String, u64) {
    fn name(&self) -> &str {
        &self.0
    }
}

/// A method: its name and types. The arguments are a tuple.
pub trait Method {
    /// The name on the bus.
    const NAME: &'static str;
    /// What goes in.
    type In: Arguments + Serialize + DeserializeOwned + Type + DynamicType + Send + Sync;
    /// What comes out.
    type Out: Serialize + DeserializeOwned + Type + DynamicType + Send + Sync;
    /// As text.
    const DESCRIBED: Described;
}

/// A method as the introspection data and the man page have it.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// The name on the bus.
    pub name: &'static str,
    /// The names of the arguments; their types are those of [`Method::In`].
    pub inputs: &'static [&'static str],
    /// The signature of the arguments, one for each.
    pub input_types: fn() -> Vec<String>,
    /// The names of the results.
    pub outputs: &'static [&'static str],
    /// The signature of the results, one for each.
    pub output_types: fn() -> Vec<String>,
    /// What polkit is asked; `None`: everybody may.
    pub action: Option<Action>,
    /// The word for polkit's rules.
    pub verb: &'static str,
}

/// Declares methods: `Name "verb" (argument: type, …) -> (result: type, …), action;`
macro_rules! methods {
    ($($(#[doc = $doc:literal])* $method:ident $verb:literal ($($input:ident: $in:ty),*) -> ($($output:ident: $out:ty),*), $action:expr;)*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Copy, Debug)]
            pub struct $method;

            impl Method for $method {
                const NAME: &'static str = stringify!($method);
                type In = ($($in,)*);
                type Out = ($($out,)*);
                const DESCRIBED: Described = Described {
                    name: stringify!($method),
                    inputs: &[$(stringify!($input)),*],
                    input_types: || vec![$(<$in>::SIGNATURE.to_string()),*],
                    outputs: &[$(stringify!($output)),*],
                    output_types: || vec![$(<$out>::SIGNATURE.to_string()),*],
                    action: $action,
                    verb: $verb,
                };
            }
        )*

        /// Every method of the manager.
        pub const METHODS: &[Described] = &[$($method::DESCRIBED),*];
    };
}

/// A check in a list: name, unit, probe, state, what suppresses it, since when (µs), open incident, object.
pub type Row = (String, String, String, String, String, u64, String, OwnedObjectPath);

methods! {
    /// The object of a check.
    GetCheck "get" (name: String) -> (check: OwnedObjectPath), None;
    /// Every check, a row each.
    ListChecks "list" () -> (checks: Vec<Row>), None;
    /// The daemon itself, without the checks: JSON, as in `stealthctl status --json`.
    Describe "describe" () -> (json: String), None;
    /// As many checks as `limit` says (100 at most, 0: 100), in name order, from the first after `after`: a JSON array of
    /// what the status table shows.
    DescribeChecks "describe" (after: String, limit: u32) -> (json: String), None;
    /// One check with its history, its runbook and the state of its unit: JSON.
    DescribeCheck "describe" (name: String) -> (json: String), None;
    /// Why a check is as it is, and what was decided about it: JSON.
    ExplainCheck "why" (name: String) -> (json: String), None;
    /// Probes now. Answers after the observation: JSON, as `DescribeCheck`.
    ProbeCheck "check" (name: String) -> (json: String), Some(Action::ProbeChecks);
    /// Leaves a check alone for so many seconds.
    PauseCheck "pause" (name: String, seconds: u64) -> (), Some(Action::ManageChecks);
    /// Ends a pause.
    ResumeCheck "resume" (name: String) -> (), Some(Action::ManageChecks);
    /// Leaves a unit alone, which is named by itself or by a check, while the lease is open, and for so many seconds at most
    /// (a day at most). `who` and `why` are shown. The unit itself is not touched; when the hold is over it is started, if it
    /// was up when it began and is down then.
    HoldUnit "hold" (name: String, who: String, why: String, seconds: u64) -> (lease: OwnedFd, hold: String, unit: String, checks: Vec<String>), Some(Action::ManageChecks);
    /// Ends a hold, which is named by its id, its unit or a check.
    ReleaseUnit "release" (name: String) -> (unit: String), Some(Action::ManageChecks);
    /// Loads the configuration again, all or nothing. Answers warnings, a line each.
    Reload "reload" () -> (warnings: Vec<String>), Some(Action::ReloadConfiguration);
    /// Sends a mail to these addresses (none: those of the configuration). Answers the mail server's words. For addresses
    /// that the configuration does not have polkit is asked for another action.
    SendTestMail "test-mail" (to: Vec<String>) -> (answer: String), Some(Action::SendTest);
}

/// When a property tells of its changes, in the words of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emits {
    /// `PropertiesChanged` is sent.
    True,
    /// It is to be read.
    False,
    /// It never changes.
    Const,
}

/// A property: name, signature, when it tells.
pub type Property = (&'static str, &'static str, Emits);

/// The properties of the manager.
pub const MANAGER_PROPERTIES: &[Property] = &[
    ("Version", "s", Emits::Const),
    ("StartTimestamp", "t", Emits::Const),
    ("NChecks", "u", Emits::True),
    ("NDown", "u", Emits::True),
    ("NUnknown", "u", Emits::True),
    ("NSuppressed", "u", Emits::True),
    ("Storm", "s", Emits::True),
    ("Alerts", "as", Emits::True),
    ("NotificationsQueued", "u", Emits::False),
    ("ConfigurationLoadTimestamp", "t", Emits::True),
    ("ConfigurationRejected", "as", Emits::True),
];

/// The properties of a check.
pub const CHECK_PROPERTIES: &[Property] = &[
    ("Name", "s", Emits::Const),
    ("Unit", "s", Emits::True),
    ("Probe", "s", Emits::True),
    ("State", "s", Emits::True),
    ("SuppressedBy", "s", Emits::True),
    ("StateChangeTimestamp", "t", Emits::True),
    ("IncidentId", "s", Emits::True),
    ("IncidentTimestamp", "t", Emits::True),
    ("Cause", "s", Emits::True),
    ("Attempts", "u", Emits::True),
    ("ActionRequired", "b", Emits::True),
    ("LastObservation", "s", Emits::False),
    ("LastObservationTimestamp", "t", Emits::False),
    ("NextProbe", "t", Emits::False),
    ("Next", "s", Emits::False),
];

/// A signal: name, and name and signature of each argument.
pub type Signal = (&'static str, &'static [(&'static str, &'static str)]);

/// The signals of the manager.
pub const SIGNALS: &[Signal] = &[
    ("CheckNew", &[("name", "s"), ("check", "o")]),
    ("CheckRemoved", &[("name", "s"), ("check", "o")]),
    ("IncidentOpened", &[("name", "s"), ("incident", "s"), ("cause", "s")]),
    ("IncidentClosed", &[("name", "s"), ("incident", "s"), ("passes", "b")]),
    (
        "RecoveryRequested",
        &[("name", "s"), ("unit", "s"), ("incident", "s"), ("step", "s"), ("attempt", "u")],
    ),
    (
        "RecoveryFinished",
        &[("name", "s"), ("unit", "s"), ("incident", "s"), ("step", "s"), ("result", "s"), ("attempt", "u")],
    ),
];
