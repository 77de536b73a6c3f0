//! Inputs out of seeds: the same number always gives the same input.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

/// No input is larger, in bytes.
const LONGEST: usize = 128 << 10;
/// Numbers at which things break, as text.
const NUMBERS: [&str; 16] = [
    "0",
    "-1",
    "1",
    "007",
    "127",
    "255",
    "32768",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
];
/// The same in two, four and eight bytes.
const BINARY: [u64; 10] = [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];
/// What means something in many formats.
const COMMON: [&str; 24] = [
    "\n",
    "\r\n",
    "\t",
    " ",
    "\0",
    "\"",
    "'",
    "\\",
    "/",
    "..",
    "../",
    "//",
    ":",
    ";",
    ",",
    "=",
    "[",
    "]",
    "{",
    "}",
    "\u{feff}",
    "é",
    "\u{1f980}",
    "\u{202e}",
];

pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus"))
}

/// The seeds of a target with their names, in order of these.
pub fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder().join(target)) else { return Vec::new() };
    let mut seeds: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("a seed").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let bytes = fs::read(&path).expect("reading a seed");
            let bytes = if name.ends_with(".repeated") { repeated(&bytes) } else { bytes };
            (name, bytes)
        })
        .collect();
    seeds.sort();
    seeds
}

/// A seed that would be long: its first line says how many of the lines after it stand once, and how often all the
/// others are repeated behind them.
fn repeated(bytes: &[u8]) -> Vec<u8> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let numbers = lines.next().map(String::from_utf8_lossy).expect("a line with two numbers");
    let (once, times) = numbers.trim().split_once(' ').expect("two numbers");
    let once: usize = once.parse().expect("a number of lines");
    let mut seed: Vec<u8> = lines.by_ref().take(once).flatten().copied().collect();
    let block: Vec<u8> = lines.flatten().copied().collect();
    seed.extend(block.repeat(times.parse().expect("a number of times")));
    seed
}

/// What inputs are made of.
pub struct Seeds {
    seeds: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
}

impl Seeds {
    pub fn new(seeds: Vec<Vec<u8>>, words: &[&str]) -> Self {
        // A target's own words are tried more often than those that mean something everywhere.
        let own = words.iter().cycle().take(words.len() * 4);
        Self { seeds, words: own.chain(&COMMON).map(|word| word.as_bytes().to_vec()).collect() }
    }
}

/// Marsaglia's xorshift with a multiplication; no randomness that anybody relies on.
struct Generator(u64);

impl Generator {
    fn new(target: &str, number: u64) -> Self {
        let name = target
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut generator = Self((name ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        for _ in 0..4 {
            generator.next();
        }
        generator
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    /// Less than `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A part of something so long: mostly a short one.
    fn range(&mut self, length: usize) -> Range<usize> {
        let start = self.below(length + 1);
        let longest = length - start;
        let wanted = match self.below(8) {
            0 => longest,
            1..=3 => longest.min(64),
            _ => longest.min(8),
        };
        start..start + self.below(wanted + 1)
    }
}

/// The input of this number for a target.
pub fn input(seeds: &Seeds, target: &str, number: u64) -> Vec<u8> {
    let mut generator = Generator::new(target, number);
    let mut bytes = generator.one(&seeds.seeds).clone();
    let most = 1 << generator.below(5);
    let rounds = 1 + generator.below(most);
    for _ in 0..rounds {
        mutate(&mut bytes, seeds, &mut generator);
        bytes.truncate(LONGEST);
    }
    bytes
}

fn mutate(bytes: &mut Vec<u8>, seeds: &Seeds, generator: &mut Generator) {
    let length = bytes.len();
    match generator.below(16) {
        0 | 1 if length > 0 => {
            let at = generator.below(length);
            bytes[at] ^= 1 << generator.below(8);
        }
        2 if length > 0 => {
            let at = generator.below(length);
            bytes[at] = generator.next() as u8;
        }
        3 => bytes.truncate(generator.below(length + 1)),
        4 => drop(bytes.drain(generator.range(length))),
        // A block again, next to itself or elsewhere.
        5 => {
            let block = bytes[generator.range(length)].to_vec();
            let at = generator.below(length + 1);
            bytes.splice(at..at, block);
        }
        // A block many times: depths and counts.
        6 => {
            let range = generator.range(length);
            let block =
                if range.is_empty() { generator.one(&seeds.words).clone() } else { bytes[range.clone()].to_vec() };
            let most = ((LONGEST - length.min(LONGEST)) / block.len().max(1)).min(1 << generator.below(15));
            let times = generator.below(1 + most);
            let repeated = block.repeat(times);
            bytes.splice(range.end..range.end, repeated);
        }
        7 | 8 => {
            let other = generator.one(&seeds.seeds).clone();
            let (from, to) = (generator.range(other.len()), generator.range(length));
            bytes.splice(to, other[from].to_vec());
        }
        // The beginning of this and the end of another.
        9 => {
            let other = generator.one(&seeds.seeds);
            bytes.truncate(generator.below(length + 1));
            bytes.extend(&other[generator.below(other.len() + 1)..]);
        }
        10 | 11 => change_number(bytes, generator),
        12 => {
            let (width, value) = (*generator.one(&[2, 4, 8]), *generator.one(&BINARY));
            let mut number = value.to_le_bytes()[..width].to_vec();
            if generator.below(2) == 0 {
                number.reverse();
            }
            let at = generator.below(length + 1);
            bytes.splice(at..(at + width).min(length), number);
        }
        13 => {
            let word = generator.one(&seeds.words).clone();
            bytes.splice(generator.range(length), word);
        }
        _ => {
            let word = generator.one(&seeds.words).clone();
            let at = generator.below(length + 1);
            bytes.splice(at..at, word);
        }
    }
}

/// Puts an extreme in place of a number that is there.
fn change_number(bytes: &mut Vec<u8>, generator: &mut Generator) {
    let start = generator.below(bytes.len() + 1);
    let Some(from) = bytes[start..].iter().position(u8::is_ascii_digit) else { return };
    let from = start + from;
    let digits = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut number = generator.one(&NUMBERS).as_bytes().to_vec();
    // In formats of fixed fields the rest must stay where it is.
    if generator.below(2) == 0 {
        number.resize(digits, b' ');
    }
    bytes.splice(from..from + digits, number);
}
