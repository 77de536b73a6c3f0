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

    /// An access list as its extended attribute has it (`system.posix_acl_*`, the kernel's `posix_acl_xattr.h`): four
    /// bytes, then eight for each entry, of which the last four are an id.
    pub fn access_list(&self, bytes: &mut [u8]) {
        const USER: u16 = 0x02;
        const GROUP: u16 = 0x08;
        for entry in bytes.get_mut(4..).unwrap_or_default().chunks_exact_mut(8) {
            let numbers = match u16::from_le_bytes([entry[0], entry[1]]) {
                USER => &self.uids,
                GROUP => &self.gids,
                _ => continue,
            };
            let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
            if let Some(new) = numbers.get(&id) {
                entry[4..].copy_from_slice(&new.to_le_bytes());
            }
        }
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
    let known: BTreeSet<u32> = before.values().copied().collect();
    let mut ids = Map::new();
    // Several names of one number stay together, and another name of one that was there stays that.
    let mut made: BTreeMap<u32, Vec<&String>> = BTreeMap::new();
    for (name, id) in now.iter().filter(|(name, _)| !before.contains_key(*name)) {
        ids.insert(name.clone(), *id);
        if !known.contains(id) {
            made.entry(*id).or_default().push(name);
        }
    }
    let mut taken: BTreeSet<u32> = known.into_iter().chain(fixed.values().copied()).collect();
    let mut moved = BTreeMap::new();
    for (id, names) in &made {
        if let Some(kept) = names.iter().find_map(|name| kept.get(*name)).filter(|kept| taken.insert(**kept)) {
            moved.insert(*id, *kept);
        }
    }
    // The numbers of accounts that are gone stay theirs: their volumes may come back.
    taken.extend(kept.values());
    for id in made.keys() {
        if !moved.contains_key(id) {
            let free = free(*id, &taken);
            taken.insert(free);
            moved.insert(*id, free);
        }
    }
    for (id, names) in &made {
        ids.extend(names.iter().map(|name| ((*name).clone(), moved[id])));
    }
    moved.retain(|from, to| from != to);
    (ids, moved)
}

/// A number near `wanted` that is not taken. That of a system account stays one (Debian Policy 9.2.2): from 1000 on
/// they are people's.
fn free(wanted: u32, taken: &BTreeSet<u32>) -> u32 {
    let above = if wanted < 1000 { wanted..1000 } else { wanted..u32::MAX };
    let below = (100..wanted.min(1000)).rev();
    above.chain(below).chain(1000..u32::MAX).find(|id| !taken.contains(id)).unwrap_or(wanted)
}

fn ids(text: &str) -> Map {
    // Names as useradd(8) takes them; other lines are no accounts.
    let plain =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$'));
    let id = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && plain(name))?;
        Some((name.to_owned(), fields.nth(1)?.parse().ok()?))
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
    fn other_names_of_a_number_stay_together() {
        let base = numbers(&[("root", 0), ("old", 50)]);
        let now = numbers(&[("root", 0), ("toor", 0), ("new", 50), ("a", 100), ("b", 100)]);
        let (ids, moved) = renumber(&base, &now, &numbers(&[("app", 100)]), &Ids::default());
        assert_eq!(ids, numbers(&[("toor", 0), ("new", 50), ("a", 101), ("b", 101)]));
        assert_eq!(moved.uids, [(100, 101)].into());
    }

    #[test]
    fn system_accounts_stay_below_1000() {
        let kept = numbers(&[("cron", 997), ("network", 998), ("journal", 999)]);
        let now = numbers(&[("bus", 997), ("cron", 996), ("network", 998), ("journal", 999)]);
        let (ids, _) = renumber(&Ids::default(), &now, &Ids::default(), &kept);
        assert_eq!(ids.users["cron"], 997);
        assert_eq!(ids.users["bus"], 996);
    }

    #[test]
    fn access_lists_name_the_new_numbers() {
        let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &7_u16.to_le_bytes(), &id.to_le_bytes()].concat();
        let list = |user: u32, group: u32| [vec![2, 0, 0, 0], entry(1, 1), entry(2, user), entry(8, group)].concat();
        let moved = Renumbering { uids: [(1, 2)].into(), gids: [(1, 3)].into() };
        let mut bytes = list(1, 1);
        moved.access_list(&mut bytes);
        assert_eq!(bytes, list(2, 3));
        moved.access_list(&mut []);
        moved.access_list(&mut [2, 0, 0, 0, 2]);
    }

    #[test]
    fn names_that_no_account_has_are_left_alone() {
        assert!(Accounts { passwd: "a\"'b:x:7:7::/:/\n:x:8:\n".to_owned(), group: String::new() }.ids().is_empty());
    }

    #[test]
    fn odd_lines_stay_as_they_are() {
        let moved = Renumbering { uids: [(1, 2)].into(), gids: [(1, 3)].into() };
        assert_eq!(moved.passwd("+::::::\n\na:x:1:1:::\n# 1:1\n"), "+::::::\n\na:x:2:3:::\n# 1:1\n");
    }
}
