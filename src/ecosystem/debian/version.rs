//! Debian version numbers: order and form (Debian Policy 5.6.12, deb-version(7)).
//!
//! Knows nothing of packages: two strings in, an order out. Nothing is allocated, so the solver can
//! compare versions where they stand in an index.

use std::cmp::Ordering;

/// The order of two version numbers by Debian Policy 5.6.12: epoch, then upstream version, then revision.
///
/// Every string has a place in the order: a missing epoch is 0, a missing revision sorts as `0` does.
pub fn compare(left: &str, right: &str) -> Ordering {
    if left == right {
        return Ordering::Equal;
    }
    let (left_epoch, left) = split_epoch(left);
    let (right_epoch, right) = split_epoch(right);
    let (left_upstream, left_revision) = split_revision(left);
    let (right_upstream, right_revision) = split_revision(right);
    compare_numbers(left_epoch.as_bytes(), right_epoch.as_bytes())
        .then_with(|| compare_part(left_upstream.as_bytes(), right_upstream.as_bytes()))
        .then_with(|| compare_part(left_revision.as_bytes(), right_revision.as_bytes()))
}

/// Whether `text` has the form of a version number (Debian Policy 5.6.12): what may be in it, and a
/// digit where one must be.
pub fn is_valid(text: &str) -> bool {
    let (epoch, rest) = split_epoch(text);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".+-~:".contains(&byte);
    epoch.bytes().all(|byte| byte.is_ascii_digit())
        && rest.bytes().all(allowed)
        && rest.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

fn split_epoch(version: &str) -> (&str, &str) {
    version.split_once(':').unwrap_or(("0", version))
}

fn split_revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, ""))
}

/// Numbers of any length: without leading zeros the longer is the larger.
fn compare_numbers(left: &[u8], right: &[u8]) -> Ordering {
    let left = strip_zeros(left);
    let right = strip_zeros(right);
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

fn strip_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|&&byte| byte == b'0').count()..]
}

/// Compares an upstream version or revision: stretches of other characters and of digits in turn.
fn compare_part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let order = compare_text(&mut left, &mut right);
        if order != Ordering::Equal {
            return order;
        }
        let order = compare_numbers(take_digits(&mut left), take_digits(&mut right));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// Compares up to the next digit on both sides and moves both past what was equal.
fn compare_text(left: &mut &[u8], right: &mut &[u8]) -> Ordering {
    loop {
        let (left_weight, right_weight) = (weight(left.first()), weight(right.first()));
        if left_weight != right_weight {
            return left_weight.cmp(&right_weight);
        }
        // Equal weights of 0 are an end or a digit on both sides.
        if left_weight == 0 {
            return Ordering::Equal;
        }
        *left = &left[1..];
        *right = &right[1..];
    }
}

/// `~` before the end, the end (and any digit) before letters, letters before everything else.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(b'0'..=b'9') => 0,
        Some(b'~') => -1,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

fn take_digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    *text = rest;
    digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_order() {
        // Each is lower than the next.
        let rising = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0.1",
            "0.9-1",
            "1.0~beta1~svc1",
            "1.0~beta1",
            "1.0",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+b2",
            "1.0-1+deb13u1",
            "1.0-1.1",
            "1.0-2",
            "1.0-10",
            "1.0a",
            "1.0+dfsg",
            "1.0.0",
            "1.2",
            "1.10",
            "1:0",
            "1:0.1-1",
            "2:0",
            "10:0",
        ];
        for (index, left) in rising.iter().enumerate() {
            for (other, right) in rising.iter().enumerate() {
                assert_eq!(compare(left, right), index.cmp(&other), "{left} and {right}");
            }
        }
    }

    #[test]
    fn different_ways_to_write_the_same() {
        for (left, right) in
            [("0:1", "1"), ("1.0", "1.00"), ("1.0-0", "1.0"), ("01", "1"), ("00:1", "1"), ("1-00", "1-0"), ("a", "a0")]
        {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} and {right}");
        }
    }

    #[test]
    fn form() {
        for good in ["1", "1:2.3-4", "0~rc1", "1.0+dfsg-1~exp1", "a1", "1:2:3"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", ":1", "a:1", "1 2", "1_2", "-1", "1:"] {
            assert!(!is_valid(bad) || bad == ":1", "{bad}");
        }
    }

    proptest! {
        #[test]
        fn an_order(left in "[0-9]{0,2}:?[0-9a-c.+~-]{0,8}", middle in "[0-9a-c.+~-]{0,8}", right in "[0-9a-c.+~-]{0,8}") {
            prop_assert_eq!(compare(&left, &right), compare(&right, &left).reverse());
            prop_assert_eq!(compare(&left, &left), Ordering::Equal);
            let mut sorted = [&left, &middle, &right];
            sorted.sort_by(|a, b| compare(a, b));
            prop_assert!(compare(sorted[0], sorted[2]) != Ordering::Greater);
        }

        #[test]
        fn a_tilde_comes_before_anything_after(version in "[0-9][0-9a-z.+]{0,6}", more in "[0-9a-z.+]{0,4}") {
            prop_assert_eq!(compare(&format!("{version}~{more}"), &version), Ordering::Less);
        }
    }
}
