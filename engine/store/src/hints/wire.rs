//! The text of notifications: what fits into 8,000 bytes, and channels that few have to read. Datagrams between neighbours
//! hold the same, behind the channel, and more of it.
//!
//! | channel | who listens | payload |
//! |---|---|---|
//! | `dacapo_queues` | every process with a worker | lines: `r`queue (runs wait), `a`queue (activities wait), `g` (a worker is gone) |
//! | `dacapo_w_`worker | the process of that worker | run keys without separators, 34 hex digits each; after a `?`, questions wait for these runs; after a `!`, others took their places; after a `>`, numbers of flushes of starts that were handed to it, with commas; after a `<`, such a number, `/`, the runs of the flush, `;`, and so many of these runs as fit: key, next event id in hex, `:`, the length of the events in bytes, `:`, the events |
//! | `dacapo_t_`store | the process that wrote rows of the outbox in transactions of its users | empty: one of them has committed |
//! | `dacapo_closed` | processes that have waited for a result | run keys; one that completed may be followed by its end: `=`, the time in microseconds in hex, `:`, the length of the value in bytes, `:`, the value |
//! | `dacapo_listeners` | every process that listens | empty: somebody begins to wait for runs |
//! | `dacapo_updated` | processes that have waited for an update or an answer | keys of runs of which there is news |
//!
//! `*` on any channel: too much to say, look at everything.

use std::sync::Arc;

use dacapo_core::{
    Payload, RunId, RunKey, RunStatus, Shard, TaskQueue, Timestamp, WorkerId,
    store::{BroughtRun, BroughtStarts, HandedId, Hint, RunResult},
};
use uuid::Uuid;

use super::{News, Notification};

/// The channel for work that waits on queues.
pub(super) const QUEUES: &str = "dacapo_queues";

/// The channel for runs that closed.
pub(super) const CLOSED: &str = "dacapo_closed";

/// The channel for runs whose updates have moved on, or of whose questions one has its answer.
pub(super) const UPDATED: &str = "dacapo_updated";

/// The channel that says that somebody begins to listen to [`CLOSED`] or [`UPDATED`].
pub(super) const LISTENERS: &str = "dacapo_listeners";

/// What the channels of transactions begin with.
const TRANSACTIONS: &str = "dacapo_t_";

/// Postgres takes less than 8,000 bytes in a notification.
pub(super) const PAYLOAD_BYTES_MAX: usize = 7_900;

/// A run key: two hex digits of shard, 32 of run id.
const KEY_CHARS: usize = 34;

const EVERYTHING: &str = "*";

/// Before run keys on a worker's channel: questions wait for these runs.
const ASKED: char = '?';

/// Before run keys on a worker's channel: these runs were ended, and others took their places.
const REPLACED: char = '!';

/// Before numbers on a worker's channel: these starts were handed to it.
const HANDED: char = '>';

/// Before a flush of starts on a worker's channel that was handed to it, with its runs.
const BROUGHT: char = '<';

/// The largest events of a start that go along with the news of it, so that it fits into a notification.
const BROUGHT_EVENTS_MAX: usize = 7_500;

/// What the channels of workers begin with.
const WORKER: &str = "dacapo_w_";

/// The largest value that goes along with the news of its run's end. A hint is sent to every process that waits for some
/// run, so what is larger is cheaper read by the one that wants it.
const END_BYTES_MAX: usize = 512;

/// How a run completed, small enough for a hint.
#[derive(Debug, Clone)]
pub(crate) struct End {
    closed_at: Timestamp,
    value: Payload,
}

impl End {
    /// Makes the news of a value, unless it is too large for a hint.
    pub(crate) fn new(closed_at: Timestamp, value: &Payload) -> Option<Self> {
        (value.as_json().len() <= END_BYTES_MAX).then(|| Self { closed_at, value: value.clone() })
    }

