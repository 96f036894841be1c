//! What whoever waits sees: a bar on a terminal, a line for each phase elsewhere.

use std::{
    io::{self, Write},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often the elapsed time is drawn anew.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// How long a phase lasts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lasts {
    /// Until so many have completed.
    Completions(u64),
    /// So long.
    Time(Duration),
    /// Nobody knows.
    Sometime,
}

/// Shows what is under way, on stderr, and counts what completes.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Absent when nobody watches.
    bar: Option<ProgressBar>,
    completed: AtomicU64,
    /// When the phase began, what had completed by then, and how long it lasts.
    phase: Mutex<(Instant, u64, Lasts)>,
}

impl Progress {
    /// Begins; with a bar if somebody watches.
    pub(crate) fn new(watched: bool) -> Self {
        let bar = watched.then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(TICK_INTERVAL);
            bar
        });
        Self { bar, completed: AtomicU64::new(0), phase: Mutex::new((Instant::now(), 0, Lasts::Sometime)) }
    }

    /// Begins a phase.
    pub(super) fn phase(&self, text: &str, lasts: Lasts) {
        *self.lock() = (Instant::now(), self.completed(), lasts);
        let Some(bar) = &self.bar else { return self.line(text) };
        let (template, length) = match lasts {
            Lasts::Completions(completions) => ("{msg}  {bar:30} {pos}/{len}  {elapsed}", completions),
            Lasts::Time(time) => ("{msg}  {bar:30} {prefix}  {elapsed}", millis(time)),
            Lasts::Sometime => ("{msg}  {spinner} {pos}  {elapsed}", 0),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.reset();
        bar.set_length(length);
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
            let (began, from, lasts) = *self.lock();
            let completed = self.completed().saturating_sub(from);
            match lasts {
                Lasts::Time(_) => {
                    bar.set_prefix(completed.to_string());
                    bar.set_position(millis(began.elapsed()));
                }
                Lasts::Completions(_) | Lasts::Sometime => bar.set_position(completed),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Instant, u64, Lasts)> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
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

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn say(text: &str) {
    // Without a stderr there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
