//! Attempts that begin with a commit.
//!
//! The answer to a write begins them where it arrives, before the run's thread hears of it: what takes one hop less is
//! there sooner, and the thread has the outcome to do and not the launch.

use std::sync::Arc;

use dacapo_core::{ActivityId, transition::ActivityTask};

use super::{Context, actor::AfterCommit};
use crate::activities::ActivityPool;

/// The attempts of a write under way.
pub(super) struct Launch {
    pool: Arc<ActivityPool>,
    tasks: Vec<ActivityTask>,
}

impl Launch {
    /// Takes the attempts that a write begins. One that closes its run begins none.
    pub(super) fn take(after: &mut AfterCommit, context: &Context) -> Option<Self> {
        let tasks = std::mem::take(&mut after.launches);
        (after.closes.is_none() && !tasks.is_empty()).then(|| Self { pool: Arc::clone(&context.pool), tasks })
    }

    /// Begins them, after the commit. Gives their ids, for a thread that has dropped the run meanwhile.
    pub(super) fn begin(self) -> Vec<ActivityId> {
        let ids = self.tasks.iter().map(|task| task.activity_id).collect();
        self.tasks.into_iter().for_each(|task| self.pool.start_local(task));
        ids
    }
}