    /// The end as those who wait for it get it.
    pub(super) fn result(&self) -> RunResult {
        let (closed_at, result) = (self.closed_at, Some(self.value.clone()));
        RunResult { status: RunStatus::Completed, result, failure: None, closed_at, successor: None }
    }
}

/// The channel for messages to runs of a worker.
pub(super) fn worker_channel(worker: WorkerId) -> String {
    format!("{WORKER}{}", worker.0.simple())
}

/// Tells a worker, in SQL, of the one start that was handed to it. All are expressions: of the types uuid and bigint, and what
/// [`brought`] gives for the run, or NULL.
pub(crate) fn notify_brought(worker: &str, handed: &str, run: &str) -> String {
    format!(
        "pg_notify('{WORKER}' || replace({worker}::text, '-', ''),
                   COALESCE('{BROUGHT}' || {handed} || '/1;' || {run}, '{HANDED}' || {handed}))"
    )
}

/// Writes a start for the worker to which it is handed. `None`: it does not fit.
pub(crate) fn brought(run: RunKey, next_event_id: i64, events: &str) -> Option<String> {
    (events.len() <= BROUGHT_EVENTS_MAX).then(|| format!("{}{next_event_id:x}:{}:{events}", key(&run), events.len()))
}

/// The channel on which transactions of users tell the process through which they wrote that they have committed.
pub(crate) fn transaction_channel(store: Uuid) -> String {
    format!("{TRANSACTIONS}{}", store.simple())
}

/// Says whether a channel is one of [`transaction_channel`].
pub(super) fn is_of_transactions(channel: &str) -> bool {
    channel.starts_with(TRANSACTIONS)
}

/// Writes what is to be told as notifications: channel and payload.
pub(super) fn notifications(outgoing: &News, bytes_max: usize) -> (Vec<String>, Vec<String>) {
    let (mut channels, mut payloads) = (Vec::new(), Vec::new());
    let mut add = |channel: &str, payload: String| {
        channels.push(channel.to_owned());
        payloads.push(payload);
    };
    let runs = outgoing.runs_ready.iter().map(|queue| format!("r{queue}"));
    let activities = outgoing.activities_ready.iter().map(|queue| format!("a{queue}"));
    let gone = outgoing.worker_gone.then(|| "g".to_owned());
    for payload in chunks(runs.chain(activities).chain(gone), "\n", bytes_max) {
        add(QUEUES, payload);
    }
    for (worker, runs) in &outgoing.inbox {
        for payload in chunks(runs.iter().map(key), "", bytes_max) {
            add(&worker_channel(*worker), payload);
        }
    }
    for (worker, flushes) in &outgoing.handed {
        let channel = worker_channel(*worker);
        let mut numbers = Vec::new();
        for (handed, flush) in flushes {
            let written = flush.runs.iter().map(|run| brought(run.key, run.next_event_id, &run.events));
            match written.collect::<Option<Vec<String>>>() {
                Some(written) if !flush.is_by_number() => {
                    for payload in chunks(written.into_iter(), "", bytes_max) {
                        add(&channel, format!("{BROUGHT}{handed}/{};{payload}", flush.runs.len()));
                    }
                }
                _ => numbers.push(handed.to_string()),
            }
        }
        for payload in chunks(numbers.into_iter(), ",", bytes_max) {
            add(&channel, format!("{HANDED}{payload}"));
        }
    }
    for (worker, runs) in &outgoing.asked {
        for payload in chunks(runs.iter().map(key), "", bytes_max) {
            add(&worker_channel(*worker), format!("{ASKED}{payload}"));
        }
    }
    for (worker, runs) in &outgoing.replaced {
        for payload in chunks(runs.iter().map(key), "", bytes_max) {
            add(&worker_channel(*worker), format!("{REPLACED}{payload}"));
        }
    }
    let ended = outgoing.ended.iter().map(|(run, end)| {
        let value = end.value.as_json();
        format!("{}={:x}:{}:{value}", key(run), end.closed_at.0, value.len())
    });
    for payload in chunks(outgoing.closed.iter().map(key).chain(ended), "", bytes_max) {
        add(CLOSED, payload);
    }
    for payload in chunks(outgoing.updated.iter().map(key), "", bytes_max) {
        add(UPDATED, payload);
    }
    if outgoing.everything {
        add(QUEUES, EVERYTHING.to_owned());
        add(CLOSED, EVERYTHING.to_owned());
        add(UPDATED, EVERYTHING.to_owned());
    }
    (channels, payloads)
}

