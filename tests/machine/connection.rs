//! The daemon's connection to systemd: it is lost, and comes back; messages are slow, and the daemon is late.

use std::time::Duration;

use stealthcheck::unit::ManagerState;

use super::client::Report;
use super::driver::Input;
use super::{Delay, Machine};

impl Machine {
    /// The bus is gone, and with it every signal and answer.
    pub fn lose_bus(&mut self) {
        self.has_bus = false;
        self.note("# the bus is gone");
        let Some(daemon) = &mut self.daemon else { return };
        for report in daemon.client.lose_connection() {
            if let Report::Job { request, result, state } = report {
                self.tell(Input::JobEnded { request, result, state });
            }
        }
        self.tell(Input::Manager(ManagerState::Unreachable));
    }

    pub fn bus_returns(&mut self) {
        if std::mem::replace(&mut self.has_bus, true) {
            return;
        }
        self.note("# the bus is back");
        let now = self.now().mono;
        if let Some(daemon) = &mut self.daemon {
            daemon.client.connect(now, &self.systemd);
        }
    }

    /// systemd says this of the machine as a whole, and nothing else happens.
    pub fn manager_says(&mut self, state: ManagerState) {
        self.tell(Input::Manager(state));
    }

    pub fn has_bus(&self) -> bool {
        self.has_bus
    }

    /// So long messages take from now on, and so late the daemon takes what its client reports.
    pub fn set_delays(&mut self, latency: Delay, late: Delay) {
        (self.latency, self.late) = (latency, late);
        if let Some(daemon) = &mut self.daemon {
            (daemon.client.delay, daemon.client.late) = (latency, late);
        }
    }

    /// So long a job request waits for others, and for polkit, before systemd queues the job.
    pub fn set_request_delay(&mut self, takes: Duration) {
        self.request_takes = takes;
    }

    pub fn set_probe_delay(&mut self, takes: Delay) {
        self.probe_takes = takes;
    }
}
