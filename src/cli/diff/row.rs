//! One row of a report for people: its part of the report, its letters and words. Which rows there are is not decided
//! here.

use super::words::plain;
use crate::lock::diff::{Change, Class};
use crate::workspace::Platform;

/// The parts of a report, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Attention,
    Environments,
    Base,
    Packages,
    Steps,
    Settings,
    /// Nothing that an image is made of.
    Beside,
    Images,
}

impl Section {
    pub fn title(self) -> &'static str {
        match self {
            Self::Attention => "Attention",
            Self::Environments => "Environments and platforms",
            Self::Base => "Base",
            Self::Packages => "Packages",
            Self::Steps => "Steps and files",
            Self::Settings => "Settings",
            Self::Beside => "Not in the images",
            Self::Images => "Images",
        }
    }
}

/// One row. What comes from outside is in it as it came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub section: Section,
    /// What is asked for by name goes first.
    pub implied: bool,
    /// The ecosystem, or what kind of thing it is.
    pub kind: String,
    pub name: String,
    /// The letter in brackets, and the one behind it.
    pub letters: [char; 2],
    pub what: String,
    /// By how many bytes it grew.
    pub size: String,
    pub notes: Vec<String>,
    pub platforms: Vec<Platform>,
    /// Where: environments, if there are several.
    pub environments: Vec<String>,
}

impl Row {
    pub fn new(section: Section, letter: char, kind: &str, name: &str) -> Self {
        Self {
            section,
            implied: false,
            kind: kind.to_owned(),
            name: name.to_owned(),
            letters: [letter, ' '],
            what: String::new(),
            size: String::new(),
            notes: Vec::new(),
            platforms: Vec::new(),
            environments: Vec::new(),
        }
    }

    /// What the letters mean, in words.
    pub fn word(&self) -> String {
        let word = match self.letters[0] {
            'B' => "rebuilt",
            'S' => "scripts",
            'O' => "origin",
            'K' => "keys",
            'L' => "licence",
            'D' => "downgraded",
            'U' => "upgraded",
            'A' => "added",
            'R' => "removed",
            '!' => "drift",
            '=' => "same",
            _ => "changed",
        };
        let mark = match self.letters[1] {
            '*' => " (asked for)",
            '+' => " (now asked for)",
            '-' => " (asked for no longer)",
            _ => "",
        };
        format!("{word}{mark}")
    }

    /// What is said behind the names: notes, and where it is so.
    pub fn remarks(&self) -> String {
        let mut remarks: Vec<String> = self.notes.iter().map(|note| plain(note)).collect();
        if !self.environments.is_empty() {
            remarks.push(self.environments.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", "));
        }
        if !self.platforms.is_empty() {
            remarks.push(on(&self.platforms));
        }
        remarks.join("  ")
    }
}

/// The names of platforms.
pub fn on(platforms: &[Platform]) -> String {
    platforms.iter().map(|platform| platform.name()).collect::<Vec<_>>().join(", ")
}

/// The letter that a change is known by: that of its first class which has one.
pub fn letter<T>(change: &Change<T>) -> char {
    let of = |class: &Class| {
        Some(match class {
            Class::Rebuilt => 'B',
            Class::Drift => '!',
            Class::Scripts => 'S',
            Class::Origin => 'O',
            Class::Signature => 'K',
            Class::Licence => 'L',
            Class::Downgraded => 'D',
            Class::Upgraded => 'U',
            Class::Added => 'A',
            Class::Removed => 'R',
            _ => return None,
        })
    };
    let whole = match (&change.old, &change.new) {
        (None, Some(_)) => 'A',
        (Some(_), None) => 'R',
        _ => 'C',
    };
    if whole != 'C' { whole } else { change.classes.iter().find_map(of).unwrap_or('C') }
}

/// Where a change is shown that has no attention of its own.
pub fn section<T>(change: &Change<T>, usual: Section) -> Section {
    if change.needs_attention() {
        Section::Attention
    } else if change.classes.iter().any(|class| class.is_content()) {
        usual
    } else {
        Section::Beside
    }
}
