//! A table of names: each gets the number of its first mention.
//!
//! Indexes mention names more than a million times, so this is a table of its own, with a hash that
//! reads eight bytes at a time: order comes from the numbers, never from the hash.

/// Names by number, numbers by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    text: Vec<u8>,
    /// Where each name ends in `text`.
    ends: Vec<u32>,
    hashes: Vec<u32>,
    /// A power of two of slots: number + 1, or 0.
    slots: Vec<u32>,
}

impl Names {
    /// The number of `name`, a new one if it is new.
    pub fn add(&mut self, name: &[u8]) -> u32 {
        if self.ends.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = hash(name);
        let slot = match self.slot(name, hash) {
            Ok(number) => return number,
            Err(slot) => slot,
        };
        let number = self.ends.len() as u32;
        self.text.extend_from_slice(name);
        self.ends.push(self.text.len() as u32);
        self.hashes.push(hash);
        self.slots[slot] = number + 1;
        number
    }

    /// The number of `name`, if it has one.
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        self.slot(name, hash(name)).ok()
    }

    /// The name with this number.
    pub fn bytes(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = if number == 0 { 0 } else { self.ends[number - 1] as usize };
        &self.text[start..self.ends[number] as usize]
    }

    /// The name with this number; names are ASCII, so this loses nothing.
    pub fn get(&self, number: u32) -> &str {
        str::from_utf8(self.bytes(number)).unwrap_or_default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The number, or the free slot where it would stand.
    fn slot(&self, name: &[u8], hash: u32) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            match self.slots[slot] {
                0 => return Err(slot),
                taken => {
                    let number = taken - 1;
                    if self.hashes[number as usize] == hash && self.bytes(number) == name {
                        return Ok(number);
                    }
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(1024);
        self.slots = vec![0; size];
        for (number, &hash) in self.hashes.iter().enumerate() {
            let mut slot = hash as usize & (size - 1);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (size - 1);
            }
            self.slots[slot] = number as u32 + 1;
        }
    }
}

fn hash(name: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = name.len() as u64;
    for part in name.chunks(8) {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    }
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_follow_first_mention() {
        let mut names = super::Names::default();
        for number in 0..5000_u32 {
            assert_eq!(names.add(format!("name-{number}").as_bytes()), number);
        }
        for number in 0..5000_u32 {
            let name = format!("name-{number}");
            assert_eq!(names.add(name.as_bytes()), number);
            assert_eq!(names.get(number), name);
            assert_eq!(names.find(name.as_bytes()), Some(number));
        }
        assert_eq!(names.find(b"other"), None);
        assert_eq!(names.len(), 5000);
    }
}
