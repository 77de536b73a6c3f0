//! Packages on their way to parts: what is to be done next, and who is told of what is there.
//!
//! It starts nothing itself. Packages are read first, as they arrive: scripts wait for nothing else, and run while
//! all that was read is compressed.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ecosystem::debian::part::DebPart;
use crate::error::{Context, Error, Result};
use crate::lock::PlatformPackage;

/// A package that has become a part.
#[derive(Clone, Debug)]
pub struct Ready<'a> {
    pub package: &'a PlatformPackage,
    /// Shared: it lists thousands of files, and everyone gets one.
    pub deb: Arc<DebPart>,
}

/// Of several images that are baked at once, one reads its packages at a time, and one compresses them. Either takes
/// every core, and what one has made, the next finds in the store; scripts, which run one after another, go on beside.
#[derive(Debug, Default)]
pub struct Turns {
    reading: Mutex<()>,
    compressing: Mutex<()>,
}

impl Turns {
    /// The turn to read packages.
    pub(super) fn reading(&self) -> MutexGuard<'_, ()> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn to compress what is left when all is read.
    pub(super) fn compressing(&self) -> MutexGuard<'_, ()> {
        self.compressing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What whoever configures packages waits for.
#[derive(Debug)]
pub struct Arriving<'a> {
    pub(super) base: Receiver<Vec<Ready<'a>>>,
    pub(super) all: Receiver<Vec<Ready<'a>>>,
}

impl<'a> Arriving<'a> {
    /// The packages of the base, as soon as all of them can be placed into a tree; none if that failed.
    pub fn base(&self) -> Option<Vec<Ready<'a>>> {
        self.base.recv().ok()
    }

    /// All packages, the base's among them.
    pub fn all(&self) -> Option<Vec<Ready<'a>>> {
        self.all.recv().ok()
    }
}

/// Who is told of packages that can be placed into a tree.
#[derive(Debug)]
pub struct Waiting<'a> {
    pub(super) base: Sender<Vec<Ready<'a>>>,
    pub(super) all: Sender<Vec<Ready<'a>>>,
}

/// What is to be done with a package.
#[derive(Debug)]
pub enum Step<'a> {
    Read,
    Compress(Ready<'a>),
}

/// What happens while packages become parts.
#[derive(Debug)]
pub enum Message<'a> {
    /// The artifact of the package with this index is in the store.
    There(usize),
    /// No more will come.
    Fetched(Result<()>),
    /// A package has been read.
    Plain(usize, Result<Ready<'a>>),
    /// A package has become a part.
    Part(usize, Result<Ready<'a>>),
    /// The tree for which every processor is needed is put together.
    Unpacked,
    /// Nobody needs parts any more, and whoever says so tells why.
    Stop,
}

/// How far the packages of an image are.
#[derive(Debug)]
pub struct Making<'a> {
    /// Whether the package with this index is of the base.
    of_base: Vec<bool>,
    /// Those that have been read, and what they have become since.
    slots: Vec<Option<Ready<'a>>>,
    waiting: Waiting<'a>,
    /// Arrived, to be read, in this order.
    to_read: VecDeque<usize>,
    /// Read, to be compressed: the largest first, so that no core is left alone with it at the end.
    to_compress: BTreeSet<(Reverse<u64>, usize)>,
    /// Steps that were started and have not ended.
    under_way: usize,
    /// Packages that are not read yet.
    unread: usize,
    fetching: bool,
    /// Whether nothing is compressed when all is read.
    held: bool,
    failed: Option<Error>,
}

impl<'a> Making<'a> {
    /// If it is `held`, nothing is compressed between when all is read and [`Message::Unpacked`].
    pub fn new(order: &[&PlatformPackage], waiting: Waiting<'a>, held: bool) -> Self {
        let making = Self {
            of_base: order.iter().map(|package| package.base).collect(),
            slots: order.iter().map(|_| None).collect(),
            waiting,
            to_read: VecDeque::new(),
            to_compress: BTreeSet::new(),
            under_way: 0,
            unread: order.len(),
            fetching: true,
            held,
            failed: None,
        };
        making.tell_all();
        making
    }

