//! `diff`: two histories side by side, from where they part.
//!
//! Events are compared by what they say, not by what differs between any two runs: ids of runs and messages, points in time,
//! who did it. Workflow tasks are left out, since how many there are depends on what happened to arrive together.

use clap::Args;
use dacapo_core::{Event, EventKind, store::RunInfo};
use serde_json::{Value, json};

use super::{
    Context,
    args::named_run,
    exit::Stop,
    json as shown,
    output::{Output, Tone},
    show::summary,
};

/// The equal events that are shown before and after different ones.
const CONTEXT: usize = 3;

/// The largest table that is filled to align what differs; beyond it, everything between the equal ends differs.
const CELLS_MAX: usize = 16_000_000;

/// Compares the histories of two runs and shows where they part
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  dacapo diff order-42 order-43\n\nRuns are named by workflow id (the newest run) or run id."
)]
pub(crate) struct Diff {
    /// The one run: a workflow id or a run id
    #[arg(value_name = "ID1")]
    one: String,
    /// The other run
    #[arg(value_name = "ID2")]
    other: String,
}

/// An event with what is compared of it.
struct Line {
    event: Event,
    attributes: Value,
    said: String,
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.said == other.said
    }
}

/// A place in the aligned histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Both have it.
    Both(usize, usize),
    /// Only the one has it.
    One(usize),
    /// Only the other has it.
    Other(usize),
}

impl Diff {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        let client = connection.client();
        let runs = [named_run(client, &self.one).await?, named_run(client, &self.other).await?];
        let one = lines(client.history(runs[0].key, 1).await?);
        let other = lines(client.history(runs[1].key, 1).await?);
        let places = align(&one, &other);
        if context.output.json {
            context.output.value(&as_json(&runs, &one, &other, &places))?;
        } else {
            print(context.output, &runs, &one, &other, &places)?;
        }
        connection.close().await
    }
}

/// The attributes that differ between any two runs.
const NOT_COMPARED: [&str; 15] = [
    "accepted_event_id",
    "build_id",
    "correlation_id",
    "identity",
    "initiated_event_id",
    "lineage",
    "message_id",
    "new_run_id",
    "request_id",
    "run_id",
    "scheduled_event_id",
    "sequencing_event_id",
    "started_at",
    "started_event_id",
    "update_id",
];

fn lines(events: Vec<Event>) -> Vec<Line> {
    let events = events.into_iter().filter(|event| !event.event.name().starts_with("WorkflowTask"));
    events
        .map(|event| {
            let attributes = shown::event(&event)["attributes"].clone();
            let mut compared = attributes.clone();
            if let Value::Object(fields) = &mut compared {
                fields.retain(|name, _| !NOT_COMPARED.contains(&name.as_str()));
                match &event.event {
                    // Not when it is due, but how long it takes.
                    EventKind::TimerStarted(timer) => {
                        fields.insert("fire_at".to_owned(), json!(timer.fire_at.since(event.event_time).as_millis()));
                    }
                    EventKind::WorkflowExecutionStarted(_) => {
                        fields.remove("workflow_id");
                    }
                    _ => {}
                }
            }
            let said = format!("{} {compared}", event.event.name());
            Line { event, attributes, said }
        })
        .collect()
}

/// Aligns two histories so that as many events as possible stand beside their like.
fn align<T: PartialEq>(one: &[T], other: &[T]) -> Vec<Place> {
    let shorter = one.len().min(other.len());
    let begin = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let end = one.iter().rev().zip(other.iter().rev()).take(shorter - begin).take_while(|(a, b)| a == b).count();
    let (a, b) = (&one[begin..one.len() - end], &other[begin..other.len() - end]);
    let mut places: Vec<Place> = (0..begin).map(|at| Place::Both(at, at)).collect();
    if a.len().saturating_mul(b.len()) > CELLS_MAX {
        places.extend((0..a.len()).map(|at| Place::One(begin + at)));
        places.extend((0..b.len()).map(|at| Place::Other(begin + at)));
    } else {
        places.extend(align_middle(a, b).into_iter().map(|place| match place {
            Place::Both(i, j) => Place::Both(begin + i, begin + j),
            Place::One(i) => Place::One(begin + i),
            Place::Other(j) => Place::Other(begin + j),
        }));
    }
    places.extend((0..end).rev().map(|back| Place::Both(one.len() - 1 - back, other.len() - 1 - back)));
    places
}

