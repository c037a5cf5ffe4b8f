//! What the bus is told unasked.
//!
//! In: transitions and states. Out: `PropertiesChanged` with what tells of its changes, and the signals of the manager.

use std::collections::HashMap;

use zbus::wire::DynamicType;
use zbus::{Connection, Variant};

use super::interface::{CHECK_PROPERTIES, Emits, MANAGER_PROPERTIES, Property};
use super::objects::{self, Values, path_of};
use super::{CHECK, MANAGER, PATH};
use crate::check::CheckName;
use crate::status::{CheckStatus, Snapshot};

/// What is told.
#[derive(Debug)]
pub enum Signal {
    /// A check is another: its properties.
    Check(Box<CheckStatus>),
    /// The daemon is: its properties. No check need be in it.
    Daemon(Box<Snapshot>),
    /// A check is configured (`true`), or no more.
    Configured(CheckName, bool),
    /// Something happened to a check.
    Transition(CheckName, Transition),
}

/// What happened to a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// An incident opened.
    IncidentOpened {
        /// Its id.
        incident: String,
        /// What failed.
        cause: String,
    },
    /// An incident closed.
    IncidentClosed {
        /// Its id.
        incident: String,
        /// `false`: the check is no longer monitored.
        passes: bool,
    },
    /// systemd is asked for a job.
    RecoveryRequested {
        /// The unit.
        unit: String,
        /// The incident.
        incident: String,
        /// What is requested.
        step: String,
        /// The attempt's number in the incident.
        attempt: u32,
    },
    /// The job has ended.
    RecoveryFinished {
        /// The unit.
        unit: String,
        /// The incident.
        incident: String,
        /// What was requested.
        step: String,
        /// How it ended.
        result: String,
        /// The attempt's number in the incident.
        attempt: u32,
    },
}

pub(super) async fn emit(connection: &Connection, signal: &Signal) -> zbus::Result<()> {
    match signal {
        Signal::Check(check) => {
            let values = told(objects::of_check(check), CHECK_PROPERTIES);
            changed(connection, path_of(&check.name).as_str(), CHECK, values).await
        }
        Signal::Daemon(snapshot) => {
            let values = told(objects::of_manager(snapshot), MANAGER_PROPERTIES);
            changed(connection, PATH, MANAGER, values).await
        }
        Signal::Configured(check, is_new) => {
            let name = if *is_new { "CheckNew" } else { "CheckRemoved" };
            send(connection, name, &(check.as_str(), path_of(check))).await
        }
        Signal::Transition(check, what) => {
            let check = check.as_str();
            match what {
                Transition::IncidentOpened { incident, cause } => {
                    send(connection, "IncidentOpened", &(check, incident, cause)).await
                }
                Transition::IncidentClosed { incident, passes } => {
                    send(connection, "IncidentClosed", &(check, incident, passes)).await
                }
                Transition::RecoveryRequested { unit, incident, step, attempt } => {
                    send(connection, "RecoveryRequested", &(check, unit, incident, step, attempt)).await
                }
                Transition::RecoveryFinished { unit, incident, step, result, attempt } => {
                    send(connection, "RecoveryFinished", &(check, unit, incident, step, result, attempt))
                        .await
                }
            }
        }
    }
}

async fn send<B: serde::Serialize + DynamicType + Sync>(
    connection: &Connection,
    name: &str,
    body: &B,
) -> zbus::Result<()> {
    connection.emit_signal(None::<&str>, PATH, MANAGER, name, body).await
}

/// Those that tell of their changes.
fn told(mut values: Values, properties: &[Property]) -> Values {
    values
        .retain(|name, _| properties.iter().any(|(known, _, emits)| known == name && *emits == Emits::True));
    values
}

async fn changed(connection: &Connection, path: &str, interface: &str, values: Values) -> zbus::Result<()> {
    const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
    let values: HashMap<&str, Variant<'_>> = values.into_iter().collect();
    let none: [&str; 0] = [];
    connection
        .emit_signal(None::<&str>, path, PROPERTIES, "PropertiesChanged", &(interface, values, &none[..]))
        .await
}
