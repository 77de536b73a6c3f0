//! Several programs at once, from their start until the last has ended: what they print, and what ends them. Why they
//! run is `up`'s business.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use super::context::Context;
use super::start::Prepared;
use super::{interrupt, lines};
use crate::error::{Error, Result};
use crate::sandbox::{self, Signaller, Signals};

/// How long a program has to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);
/// Until the next event, whenever that is.
const FOREVER: Duration = Duration::from_secs(86_400);
/// Ends a program at once.
const KILL: i32 = 9;
/// What a program gets that writes where nobody reads.
const PIPE: i32 = 13;

/// A program that is to run.
#[derive(Debug)]
pub struct Service<'a> {
    pub name: &'a str,
    pub prepared: Prepared,
    /// The number of the signal that asks it to end.
    pub stop: i32,
}

/// What happens meanwhile; services are known by their place in the list.
enum Event {
    /// kiln got this signal.
    Asked(i32),
    /// A program has ended with this code, or could not be started.
    Ended(usize, Result<i32>),
    /// All that it printed is out and its tree is gone, or could not be removed.
    Gone(usize, Result<()>),
    /// What programs print cannot be written.
    Deaf(io::Error),
}

/// Starts all and waits until none is left: when one ends by itself, the others are stopped, and when kiln is asked to
/// end, all are. The exit code: of the first that ended, or 128 and the number of the signal.
pub fn supervise(context: &Context, services: Vec<Service<'_>>) -> Result<u8> {
    let (sender, events) = mpsc::channel();
    let names: Vec<&str> = services.iter().map(|service| service.name).collect();
    let coloured = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
    let prefixes = lines::prefixes(&names, coloured);
    let mut supervisor = Supervisor::new(context, &names);
    let mut ways = Vec::new();
    for service in &services {
        let (signaller, signals) = sandbox::signals()?;
        supervisor.ways.push((signaller, service.stop));
        ways.push(signals);
    }
    let asked = sender.clone();
    interrupt::take_over(move |signal| {
        // Nobody is left to be told when all have ended.
        let _ = asked.send(Event::Asked(signal));
    });
    std::thread::scope(|threads| {
        for (number, (service, signals)) in services.into_iter().zip(ways).enumerate() {
            let (sender, prefix) = (sender.clone(), prefixes[number].as_str());
            threads.spawn(move || attend(number, service.prepared, signals, (prefix, coloured), &sender));
        }
        drop(sender);
        supervisor.until_all_are_gone(&events)
    })
}

/// Runs one program to its end. Nothing of it is left afterwards.
fn attend(
    number: usize,
    mut prepared: Prepared,
    mut signals: Signals,
    (prefix, coloured): (&str, bool),
    events: &Sender<Event>,
) {
    // The receiver waits for the last of these events.
    let tell = |event| {
        let _ = events.send(event);
    };
    let finished = std::thread::scope(|threads| {
        if let Some(output) = prepared.output.take() {
            threads.spawn(move || lines::copy(output, prefix, coloured, |error| tell(Event::Deaf(error))));
        }
        let ended = prepared.session.supervise(&prepared.command, &mut signals);
        tell(Event::Ended(number, ended.map_err(|error| prepared.explained(error))));
        // The end of the session is the end of what it prints.
        prepared.finish()
    });
    tell(Event::Gone(number, finished));
}

/// Why all are being stopped.
enum Reason {
    Asked(i32),
    /// The first that ended, and its code.
    Ended(i32),
}

struct Supervisor<'a> {
    context: &'a Context,
    names: &'a [&'a str],
    /// How each is reached, and the signal that asks it to end.
    ways: Vec<(Signaller, i32)>,
    running: BTreeSet<usize>,
    /// Not gone yet.
    there: BTreeSet<usize>,
    /// What is said of each once it is gone.
    last_words: Vec<String>,
    /// `None` while nothing is being stopped.
    reason: Option<Reason>,
    /// When those that still run are killed.
    deadline: Option<Instant>,
    trouble: Option<Error>,
}

impl<'a> Supervisor<'a> {
    fn new(context: &'a Context, names: &'a [&'a str]) -> Self {
        let all: BTreeSet<usize> = (0..names.len()).collect();
        Self {
            context,
            names,
            ways: Vec::new(),
            running: all.clone(),
            there: all,
            last_words: vec![String::new(); names.len()],
            reason: None,
            deadline: None,
            trouble: None,
        }
    }

    fn until_all_are_gone(mut self, events: &Receiver<Event>) -> Result<u8> {
        while !self.there.is_empty() {
            let wait = self.deadline.map_or(FOREVER, |deadline| deadline.saturating_duration_since(Instant::now()));
            match events.recv_timeout(wait) {
                Ok(event) => self.handle(event),
                Err(_) if self.deadline.is_some() => {
                    let seconds = GRACE.as_secs();
                    self.context.say(&format!("Killing {}: asked to end {seconds} seconds ago", self.listed()));
                    self.kill();
                }
                Err(_) => {}
            }
        }
        match (self.trouble, self.reason) {
            (Some(error), _) => Err(error),
            (None, Some(Reason::Asked(signal))) => Ok(u8::try_from(128 + signal).unwrap_or(255)),
            (None, Some(Reason::Ended(code))) => Ok(u8::try_from(code & 0xff).unwrap_or(255)),
            (None, None) => Ok(0),
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Asked(signal) if self.reason.is_none() => {
                self.context.say(&format!("Stopping {}; once more kills at once", self.listed()));
                self.stop(Reason::Asked(signal));
            }
            Event::Asked(_) => self.kill(),
            Event::Ended(number, ended) => self.ended(number, ended),
            Event::Gone(number, finished) => {
                self.there.remove(&number);
                if !self.last_words[number].is_empty() {
                    self.context.say(&self.last_words[number]);
                }
                if let Err(error) = finished {
                    self.trouble.get_or_insert(error);
                }
            }
            Event::Deaf(error) => {
                if error.kind() != io::ErrorKind::BrokenPipe {
                    self.trouble.get_or_insert(Error::new("writing to stdout").caused_by(error));
                }
                if self.reason.is_none() {
                    self.stop(Reason::Asked(PIPE));
                }
            }
        }
    }

    fn ended(&mut self, number: usize, ended: Result<i32>) {
        self.running.remove(&number);
        let code = match ended {
            Ok(code) => {
                self.last_words[number] = format!("{} ended with exit code {code}", self.names[number]);
                code
            }
            Err(error) => {
                let code = error.exit_code().into();
                self.trouble.get_or_insert(error);
                code
            }
        };
        if self.reason.is_none() {
            if !self.running.is_empty() {
                let what = format!("{}: stopping {}", self.last_words[number], self.listed());
                self.last_words[number] = what;
            }
            self.stop(Reason::Ended(code));
        }
    }

    /// Asks all that run to end.
    fn stop(&mut self, reason: Reason) {
        self.reason = Some(reason);
        self.deadline = Some(Instant::now() + GRACE);
        for number in &self.running {
            let (signaller, signal) = &mut self.ways[*number];
            signaller.send(*signal);
        }
    }

    fn kill(&mut self) {
        self.deadline = None;
        for number in &self.running {
            self.ways[*number].0.send(KILL);
        }
    }

    /// The names of those that run.
    fn listed(&self) -> String {
        self.running.iter().map(|number| self.names[*number]).collect::<Vec<_>>().join(", ")
    }
}
