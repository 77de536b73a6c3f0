//! The users of a definition, as lines for the files in `/etc`.

use std::collections::BTreeMap;

use crate::workspace::User;

/// By file, the lines to add (`passwd(5)`, `group(5)`, `shadow(5)`, `gshadow(5)`). Nobody can log in with
/// a password.
pub fn lines(users: &BTreeMap<String, User>) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for (name, user) in users {
        let (uid, gid) = (user.uid, user.gid.unwrap_or(user.uid));
        let mut add =
            |file: &str, line: String| files.entry(format!("etc/{file}")).or_default().push_str(&(line + "\n"));
        add("passwd", format!("{name}:x:{uid}:{gid}:{name}:{}:{}", user.home, user.shell));
        add("group", format!("{name}:x:{gid}:"));
        add("shadow", format!("{name}:!:1:0:99999:7:::"));
        add("gshadow", format!("{name}:!::"));
    }
    files
}
