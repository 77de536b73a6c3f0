//! Pipelines cannot be run here; that the commands of kiln in them exist, with these options, can be seen.

use std::process::Command;

use crate::{pages, root};

/// The lines of a page's YAML blocks that call kiln.
fn calls(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let blocks = text.split("\n```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned());
    let line = |line: &str| {
        let start = line.find("kiln ")?;
        let before = line[..start].trim();
        ["-", "- run:", "run:", ""].contains(&before).then(|| line[start..].to_owned())
    };
    blocks.flat_map(|block| block.lines().filter_map(line).collect::<Vec<_>>()).collect()
}

#[test]
fn pipelines_call_what_there_is() {
    let mut checked = 0;
    for page in pages() {
        for call in calls(&page) {
            let words: Vec<&str> = call.split_whitespace().collect();
            let help = Command::new(env!("CARGO_BIN_EXE_kiln")).args([words[1], "-h"]).output().unwrap();
            assert!(help.status.success(), "{page}: `{call}`: there is no such command");
            let help = String::from_utf8(help.stdout).unwrap();
            for option in words.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(option), "{page}: `{call}`: there is no {option}");
            }
            checked += 1;
        }
    }
    assert!(checked >= 8, "only {checked} calls were found");
}
