//! Steps, and the workspace's own files that they copy. What they fetch is compared with the packages.

use super::pairs::{Pair, Pairs};
use super::{Change, Class, PlacedStep};
use crate::lock::model::{Local, Lockfile};
use crate::lock::platform_lock::platform_step;
use crate::workspace::{Platform, Step};

/// The steps that differ or stand elsewhere among the others.
pub fn compare(old: &Lockfile, new: &Lockfile) -> Vec<Change<PlacedStep>> {
    let place = |lockfile: &Lockfile| -> Vec<PlacedStep> {
        let steps = lockfile.environment.steps.iter().cloned().enumerate();
        steps.map(|(index, step)| PlacedStep { index, step }).collect()
    };
    let mut pairs = Pairs::new(place(old), place(new))
        .by(|placed| serde_json::to_string(&placed.step).ok())
        .by(|placed| Some(what(&placed.step)))
        .by(|placed| Some((kind(&placed.step), what(&placed.step).1)).filter(|(kind, _)| *kind != "run"))
        .by(|placed| Some((kind(&placed.step), target(&placed.step).to_owned())))
        .finish();
    pairs.sort_by_cached_key(position);
    let moved = moved(&pairs);
    pairs
        .into_iter()
        .zip(moved)
        .filter_map(|((before, after), moved)| {
            let step = |side: &Option<PlacedStep>| side.as_ref().map(|placed| placed.step.clone());
            let (one, other) = (step(&before), step(&after));
            if one == other && !moved {
                return None;
            }
            // A step may name something else and take the same bytes.
            let shapes = moved
                || Platform::ALL.into_iter().any(|platform| {
                    let on = |lockfile, step: &Option<Step>| {
                        step.as_ref()
                            .filter(|step| step.is_for(platform))
                            .and_then(|step| platform_step(lockfile, step, platform))
                    };
                    on(old, &one) != on(new, &other)
                });
            Some(Change::of(if shapes { Class::Step } else { Class::Words }, before, after))
        })
        .collect()
}

/// Where a step stands, on whichever side, and what it says: the same with the sides exchanged.
fn position((old, new): &Pair<PlacedStep>) -> (Vec<usize>, Vec<String>) {
    let sides = || [old, new].into_iter().flatten();
    let mut places: Vec<usize> = sides().map(|placed| placed.index).collect();
    let mut texts: Vec<String> = sides().map(|placed| format!("{:?}", placed.step)).collect();
    places.sort_unstable();
    texts.sort_unstable();
    (places, texts)
}

/// Whether a step goes before another that it came after, for each pair.
fn moved(pairs: &[Pair<PlacedStep>]) -> Vec<bool> {
    let mut both: Vec<(usize, usize, usize)> = pairs
        .iter()
        .enumerate()
        .filter_map(|(at, (old, new))| Some((old.as_ref()?.index, new.as_ref()?.index, at)))
        .collect();
    both.sort_unstable();
    let mut moved = vec![false; pairs.len()];
    let mut highest = 0;
    for (_, new, at) in &both {
        moved[*at] |= *new < highest;
        highest = highest.max(*new);
    }
    let mut lowest = usize::MAX;
    for (_, new, at) in both.iter().rev() {
        moved[*at] |= *new > lowest;
        lowest = lowest.min(*new);
    }
    moved
}

/// The word that steps of this kind begin with in a definition.
pub fn kind(step: &Step) -> &'static str {
    match step {
        Step::Fetch(_) => "fetch",
        Step::Copy(_) => "copy",
        Step::Run(_) => "run",
    }
}

/// What people know a step by.
fn what(step: &Step) -> (&'static str, String, String) {
    let (name, to) = match step {
        Step::Fetch(fetch) => (fetch.name().to_owned(), fetch.to.clone()),
        Step::Copy(copy) => (copy.from.clone(), copy.to.clone()),
        Step::Run(run) => (run.script.clone(), String::new()),
    };
    (kind(step), name, to)
}

/// Where it puts what it takes: what is new there has taken the place of what was.
fn target(step: &Step) -> &str {
    match step {
        Step::Fetch(fetch) => &fetch.to,
        Step::Copy(copy) => &copy.to,
        Step::Run(_) => "",
    }
}

/// The files of the workspace that differ.
pub fn files(old: &Lockfile, new: &Lockfile) -> Vec<Change<Local>> {
    let pairs = Pairs::new(old.local.clone(), new.local.clone())
        .by(|local| Some(local.clone()))
        .by(|local| Some((local.from.clone(), local.ignore.clone())))
        .by(|local| Some(local.from.clone()))
        .by(|local| Some(local.sha256))
        .finish();
    let mut changes: Vec<_> = pairs
        .into_iter()
        .filter(|(old, new)| old != new)
        .map(|(old, new)| {
            let hash = |side: &Option<Local>| side.as_ref().map(|local| local.sha256);
            let class = if hash(&old) == hash(&new) { Class::Words } else { Class::Files };
            Change::of(class, old, new)
        })
        .collect();
    changes.sort_by(|a, b| key(a).cmp(&key(b)));
    return changes;

    fn key(change: &Change<Local>) -> Vec<&Local> {
        let mut sides: Vec<&Local> = [&change.old, &change.new].into_iter().flatten().collect();
        sides.sort();
        sides
    }
}
