//! The order in which npm works through names and paths: that of the Unicode Collation Algorithm for English,
//! as far as names of packages can show it. The tree depends on the order in which it is built.

use std::cmp::Ordering;

/// Printable ASCII in the order of the root collation, which puts letters last and cases side by side.
const ORDER: &[u8] = b" _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789";

/// Compares as `localeCompare` does in English.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    // Cases count only where all else is the same; the lower one is first.
    let case = |text: &str| text.chars().map(char::is_uppercase).collect::<Vec<_>>();
    one.chars().map(weight).cmp(other.chars().map(weight)).then_with(|| case(one).cmp(&case(other)))
}

fn weight(character: char) -> u32 {
    let lower = character.to_ascii_lowercase();
    match u8::try_from(lower).ok().and_then(|byte| ORDER.iter().position(|known| *known == byte)) {
        Some(at) => u32::try_from(at).unwrap_or(u32::MAX),
        None => 64 + u32::from(lower),
    }
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn the_order_is_that_of_english() {
        let order =
            ["_a", "-a", ".a", "@a/b", "1", "a", "A", "a_b", "a-b", "a.b", "a/b", "a1", "aa", "ab", "Ab", "abc", "B"];
        let mut sorted = order;
        sorted.reverse();
        sorted.sort_by(|one, other| compare(one, other));
        assert_eq!(sorted, order);
    }
}
