//! A made-up daemon that gives holds to whoever asks. (The real interface asks the bus who that is, and here is no
//! bus.)

use std::sync::{Arc, Mutex};

use stealthcheck::bus::{Refusal, resolve};
use stealthcheck::check::CheckName;
use stealthcheck::lease;
use stealthcheck::status::{ConfigurationStatus, MailStatus, Snapshot};
use stealthcheck::time::Wall;
use stealthcheck::unit::{ActiveState, UnitState};
use stealthcheck::verdict::{Health, Observation};
use zbus::wire::OwnedFd;

use super::{NOW, check};

/// What was done about holds, a line each.
pub type Told = Arc<Mutex<Vec<String>>>;

/// Guards `mosaic`, which is up.
pub struct Holds {
    pub told: Told,
}

fn mosaic(name: &str) -> Result<CheckName, Refusal> {
    resolve(name, &[CheckName::new("mosaic").unwrap()]).cloned()
}

#[zbus::interface(name = "io.iobio.Stealthcheck1.Manager")]
impl Holds {
    fn get_status(&self, names: Vec<String>, _detail: bool) -> Result<String, Refusal> {
        let name = mosaic(names.first().map_or("mosaic", String::as_str))?;
        let seen = Observation::Passing { detail: "connected".into(), latency: Default::default() };
        let mut check = check(name.as_str(), Health::PASSING, seen);
        check.unit_state = Some(UnitState { active: ActiveState::Active, ..UnitState::default() });
        let snapshot = Snapshot {
            version: env!("CARGO_PKG_VERSION").into(),
            at: NOW,
            started: Wall(0),
            configuration: ConfigurationStatus::default(),
            mail: MailStatus::default(),
            alerts: Vec::new(),
            checks: vec![check],
        };
        Ok(serde_json::to_string(&snapshot).unwrap())
    }

    /// Tells how the lease ends. A command that says `revoke` loses it at once.
    async fn hold(
        &self,
        name: String,
        _who: String,
        why: String,
        seconds: u64,
    ) -> Result<(OwnedFd, String, String, Vec<String>), Refusal> {
        let name = mosaic(&name)?;
        self.told.lock().unwrap().push(format!("held {name} for {seconds}s: {why}"));
        let lease = lease::new().unwrap();
        if !why.contains("revoke") {
            let told = Arc::clone(&self.told);
            tokio::spawn(async move {
                let how = lease::closed(lease.kept).await.unwrap();
                told.lock().unwrap().push(format!("closed: {how:?}"));
            });
        }
        Ok((lease.given.into(), "1".into(), format!("{name}.service"), vec![name.to_string()]))
    }

    fn release(&self, name: String) -> Result<String, Refusal> {
        match name.as_str() {
            "mosaic" => Ok("mosaic.service".into()),
            _ => Err(Refusal::Failed(format!("nobody holds {name}.service"))),
        }
    }
}
