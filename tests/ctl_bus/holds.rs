//! A made-up daemon that gives holds to whoever asks. (The real interface asks the bus who that is, and here is no
//! bus.)

use std::sync::{Arc, Mutex};

use stealthcheck::bus::{Refusal, resolve};
use stealthcheck::check::CheckName;
use stealthcheck::lease;
use stealthcheck::unit::{ActiveState, UnitState};
use stealthcheck::verdict::{Health, Observation};
use zbus::wire::OwnedFd;

use super::{check, daemon};

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
    fn describe(&self) -> String {
        daemon(1, None)
    }

    fn describe_check(&self, name: String) -> Result<String, Refusal> {
        let name = mosaic(&name)?;
        let seen = Observation::Passing { detail: "connected".into(), latency: Default::default() };
        let mut check = check(name.as_str(), Health::PASSING, seen);
        check.unit_state = Some(UnitState { active: ActiveState::Active, ..UnitState::default() });
        Ok(serde_json::to_string(&check).unwrap())
    }

    /// Tells how the lease ends. A command that says `revoke` loses it at once.
    async fn hold_unit(
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

    fn release_unit(&self, name: String) -> Result<String, Refusal> {
        match name.as_str() {
            "mosaic" => Ok("mosaic.service".into()),
            _ => Err(Refusal::Failed(format!("nobody holds {name}.service"))),
        }
    }
}
