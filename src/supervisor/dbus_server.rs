//! Our interface on the bus, kept there: served again when the bus comes back.
//!
//! In: signals to send. Out: requests, and what people should know of the bus. It decides nothing.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::bus::{self, Bus, Request, ServeError, Served, Signal};
use crate::dbus_socket;

/// Between two attempts to get onto the bus.
const RETRY: Duration = Duration::from_secs(2);

/// What the supervisor is told of its place on the bus.
#[derive(Debug)]
pub(super) enum Place {
    /// Requests can come.
    Served,
    /// They cannot; the sentence says why. It is tried again.
    Away(String),
    /// Another daemon has the name: this one must end.
    Taken(String),
}

/// Serves `requests` on `bus` until the process ends.
pub(super) async fn run(
    bus: Bus,
    requests: mpsc::Sender<Request>,
    mut signals: mpsc::Receiver<Signal>,
    places: mpsc::Sender<Place>,
) {
    loop {
        let place = match serve(bus, requests.clone()).await {
            Ok(mut served) => {
                if places.send(Place::Served).await.is_err() {
                    return;
                }
                loop {
                    tokio::select! {
                        () = served.ended() => break,
                        signal = signals.recv() => match signal {
                            // One that cannot be sent is lost: whoever listens can ask.
                            Some(signal) => drop(served.signal(&signal).await),
                            None => return,
                        },
                    }
                }
                Place::Away(format!("the connection to the {bus} was lost"))
            }
            Err(error @ ServeError::AlreadyRunning) => Place::Taken(error.to_string()),
            Err(error) => Place::Away(error.to_string()),
        };
        if places.send(place).await.is_err() {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn serve(bus: Bus, requests: mpsc::Sender<Request>) -> Result<Served, ServeError> {
    let address = match bus {
        Bus::System => zbus::Address::system(),
        Bus::User => zbus::Address::session(),
    }?;
    let connect = async || dbus_socket::connect(&address).await?.build().await;
    let (connection, questions) = (connect().await?, connect().await?);
    bus::serve(&connection, &questions, bus, requests).await
}

/// Waits for the first word about the place on the bus, but not long: guarding does not depend on it.
pub(super) async fn first_word(places: &mut mpsc::Receiver<Place>) -> Option<Place> {
    const PATIENCE: Duration = Duration::from_secs(2);
    tokio::time::timeout(PATIENCE, places.recv()).await.ok().flatten()
}

/// The channel end that answers a request once it can be answered.
pub(super) type Waiting<T> = oneshot::Sender<Result<T, bus::Refusal>>;
