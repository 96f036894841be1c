//! `coordinator_aggregate`: findings by topic, and how they relate. Nothing is written here, only ordered and linked.

use std::collections::{BTreeMap, BTreeSet};

use super::LABEL;
use super::arithmetic::{Vector, cosine, count};
use super::desk::Desk;
use super::evidence::may_contradict;
use super::index::Index;
use crate::model::{
    Accepted, Aggregate, AggregateMetadata, Aggregated, CrossReference, FindingKind, KeyPoint, Relationship, Share,
    Topic, Usage,
};

/// Findings at least this alike, in micro-units, are of one topic.
const TOPIC_COSINE_MIN: i64 = 250_000;

/// Findings at least this alike say much the same.
const SUPPORTS_COSINE_MIN: i64 = 300_000;

/// Findings of one topic at least this alike, and less than supporting, complete each other.
const COMPLEMENTS_COSINE_MIN: i64 = 100_000;

/// Stems in the label of a topic.
const LABEL_STEMS: usize = 3;

/// A finding as the coordinator sees it.
struct Point {
    key: KeyPoint,
    vector: Vector,
    confidence: Share,
    topic: usize,
}

pub(crate) fn aggregate(desk: &Desk, input: &Aggregate) -> Aggregated {
    let index = &desk.index;
    let mut points = points(index, &input.accepted);
    let leaders = cluster(index, &mut points);
    let mut structured_findings = BTreeMap::new();
    for topic in 0..leaders {
        let members: Vec<&Point> = points.iter().filter(|p| p.topic == topic).collect();
        let mut label = label(index, &members);
        while structured_findings.contains_key(&label) {
            label.push_str(" (more)");
        }
        structured_findings.insert(label, describe(&members));
    }
    let mut cross_references = Vec::new();
    let mut inconsistencies = Vec::new();
    for (n, a) in points.iter().enumerate() {
        for b in &points[n + 1..] {
            let Some(relationship) = relationship(index, a, b) else { continue };
            let possible = relationship == Relationship::Contradicts;
            if possible {
                inconsistencies.push(format!("possible contradiction: {} and {}", quoted(&a.key), quoted(&b.key)));
            }
            let (finding_a, finding_b) = (a.key.finding_id.clone(), b.key.finding_id.clone());
            cross_references.push(CrossReference { finding_a, finding_b, relationship, possible });
        }
    }
    Aggregated {
        structured_findings,
        cross_references,
        identified_gaps: gaps(input),
        inconsistencies,
        metadata: metadata(&input.accepted),
        usage: Usage::computed(LABEL, input),
    }
}

/// Gives the findings best first; of equals by id.
fn points(index: &Index, accepted: &[Accepted]) -> Vec<Point> {
    let mut points: Vec<Point> = accepted
        .iter()
        .flat_map(|a| a.findings.iter().map(move |f| (a, f)))
        .map(|(a, f)| Point {
            vector: index.vector(&f.text),
            confidence: a.confidence,
            topic: 0,
            key: KeyPoint {
                finding_id: format!("{}.{}", a.subtask_id, f.id),
                specialist: a.specialist.clone(),
                requirement_id: f.requirement_id.clone(),
                text: f.text.clone(),
                kind: f.kind,
                citations: f.citations.clone(),
                score: f.score,
            },
        })
        .collect();
    points.sort_by(|a, b| b.key.score.cmp(&a.key.score).then_with(|| a.key.finding_id.cmp(&b.key.finding_id)));
    points
}

/// Leader clustering: each finding joins the first leader it is alike to, or leads itself; gives the number of leaders.
fn cluster(index: &Index, points: &mut [Point]) -> usize {
    let mut leaders: Vec<usize> = Vec::new();
    for n in 0..points.len() {
        let joined =
            leaders.iter().position(|l| cosine(&points[*l].vector, &points[n].vector, &index.idf) >= TOPIC_COSINE_MIN);
        points[n].topic = joined.unwrap_or(leaders.len());
        if joined.is_none() {
            leaders.push(n);
        }
    }
    leaders.len()
}

