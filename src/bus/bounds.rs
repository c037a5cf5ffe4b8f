//! Who may have how many calls waiting: nobody's flood delays or starves another user's call.
//!
//! In: calls that come and calls that are done. Out: which call is next, and which refusal. Each user has a line of bounded
//! length, each connection a part of it, and the lines take turns. What has no place is refused, but a user is refused only
//! so often a second: whoever calls without end waits for refusals, while the bus itself (128 open calls of a connection)
//! rejects the rest. No I/O.

use std::collections::{BTreeMap, HashMap, VecDeque};

use zbus::names::OwnedUniqueName;

/// Calls of one connection that wait or are under way.
const PER_CONNECTION: usize = 32;
/// Calls of one user that wait or are under way.
const PER_USER: usize = 64;
/// Calls of one user that act and are under way: a password prompt or a probe may take minutes. (What polkit refused counts
/// for some seconds more.)
const ACTING_PER_USER: usize = 16;
/// Calls of one user that read and are under way. A busy bus takes 2 kB of answers in a turn, so that another user's answer
/// would wait for all that are before it.
const READING_PER_USER: usize = 1;
/// Calls of all users that are under way.
const RUNNING: usize = 64;
/// Refusals that wait, of one user. What is beyond is not answered at all: nobody but an attacker has as many calls open.
const REFUSALS_PER_USER: usize = 4096;

/// Who calls, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Caller {
    pub uid: u32,
    /// The call acts.
    pub acts: bool,
    /// `None` where there is no bus in between.
    pub connection: Option<OwnedUniqueName>,
}

/// One user's calls.
#[derive(Debug)]
struct User<T> {
    /// Calls that read, and calls that act.
    waiting: [VecDeque<(Caller, T)>; 2],
    /// The answers to calls that had no place.
    refusals: VecDeque<T>,
    running: [usize; 2],
    /// Waiting and running, by connection.
    connections: HashMap<Option<OwnedUniqueName>, usize>,
}

impl<T> Default for User<T> {
    fn default() -> Self {
        Self {
            waiting: [VecDeque::new(), VecDeque::new()],
            refusals: VecDeque::new(),
            running: [0, 0],
            connections: HashMap::new(),
        }
    }
}

impl<T> User<T> {
    /// Which of the two lines has a call whose turn may come.
    fn ready(&self) -> Option<usize> {
        let may = [READING_PER_USER, ACTING_PER_USER];
        (0..2).find(|kind| !self.waiting[*kind].is_empty() && self.running[*kind] < may[*kind])
    }

    fn is_idle(&self) -> bool {
        self.connections.is_empty() && self.refusals.is_empty()
    }
}

/// The lines.
#[derive(Debug)]
pub(super) struct Lines<T> {
    users: BTreeMap<u32, User<T>>,
    /// Who was served last.
    last: u32,
    running: usize,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self { users: BTreeMap::new(), last: 0, running: 0 }
    }
}

impl<T> Lines<T> {
    /// Puts a call in its user's line. `Err`: there is no room, and why.
    pub fn add(&mut self, caller: Caller, call: T) -> Result<(), String> {
        let user = self.users.entry(caller.uid).or_default();
        let of_connection = user.connections.get(&caller.connection).copied().unwrap_or(0);
        if of_connection >= PER_CONNECTION {
            return Err(format!("{PER_CONNECTION} calls of this connection are waiting already"));
        }
        if user.connections.values().sum::<usize>() >= PER_USER {
            return Err(format!("{PER_USER} calls of user {} are waiting already", caller.uid));
        }
        *user.connections.entry(caller.connection.clone()).or_default() += 1;
        user.waiting[usize::from(caller.acts)].push_back((caller, call));
        Ok(())
    }