    /// Takes in what has happened; a package that is a part now.
    pub fn take(&mut self, message: Message<'a>) -> Option<&Ready<'a>> {
        match message {
            Message::There(index) => self.to_read.push_back(index),
            Message::Fetched(result) => {
                self.fetching = false;
                self.good(result);
            }
            Message::Plain(index, ready) => return self.plain(index, ready),
            Message::Part(index, ready) => {
                self.under_way -= 1;
                let ready = self.good(ready)?;
                return Some(self.slots[index].insert(ready));
            }
            Message::Unpacked => self.held = false,
            Message::Stop => {
                self.good::<()>(Err(Error::new("making parts was stopped")));
            }
        }
        None
    }

    /// A package was read. It is a part if the store had it compressed.
    fn plain(&mut self, index: usize, ready: Result<Ready<'a>>) -> Option<&Ready<'a>> {
        self.under_way -= 1;
        let ready = self.good(ready)?;
        let done = ready.deb.part.is_compressed();
        if !done {
            self.to_compress.insert((Reverse(ready.deb.part.tar_size), index));
        }
        self.slots[index] = Some(ready);
        self.unread -= 1;
        if self.of_base[index] && self.base().all(Option::is_some) {
            let _ = self.waiting.base.send(self.base().flatten().cloned().collect());
        }
        self.tell_all();
        self.slots[index].as_ref().filter(|_| done)
    }

    /// What can be started now: no more than there are threads, or what comes later could not go before.
    pub fn next(&mut self) -> Option<(usize, Step<'a>)> {
        if self.under_way >= rayon::current_num_threads() || self.failed.is_some() {
            return None;
        }
        let next = match self.to_read.pop_front() {
            Some(index) => (index, Step::Read),
            None if self.held && self.has_read_all() => return None,
            None => {
                let (_, index) = self.to_compress.pop_first()?;
                (index, Step::Compress(self.slots[index].clone()?))
            }
        };
        self.under_way += 1;
        Some(next)
    }

    /// Whether nothing is under way, nor will be.
    pub fn is_done(&self) -> bool {
        let left = !self.to_read.is_empty() || !self.to_compress.is_empty();
        !self.fetching && self.under_way == 0 && (!left || self.failed.is_some())
    }

    /// Whether everything has been read.
    pub fn has_read_all(&self) -> bool {
        self.unread == 0
    }

    /// Every package as a part, in order.
    pub fn finish(self) -> Result<Vec<Ready<'a>>> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.slots.into_iter().collect::<Option<_>>().context(|| "a package did not become a part")
    }

    fn base(&self) -> impl Iterator<Item = &Option<Ready<'a>>> {
        self.slots.iter().zip(&self.of_base).filter(|(_, of_base)| **of_base).map(|(slot, _)| slot)
    }

    fn tell_all(&self) {
        if self.has_read_all() {
            let _ = self.waiting.all.send(self.slots.iter().flatten().cloned().collect());
        }
    }

    /// The first failure is the one that is told; nothing more is started then.
    fn good<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed.get_or_insert(error);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::digest::Digest;
    use crate::layer::Part;

    fn package(name: &str, base: bool) -> PlatformPackage {
        let text = |text: &str| text.to_owned();
        PlatformPackage {
            ecosystem: text("debian"),
            name: text(name),
            version: text("1"),
            architecture: text("all"),
            source: text(name),
            source_version: text("1"),
            base,
            sha256: Digest::of(name.as_bytes()),
            size: 1,
            built: false,
            places: Vec::new(),
            links: [].into(),
            blobs: Vec::new(),
            build_for: Vec::new(),
            file: None,
        }
    }

