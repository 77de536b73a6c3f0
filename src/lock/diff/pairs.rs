//! Putting what two sides hold into pairs: what is most alike first, the rest in order. It knows nothing of what
//! the things are, and gives the same pairs with the sides exchanged.

use std::collections::{BTreeMap, VecDeque};

/// Two things that belong together, or one that has no counterpart.
pub type Pair<T> = (Option<T>, Option<T>);

/// Things of two sides that wait for a counterpart.
#[derive(Debug)]
pub struct Pairs<T> {
    old: Vec<T>,
    new: Vec<T>,
    found: Vec<Pair<T>>,
}

impl<T> Pairs<T> {
    pub fn new(old: Vec<T>, new: Vec<T>) -> Self {
        Self { old, new, found: Vec::new() }
    }

    /// Pairs those that have the same key, in their order. The others go on waiting, in theirs.
    #[must_use]
    pub fn by<K: Ord>(mut self, key: impl Fn(&T) -> Option<K>) -> Self {
        let mut waiting: BTreeMap<K, VecDeque<usize>> = BTreeMap::new();
        for (index, thing) in self.old.iter().enumerate() {
            if let Some(key) = key(thing) {
                waiting.entry(key).or_default().push_back(index);
            }
        }
        let mut old: Vec<Option<T>> = self.old.into_iter().map(Some).collect();
        let mut new = Vec::new();
        for thing in self.new {
            let index = key(&thing).and_then(|key| waiting.get_mut(&key)?.pop_front());
            match index.and_then(|index| old[index].take()) {
                Some(counterpart) => self.found.push((Some(counterpart), Some(thing))),
                None => new.push(thing),
            }
        }
        Self { old: old.into_iter().flatten().collect(), new, found: self.found }
    }

    /// All pairs, and what has found no counterpart.
    pub fn finish(mut self) -> Vec<Pair<T>> {
        self.found.extend(self.old.into_iter().map(|old| (Some(old), None)));
        self.found.extend(self.new.into_iter().map(|new| (None, Some(new))));
        self.found
    }
}
