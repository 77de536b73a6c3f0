//! The ids of users and groups that scripts make, and keeping those that an earlier lock has noted: a volume that
//! one image has written to is owned by numbers, and the next image must mean the same users by them. Pure.
//!
//! Scripts choose the next free number, whatever they make accounts with, so that a package more can move them.
//! They are left to choose, and what they made is renumbered afterwards.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Ids by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    #[serde(default)]
    pub users: BTreeMap<String, u32>,
    #[serde(default)]
    pub groups: BTreeMap<String, u32>,
}

impl Ids {
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    /// These and `others`, whose word counts.
    pub fn with(&self, others: &Self) -> Self {
        let mut all = self.clone();
        all.users.extend(others.users.clone());
        all.groups.extend(others.groups.clone());
        all
    }
}

/// `/etc/passwd` and `/etc/group` (passwd(5), group(5)).
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    pub passwd: String,
    pub group: String,
}

impl Accounts {
    pub fn ids(&self) -> Ids {
        Ids { users: ids(&self.passwd), groups: ids(&self.group) }
    }
}

/// Which numbers become which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renumbering {
    pub uids: BTreeMap<u32, u32>,
    pub gids: BTreeMap<u32, u32>,
}

impl Renumbering {
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// The text of `/etc/passwd`, or a copy of it, with the new numbers.
    pub fn passwd(&self, text: &str) -> String {
        replaced(text, &[(2, &self.uids), (3, &self.gids)])
    }

    /// The text of `/etc/group`, or a copy of it, with the new numbers.
    pub fn group(&self, text: &str) -> String {
        replaced(text, &[(2, &self.gids)])
    }
}

/// The ids of what `now` has and `before` has not, as they are to be, and what must change for that. `fixed` are
/// ids that others have, `kept` those that accounts by these names had.
pub fn renumber(before: &Ids, now: &Ids, fixed: &Ids, kept: &Ids) -> (Ids, Renumbering) {
    let (users, uids) = assign(&before.users, &now.users, &fixed.users, &kept.users);
    let (groups, gids) = assign(&before.groups, &now.groups, &fixed.groups, &kept.groups);
    (Ids { users, groups }, Renumbering { uids, gids })
}

type Map = BTreeMap<String, u32>;

fn assign(before: &Map, now: &Map, fixed: &Map, kept: &Map) -> (Map, BTreeMap<u32, u32>) {
    let made: Map =
        now.iter().filter(|(name, _)| !before.contains_key(*name)).map(|(name, id)| (name.clone(), *id)).collect();
    let mut taken: BTreeSet<u32> = before.values().chain(fixed.values()).copied().collect();
    let mut ids = Map::new();
    for (name, id) in kept {
        if made.contains_key(name) && taken.insert(*id) {
            ids.insert(name.clone(), *id);
        }
    }
    // The numbers of accounts that are gone stay theirs: their volumes may come back.
    taken.extend(kept.values());
    let mut others: Vec<(&String, u32)> =
        made.iter().filter(|(name, _)| !ids.contains_key(*name)).map(|(name, id)| (name, *id)).collect();
    others.sort_by_key(|(_, id)| *id);
    for (name, wanted) in others {
        let free = (wanted..u32::MAX).find(|id| !taken.contains(id)).unwrap_or(wanted);
        taken.insert(free);
        ids.insert(name.clone(), free);
    }
    let moved = made.iter().map(|(name, id)| (*id, ids[name])).filter(|(from, to)| from != to).collect();
    (ids, moved)
}

fn ids(text: &str) -> Map {
    let id = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(id).collect()
}

/// The lines with the numbers in some of their fields replaced.
fn replaced(text: &str, columns: &[(usize, &BTreeMap<u32, u32>)]) -> String {
    let line = |line: &str| {
        let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        for (column, numbers) in columns {
            if let Some(field) = fields.get_mut(*column)
                && let Some(new) = field.parse().ok().and_then(|number: u32| numbers.get(&number))
            {
                *field = new.to_string();
            }
        }
        fields.join(":") + "\n"
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{Accounts, Ids, Renumbering, renumber};

    fn accounts(users: &[(&str, u32)]) -> Accounts {
        let lines = |each: &dyn Fn(&str, u32) -> String| users.iter().map(|(name, id)| each(name, *id)).collect();
        Accounts {
            passwd: lines(&|name, id| format!("{name}:x:{id}:{id}::/nonexistent:/bin/false\n")),
            group: lines(&|name, id| format!("{name}:x:{id}:\n")),
        }
    }

    fn numbers(users: &[(&str, u32)]) -> Ids {
        accounts(users).ids()
    }

    #[test]
    fn without_earlier_ids_nothing_moves() {
        let (ids, moved) = renumber(
            &numbers(&[("root", 0)]),
            &numbers(&[("root", 0), ("redis", 100), ("postgres", 101)]),
            &Ids::default(),
            &Ids::default(),
        );
        assert_eq!(ids, numbers(&[("redis", 100), ("postgres", 101)]));
        assert_eq!(moved, Renumbering::default());
        // What was found once is found again.
        let again = renumber(&numbers(&[("root", 0)]), &ids, &Ids::default(), &ids);
        assert_eq!(again, (ids, moved));
    }

    #[test]
    fn earlier_ids_are_kept_and_make_way_for_nobody() {
        let before = numbers(&[("root", 0), ("messagebus", 100)]);
        let now = accounts(&[("root", 0), ("messagebus", 100), ("avahi", 101), ("redis", 102)]);
        // redis was 101 before avahi came; nobody is left of an account that had 103.
        let kept = numbers(&[("redis", 101), ("gone", 103)]);
        let (ids, moved) = renumber(&before, &now.ids(), &numbers(&[("app", 102)]), &kept);
        assert_eq!(ids, numbers(&[("redis", 101), ("avahi", 104)]));
        let expected = accounts(&[("root", 0), ("messagebus", 100), ("avahi", 104), ("redis", 101)]);
        assert_eq!(moved.passwd(&now.passwd), expected.passwd);
        assert_eq!(moved.group(&now.group), expected.group);
    }

    #[test]
    fn an_id_that_the_base_has_taken_cannot_be_kept() {
        let base = numbers(&[("_apt", 100)]);
        let now = numbers(&[("_apt", 100), ("redis", 101)]);
        let (ids, moved) = renumber(&base, &now, &Ids::default(), &numbers(&[("redis", 100)]));
        assert_eq!(ids, numbers(&[("redis", 101)]));
        assert!(moved.is_empty());
    }

    #[test]
    fn odd_lines_stay_as_they_are() {
        let moved = Renumbering { uids: [(1, 2)].into(), gids: [(1, 3)].into() };
        assert_eq!(moved.passwd("+::::::\n\na:x:1:1:::\n# 1:1\n"), "+::::::\n\na:x:2:3:::\n# 1:1\n");
    }
}