    fn ready(package: &PlatformPackage, size: u64, compressed: bool) -> Ready<'_> {
        let plain = Digest::of(b"plain");
        let content = if compressed { Digest::of(b"packed") } else { plain };
        let part = Part {
            directories: Vec::new(),
            entries: Vec::new(),
            content,
            size,
            tar_size: size,
            members: Vec::new(),
            plain: Some(plain),
        };
        let deb = DebPart {
            part,
            control: Digest::of(b"control"),
            paths: Vec::new(),
            conffiles: Vec::new(),
            newest_mtime: 0,
            licences: BTreeSet::new(),
            merged: BTreeSet::new(),
        };
        Ready { package, deb: Arc::new(deb) }
    }

    /// The index of what is started next, and whether it is read.
    fn next(making: &mut Making<'_>) -> Option<(usize, bool)> {
        making.next().map(|(index, step)| (index, matches!(step, Step::Read)))
    }

    #[test]
    fn all_is_read_before_the_largest_is_compressed() {
        let packages = [package("a", true), package("b", true), package("c", false), package("d", false)];
        let order: Vec<&PlatformPackage> = packages.iter().collect();
        let (base, all) = (channel(), channel());
        let mut making = Making::new(&order, Waiting { base: base.0, all: all.0 }, false);
        let arriving = Arriving { base: base.1, all: all.1 };
        let told = |receiver: &Receiver<Vec<Ready<'_>>>| receiver.try_recv().map(|ready| ready.len()).ok();

        for index in 0..4 {
            assert!(making.take(Message::There(index)).is_none());
        }
        assert!(making.take(Message::Fetched(Ok(()))).is_none());
        let mut started = 0;
        for (index, size, compressed) in [(0, 1, false), (1, 2, true), (2, 9, false), (3, 5, false)] {
            assert_eq!(told(&arriving.base), if index == 2 { Some(2) } else { None });
            while started <= index {
                assert_eq!(next(&mut making), Some((started, true)));
                started += 1;
            }
            let part = making.take(Message::Plain(index, Ok(ready(&packages[index], size, compressed))));
            assert_eq!(part.is_some(), compressed, "what the store has compressed is not compressed again");
        }
        assert_eq!(told(&arriving.all), Some(4));
        for index in [2, 3, 0] {
            assert!(!making.is_done());
            assert_eq!(next(&mut making), Some((index, false)));
            assert!(making.take(Message::Part(index, Ok(ready(&packages[index], 1, true)))).is_some());
        }
        assert_eq!(next(&mut making), None);
        assert!(making.is_done());
        let parts = making.finish().unwrap();
        assert!(parts.iter().all(|part| part.deb.part.is_compressed()));
    }

    #[test]
    fn after_a_failure_nothing_is_started_and_nobody_waits_for_ever() {
        let packages = [package("a", true), package("b", false)];
        let order: Vec<&PlatformPackage> = packages.iter().collect();
        let (base, all) = (channel(), channel());
        let mut making = Making::new(&order, Waiting { base: base.0, all: all.0 }, false);
        let arriving = Arriving { base: base.1, all: all.1 };
        making.take(Message::There(0));
        making.take(Message::There(1));
        assert_eq!(next(&mut making), Some((0, true)));
        assert!(making.take(Message::Plain(0, Err(Error::new("it is damaged")))).is_none());
        assert_eq!(next(&mut making), None);
        assert!(!making.is_done(), "something may still be fetched");
        making.take(Message::Fetched(Ok(())));
        assert!(making.is_done());
        assert_eq!(making.finish().unwrap_err().to_string(), "it is damaged");
        assert!(arriving.base().is_none() && arriving.all().is_none());
    }

    /// Two packages that have been read.
    fn both_read<'a>(packages: &'a [PlatformPackage; 2], held: bool) -> Making<'a> {
        let order: Vec<&PlatformPackage> = packages.iter().collect();
        let mut making = Making::new(&order, Waiting { base: channel().0, all: channel().0 }, held);
        making.take(Message::Fetched(Ok(())));
        for (index, package) in packages.iter().enumerate() {
            making.take(Message::There(index));
            assert_eq!(next(&mut making), Some((index, true)));
            making.take(Message::Plain(index, Ok(ready(package, 1, false))));
        }
        making
    }

    #[test]
    fn what_nobody_needs_is_not_compressed() {
        let packages = [package("a", true), package("b", false)];
        let mut making = both_read(&packages, false);
        assert_eq!(next(&mut making), Some((0, false)));
        making.take(Message::Stop);
        assert_eq!(next(&mut making), None);
        assert!(!making.is_done(), "what was begun is ended");
        making.take(Message::Part(0, Ok(ready(&packages[0], 1, true))));
        assert!(making.is_done());
        assert!(making.finish().is_err());
    }

    #[test]
    fn nothing_is_compressed_while_the_tree_is_put_together() {
        let packages = [package("a", true), package("b", false)];
        let mut making = both_read(&packages, true);
        assert_eq!(next(&mut making), None);
        assert!(!making.is_done());
        making.take(Message::Unpacked);
        assert_eq!(next(&mut making), Some((0, false)));
    }
}
