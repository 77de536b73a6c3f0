//! The directory of Info documents (`install-info(1)`), in an order of its own.
//!
//! Documents are added to it in the order in which the file system lists them, which differs between file systems
//! and between two disks of one kind.

/// The text of `/usr/share/info/dir` with its categories, and what is in each, sorted without regard to case.
/// A text without a menu is returned as it is.
pub fn sorted(text: &str) -> String {
    const MENU: &str = "\n* Menu:\n";
    let Some(at) = text.find(MENU) else { return text.to_owned() };
    let (head, menu) = text.split_at(at + MENU.len());
    let mut categories: Vec<(String, Vec<String>)> = Vec::new();
    for block in menu.split("\n\n").map(str::trim_end).filter(|block| !block.trim().is_empty()) {
        let mut lines = block.trim_start_matches('\n').lines();
        let category = lines.next().unwrap_or_default().to_owned();
        let mut entries: Vec<String> = Vec::new();
        for line in lines {
            match entries.last_mut() {
                // An entry goes on in lines that begin with a space.
                Some(entry) if !line.starts_with('*') => *entry += &format!("\n{line}"),
                _ => entries.push(line.to_owned()),
            }
        }
        entries.sort_by_cached_key(|entry| (entry.to_lowercase(), entry.clone()));
        categories.push((category, entries));
    }
    categories.sort_by_cached_key(|(category, _)| (category.to_lowercase(), category.clone()));
    let mut out = head.to_owned();
    for (category, entries) in categories {
        out += &format!("\n{category}\n");
        entries.iter().for_each(|entry| out += &format!("{entry}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::sorted;

    const HEAD: &str = "This is the file .../info/dir\n\n* Menu:\n";

    #[test]
    fn the_order_of_adding_does_not_show() {
        let one = format!(
            "{HEAD}\nUtilities\n* diff: (d).   Compares.\n* Cat: (c).\n                Goes on.\n* comm: (e).\n\nBasics\n* X: (x).\n"
        );
        let other = format!(
            "{HEAD}\nBasics\n* X: (x).\n\nUtilities\n* comm: (e).\n* diff: (d).   Compares.\n* Cat: (c).\n                Goes on.\n"
        );
        assert_eq!(sorted(&one), sorted(&other));
        assert_eq!(
            sorted(&one),
            format!(
                "{HEAD}\nBasics\n* X: (x).\n\nUtilities\n* Cat: (c).\n                Goes on.\n* comm: (e).\n* diff: (d).   Compares.\n"
            )
        );
        assert_eq!(sorted(&sorted(&one)), sorted(&one));
    }

    #[test]
    fn what_has_no_menu_stays() {
        for text in ["", "something else\n", HEAD.trim_end()] {
            assert_eq!(sorted(text), text);
        }
        assert_eq!(sorted(HEAD), HEAD);
    }
}
