//! The removals: for each rule of the protocol, the variants of the model in which it does not hold.
//!
//! A removal is a mutation of exactly one decision; the code asks for it at the place where the rule acts, so that reading the uses of a
//! variant shows what the rule is worth.

/// Names one way to leave out a rule of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Removal {
    /// Rule 1: a send reads the run row without locking it.
    SendWithoutKeyShare,
    /// Rule 1: a resend that finds no open run answers "closed" without searching history for the id.
    ClosedWithoutSearch,
    /// Rule 1: a completer locks its activity row before the run row.
    CompleteTaskFirst,
    /// Rule 2: close takes its lock and acts in one statement, on the snapshot from before the wait.
    CloseInOneStatement,
    /// Rule 2: close does not look at the inbox.
    CloseWithoutInboxCheck,
    /// Rule 2: release takes its lock and acts in one statement.
    ReleaseInOneStatement,
    /// Rule 2: release does not look at the inbox.
    ReleaseWithoutInboxCheck,
    /// Rule 2: release is not fenced by `next_event_id`.
    ReleaseWithoutNextEventId,
    /// Rule 2: release is not fenced by owner and `owner_epoch`.
    ReleaseWithoutEpoch,
    /// Rule 2: release while an activity runs in the process.
    ReleaseWithLocalActivity,
    /// Rule 3: append is not fenced by owner and `owner_epoch`.
    AppendWithoutOwner,
    /// Rule 3: append is fenced by the owner's id alone.
    AppendWithoutEpoch,
    /// Rule 3: a process sends the next transition of a run before it knows what became of the last one.
    WriteBeforeAnswer,
    /// Rule 3: append deletes every inbox row of the run.
    DeleteInboxByRun,
    /// Rule 3: inbox rows are deleted whether or not the fence let the run through.
    DeleteInboxUnfenced,
    /// Rule 3: an item that writes no event (the row of a retry) is not fenced.
    RetryRowUnfenced,
    /// Rule 4: `owner_epoch` is the epoch of the worker.
    EpochOfWorker,
    /// Rule 4: `owner_epoch` stays as it is when the owner changes.
    EpochKept,
    /// Rule 5: claim does not look at the worker row.
    ClaimWithoutWorkerCheck,
    /// Rule 5: claim reads the worker row without locking it.
    ClaimWithoutWorkerLock,
    /// Rule 5: claim decides on the value that its snapshot has for owner.
    ClaimOnSnapshotOwner,
    /// Rule 5: a start that is owned at once does not look at the worker row.
    StartWithoutWorkerCheck,
    /// Rule 6: mark dead is a plain update of the worker row.
    MarkDeadWithoutLock,
    /// Rule 6: a heartbeat does not require `NOT dead`.
    HeartbeatOfTheDead,
    /// Rule 6: a heartbeat does not require a valid lease.
    HeartbeatAfterLapse,
    /// Rule 6: take-over writes no ready row.
    TakeOverWithoutReady,
    /// Rule 6: take-over notes how far a history has come before it has locked the run.
    TakeOverInOneStatement,
    /// Rule 6: a batch of take-over that finds nothing unlocked ends it.
    EmptyBatchEndsTakeOver,
    /// Rule 6: take-over gives activities back with their old token.
    GiveBackWithOldToken,
    /// Rule 7: one re-read stands for the fencing write.
    ReReadInsteadOfFence,
    /// Rule 7: a signal whose answer was lost counts as rejected.
    LostMeansRejected,
    /// Rule 7: nobody compares the rows that name a worker with its memory.
    NeverCompare,
    /// Rule 7: comparing does not look at the epoch of what the memory has.
    CompareByRun,
    /// Rule 8: message ids are not folded into the run.
    FoldWithoutIds,
    /// Rule 9: the load uses the snapshot of the claim.
    LoadOnClaimSnapshot,
    /// Rule 9: inbox and activities are read in two snapshots.
    LoadInTwoReads,
    /// Rule 10: a second attempt starts without a row.
    SecondAttemptWithoutRow,
    /// Rule 10: an activity found without an outcome simply starts again.
    AttemptsUncounted,
    /// Rule 11: the mover waits for run rows.
    MoverWaits,
    /// Rule 11: the mover does not lock run rows.
    MoverWithoutKeyShare,
    /// Rule 11: `apply` records a second firing.
    FireTwice,
    /// Rule 12: terminate locks and closes in one statement.
    TerminateInOneStatement,
    /// Rule 12: terminate closes whoever owns the run.
    TerminateOwned,
    /// Rule 13: a flush writes into another run's inbox itself.
    FlushLocksOtherRun,
    /// Rule 13: a message to another run is sent from memory after the commit.
    SendFromMemory,
    /// Rule 14: a replacing start does not depend on the delete.
    ReplaceUnjoined,
    /// Rule 15: a flush locks its runs in the order of arrival.
    UnsortedLocks,
    /// Rule 16: an activity whose scheduling was unknown counts as begun.
    UnknownCountsAsBegun,
    /// Rule 16: an activity begins before the commit of its scheduling is known.
    BeginBeforeCommit,
    /// Rule 5: a start that is handed to a worker does not look at the worker row.
    HandWithoutWorkerCheck,
    /// Rule 5: a start that is handed to a worker reads the worker row without locking it.
    HandWithoutWorkerLock,
    /// Rule 5: a start that is sent again does not find in history that its run is closed.
    HandWithoutHistory,
    /// Rule 18: a take loads what was handed, whoever owns it by now.
    TakeWithoutOwner,
    /// Rule 18: a take loads what is its own, under whatever epoch.
    TakeWithoutEpoch,
    /// Rule 18: what a take loads replaces what the memory has under a later epoch.
    TakeReplacesNewer,
    /// Rule 18: nobody looks at what was handed to him.
    NeverTake,
    /// Rule 18: giving back what was not taken is not fenced by owner and `owner_epoch`.
    GiveUntakenWithoutOwner,
    /// Rule 18: giving back what was not taken is not fenced by `next_event_id`.
    GiveUntakenWithoutNextEventId,
    /// Rule 18: giving back what was not taken writes no ready row.
    GiveUntakenWithoutReady,
    /// Rule 18: giving back what was not taken asks the history before it has locked the run.
    GiveUntakenInOneStatement,
}

