use super::*;

use crate::mail::compose::Email;

const BACKOFF: Backoff = Backoff { initial: Duration::from_secs(5), max: Duration::from_secs(300) };

pub(super) fn record(incident: &str, number: u32, to: &[&str]) -> Record {
    let to: Vec<String> = to.iter().map(ToString::to_string).collect();
    let id = NotificationId { incident: IncidentId(incident.into()), number };
    let email = Email {
        id,
        to,
        subject: String::new(),
        message_id: String::new(),
        thread: None,
        date: Wall(0),
        role: crate::mail::compose::Role::First,
        check: None,
        unit: None,
        body: String::new(),
    };
    Record::new(email, Wall(i64::from(number)))
}

fn id(incident: &str, number: u32) -> NotificationId {
    NotificationId { incident: IncidentId(incident.into()), number }
}

fn send(number: u64, to: &str) -> Pick {
    Pick::Send(number, to.to_owned())
}

fn at(secs: u64) -> Mono {
    Mono(Duration::from_secs(secs))
}

/// A queue of emails that are on disk and released.
fn queue(emails: &[(&str, u32, &[&str])]) -> Queue {
    let mut queue = Queue::default();
    for (incident, n, to) in emails {
        let number = queue.insert(record(incident, *n, to));
        queue.saved(number, Some(0));
        queue.release(&id(incident, *n));
    }
    queue
}

#[test]
fn nothing_is_sent_before_it_is_released() {
    let mut queue = Queue::default();
    let number = queue.insert(record("a", 1, &["x"]));
    assert!(queue.saved(number, Some(0)), "safe for the first time");
    assert_eq!(queue.pick(at(0)), Pick::Idle);
    queue.release(&id("a", 1));
    assert_eq!(queue.pick(at(0)), send(0, "x"));
}

#[test]
fn letters_of_an_earlier_life_wait_for_their_own_release() {
    let mut queue = Queue::default();
    queue.load(vec![(7, record("a", 1, &["x"])), (3, record("b", 1, &["x"]))]);
    let new = queue.insert(record("c", 1, &["x"]));
    assert_eq!(new, 8, "numbers grow over lives");
    queue.release_inherited(|found| *found != id("b", 1));
    assert_eq!(queue.pick(at(0)), send(7, "x"));
    queue.settled(7, "x");
    assert_eq!(queue.pick(at(0)), Pick::Idle, "held, and new");
}

#[test]
fn the_oldest_is_first_and_an_incident_keeps_its_order() {
    let mut queue = queue(&[("a", 1, &["x", "y"]), ("a", 2, &["x", "y"]), ("b", 1, &["x"])]);
    assert_eq!(queue.pick(at(0)), send(0, "x"));
    queue.put_off(0, "x", at(0), &BACKOFF, 1);
    assert_eq!(queue.pick(at(0)), send(0, "y"));
    queue.settled(0, "y");
    assert_eq!(queue.pick(at(0)), send(1, "y"), "y goes on; x waits for the first letter");
    queue.settled(1, "y");
    assert_eq!(queue.pick(at(0)), send(2, "x"), "another incident does not wait");
    queue.settled(2, "x");
    assert_eq!(queue.pick(at(0)), Pick::Wait(at(5)));
    assert_eq!(queue.pick(at(5)), send(0, "x"));
    queue.settled(0, "x");
    assert_eq!(queue.pick(at(5)), send(1, "x"));
}

#[test]
fn a_held_email_holds_its_successors() {
    let mut queue = Queue::default();
    for n in 1..=2 {
        let number = queue.insert(record("a", n, &["x"]));
        queue.saved(number, Some(0));
    }
    queue.release(&id("a", 2));
    assert_eq!(queue.pick(at(0)), Pick::Idle);
}

