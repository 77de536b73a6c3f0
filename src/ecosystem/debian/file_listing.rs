//! TeX's listings of files (`mktexlsr(1)`), in an order of their own.
//!
//! They are made of what the file system lists, in its order, which differs between file systems and between two
//! disks of one kind.

/// The text of an `ls-R` with its folders, and the names in each, sorted. A text that does not begin as one is
/// returned as it is.
pub fn sorted(text: &str) -> String {
    let Some((head, rest)) = text.split_once("\n\n").filter(|(head, _)| head.starts_with("% ls-R")) else {
        return text.to_owned();
    };
    let mut folders: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for block in rest.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let lines: Vec<&str> = block.trim_matches('\n').lines().collect();
        // The first folder is named twice.
        let heads = lines.iter().take_while(|line| line.starts_with('.') && line.ends_with(':')).count().max(1);
        let (heads, names) = lines.split_at(heads.min(lines.len()));
        let mut names = names.to_vec();
        names.sort_unstable();
        folders.push((heads.to_vec(), names));
    }
    folders.sort();
    let mut out = format!("{head}\n");
    for (heads, names) in folders {
        out.push('\n');
        heads.into_iter().chain(names).for_each(|line| out += &format!("{line}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::sorted;

    #[test]
    fn the_order_of_the_disk_does_not_show() {
        let one = "% ls-R -- x\n\n./:\n.:\ntex\nls-R\n\n./tex:\nb\na\n\n./dvips:\n\n";
        let other = "% ls-R -- x\n\n./:\n.:\nls-R\ntex\n\n./dvips:\n\n./tex:\na\nb\n";
        assert_eq!(sorted(one), "% ls-R -- x\n\n./:\n.:\nls-R\ntex\n\n./dvips:\n\n./tex:\na\nb\n");
        assert_eq!(sorted(one), sorted(other));
        assert_eq!(sorted(&sorted(one)), sorted(one));
    }

    #[test]
    fn other_texts_stay() {
        for text in ["", "% ls-R", "a\n\nb\n"] {
            assert_eq!(sorted(text), text);
        }
    }
}