/// Finds the longest sequence that two have in common, and puts it side by side.
fn align_middle<T: PartialEq>(a: &[T], b: &[T]) -> Vec<Place> {
    let width = b.len() + 1;
    // The length of what is common from a place on.
    let mut common = vec![0u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = if a[i] == b[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut places = Vec::new();
    while i < a.len() || j < b.len() {
        let place = if i < a.len() && j < b.len() && a[i] == b[j] {
            Place::Both(i, j)
        } else if j == b.len() || (i < a.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            Place::One(i)
        } else {
            Place::Other(j)
        };
        i += usize::from(!matches!(place, Place::Other(_)));
        j += usize::from(!matches!(place, Place::One(_)));
        places.push(place);
    }
    places
}

/// Gives the first event of each side that the other side has not there.
fn first(places: &[Place]) -> Option<(Option<usize>, Option<usize>)> {
    let at = places.iter().position(|place| !matches!(place, Place::Both(..)))?;
    let differing = places[at..].iter().take_while(|place| !matches!(place, Place::Both(..)));
    let (mut one, mut other) = (None, None);
    for place in differing {
        match place {
            Place::One(i) => one = one.or(Some(*i)),
            Place::Other(j) => other = other.or(Some(*j)),
            Place::Both(..) => {}
        }
    }
    Some((one, other))
}

fn as_json(runs: &[RunInfo; 2], one: &[Line], other: &[Line], places: &[Place]) -> Value {
    let event = |line: &Line| shown::event(&line.event);
    let first =
        first(places).map(|(i, j)| json!({"one": i.map(|i| event(&one[i])), "other": j.map(|j| event(&other[j]))}));
    let events: Vec<Value> = places
        .iter()
        .map(|place| match *place {
            Place::Both(i, j) => json!({
                "in": "both", "event_id": one[i].event.event_id, "other_event_id": other[j].event.event_id,
                "event_type": one[i].event.event.name(),
            }),
            Place::One(i) => json!({"in": "one", "event": event(&one[i])}),
            Place::Other(j) => json!({"in": "other", "event": event(&other[j])}),
        })
        .collect();
    json!({
        "one": shown::run(&runs[0]), "other": shown::run(&runs[1]),
        "same": first.is_none(), "first": first, "events": events,
    })
}

fn print(output: Output, runs: &[RunInfo; 2], one: &[Line], other: &[Line], places: &[Place]) -> Result<(), Stop> {
    for (sign, tone, run) in [("---", Tone::Bad, &runs[0]), ("+++", Tone::Good, &runs[1])] {
        let title = format!("{sign} {} {} {}", run.workflow_id, run.workflow_type, run.key.run_id);
        output.line(&output.paint(tone, &title))?;
    }
    let Some((i, j)) = first(places) else {
        output.note("the two histories say the same");
        return Ok(());
    };
    let named = |line: Option<&Line>| match line {
        Some(line) => format!("event {} {}", line.event.event_id, line.event.event.name()),
        None => "no event".to_owned(),
    };
    output.line(&format!("they part at {} and {}", named(i.map(|i| &one[i])), named(j.map(|j| &other[j]))))?;
    let differs = |at: usize| !matches!(places[at], Place::Both(..));
    let mut skipped = 0;
    for (at, place) in places.iter().enumerate() {
        let near = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(places.len());
        if !near.clone().any(differs) {
            skipped += 1;
            continue;
        }
        if skipped > 0 {
            output.line(&output.paint(Tone::Faint, &format!("      … {skipped} events that are the same")))?;
            skipped = 0;
        }
        let (sign, ids, line, tone) = match *place {
            Place::Both(i, j) => {
                (' ', format!("{:>5} {:>5}", one[i].event.event_id, other[j].event.event_id), &one[i], None)
            }
            Place::One(i) => ('-', format!("{:>5} {:>5}", one[i].event.event_id, ""), &one[i], Some(Tone::Bad)),
            Place::Other(j) => ('+', format!("{:>5} {:>5}", "", other[j].event.event_id), &other[j], Some(Tone::Good)),
        };
        let text = format!("{sign} {ids}  {:<34} {}", line.event.event.name(), summary(&line.attributes));
        let text = text.trim_end();
        output.line(&tone.map_or_else(|| text.to_owned(), |tone| output.paint(tone, text)))?;
    }
    if skipped > 0 {
        output.line(&output.paint(Tone::Faint, &format!("      … {skipped} events that are the same")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(one: &str, other: &str) -> String {
        let (a, b): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
        let places = align(&a, &b);
        let drawn = places.iter().map(|place| match *place {
            Place::Both(i, j) => {
                assert_eq!(a[i], b[j]);
                format!("{}", a[i])
            }
            Place::One(i) => format!("-{}", a[i]),
            Place::Other(j) => format!("+{}", b[j]),
        });
        drawn.collect()
    }

    #[test]
    fn as_much_as_possible_stands_beside_its_like() {
        assert_eq!(drawn("", ""), "");
        assert_eq!(drawn("abc", "abc"), "abc");
        assert_eq!(drawn("abc", ""), "-a-b-c");
        assert_eq!(drawn("aa", "aaa"), "aa+a");
        assert_eq!(drawn("abcde", "axcdye"), "a-b+xcd+ye");
        assert_eq!(first(&align(b"abcde", b"axcdye")), Some((Some(1), Some(1))));
        assert_eq!(first(&align(b"ab", b"abc")), Some((None, Some(2))));
        assert_eq!(first(&align(b"ab", b"ab")), None);
    }

    #[test]
    fn what_is_too_different_to_align_is_all_different() {
        let one: Vec<usize> = (0..5_000).collect();
        let other: Vec<usize> = (0..1).chain(10_000..15_000).collect();
        let places = align(&one, &other);
        assert_eq!(places.len(), 1 + 4_999 + 5_000);
        assert_eq!(places[0], Place::Both(0, 0));
    }
}