/// As [`notifications`], of news that fit into one.
pub(super) fn notification(news: &News) -> Notification {
    let (mut channels, mut payloads) = notifications(news, PAYLOAD_BYTES_MAX);
    channels.pop().zip(payloads.pop()).expect("there are news")
}

fn chunks(parts: impl Iterator<Item = String>, separator: &str, bytes_max: usize) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    for part in parts {
        match chunks.last_mut() {
            Some(last) if last.len() + separator.len() + part.len() <= bytes_max => {
                last.push_str(separator);
                last.push_str(&part);
            }
            _ => chunks.push(part),
        }
    }
    chunks
}

fn key(run: &RunKey) -> String {
    format!("{:02x}{}", run.shard.0, run.run_id.0.simple())
}

/// Reads a notification. What cannot be read (a newer binary sent it) means: look at everything.
pub(super) fn read(channel: &str, payload: &str) -> Vec<Hint> {
    if payload == EVERYTHING {
        return vec![Hint::Everything];
    }
    let hints = match channel {
        QUEUES => payload.split('\n').map(read_line).collect(),
        CLOSED => read_closed(payload),
        UPDATED => read_keys(payload).map(|runs| vec![Hint::Updated(runs)]),
        _ if payload.starts_with(ASKED) => read_keys(&payload[1..]).map(|runs| vec![Hint::Asked(runs)]),
        _ if payload.starts_with(REPLACED) => read_keys(&payload[1..]).map(|runs| vec![Hint::Replaced(runs)]),
        _ if payload.starts_with(BROUGHT) => {
            read_brought(channel, &payload[1..]).map(|brought| vec![Hint::Brought(Arc::new(brought))])
        }
        _ if payload.starts_with(HANDED) => read_numbers(&payload[1..]).map(|handed| vec![Hint::Handed(handed)]),
        _ => read_keys(payload).map(|runs| vec![Hint::Inbox(runs)]),
    };
    hints.unwrap_or_else(|| vec![Hint::Everything])
}

fn read_line(line: &str) -> Option<Hint> {
    match line.split_at_checked(1)? {
        ("r", queue) => Some(Hint::RunsReady(TaskQueue::new(queue))),
        ("a", queue) => Some(Hint::ActivitiesReady(TaskQueue::new(queue))),
        ("g", "") => Some(Hint::WorkerGone),
        _ => None,
    }
}

fn read_closed(mut payload: &str) -> Option<Vec<Hint>> {
    let (mut closed, mut ended) = (Vec::new(), Vec::new());
    while !payload.is_empty() {
        let (run, rest) = payload.split_at_checked(KEY_CHARS)?;
        let run = read_key(run.as_bytes())?;
        payload = rest;
        let Some(end) = rest.strip_prefix('=') else {
            closed.push(run);
            continue;
        };
        let (closed_at, rest) = end.split_once(':')?;
        let (length, rest) = rest.split_once(':')?;
        let (value, rest) = rest.split_at_checked(length.parse().ok()?)?;
        payload = rest;
        let value = Payload::from_json("result", value.to_owned()).ok()?;
        let closed_at = Timestamp(i64::from_str_radix(closed_at, 16).ok()?);
        ended.push((run, End { closed_at, value }.result()));
    }
    let closed = (!closed.is_empty()).then_some(Hint::Closed(closed));
    Some(closed.into_iter().chain((!ended.is_empty()).then_some(Hint::Ended(ended))).collect())
}

