//! What the daemon logs and what `journalctl -x` explains are the same list.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn every_message_id_is_explained_and_every_explanation_is_used() {
    let logged: Vec<String> = read("src/journal/ids.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split('"').nth(1).map(str::to_owned))
        .collect();
    let explained: Vec<String> = read("packaging/stealthcheck.catalog")
        .lines()
        .filter_map(|line| line.strip_prefix("-- ").map(str::to_owned))
        .collect();
    assert!(logged.len() > 15, "{logged:?}");
    assert!(logged.iter().all(|id| id.len() == 32), "{logged:?}");
    let set = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(set(&logged).len(), logged.len(), "no id stands for two kinds of entry");
    assert_eq!(set(&explained).len(), explained.len(), "no id is explained twice");
    assert_eq!(set(&logged), set(&explained));
}
