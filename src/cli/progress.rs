//! Progress: bars on a terminal, a line per phase elsewhere, JSON lines when asked.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::arguments::{Global, ProgressMode};

/// What is shown while something goes on.
#[derive(Debug)]
pub struct Progress {
    mode: Mode,
    bars: MultiProgress,
    shown: Mutex<BTreeMap<String, ProgressBar>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Bars,
    Lines,
    Json,
    Nothing,
}

impl Progress {
    pub fn new(global: &Global, ci: bool, dumb: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !ci && !dumb;
        let mode = match global.progress {
            _ if global.quiet => Mode::Nothing,
            ProgressMode::Auto if terminal => Mode::Bars,
            ProgressMode::Auto | ProgressMode::Plain => Mode::Lines,
            ProgressMode::Tty => Mode::Bars,
            ProgressMode::Quiet => Mode::Nothing,
            ProgressMode::Json => Mode::Json,
        };
        let target = if mode == Mode::Bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { mode, bars: MultiProgress::with_draw_target(target), shown: Mutex::default() }
    }

    /// A bar or a spinner called `name`; nothing where there are no bars.
    pub fn start(&self, name: &str, length: Option<u64>, bytes: bool) {
        if self.mode != Mode::Bars {
            return;
        }
        let template = template(columns(), length.is_some(), bytes);
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = match length {
            Some(length) => ProgressBar::new(length),
            None => ProgressBar::new_spinner(),
        };
        let bar = self.bars.add(bar.with_style(style).with_prefix(name.to_owned()));
        bar.enable_steady_tick(Duration::from_millis(120));
        self.lock().insert(name.to_owned(), bar);
    }

    /// Moves a bar on.
    pub fn advance(&self, name: &str, by: u64, message: &str) {
        if let Some(bar) = self.lock().get(name) {
            bar.inc(by);
            if !message.is_empty() {
                bar.set_message(message.to_owned());
            }
        }
    }

    /// Starts a counting bar unless it is there.
    pub fn start_once(&self, name: &str, length: u64) {
        if !self.lock().contains_key(name) {
            self.start(name, Some(length), false);
        }
    }

    /// Takes a bar away.
    pub fn end(&self, name: &str) {
        if let Some(bar) = self.lock().remove(name) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    /// Takes everything away.
    pub fn finish(&self) {
        let names: Vec<String> = self.lock().keys().cloned().collect();
        names.iter().for_each(|name| self.end(name));
    }

    /// Says that a phase is over, with the time it took.
    pub fn phase(&self, what: &str, started: Instant) {
        self.spent(what, started.elapsed());
    }

    /// Says what a time was spent on.
    pub fn spent(&self, what: &str, seconds: Duration) {
        match self.mode {
            Mode::Nothing => {}
            Mode::Json => {
                let line = serde_json::json!({ "phase": what, "milliseconds": u64::try_from(seconds.as_millis()).unwrap_or(u64::MAX) });
                let _ = writeln!(std::io::stderr(), "{line}");
            }
            Mode::Bars | Mode::Lines => self.suspend(|| {
                let _ = writeln!(anstream::stderr(), "{what} in {}", time(seconds));
            }),
        }
    }

    /// Prints while no bar is in the way.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        if self.mode == Mode::Bars { self.bars.suspend(print) } else { print() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ProgressBar>> {
        self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// How wide the terminal is.
fn columns() -> u16 {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| size.ws_col)
}

/// What a bar looks like: on a narrow terminal nothing of it may need a second line.
fn template(columns: u16, counted: bool, bytes: bool) -> String {
    let counts = match bytes {
        _ if !counted => "",
        true => " {bytes}/{total_bytes}",
        false => " {pos}/{len}",
    };
    match columns {
        0..72 => format!("{{spinner:.cyan}} {{prefix:<30!}}{}", if bytes { " {percent:>3}%" } else { counts }),
        _ if !counted => "{spinner:.cyan} {prefix:<36!} {wide_msg}".to_owned(),
        72..100 => format!("{{spinner:.cyan}} {{prefix:<30!}} {{bar:16.cyan/dim}}{counts}"),
        _ => format!("{{spinner:.cyan}} {{prefix:<36!}} {{bar:24.cyan/dim}}{counts} {{wide_msg}}"),
    }
}

/// A duration for people: `12ms`, `3.4s`, `2m05s`.
pub fn time(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds < 1000 {
        format!("{milliseconds}ms")
    } else if milliseconds < 60_000 {
        format!("{}.{}s", milliseconds / 1000, milliseconds % 1000 / 100)
    } else {
        format!("{}m{:02}s", milliseconds / 60_000, milliseconds / 1000 % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::template;

    #[test]
    fn a_bar_is_as_wide_as_the_terminal_allows() {
        for (columns, bar, message) in [(60, false, false), (80, true, false), (200, true, true)] {
            let template = template(columns, true, true);
            assert_eq!((template.contains("{bar"), template.contains("{wide_msg}")), (bar, message), "{template}");
        }
    }
}