fn read_brought(channel: &str, payload: &str) -> Option<BroughtStarts> {
    let worker = WorkerId(Uuid::try_parse(channel.strip_prefix(WORKER)?).ok()?);
    let (flush, mut rest) = payload.split_once(';')?;
    let (handed, of) = flush.split_once('/')?;
    let mut runs = Vec::new();
    while !rest.is_empty() {
        let (run, after) = rest.split_at_checked(KEY_CHARS)?;
        let (next_event_id, after) = after.split_once(':')?;
        let (length, after) = after.split_once(':')?;
        let (events, after) = after.split_at_checked(length.parse().ok()?)?;
        let next_event_id = i64::from_str_radix(next_event_id, 16).ok()?;
        runs.push(BroughtRun { key: read_key(run.as_bytes())?, next_event_id, events: events.to_owned() });
        rest = after;
    }
    Some(BroughtStarts { worker, handed: handed.parse().ok()?, of: of.parse().ok()?, runs })
}

fn read_numbers(payload: &str) -> Option<Vec<HandedId>> {
    payload.split(',').map(|number| number.parse().ok()).collect()
}

fn read_keys(payload: &str) -> Option<Vec<RunKey>> {
    payload.as_bytes().chunks(KEY_CHARS).map(read_key).collect()
}

fn read_key(text: &[u8]) -> Option<RunKey> {
    let (shard, run_id) = std::str::from_utf8(text).ok()?.split_at_checked(2)?;
    let shard = Shard(i16::from_str_radix(shard, 16).ok()?);
    Some(RunKey { shard, run_id: RunId(Uuid::try_parse(run_id).ok()?) })
}

#[cfg(test)]
mod tests {
    use super::{super::HandedNews, *};

    fn run(number: u128) -> RunKey {
        RunKey { shard: Shard(63), run_id: RunId(Uuid::from_u128(number)) }
    }

    #[test]
    fn what_is_sent_is_what_is_read_in_payloads_of_less_than_8000_bytes() {
        let closed: Vec<RunKey> = (0..1_000).map(run).collect();
        let mut outgoing = News { closed: closed.clone(), worker_gone: true, ..News::default() };
        outgoing.runs_ready.insert(TaskQueue::new("größer"));
        outgoing.activities_ready.insert(TaskQueue::new("x".repeat(1_000)));
        let (channels, payloads) = notifications(&outgoing, PAYLOAD_BYTES_MAX);
        assert!(payloads.iter().all(|payload| payload.len() < 8_000));
        let hints: Vec<Hint> = channels.iter().zip(&payloads).flat_map(|(c, p)| read(c, p)).collect();
        assert_eq!(hints[0], Hint::RunsReady(TaskQueue::new("größer")));
        assert_eq!(hints[2], Hint::WorkerGone);
        let asked = News { replaced: [(WorkerId(Uuid::nil()), vec![run(7)])].into(), ..News::default() };
        let (channels, payloads) = notifications(&asked, PAYLOAD_BYTES_MAX);
        assert_eq!(read(&channels[0], &payloads[0]), [Hint::Replaced(vec![run(7)])]);
        let worker = WorkerId(Uuid::from_u128(5));
        let by_number = |numbers: std::ops::Range<HandedId>| numbers.map(|it| (it, HandedNews::default())).collect();
        let handed = News { handed: [(worker, by_number(0..2_000))].into(), ..News::default() };
        let (channels, payloads) = notifications(&handed, PAYLOAD_BYTES_MAX);
        assert!(channels.iter().all(|channel| *channel == worker_channel(worker)) && payloads.len() == 2);
        let read_back = payloads.iter().flat_map(|payload| read(&channels[0], payload)).map(|hint| match hint {
            Hint::Handed(handed) => handed,
            other => panic!("{other:?}"),
        });
        assert_eq!(read_back.flatten().collect::<Vec<HandedId>>(), (0..2_000).collect::<Vec<HandedId>>());
        let updated = News { updated: vec![run(8), run(9)], ..News::default() };
        let (channels, payloads) = notifications(&updated, PAYLOAD_BYTES_MAX);
        assert_eq!(read(&channels[0], &payloads[0]), [Hint::Updated(vec![run(8), run(9)])]);
        let read_back: Vec<RunKey> = hints
            .into_iter()
            .filter_map(|hint| if let Hint::Closed(runs) = hint { Some(runs) } else { None })
            .flatten()
            .collect();
        assert_eq!(read_back, closed);
    }

