//! Silence for code that is run again: what it traces was traced when it ran for the first time.
//!
//! While only one subscriber is registered, `tracing` asks whichever is current on the thread whether a new call site
//! is of interest, and keeps the answer for ever. A call site that is first met during a replay would then stay silent
//! in live code too. So the silent subscriber here is registered like any other (with two, all are asked), and it is
//! interested in everything, lets nothing through, and raises no level.

use std::sync::LazyLock;

use tracing::{
    Dispatch, Event, Metadata, Subscriber, dispatcher,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};

static SILENCE: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Silence));

/// Registers the silent subscriber, before the first call site is met in a replay.
pub(super) fn install() {
    LazyLock::force(&SILENCE);
}

/// Runs code whose traces go nowhere.
pub(super) fn silently<R>(code: impl FnOnce() -> R) -> R {
    dispatcher::with_default(&SILENCE, code)
}

#[derive(Debug)]
struct Silence;

impl Subscriber for Silence {
    fn register_callsite(&self, _metadata: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        false
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::OFF)
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, _event: &Event<'_>) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