    /// The call that is next, which is under way from now on: users take turns.
    pub fn next(&mut self) -> Option<(Caller, T)> {
        if self.running >= RUNNING {
            return None;
        }
        let ready = |(_, user): &(&u32, &User<T>)| user.ready().is_some();
        let after = self.users.range(self.last.saturating_add(1)..).find(ready);
        let uid = *after.or_else(|| self.users.iter().find(ready))?.0;
        let user = self.users.get_mut(&uid)?;
        let kind = user.ready()?;
        let next = user.waiting[kind].pop_front()?;
        user.running[kind] += 1;
        self.running += 1;
        self.last = uid;
        Some(next)
    }

    /// A call that was under way is done.
    pub fn done(&mut self, caller: &Caller) {
        let Some(user) = self.users.get_mut(&caller.uid) else { return };
        let running = &mut user.running[usize::from(caller.acts)];
        *running = running.saturating_sub(1);
        self.running = self.running.saturating_sub(1);
        if let Some(count) = user.connections.get_mut(&caller.connection) {
            *count -= 1;
            if *count == 0 {
                user.connections.remove(&caller.connection);
            }
        }
        self.users.retain(|_, user| !user.is_idle());
    }

    /// Keeps the answer to a call that had no place until it is due.
    pub fn refuse(&mut self, uid: u32, answer: T) {
        let refusals = &mut self.users.entry(uid).or_default().refusals;
        if refusals.len() < REFUSALS_PER_USER {
            refusals.push_back(answer);
        }
    }

    /// Whether refusals wait.
    pub fn has_refusals(&self) -> bool {
        self.users.values().any(|user| !user.refusals.is_empty())
    }

    /// One refusal of each user.
    pub fn refusals(&mut self) -> Vec<T> {
        let due = self.users.values_mut().filter_map(|user| user.refusals.pop_front()).collect();
        self.users.retain(|_, user| !user.is_idle());
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(uid: u32, connection: u32) -> Caller {
        Caller {
            uid,
            acts: connection % 2 == 1,
            connection: Some(format!(":1.{connection}").try_into().unwrap()),
        }
    }

    #[test]
    fn a_flood_of_one_user_leaves_the_others_their_turn() {
        let mut lines = Lines::default();
        let mut refused = 0;
        for connection in 0..64 {
            for _ in 0..100 {
                refused += usize::from(lines.add(caller(65534, connection), "flood").is_err());
            }
        }
        assert_eq!(refused, 64 * 100 - PER_USER);
        lines.add(caller(0, 99), "root").unwrap();
        let first: Vec<_> =
            [lines.next(), lines.next()].into_iter().flatten().map(|(_, what)| what).collect();
        assert!(first.contains(&"root"), "{first:?}");
    }

    #[test]
    fn calls_that_take_long_keep_a_bounded_number_of_others_waiting() {
        let mut lines = Lines::default();
        for n in 0..PER_CONNECTION {
            lines.add(caller(7, 1), n).unwrap();
        }
        assert!(lines.add(caller(7, 1), 0).unwrap_err().contains("of this connection"));
        let mut running = Vec::new();
        while let Some((caller, _)) = lines.next() {
            running.push(caller);
        }
        assert_eq!(running.len(), ACTING_PER_USER);
        lines.add(caller(7, 2), 0).unwrap();
        assert_eq!(
            lines.next().map(|(caller, _)| caller.acts),
            Some(false),
            "reading does not wait for a prompt"
        );
        lines.add(caller(7, 2), 0).unwrap();
        assert!(lines.next().is_none(), "its answers come one after the other");
        lines.add(caller(8, 2), 1).unwrap();
        assert_eq!(lines.next().map(|(caller, _)| caller.uid), Some(8));
        for caller in &running {
            lines.done(caller);
        }
        assert!(lines.next().is_some());
    }

    #[test]
    fn nothing_is_kept_of_who_has_gone() {
        let mut lines = Lines::default();
        for uid in 0..1000 {
            lines.add(caller(uid, uid), ()).unwrap();
            let (caller, ()) = lines.next().unwrap();
            lines.done(&caller);
        }
        assert!(lines.users.is_empty() && lines.running == 0);
    }
}
