//! Timers that are due, and what the protocol makes impossible.

use std::time::Duration;

use dacapo_core::{ActivityId, MessageBody, MessageId, RunKey, TimerId, Timestamp, WorkerId, store::SweepFinding};

use super::state::State;

/// The time that the owner of a run has for firing a due timer itself.
const OWNER_FIRES_WITHIN: Duration = Duration::from_secs(1);

impl State {
    /// Moves due timers that nobody watches into the inboxes of their runs.
    pub(super) fn move_due_timers(&mut self, limit: i64, now: Timestamp) -> u64 {
        let unwatched = |run, at| self.unwatched_from(run, at).is_some_and(|from| from <= now);
        let due = self.timers.iter().filter(|((run, _), at)| unwatched(*run, **at));
        let mut due: Vec<(Timestamp, (RunKey, TimerId))> = due.map(|(key, at)| (*at, *key)).collect();
        due.sort_unstable();
        due.truncate(usize::try_from(limit).unwrap_or(0));
        for (_, (run, timer_id)) in &due {
            self.timers.remove(&(*run, *timer_id));
            let id = MessageId::timer_due(run.run_id, *timer_id);
            self.deliver(*run, id, MessageBody::TimerDue { timer_id: *timer_id }, now);
        }
        due.len() as u64
    }

    /// When the next timer is anybody's to move.
    pub(super) fn next_timer_due(&self) -> Option<Timestamp> {
        self.timers.iter().filter_map(|((run, _), at)| self.unwatched_from(*run, *at)).min()
    }

    /// When a timer is anybody's to move. An owner fires its own, so one that has an owner is left to it for a while.
    pub(super) fn unwatched_from(&self, run: RunKey, fire_at: Timestamp) -> Option<Timestamp> {
        let run = self.open.get(&run)?;
        Some(if run.owner.is_none() { fire_at } else { fire_at.plus(OWNER_FIRES_WITHIN) })
    }

    /// Finds and repairs what should be impossible.
    pub(super) fn sweep(&mut self, now: Timestamp) -> Vec<SweepFinding> {
        let mut findings = Vec::new();
        let mut note = |kind, rows: usize| {
            if rows > 0 {
                findings.push(SweepFinding { kind, rows: rows as u64 });
            }
        };
        let stranded: Vec<RunKey> = self.inbox.keys().copied().filter(|run| self.is_stranded(*run)).collect();
        note("unowned_with_inbox_not_ready", stranded.len());
        stranded.iter().for_each(|run| self.make_ready(*run, now));

        let open = &self.open;
        let before = self.inbox.len() + self.timers.len() + self.activities.len() + self.ready.len();
        self.inbox.retain(|run, _| open.contains_key(run));
        self.timers.retain(|(run, _), _: &mut Timestamp| open.contains_key(run));
        self.activities.retain(|(run, _): &(RunKey, ActivityId), _| open.contains_key(run));
        self.ready.retain(|run, _| open.contains_key(run));
        let after = self.inbox.len() + self.timers.len() + self.activities.len() + self.ready.len();
        note("row_of_run_not_open", before - after);

        let lost: Vec<RunKey> = self
            .open
            .values()
            .filter(|run| run.owner.is_some_and(|owner| self.is_unknown(owner)))
            .map(|run| run.facts.key)
            .collect();
        note("run_of_unknown_worker", lost.len());
        for key in lost {
            self.take_run_over(key, None, now);
        }
        findings
    }

    fn is_stranded(&self, run: RunKey) -> bool {
        self.open.get(&run).is_some_and(|run| run.owner.is_none()) && !self.ready.contains_key(&run)
    }

    fn is_unknown(&self, worker: WorkerId) -> bool {
        !self.workers.contains_key(&worker)
    }
}
