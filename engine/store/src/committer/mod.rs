//! The committer: what many runs want at the same time becomes one statement (`docs/write-path.md`).
//!
//! A [`Lane`] is a queue, a connection and a task. It has no time window: while one flush is on its way the next one
//! gathers, so that a lone item goes at once and a crowd goes together. A run has at most one write under way, and a flush
//! holds at most one transition of a run. Callers are answered after the commit.

mod append;
mod between;
mod graves;
mod hand;
mod lane;
mod lone;
mod pace;
mod piggyback;
mod report;
mod resolve;
mod rows;
mod send;
mod start;
mod within;

use std::sync::Arc;

use dacapo_core::{
    limits::FLUSH_LANES,
    store::{
        ActivityReport, Reply, ReportOutcome, RunWrite, SendMessage, SendOutcome, StartOutcome, StartWrite,
        StoreResult, WriteOutcome,
    },
};
use sqlx::postgres::PgConnectOptions;
use tokio_util::task::TaskTracker;

pub(crate) use append::{Verdict, flush_transition};
pub(crate) use lane::Lane;
pub(crate) use resolve::{Outlook, outlook};
pub(crate) use rows::json;
pub(crate) use send::{Delivery, deliver, recorded, wake};
pub(crate) use start::Care;
pub(crate) use within::{Begun, start_all, start_branch};

use self::{append::Append, report::Report, send::Send as SendLane, start::Start};
use crate::{hints::Hints, vacuum::Removed};

/// The lanes of one process.
#[derive(Debug)]
pub(crate) struct Committer {
    appends: Arc<Lane<Append>>,
    unowned_starts: Arc<Lane<Start>>,
    owned_starts: Arc<Lane<Start>>,
    sends: Arc<Lane<SendLane>>,
    reports: Arc<Lane<Report>>,
}

impl Committer {
    /// Makes the lanes and spawns their tasks; each connects with its first item.
    pub(crate) fn spawn(options: &PgConnectOptions, hints: &Hints, removed: &Removed, tasks: &TaskTracker) -> Self {
        Self {
            appends: Lane::spawn(Append::new(hints.clone(), removed.clone()), FLUSH_LANES, options, hints, tasks),
            unowned_starts: Lane::spawn(Start::new(hints.clone()), 1, options, hints, tasks),
            owned_starts: Lane::spawn(Start::new(hints.clone()), 1, options, hints, tasks),
            sends: Lane::spawn(SendLane::new(hints.clone()), 1, options, hints, tasks),
            reports: Lane::spawn(Report::new(hints.clone()), 1, options, hints, tasks),
        }
    }

    pub(crate) fn write(&self, write: RunWrite, reply: Reply<WriteOutcome>) {
        self.appends.put(append::Encoded::of(write), reply);
    }

    pub(crate) fn start(&self, start: StartWrite, reply: Reply<StoreResult<StartOutcome>>) {
        let lane = if start.owner.is_some() { &self.owned_starts } else { &self.unowned_starts };
        lane.put(start::EncodedStart::new(start), reply);
    }

    pub(crate) fn send(&self, send: SendMessage, reply: Reply<StoreResult<SendOutcome>>) {
        self.sends.put(send::EncodedMessage::new(send), reply);
    }

    pub(crate) fn report(&self, report: ActivityReport, reply: Reply<StoreResult<ReportOutcome>>) {
        self.reports.put(report::EncodedReport::new(report), reply);
    }

    /// Lets every lane end when its queue is empty.
    pub(crate) fn close(&self) {
        self.appends.close();
        self.unowned_starts.close();
        self.owned_starts.close();
        self.sends.close();
        self.reports.close();
    }
}