#[test]
fn later_comes_later_each_time() {
    let mut queue = queue(&[("a", 1, &["x"])]);
    let delays: Vec<u64> = (0..8).map(|_| queue.put_off(0, "x", at(0), &BACKOFF, 1).as_secs()).collect();
    assert_eq!(delays, [5, 10, 20, 40, 80, 160, 300, 300]);
    queue.retry_now();
    assert_eq!(queue.pick(at(0)), send(0, "x"));
}

#[test]
fn what_the_disk_refuses_is_sent_all_the_same() {
    let mut queue = Queue::default();
    let number = queue.insert(record("a", 1, &["x", "y"]));
    assert_eq!(queue.pick(at(0)), Pick::Idle, "the disk has not been asked");
    queue.not_saved(number, "full".to_owned());
    assert_eq!(queue.pick(at(0)), send(0, "x"));
    assert_eq!(queue.find(&id("a", 1)), Some(false));
    assert_eq!(queue.unsaved(), [0]);
    assert!(!queue.settled(0, "x"));
    // The disk has room again: the email is as any other, and waits for its release.
    let Some(DiskJob::Write(record, changes)) = queue.disk_job(0) else { panic!() };
    assert_eq!(record.pending, ["y"]);
    assert!(queue.saved(0, Some(changes)));
    assert_eq!(queue.pick(at(0)), Pick::Idle);
    assert_eq!((queue.unsaved(), queue.disk_error.clone()), (Vec::new(), None));
}

#[test]
fn a_file_is_behind_until_the_newest_state_is_in_it() {
    let mut queue = queue(&[("a", 1, &["x", "y"])]);
    queue.settled(0, "x");
    let Some(DiskJob::Write(_, older)) = queue.disk_job(0) else { panic!() };
    assert!(queue.settled(0, "y"));
    assert!(!queue.saved(0, Some(older)));
    assert_eq!(queue.unsaved(), [0], "what was written is not the newest state");
    assert_eq!(queue.disk_job(0), Some(DiskJob::Remove(id("a", 1))));
    assert_eq!(queue.backlog(), (0, None));
    queue.saved(0, None);
    assert_eq!(queue.find(&id("a", 1)), None);
}

#[test]
fn a_email_that_never_was_on_disk_vanishes_with_its_last_recipient() {
    let mut queue = Queue::default();
    queue.insert(record("a", 1, &["x"]));
    queue.not_saved(0, "full".to_owned());
    assert!(queue.settled(0, "x"));
    assert_eq!(queue.disk_job(0), None);
    assert_eq!(queue.find(&id("a", 1)), None);
}

#[test]
fn the_backlog_counts_emails_and_names_the_oldest() {
    let mut queue = queue(&[("a", 3, &["x"]), ("b", 2, &["x", "y"])]);
    assert_eq!(queue.backlog(), (2, Some(Wall(2))));
    queue.settled(1, "x");
    assert_eq!(queue.backlog().0, 2);
    queue.settled(1, "y");
    assert_eq!(queue.backlog(), (1, Some(Wall(3))));
}

/// Twelve emails to x that are released, after x has had ten.
fn crowd() -> Queue {
    let mut queue = Queue::default();
    queue.rate_limit.accepted("x", at(0), 10);
    for n in 0..12 {
        let incident = format!("i{n}");
        let number = queue.insert(record(&incident, 1, &["x", "y"]));
        queue.saved(number, Some(0));
        queue.release(&id(&incident, 1));
    }
    queue
}

#[test]
fn what_waits_for_somebody_who_has_had_enough_goes_as_one_mail() {
    let queue = crowd();
    assert_eq!(queue.pick(at(1)), send(0, "y"), "y has had none");
    let mut queue = crowd();
    for n in 0..12 {
        queue.settled(n, "y");
    }
    assert_eq!(queue.pick(at(59)), Pick::Wait(at(60)));
    assert_eq!(queue.pick(at(60)), Pick::Together((0..12).collect(), "x".to_owned()));
    // Half of it where the server found it too long, and the rest after it.
    queue.rate_limit.too_long("x", 12);
    assert_eq!(queue.pick(at(60)), Pick::Together((0..6).collect(), "x".to_owned()));
    for n in 0..12 {
        queue.settled(n, "x");
    }
    assert_eq!(queue.pick(at(60)), Pick::Idle);
}