/// Names a topic by the rarest words that most of its findings share.
fn label(index: &Index, members: &[&Point]) -> String {
    let mut weight: BTreeMap<u32, i64> = BTreeMap::new();
    for member in members {
        for (term, _) in &member.vector {
            *weight.entry(*term).or_insert(0) += index.idf[*term as usize];
        }
    }
    // A number says nothing of a topic.
    weight.retain(|term, _| !index.stem(*term).starts_with(|c: char| c.is_ascii_digit()));
    let mut best: Vec<(u32, i64)> = weight.into_iter().collect();
    best.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let words: Vec<&str> = best.into_iter().take(LABEL_STEMS).map(|(term, _)| index.surface(term)).collect();
    if words.is_empty() { "figures".to_owned() } else { words.join(", ") }
}

fn describe(members: &[&Point]) -> Topic {
    let sources: BTreeSet<String> =
        members.iter().flat_map(|m| m.key.citations.iter().map(|c| c.doc.clone())).collect();
    let specialists: BTreeSet<&str> = members.iter().map(|m| m.key.specialist.as_str()).collect();
    let confidence: i64 = members.iter().map(|m| m.confidence.0).sum::<i64>() / count(members.len()).max(1);
    let figures = members.iter().filter(|m| m.key.kind == FindingKind::Figure).count();
    let counts = [
        ("documents", sources.len()),
        ("figures", figures),
        ("findings", members.len()),
        ("specialists", specialists.len()),
    ];
    Topic {
        key_points: members.iter().map(|m| m.key.clone()).collect(),
        sources: sources.into_iter().collect(),
        confidence: Share::new(confidence),
        supporting_data: counts.into_iter().map(|(name, n)| (name.to_owned(), n as u64)).collect(),
    }
}

fn relationship(index: &Index, a: &Point, b: &Point) -> Option<Relationship> {
    if a.key.citations.first() == b.key.citations.first() {
        return None;
    }
    let documents = |p: &Point| p.key.citations.first().map(|c| c.doc.clone());
    let elsewhere = documents(a) != documents(b);
    if a.key.kind == FindingKind::Quote
        && b.key.kind == FindingKind::Quote
        && may_contradict(index, (&a.key.text, &a.vector), (&b.key.text, &b.vector))
    {
        return Some(Relationship::Contradicts);
    }
    let alike = cosine(&a.vector, &b.vector, &index.idf);
    if alike >= SUPPORTS_COSINE_MIN && (elsewhere || a.key.specialist != b.key.specialist) {
        return Some(Relationship::Supports);
    }
    (a.topic == b.topic && elsewhere && alike >= COMPLEMENTS_COSINE_MIN).then_some(Relationship::Complements)
}

fn quoted(point: &KeyPoint) -> String {
    let doc = point.citations.first().map_or("", |c| c.doc.as_str());
    format!("\"{}\" ({doc})", point.text)
}

/// Names what accepted solutions leave open, and requirements that nothing accepted answers.
fn gaps(input: &Aggregate) -> Vec<String> {
    let mut gaps = Vec::new();
    for requirement in &input.requirements {
        let answers: Vec<&Accepted> =
            input.accepted.iter().filter(|a| a.requirement_ids.contains(&requirement.id)).collect();
        let open: BTreeSet<&str> = answers.iter().flat_map(|a| a.not_found.iter().map(String::as_str)).collect();
        if !answers.is_empty() && !open.is_empty() {
            let words: Vec<&str> = open.into_iter().collect();
            gaps.push(format!(
                "Partly answered: \"{}\". Not found in the sources: {}",
                requirement.text,
                words.join(", ")
            ));
        }
    }
    gaps
}

fn metadata(accepted: &[Accepted]) -> AggregateMetadata {
    let types: BTreeSet<&str> = accepted.iter().map(|a| a.specialist.as_str()).collect();
    let low = accepted.iter().map(|a| a.confidence).min().unwrap_or_default();
    let high = accepted.iter().map(|a| a.confidence).max().unwrap_or_default();
    AggregateMetadata {
        total_specialists: types.len(),
        specialist_types: types.into_iter().map(str::to_owned).collect(),
        confidence_range: [low, high],
    }
}
