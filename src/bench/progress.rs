//! What whoever waits sees: a bar on a terminal, a line for each phase elsewhere.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often the elapsed time is drawn anew.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// Shows what is under way, on stderr, and counts what completes.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Absent when nobody watches.
    bar: Option<ProgressBar>,
    completed: AtomicU64,
    /// What had completed when the phase began.
    phase_from: AtomicU64,
}

impl Progress {
    /// Begins; with a bar if somebody watches.
    pub(crate) fn new(watched: bool) -> Self {
        let bar = watched.then(|| {
            let bar = ProgressBar::new(0);
            bar.enable_steady_tick(TICK_INTERVAL);
            bar
        });
        Self { bar, completed: AtomicU64::new(0), phase_from: AtomicU64::new(0) }
    }

    /// Begins a phase that ends after so many completions, or whose end is not known by number.
    pub(super) fn phase(&self, text: &str, completions: Option<u64>) {
        self.phase_from.store(self.completed(), Ordering::Relaxed);
        let Some(bar) = &self.bar else { return self.line(text) };
        let template = match completions {
            Some(_) => "{msg}  {bar:30} {pos}/{len}  {elapsed}",
            None => "{msg}  {spinner} {pos}  {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.reset();
        bar.set_length(completions.unwrap_or(0));
        bar.set_message(text.to_owned());
    }

    /// Counts completions.
    pub(super) fn complete(&self, more: u64) {
        self.completed.fetch_add(more, Ordering::Relaxed);
    }

    /// What has completed since the beginning.
    pub(super) fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Draws the bar where it is now.
    pub(super) fn draw(&self) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.completed().saturating_sub(self.phase_from.load(Ordering::Relaxed)));
        }
    }

    /// Says something that stays.
    pub(super) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn say(text: &str) {
    // Without a stderr there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