#[test]
fn a_digest_has_no_more_of_an_incident_than_may_be_told_in_order() {
    let mut queue =
        queue(&[("a", 1, &["x"]), ("a", 2, &["x"]), ("b", 2, &["x"]), ("c", 1, &["x"]), ("c", 2, &["x"])]);
    queue.rate_limit.accepted("x", at(0), 10);
    // The first email of b is held, that of c is put off.
    let held = queue.insert(record("b", 1, &["x"]));
    queue.saved(held, Some(0));
    queue.put_off(3, "x", at(60), &BACKOFF, 1);
    assert_eq!(queue.pick(at(61)), Pick::Together(vec![0, 1], "x".to_owned()));
    queue.settled(0, "x");
    queue.settled(1, "x");
    assert_eq!(queue.pick(at(61)), Pick::Wait(at(65)));
    assert_eq!(queue.pick(at(65)), Pick::Together(vec![3, 4], "x".to_owned()));
}

#[test]
fn one_that_waits_alone_is_a_mail_like_any_other() {
    let mut queue = queue(&[("a", 1, &["x"])]);
    queue.rate_limit.accepted("x", at(0), 10);
    assert_eq!(queue.pick(at(60)), send(0, "x"));
}

#[test]
fn who_was_told_later_comes_after_who_was_not_however_soon_it_is_due() {
    let mut queue = queue(&[("a", 1, &["slow"]), ("b", 1, &["slow"]), ("c", 1, &["x"])]);
    queue.put_off(0, "slow", at(0), &BACKOFF, 1);
    queue.put_off(1, "slow", at(1), &BACKOFF, 1);
    assert_eq!(queue.pick(at(100)), send(2, "x"), "it has not been tried yet");
    queue.settled(2, "x");
    assert_eq!(queue.pick(at(100)), send(0, "slow"), "it is due for longest");
    queue.put_off(0, "slow", at(130), &BACKOFF, 1);
    assert_eq!(queue.pick(at(160)), send(1, "slow"), "each in its turn");
    // The server breaks off over each of them: they rest, a new one need not.
    queue.rest_until = at(500);
    assert_eq!(queue.pick(at(200)), Pick::Wait(at(500)));
    let new = queue.insert(record("d", 1, &["x"]));
    queue.saved(new, Some(0));
    queue.release(&id("d", 1));
    assert_eq!(queue.pick(at(200)), send(new, "x"));
}

#[test]
fn disk_that_hangs_holds_no_email_back_and_forgets_none_that_it_may_still_write() {
    let mut queue = Queue::default();
    let (first, second) = (queue.insert(record("a", 1, &["x"])), queue.insert(record("b", 1, &["x"])));
    let Some(DiskJob::Write(_, changes)) = queue.disk_job(first) else { panic!() };
    assert!(queue.disk_hangs("hung") && !queue.disk_hangs("hung"), "news once");
    assert!(queue.is_disk_hung());
    assert_eq!(queue.pick(at(0)), send(first, "x"));
    assert!(queue.settled(first, "x"));
    assert_eq!(queue.pick(at(0)), send(second, "x"));
    assert!(queue.settled(second, "x"));
    queue.disk_hangs("hung");
    assert_eq!(queue.unsaved(), [first], "the other is in no file and never will be");
    // The disk answers: the file of an email that everybody has is there now, and is to go.
    assert!(!queue.saved(first, Some(changes)), "safe, but of no interest");
    assert!(!queue.is_disk_hung());
    assert_eq!(queue.disk_job(first), Some(DiskJob::Remove(id("a", 1))));
    queue.saved(first, None);
    assert!(queue.unsaved().is_empty() && queue.disk_error.is_none());
    // One that answers in the moment in which it is given up does not hang.
    assert!(!queue.disk_hangs("hung") && !queue.is_disk_hung());
}
