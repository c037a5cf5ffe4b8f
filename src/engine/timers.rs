//! The queue of wake-ups: at most one for each key. It starts nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Mono;

/// Wake-ups by key.
#[derive(Debug)]
pub(super) struct Timers<K> {
    queue: BTreeSet<(Mono, K)>,
    due: BTreeMap<K, Mono>,
}

impl<K: Ord + Clone> Default for Timers<K> {
    fn default() -> Self {
        Self { queue: BTreeSet::new(), due: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Sets the wake-up of `key` in place of an earlier one; `None` for no wake-up.
    pub fn set(&mut self, key: &K, at: Option<Mono>) {
        if self.due.get(key).copied() == at {
            return;
        }
        if let Some(old) = self.due.remove(key) {
            self.queue.remove(&(old, key.clone()));
        }
        if let Some(at) = at {
            self.due.insert(key.clone(), at);
            self.queue.insert((at, key.clone()));
        }
    }

    /// The earliest wake-up.
    pub fn earliest(&self) -> Option<Mono> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes out one that is due at `now`.
    pub fn pop(&mut self, now: Mono) -> Option<K> {
        if self.earliest()? > now {
            return None;
        }
        let (_, key) = self.queue.pop_first()?;
        self.due.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timer_set_again_replaces_earlier() {
        let mut timers = Timers::default();
        let at = |s| Mono(Duration::from_secs(s));
        timers.set(&1, Some(at(5)));
        timers.set(&2, Some(at(3)));
        timers.set(&1, Some(at(1)));
        assert_eq!(timers.pop(at(0)), None);
        assert_eq!(timers.pop(at(9)), Some(1));
        timers.set(&2, None);
        assert_eq!(timers.pop(at(9)), None);
        assert_eq!(timers.earliest(), None);
    }
}
