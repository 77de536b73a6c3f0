//! The users and groups that every Debian system has, with ids that never change (Debian Policy, 9.2.2,
//! ids 0 to 99 and 65534; the package base-passwd).
//!
//! A package's files name their owners, and dpkg goes by the names where the system knows them. That the
//! system is not there yet when parts are made does not matter: for these names the answer is fixed, and
//! for others dpkg takes the number in the archive.

const USERS: [(&str, u32); 19] = [
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("sync", 4),
    ("games", 5),
    ("man", 6),
    ("lp", 7),
    ("mail", 8),
    ("news", 9),
    ("uucp", 10),
    ("proxy", 13),
    ("www-data", 33),
    ("backup", 34),
    ("list", 38),
    ("irc", 39),
    ("_apt", 42),
    ("nobody", 65534),
    // Reserved for a package that is no longer in Debian; its files would still be its own.
    ("gnats", 41),
];

const GROUPS: [(&str, u32); 38] = [
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("adm", 4),
    ("tty", 5),
    ("disk", 6),
    ("lp", 7),
    ("mail", 8),
    ("news", 9),
    ("uucp", 10),
    ("man", 12),
    ("proxy", 13),
    ("kmem", 15),
    ("dialout", 20),
    ("fax", 21),
    ("voice", 22),
    ("cdrom", 24),
    ("floppy", 25),
    ("tape", 26),
    ("sudo", 27),
    ("audio", 29),
    ("dip", 30),
    ("www-data", 33),
    ("backup", 34),
    ("operator", 37),
    ("list", 38),
    ("irc", 39),
    ("src", 40),
    ("shadow", 42),
    ("utmp", 43),
    ("video", 44),
    ("sasl", 45),
    ("plugdev", 46),
    ("staff", 50),
    ("games", 60),
    ("users", 100),
    ("nogroup", 65534),
];

/// The id of a user that every system has.
pub fn user(name: &str) -> Option<u32> {
    find(&USERS, name)
}

/// The id of a group that every system has.
pub fn group(name: &str) -> Option<u32> {
    find(&GROUPS, name)
}

fn find(table: &[(&str, u32)], name: &str) -> Option<u32> {
    table.iter().find(|(known, _)| *known == name).map(|(_, id)| *id)
}
