//! What the workflow does by itself when the coordinator or the analyst cannot: findings by requirement, as they are.

use std::collections::{BTreeMap, BTreeSet};

use dacapo_activities::model::{
    Accepted, AggregateMetadata, Aggregated, AnswerMetadata, Evidence, FinalAnswer, KeyPoint, Requirement, Share,
    Statement, Topic, Unresolved, Usage,
};

use super::scheduling::WORKFLOW;

/// Groups accepted findings by requirement; nothing is linked.
#[must_use]
pub fn aggregate_without_provider(requirements: &[Requirement], accepted: &[Accepted]) -> Aggregated {
    let mut structured_findings = BTreeMap::new();
    for requirement in requirements {
        let points: Vec<KeyPoint> = accepted.iter().flat_map(|a| key_points(a, requirement)).collect();
        if points.is_empty() {
            continue;
        }
        let sources: BTreeSet<String> = points.iter().flat_map(|p| p.citations.iter().map(|c| c.doc.clone())).collect();
        let confidence = accepted
            .iter()
            .filter(|a| a.requirement_ids.contains(&requirement.id))
            .map(|a| a.confidence)
            .min()
            .unwrap_or_default();
        let findings = BTreeMap::from([("findings".to_owned(), points.len() as u64)]);
        let topic =
            Topic { key_points: points, sources: sources.into_iter().collect(), confidence, supporting_data: findings };
        structured_findings.insert(requirement.text.clone(), topic);
    }
    let types: BTreeSet<String> = accepted.iter().map(|a| a.specialist.clone()).collect();
    let confidences = accepted.iter().map(|a| a.confidence);
    let range = [confidences.clone().min().unwrap_or_default(), confidences.max().unwrap_or_default()];
    Aggregated {
        structured_findings,
        cross_references: Vec::new(),
        identified_gaps: Vec::new(),
        inconsistencies: Vec::new(),
        metadata: AggregateMetadata {
            total_specialists: types.len(),
            specialist_types: types.into_iter().collect(),
            confidence_range: range,
        },
        usage: Usage::computed(WORKFLOW, &accepted),
    }
}

fn key_points(accepted: &Accepted, requirement: &Requirement) -> Vec<KeyPoint> {
    let own = accepted.findings.iter().filter(|f| f.requirement_id == requirement.id);
    own.map(|f| KeyPoint {
        finding_id: format!("{}.{}", accepted.subtask_id, f.id),
        specialist: accepted.specialist.clone(),
        requirement_id: f.requirement_id.clone(),
        text: f.text.clone(),
        kind: f.kind,
        citations: f.citations.clone(),
        score: f.score,
    })
    .collect()
}

/// Makes an answer of the findings as they are, requirement by requirement.
#[must_use]
pub fn answer_without_provider(
    requirements: &[Requirement],
    aggregated: &Aggregated,
    unresolved: &[Unresolved],
    limitations: &[String],
) -> FinalAnswer {
    let points: Vec<&KeyPoint> = aggregated.structured_findings.values().flat_map(|t| &t.key_points).collect();
    let mut main_content = BTreeMap::new();
    let mut supporting_evidence = BTreeMap::new();
    let width = requirements.len().to_string().len();
    for (n, requirement) in requirements.iter().enumerate() {
        let own: Vec<&&KeyPoint> = points.iter().filter(|p| p.requirement_id == requirement.id).collect();
        if own.is_empty() {
            continue;
        }
        let specialists: BTreeSet<String> = own.iter().map(|p| p.specialist.clone()).collect();
        let documents: BTreeSet<String> = own.iter().flat_map(|p| p.citations.iter().map(|c| c.doc.clone())).collect();
        let evidence = Evidence {
            content: requirement.text.clone(),
            source_specialists: specialists.into_iter().collect(),
            documents: documents.into_iter().collect(),
            confidence: Share::default(),
        };
        supporting_evidence.insert(requirement.id.clone(), evidence);
        main_content.insert(
            format!("{:0width$}. {}", n + 1, requirement.text),
            own.iter().map(|p| Statement::from(**p)).collect::<Vec<_>>(),
        );
    }
    let mut all = open_requirements(requirements, unresolved);
    all.extend(limitations.iter().cloned());
    let words = main_content.values().flatten().map(|s: &Statement| s.text.split_whitespace().count()).sum();
    FinalAnswer {
        executive_summary: String::new(),
        summary_statements: Vec::new(),
        metadata: AnswerMetadata {
            word_count: words,
            sections: main_content.len(),
            specialists_synthesized: aggregated.metadata.total_specialists,
        },
        main_content,
        key_insights: Vec::new(),
        recommendations: Vec::new(),
        supporting_evidence,
        limitations: all,
        overall_confidence: aggregated.metadata.confidence_range[0],
        usage: None,
    }
}

/// Names every requirement that stays unanswered.
fn open_requirements(requirements: &[Requirement], unresolved: &[Unresolved]) -> Vec<String> {
    let mut found = Vec::new();
    for open in unresolved {
        for requirement in requirements.iter().filter(|r| open.requirement_ids.contains(&r.id)) {
            found.push(format!("Not answered: \"{}\". {}", requirement.text, open.reason));
        }
    }
    found
}