impl Removal {
    /// Lists every removal, in the order of the rules.
    pub const ALL: [Removal; 60] = [
        Removal::SendWithoutKeyShare,
        Removal::ClosedWithoutSearch,
        Removal::CompleteTaskFirst,
        Removal::CloseInOneStatement,
        Removal::CloseWithoutInboxCheck,
        Removal::ReleaseInOneStatement,
        Removal::ReleaseWithoutInboxCheck,
        Removal::ReleaseWithoutNextEventId,
        Removal::ReleaseWithoutEpoch,
        Removal::ReleaseWithLocalActivity,
        Removal::AppendWithoutOwner,
        Removal::AppendWithoutEpoch,
        Removal::WriteBeforeAnswer,
        Removal::DeleteInboxByRun,
        Removal::DeleteInboxUnfenced,
        Removal::RetryRowUnfenced,
        Removal::EpochOfWorker,
        Removal::EpochKept,
        Removal::ClaimWithoutWorkerCheck,
        Removal::ClaimWithoutWorkerLock,
        Removal::ClaimOnSnapshotOwner,
        Removal::StartWithoutWorkerCheck,
        Removal::MarkDeadWithoutLock,
        Removal::HeartbeatOfTheDead,
        Removal::HeartbeatAfterLapse,
        Removal::TakeOverWithoutReady,
        Removal::TakeOverInOneStatement,
        Removal::EmptyBatchEndsTakeOver,
        Removal::GiveBackWithOldToken,
        Removal::ReReadInsteadOfFence,
        Removal::LostMeansRejected,
        Removal::NeverCompare,
        Removal::CompareByRun,
        Removal::FoldWithoutIds,
        Removal::LoadOnClaimSnapshot,
        Removal::LoadInTwoReads,
        Removal::SecondAttemptWithoutRow,
        Removal::AttemptsUncounted,
        Removal::MoverWaits,
        Removal::MoverWithoutKeyShare,
        Removal::FireTwice,
        Removal::TerminateInOneStatement,
        Removal::TerminateOwned,
        Removal::FlushLocksOtherRun,
        Removal::SendFromMemory,
        Removal::ReplaceUnjoined,
        Removal::UnsortedLocks,
        Removal::UnknownCountsAsBegun,
        Removal::BeginBeforeCommit,
        Removal::HandWithoutWorkerCheck,
        Removal::HandWithoutWorkerLock,
        Removal::HandWithoutHistory,
        Removal::TakeWithoutOwner,
        Removal::TakeWithoutEpoch,
        Removal::TakeReplacesNewer,
        Removal::NeverTake,
        Removal::GiveUntakenWithoutOwner,
        Removal::GiveUntakenWithoutNextEventId,
        Removal::GiveUntakenWithoutReady,
        Removal::GiveUntakenInOneStatement,
    ];
}

/// Says which rules hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules(pub(crate) Option<Removal>);

impl Rules {
    /// Tells whether this rule is the one left out.
    pub(crate) fn lacks(self, removal: Removal) -> bool {
        self.0 == Some(removal)
    }
}
