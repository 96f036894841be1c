//! Where there are no sockets with names of files, hints go through the server only.

use std::{collections::BTreeSet, future, io};

use dacapo_core::{WorkerId, store::Hint};
use tokio::sync::Notify;

use super::{Hints, News};

#[derive(Debug)]
pub(super) struct Census {
    pub(super) here: i64,
    pub(super) elsewhere: i64,
}

/// Nobody has one.
#[derive(Debug)]
pub(crate) enum Turn {}

#[derive(Debug, Default)]
pub(super) struct Neighbours {
    pub(super) census_wanted: Notify,
}

impl Neighbours {
    pub(super) fn tell(&self, _: &mut News) {}

    pub(super) fn reach_all_who_wait(&self) -> bool {
        false
    }

    pub(super) fn reach(&self, _: WorkerId) -> bool {
        false
    }

    pub(super) async fn turn(&self) -> Option<Turn> {
        None
    }

    pub(super) fn counted(&self, _: Census) {}

    pub(super) fn forget_census(&self) {}
}

#[derive(Debug)]
pub(super) struct Ear {
    pub(super) machine: i32,
}

impl Ear {
    pub(super) fn open(_: &Hints, _: &str) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn answer_to(&mut self, _: &BTreeSet<WorkerId>, _: bool) -> io::Result<()> {
        Ok(())
    }

    pub(super) async fn hear(&mut self) -> io::Result<Vec<Hint>> {
        future::pending().await
    }
}
