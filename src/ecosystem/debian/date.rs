//! Points in time as archives write them. No locale, no time zone data, no clock.

use crate::error::{Error, Result};

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY: u64 = 86_400;

/// Reads a date as in a Release file (RFC 5322, 3.3, in universal time only, as Debian's repository format
/// asks): `Sat, 12 Sep 2026 07:55:41 UTC`. The day of the week is not looked at. Seconds since 1970.
pub fn parse_release(text: &str) -> Result<u64> {
    let wrong = || Error::new(format!("`{text}` is not a date like `Sat, 12 Sep 2026 07:55:41 UTC`"));
    let rest = text.split_once(',').map_or(text, |(_, rest)| rest);
    let parts: Vec<&str> = rest.split_ascii_whitespace().collect();
    let [day, month, year, time, zone] = parts[..] else { return Err(wrong()) };
    if !matches!(zone, "UTC" | "GMT" | "Z" | "+0000" | "-0000") {
        return Err(wrong());
    }
    let month = MONTHS.iter().position(|name| *name == month).ok_or_else(wrong)? as u64 + 1;
    seconds(number(year, 4), Some(month), number(day, 2), time).ok_or_else(wrong)
}

/// Reads a date as in a definition's `snapshot`: `2026-07-11T00:00:00Z`, or snapshot.debian.org's own
/// `20260711T000000Z`, or a day alone. Seconds since 1970.
pub fn parse_snapshot(text: &str) -> Result<u64> {
    let plain: String = text.chars().filter(|character| !matches!(character, '-' | ':')).collect();
    let (day, time) = plain.split_once('T').unwrap_or((&plain, "000000Z"));
    let read = || {
        let time = time.strip_suffix('Z').filter(|time| time.len() == 6 && time.is_ascii())?;
        let day = Some(day).filter(|day| day.len() == 8 && day.is_ascii())?;
        let time = format!("{}:{}:{}", &time[..2], &time[2..4], &time[4..]);
        seconds(number(&day[..4], 4), number(&day[4..6], 2), number(&day[6..], 2), &time)
    };
    read().ok_or_else(|| Error::new(format!("`{text}` is not a point in time like `2026-07-11T00:00:00Z`")))
}

/// For people: `2026-09-12 07:55:41 UTC`.
pub fn display(time: u64) -> String {
    let (year, month, day) = civil(time / DAY);
    let (hour, minute, second) = clock(time);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// As in lockfiles and definitions (RFC 3339): `2026-09-12T07:55:41Z`.
pub fn rfc3339(time: u64) -> String {
    let (year, month, day) = civil(time / DAY);
    let (hour, minute, second) = clock(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// As in the addresses of snapshot.debian.org: `20260912T075541Z`.
pub fn snapshot(time: u64) -> String {
    let (year, month, day) = civil(time / DAY);
    let (hour, minute, second) = clock(time);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// As in a Release file; the inverse of [`parse_release`].
pub fn release(time: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let (year, month, day) = civil(time / DAY);
    let (hour, minute, second) = clock(time);
    let name = DAYS[(time / DAY % 7) as usize];
    format!("{name}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} UTC", MONTHS[month as usize - 1])
}

fn clock(time: u64) -> (u64, u64, u64) {
    (time % DAY / 3600, time % 3600 / 60, time % 60)
}

fn number(text: &str, longest: usize) -> Option<u64> {
    let plain = !text.is_empty() && text.len() <= longest && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn seconds(year: Option<u64>, month: Option<u64>, day: Option<u64>, time: &str) -> Option<u64> {
    let (year, month, day) = (year?, month?, day?);
    let mut parts = time.split(':').map(|part| number(part, 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let valid = parts.next().is_none() && hour < 24 && minute < 60 && second <= 60 && (1970..=9999).contains(&year);
    if !valid || !(1..=12).contains(&month) || day < 1 || day > month_length(year, month) {
        return None;
    }
    let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let months: u64 = (1..month).map(|month| month_length(year, month)).sum();
    Some((years + months + day - 1) * DAY + hour * 3600 + minute * 60 + second)
}

fn leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_length(year: u64, month: u64) -> u64 {
    match month {
        2 if leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of a day counted from 1970, up to the year 9999.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    while year < 9999 && days >= if leap(year) { 366 } else { 365 } {
        days -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days >= month_length(year, month) {
        days -= month_length(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written() {
        let time = parse_release("Sat, 12 Sep 2026 07:55:41 UTC").unwrap();
        assert_eq!(time, 1_789_199_741);
        assert_eq!(release(time), "Sat, 12 Sep 2026 07:55:41 UTC");
        assert_eq!(display(time), "2026-09-12 07:55:41 UTC");
        assert_eq!(snapshot(time), "20260912T075541Z");
        assert_eq!(parse_snapshot("2026-09-12T07:55:41Z").unwrap(), time);
        assert_eq!(parse_snapshot("20260912T075541Z").unwrap(), time);
        assert_eq!(parse_snapshot("2026-09-12").unwrap(), time / DAY * DAY);
        assert_eq!(parse_release("Thu,  1 Jan 1970 00:00:00 +0000").unwrap(), 0);
        assert_eq!(release(951_782_400), "Tue, 29 Feb 2000 00:00:00 UTC");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for wrong in [
            "",
            "Sat",
            "Sat, 32 Sep 2026 07:55:41 UTC",
            "Sat, 12 Sep 2026 07:55:41 CEST",
            "Sat, 12 Sep 2026 24:00:00 UTC",
            "29 Feb 2026 00:00:00 UTC",
            "12 sep 2026 00:00:00 UTC",
            "12 Sep 20266 00:00:00 UTC",
            "12 Sep 2026 +1:00:00 UTC",
        ] {
            assert!(parse_release(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "T", "2026", "2026-09-12T07:55:41", "2026-13-01", "２０２６0912", "20260912T07554éZ"] {
            assert!(parse_snapshot(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn any_number_is_displayed() {
        assert!(display(u64::MAX).starts_with("9999"));
    }
}
