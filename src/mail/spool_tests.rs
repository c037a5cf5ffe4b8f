use super::*;

use std::os::unix::fs::PermissionsExt;

use crate::notification::IncidentId;

fn record(incident: &str, number: u32, to: &[&str]) -> Record {
    let email = Email {
        id: NotificationId { incident: IncidentId(incident.into()), number },
        to: to.iter().map(ToString::to_string).collect(),
        subject: "[DOWN] x on y".to_owned(),
        message_id: format!("<{incident}.{number}@y>"),
        thread: None,
        date: Wall(1),
        role: crate::mail::compose::Role::First,
        check: None,
        unit: None,
        body: "text\n".to_owned(),
    };
    Record::new(email, Wall(2))
}

fn spool() -> (tempfile::TempDir, Spool) {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::new(dir.path());
    (dir, spool)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_written_is_found_again_in_order_and_private() {
    let (dir, spool) = spool();
    assert!(spool.load().records.is_empty());
    assert!(!dir.path().join("spool").exists(), "nothing is made before there is something to keep");
    for number in [10, 9, 100] {
        spool
            .write(
                number,
                &record("a-1", u32::try_from(number).unwrap(), &["x@example.org", "x@example.org"]),
            )
            .unwrap();
    }
    let found = spool.load();
    assert_eq!(found.warnings, Vec::<String>::new());
    assert_eq!(found.records.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [9, 10, 100]);
    assert_eq!(found.records[0].1, record("a-1", 9, &["x@example.org"]).with_to(&["x@example.org"; 2]));
    assert_eq!(names(&dir.path().join("spool"))[0], "000000000009-a-1.9.json");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("spool")), 0o700);
    assert_eq!(mode(&dir.path().join("spool/000000000009-a-1.9.json")), 0o600);
}

impl Record {
    fn with_to(mut self, to: &[&str]) -> Self {
        self.email.to = to.iter().map(ToString::to_string).collect();
        self
    }
}

#[test]
fn a_recipient_who_has_it_is_not_there_after_a_crash() {
    let (_dir, spool) = spool();
    let mut record = record("a-1", 1, &["x@example.org", "y@example.org"]);
    spool.write(0, &record).unwrap();
    record.pending.remove(0);
    spool.write(0, &record).unwrap();
    assert_eq!(spool.load().records, [(0, record.clone())]);
    spool.remove(0, &record.email.id).unwrap();
    spool.remove(0, &record.email.id).unwrap();
    assert!(spool.load().records.is_empty());
}

#[test]
fn a_crash_before_the_rename_leaves_what_was() {
    let (dir, spool) = spool();
    let before = record("a-1", 1, &["x@example.org", "y@example.org"]);
    spool.write(0, &before).unwrap();
    let after = Record { pending: vec!["y@example.org".to_owned()], ..before.clone() };
    let whole = serde_json::to_vec_pretty(&after).unwrap();
    // Stopped at every byte of the temporary file, for an email that was there and for a new one.
    for stop in (0..=whole.len()).step_by(7) {
        for name in ["000000000000-a-1.1.json.tmp", "000000000001-b-1.1.json.tmp"] {
            fs::write(dir.path().join("spool").join(name), &whole[..stop]).unwrap();
        }
        let found = spool.load();
        assert_eq!(found.records, [(0, before.clone())]);
        assert_eq!(found.warnings, Vec::<String>::new());
        assert_eq!(names(&dir.path().join("spool")), ["000000000000-a-1.1.json"], "temporary files are gone");
    }
    fs::write(dir.path().join("spool/000000000000-a-1.1.json.tmp"), "in the way").unwrap();
    spool.write(0, &after).unwrap();
    assert_eq!(spool.load().records, [(0, after)]);
}

#[test]
fn what_cannot_be_read_is_set_aside_and_said() {
    let (dir, spool) = spool();
    let good = record("good-1", 1, &["x@example.org"]);
    spool.write(5, &good).unwrap();
    let at = |name: &str| dir.path().join("spool").join(name);
    let bytes = serde_json::to_vec(&good).unwrap();
    fs::write(at("000000000001-torn.json"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(at("000000000002-empty.json"), "").unwrap();
    fs::write(at("000000000003-noise.json"), [0xff, 0, 0x1b, b'[']).unwrap();
    fs::write(at("000000000004-huge.json"), vec![b' '; 2 << 20]).unwrap();
    fs::write(at("000000000006-twice.json"), &bytes).unwrap();
    fs::write(
        at("000000000007-future.json"),
        String::from_utf8(bytes.clone()).unwrap().replace(":1,", ":2,"),
    )
    .unwrap();
    fs::write(at("notes.txt"), "hello").unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("000000000008-link.json")).unwrap();
    let found = spool.load();
    assert_eq!(found.records, [(5, good.clone())]);
    assert_eq!(found.warnings.len(), 8, "{:#?}", found.warnings);
    assert_eq!(names(&dir.path().join("spool/quarantine")).len(), 8);
    assert!(found.warnings[0].contains("000000000001-torn.json"), "{}", found.warnings[0]);
    let again = spool.load();
    assert_eq!((again.records.len(), again.warnings.len()), (1, 0));
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_and_no_more() {
    let (dir, spool) = spool();
    fs::write(dir.path().join("spool"), "a file where the directory should be").unwrap();
    let record = record("a-1", 1, &["x@example.org"]);
    assert!(spool.write(0, &record).is_err());
    assert_eq!(spool.load().warnings.len(), 1);
    fs::remove_file(dir.path().join("spool")).unwrap();
    spool.write(0, &record).unwrap();
    assert_eq!(spool.load().records, [(0, record)]);
}
