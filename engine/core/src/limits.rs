//! Every number that bounds the engine, and why it is that number.

use std::time::Duration;

/// The shards of a database; part of every key, fixed when the database is made.
pub const SHARDS: u16 = 64;

/// The largest payload, in bytes of JSON; what Temporal's users plan with.
pub const PAYLOAD_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The longest workflow id, type or queue name, in bytes; fits a B-tree entry of Postgres (2,704 bytes) twice over.
pub const ID_BYTES_MAX: usize = 1_000;

/// Memo and search attributes of a run together, in bytes of JSON.
pub const ATTRIBUTES_BYTES_MAX: usize = 32 * 1024;

/// The most events a run's history may have.
pub const HISTORY_EVENTS_MAX: i64 = 51_200;

/// The most bytes a run's history may have.
pub const HISTORY_BYTES_MAX: u64 = 50 * 1024 * 1024;

/// The events from which a run is warned about its length.
pub const HISTORY_EVENTS_WARN: i64 = 10_240;

/// The bytes from which a run is warned about the size of its history.
pub const HISTORY_BYTES_WARN: u64 = 10 * 1024 * 1024;

/// The most activities of a run that wait for an outcome, and as many local ones beside them.
pub const PENDING_ACTIVITIES_MAX: usize = 2_000;

/// The most timers of a run that wait for their time; as many as activities.
pub const PENDING_TIMERS_MAX: usize = 2_000;

/// The most children of a run that have not closed; as many as activities.
pub const PENDING_CHILDREN_MAX: usize = 2_000;

/// The most signals of a run to other runs whose delivery is not known; as many as activities.
pub const PENDING_EXTERNAL_SIGNALS_MAX: usize = 2_000;

/// The most requests of a run to cancel other runs whose delivery is not known; as many as activities.
pub const PENDING_EXTERNAL_CANCELS_MAX: usize = 2_000;

/// The most signals a run may receive.
pub const SIGNALS_MAX: u64 = 10_000;

/// The updates of a run that may be under way at once, waiting ones included.
pub const UPDATES_IN_FLIGHT_MAX: usize = 10;

/// The most updates that a run may accept.
pub const UPDATES_MAX: usize = 2_000;

/// The time a process owns its runs without renewing.
pub const LEASE: Duration = Duration::from_secs(10);

/// The time between two renewals of a lease: five may be lost before it lapses.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(2);

/// The longest a workflow task may run before it fails and its thread is replaced.
pub const WORKFLOW_TASK_TIMEOUT: Duration = Duration::from_secs(10);

/// The time after which a running workflow task is reported.
pub const WORKFLOW_TASK_WARNING: Duration = Duration::from_secs(2);

/// The longest wait between two tries of a failing workflow task.
pub const WORKFLOW_TASK_BACKOFF_MAX: Duration = Duration::from_secs(600);

/// The wait after the first failure of a workflow task; doubles up to [`WORKFLOW_TASK_BACKOFF_MAX`].
pub const WORKFLOW_TASK_BACKOFF: Duration = Duration::from_secs(1);

/// The threads that may be lost to workflow code that never returns before a process refuses further work.
pub const STUCK_THREADS_MAX: usize = 8;

/// The share of a heartbeat timeout after which a heartbeat is sent on; what lies between is dropped.
pub const HEARTBEAT_THROTTLE_PERCENT: u64 = 80;

/// The longest time between two recorded heartbeats of an activity that has no heartbeat timeout.
pub const HEARTBEAT_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// The items a flush takes at most; more adds latency and no throughput.
pub const FLUSH_ITEMS_MAX: usize = 200;

/// The connections on which a process flushes transitions. The second joins in when there is a crowd, so that flushes stay
/// large; it fills the other's wait for the disk.
pub const FLUSH_LANES: usize = 2;

/// The runs a process keeps with their workflow state in memory.
pub const CACHED_RUNS: usize = 10_000;

/// The activities a process runs at once.
pub const CONCURRENT_ACTIVITIES: usize = 1_000;

/// The runs that one claim takes at most.
pub const CLAIM_RUNS_MAX: usize = 500;

/// The rows that one step of take-over, of the timer mover or of a sweep handles.
pub const SWEEP_BATCH: i64 = 500;

/// The time that a worker has for taking a start which was handed to it; after that, anybody may have it.
pub const HANDED_GRACE: Duration = Duration::from_secs(1);

/// The take-overs without progress after which a run is parked, so that a run that kills its workers stops doing so.
pub const TAKEOVERS_WITHOUT_PROGRESS_MAX: i32 = 5;

/// The time from a worker's taking of a run to the last renewal of its lease within which its death counts against the run. One
/// that has lived with a run for longer died of something else.
pub const TAKEOVER_COUNTS_WITHIN: Duration = Duration::from_secs(20);

/// The version of ordering, cancellation and replay rules that new runs are started under.
pub const SEMANTICS_VERSION: u32 = 1;

/// The published values of a run.
pub const PUBLISHED_VALUES_MAX: usize = 100;

/// The longest filter of a list, in bytes; more than anybody writes by hand, little to read.
pub const FILTER_BYTES_MAX: usize = 16 * 1024;

/// The values that a filter compares with: each is a parameter of a statement, and a look into an index.
pub const FILTER_VALUES_MAX: usize = 500;

/// The brackets and negations of a filter that may be open at once; readers of filters recurse as deep.
pub const FILTER_DEPTH_MAX: usize = 32;