    #[test]
    fn runs_go_along_with_the_news_of_their_starts_or_all_of_a_flush_are_read() {
        let worker = WorkerId(Uuid::from_u128(5));
        let start =
            |number: u128, events: &str| BroughtRun { key: run(number), next_event_id: 19, events: events.to_owned() };
        let small: Vec<BroughtRun> = (0..40).map(|number| start(number, &"ü;/:<\n".repeat(80))).collect();
        let large = vec![start(100, "[]"), start(101, &"x".repeat(BROUGHT_EVENTS_MAX + 1))];
        let mut news = News::default();
        news.handed(worker, 7, HandedNews::of(Some(small.clone())));
        news.handed(worker, 8, HandedNews::of(Some(large)));
        news.handed(worker, 9, HandedNews::of(Some(vec![start(102, "[]")])));
        let (channels, payloads) = notifications(&news, PAYLOAD_BYTES_MAX);
        assert!(payloads.iter().all(|payload| payload.len() < 8_000));
        let (mut of_7, mut others) = (Vec::new(), Vec::new());
        for hint in channels.iter().zip(&payloads).flat_map(|(channel, payload)| read(channel, payload)) {
            match hint {
                Hint::Brought(brought) if brought.handed == 7 => {
                    assert_eq!((brought.worker, brought.of), (worker, 40));
                    of_7.extend(brought.runs.clone());
                }
                other => others.push(other),
            }
        }
        assert_eq!(of_7, small);
        let lone = BroughtStarts { worker, handed: 9, of: 1, runs: vec![start(102, "[]")] };
        assert_eq!(others, [Hint::Brought(Arc::new(lone)), Hint::Handed(vec![8])]);
        assert_eq!(read(&channels[0], &payloads[0][..payloads[0].len() - 1]), [Hint::Everything]);
    }

    #[test]
    fn a_small_end_goes_along_and_a_large_one_does_not() {
        let value = Payload::from_json("value", "{\"a\": \"=:\\n ß\"}".to_owned()).unwrap();
        let end = End::new(Timestamp(1_795_245_407_328_113), &value).unwrap();
        let outgoing =
            News { closed: vec![run(1)], ended: vec![(run(2), end.clone()), (run(3), end)], ..News::default() };
        let (channels, payloads) = notifications(&outgoing, PAYLOAD_BYTES_MAX);
        assert_eq!((channels.len(), payloads.len()), (1, 1));
        let result = RunResult {
            status: RunStatus::Completed,
            result: Some(value),
            failure: None,
            closed_at: Timestamp(1_795_245_407_328_113),
            successor: None,
        };
        let ended = Hint::Ended(vec![(run(2), result.clone()), (run(3), result)]);
        assert_eq!(read(CLOSED, &payloads[0]), [Hint::Closed(vec![run(1)]), ended]);
        assert_eq!(read(CLOSED, &payloads[0][..payloads[0].len() - 1]), [Hint::Everything]);
        let large = Payload::from_json("value", format!("\"{}\"", "x".repeat(END_BYTES_MAX))).unwrap();
        assert!(End::new(Timestamp(0), &large).is_none());
    }

    #[test]
    fn what_cannot_be_read_means_everything() {
        assert_eq!(read(QUEUES, "z"), [Hint::Everything]);
        assert_eq!(read(CLOSED, "3f00"), [Hint::Everything]);
        assert_eq!(read(CLOSED, "*"), [Hint::Everything]);
    }
}
