//! Branches of runs.

use dacapo_core::{
    Event, RunKey, Shard, Timestamp,
    branch::{BranchPlan, BranchRun},
    lineage::BranchKind,
    store::{BranchInfo, BranchOutcome, Hint, StartWrite, StoreError, StoreResult},
    transition::Successor,
};

use super::state::State;

impl State {
    /// Branches a run: nothing is changed before everything is planned.
    pub(super) fn branch(&mut self, branch: &BranchRun, now: Timestamp) -> StoreResult<BranchOutcome> {
        let source = branch.source;
        let stored = self.history.get(&source).into_iter().flatten();
        let events: Vec<Event> = stored.flat_map(|transition| transition.events.iter().cloned()).collect();
        let Some((namespace, workflow_id)) = branch.new_name(&events) else { return Ok(BranchOutcome::NotFound) };
        let request = (namespace.clone(), workflow_id.clone(), branch.remembered_by());
        if let Some(run) = self.start_requests.get(&request) {
            return Ok(BranchOutcome::Duplicate { run: *run });
        }
        let replaces = matches!(branch.plan, BranchPlan::Reset(_)) && self.open.contains_key(&source);
        let successor = if replaces {
            let Some(loaded) = self.load(&[source]).pop() else { return Ok(BranchOutcome::NotFound) };
            let (transition, owner, _) = match branch.in_place_of(loaded, now) {
                Ok(planned) => planned,
                Err(refused) => return Ok(BranchOutcome::Refused(refused)),
            };
            let Some(successor) = transition.successor.clone() else {
                let problem = format!("run {} ends without the run that takes its place", source.run_id);
                return Err(StoreError::Corrupt { problem });
            };
            self.append(transition, now);
            if owner.is_some() {
                self.hints.push(Hint::Replaced(vec![source]));
            }
            successor
        } else {
            let successor = match branch.beside(&events, now) {
                Ok(planned) => planned,
                Err(refused) => return Ok(BranchOutcome::Refused(refused)),
            };
            if let Some(open) = self.open_ids.get(&(namespace.clone(), workflow_id.clone())) {
                return Ok(BranchOutcome::AlreadyOpen { run_id: open.run_id });
            }
            let Successor { request, transition, ready_at, .. } = (*successor).clone();
            self.insert_run(StartWrite { request, transition, owner: None, ready_at }, now);
            successor
        };
        if branch.kind() == BranchKind::Reset {
            self.dead_activities.retain(|(run, _), _| *run != source);
        }
        let run = RunKey { shard: Shard::of(&namespace, &workflow_id), run_id: successor.request.run_id };
        self.start_requests.insert(request, run);
        if let Some(open) = self.open.get_mut(&run) {
            open.owner_epoch = 1;
        }
        let from = successor.request.lineage.as_ref().and_then(|lineage| lineage.branched_from.as_ref());
        let event_id = from.map_or(0, |from| from.event_id);
        let info = BranchInfo { kind: branch.kind(), workflow_id, run_id: run.run_id, event_id, at: now };
        self.branches.entry(source).or_default().push(info);
        Ok(BranchOutcome::Branched { run, event_id })
    }
}
