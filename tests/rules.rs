//! `docs/rules.md` says what the rules are: it is made from them, here.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use kiln::ecosystem::debian::rules::{Action, PREPARATIONS, RULES};

fn page() -> String {
    let mut text = String::from(
        "# What may not be baked into an image\n\n\
         Packages' own scripts leave behind what belongs to one machine or one moment: keys, identities, logs, caches\n\
         that hold times. Each rule below concerns only what scripts made, never what a package ships. The rules are\n\
         part of the format: from the first release on, a change to one is a new format. `kiln rules` prints them; `kiln build --check` finds what\n\
         they miss. What a rule does: `remove` takes the path out of the image, `clear` what is in the folder, `empty`\n\
         what is in the file; the others set a time or an order inside the file to one that the lock decides.\n\
         (This page is made from the code; `tests/rules.rs` holds it to it.)\n",
    );
    for rule in RULES {
        write!(text, "\n## {}\n\n**{}**: {}\n\n", rule.name, name(rule.action), rule.why).unwrap();
        for path in rule.paths {
            writeln!(text, "- `/{path}`").unwrap();
        }
    }
    text += "\n## While scripts run\n\nThese files exist only then:\n\n";
    for preparation in PREPARATIONS {
        let when = preparation.package.map_or(String::new(), |package| format!(" (with `{package}`)"));
        writeln!(text, "- `/{}`{when}: {}", preparation.path, preparation.why).unwrap();
    }
    text
}

/// The action as `kiln rules --format json` names it.
fn name(action: Action) -> String {
    serde_json::to_value(action).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn the_page_of_rules_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md");
    let found = fs::read_to_string(&path).unwrap_or_default();
    let expected = page();
    if found != expected {
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rules.md");
        fs::write(&made, &expected).unwrap();
        panic!("docs/rules.md is not what the rules say: replace it by {}", made.display());
    }
}
