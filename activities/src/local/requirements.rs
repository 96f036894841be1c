//! What a description asks for, found by its form: bullets, questions, requests.
//!
//! Sentences that ask nothing are background, unless the whole description asks nothing: then each is something to look up.

use crate::documents::{collapse, split_sentences, stem, words};
use crate::model::{Requirement, RequirementKind, Task};

/// More content words than this in one requirement are not told apart any more.
const TERMS_MAX: usize = 24;

/// An enumeration of more items than this is taken apart.
const ITEMS_KEPT_TOGETHER: usize = 3;

/// A longer piece between commas is a clause, not an item.
const ITEM_WORDS_MAX: usize = 6;

/// First words of a question.
const ASKS: &[&str] = &[
    "who", "whom", "whose", "what", "which", "when", "where", "why", "how", "is", "are", "was", "were", "does", "do",
    "did", "can", "could", "should", "will", "would", "has", "have",
];

/// First words of a request for something to hand over.
const REQUESTS: &[&str] = &[
    "analyse",
    "analyze",
    "assess",
    "calculate",
    "check",
    "collect",
    "compare",
    "compute",
    "count",
    "describe",
    "determine",
    "draft",
    "evaluate",
    "explain",
    "extract",
    "find",
    "give",
    "identify",
    "list",
    "name",
    "outline",
    "produce",
    "propose",
    "provide",
    "recommend",
    "report",
    "review",
    "show",
    "state",
    "summarise",
    "summarize",
    "tabulate",
    "tell",
    "trace",
    "write",
];

/// First words of a limit to the answer.
const LIMITS: &[&str] =
    &["answer", "avoid", "cite", "ensure", "focus", "ignore", "keep", "limit", "never", "only", "please", "use"];

/// Words, anywhere, that make a sentence without request a limit.
const LIMIT_PHRASES: &[&str] =
    &[" must ", " only ", " at least ", " at most ", " no more than ", " do not ", " not use ", " never "];

/// Words about tasks and answers, not about their subject.
const TASK_WORDS: &[&str] = &[
    "according",
    "account",
    "answer",
    "based",
    "detail",
    "details",
    "document",
    "documents",
    "exact",
    "exactly",
    "exist",
    "exists",
    "file",
    "files",
    "following",
    "happen",
    "happens",
    "information",
    "know",
    "main",
    "material",
    "need",
    "overview",
    "please",
    "question",
    "say",
    "source",
    "sources",
    "stated",
    "subject",
    "summary",
    "text",
    "texts",
    "use",
    "used",
    "using",
    "want",
    "concerning",
    "regarding",
    "comparison",
    "recommendation",
    "mention",
    "mentioned",
];

/// Words that, after "how", only ask for a measure.
const MEASURES: &[&str] = &["big", "early", "far", "fast", "high", "large", "late", "long", "old", "soon", "wide"];

/// Finds the requirements of a task, in the order of its description.
pub(crate) fn parse(task: &Task) -> Vec<Requirement> {
    let pieces = pieces(&task.description);
    let asks = pieces.iter().any(|p| p.is_item || matches!(kind(&p.text), Some(k) if k != RequirementKind::Constraint));
    let mut found = Vec::new();
    for piece in pieces {
        let kind = match kind(&piece.text) {
            Some(RequirementKind::Constraint) if !asks => RequirementKind::Deliverable,
            Some(kind) => kind,
            None if piece.is_item || !asks => RequirementKind::Deliverable,
            None => continue,
        };
        for text in if kind == RequirementKind::Deliverable { enumerated(&piece.text) } else { vec![piece.text] } {
            let terms = terms(&text);
            if !terms.is_empty() {
                found.push(Requirement { id: format!("r{}", found.len() + 1), text, kind, terms });
            }
        }
    }
    found
}

/// Gives the word of a requirement that has this stem, for people.
pub(crate) fn surface(requirement: &Requirement, term: &str) -> String {
    words(&requirement.text)
        .find(|(_, w)| stem(w).as_deref() == Some(term))
        .map_or_else(|| term.to_owned(), |(_, w)| w.to_lowercase())
}

/// Gives the content stems of a text in order, each once.
pub(crate) fn terms(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut before = String::new();
    for (n, (_, word)) in words(text).enumerate() {
        let lower = word.to_lowercase();
        let is_measure = std::mem::replace(&mut before, lower.clone()) == "how" && MEASURES.contains(&lower.as_str());
        let is_request = n == 0 && (REQUESTS.contains(&lower.as_str()) || LIMITS.contains(&lower.as_str()));
        if is_request || is_measure || TASK_WORDS.contains(&lower.as_str()) {
            continue;
        }
        if let Some(term) = stem(&lower)
            && !found.contains(&term)
        {
            found.push(term);
        }
    }
    found.truncate(TERMS_MAX);
    found
}

/// Tells whether a requirement weighs what others find.
pub(crate) fn weighs_others(requirement: &Requirement) -> bool {
    const WEIGHS: &[&str] = &["compar", "recommend", "summar", "conclud", "conclus", "overall", "evaluat", "trade"];
    words(&requirement.text).any(|(_, w)| WEIGHS.iter().any(|c| w.to_lowercase().starts_with(c)))
}

/// Tells whether a requirement says that it builds on others.
pub(crate) fn builds_on_others(requirement: &Requirement) -> bool {
    let text = format!(" {} ", requirement.text.to_lowercase());
    [" after ", " based on ", " using the ", " from these ", " from the above ", " given the answers "]
        .iter()
        .any(|c| text.contains(c))
}

struct Piece {
    text: String,
    is_item: bool,
}

/// Divides a description into list items and sentences.
fn pieces(description: &str) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut paragraph = String::new();
    let mut item: Option<String> = None;
    for line in description.lines().chain([""]) {
        let trimmed = line.trim();
        let content = item_content(trimmed);
        if trimmed.is_empty() || content.is_some() || trimmed.starts_with('#') {
            sentences(&std::mem::take(&mut paragraph), &mut found);
            close_item(&mut item, &mut found);
        }
        if let Some(content) = content {
            item = Some(content.to_owned());
        } else if trimmed.starts_with('#') {
            // A heading names what follows; it asks nothing.
        } else if let Some(open) = item.as_mut() {
            open.push(' ');
            open.push_str(trimmed);
        } else {
            paragraph.push_str(trimmed);
            paragraph.push(' ');
        }
    }
    found
}

fn close_item(item: &mut Option<String>, found: &mut Vec<Piece>) {
    let Some(text) = item.take() else { return };
    let text = collapse(&text);
    if !text.is_empty() {
        found.push(Piece { text, is_item: true });
    }
}

fn sentences(paragraph: &str, found: &mut Vec<Piece>) {
    for range in split_sentences(paragraph) {
        let text = collapse(&paragraph[range]);
        // A sentence that ends with a colon introduces the items below it.
        if !text.is_empty() && !text.ends_with(':') {
            found.push(Piece { text, is_item: false });
        }
    }
}

fn item_content(line: &str) -> Option<&str> {
    for marker in ["- ", "* ", "+ ", "• "] {
        if let Some(rest) = line.strip_prefix(marker) {
            return Some(rest);
        }
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &line[digits..];
    let numbered = (1..=3).contains(&digits);
    rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") ")).filter(|_| numbered)
}

fn kind(text: &str) -> Option<RequirementKind> {
    let first = words(text).next().map(|(_, w)| w.to_lowercase()).unwrap_or_default();
    if text.trim_end().ends_with('?') || ASKS.contains(&first.as_str()) {
        return Some(RequirementKind::Question);
    }
    if REQUESTS.contains(&first.as_str()) {
        return Some(RequirementKind::Deliverable);
    }
    let padded = format!(" {} ", text.to_lowercase());
    if LIMITS.contains(&first.as_str()) || LIMIT_PHRASES.iter().any(|p| padded.contains(p)) {
        return Some(RequirementKind::Constraint);
    }
    None
}

/// Takes an enumeration of more than three short items apart; each item keeps what leads to it.
fn enumerated(text: &str) -> Vec<String> {
    let body = text.trim_end_matches(['.', '!']);
    let (lead, list) = match body.split_once(": ") {
        Some((lead, list)) => (format!("{lead}:"), list),
        None => match body.split_once(' ') {
            Some((first, rest)) if REQUESTS.contains(&first.to_lowercase().as_str()) => (first.to_owned(), rest),
            _ => return vec![text.to_owned()],
        },
    };
    let unified = list.replace(", and ", ", ").replace(" and ", ", ").replace("; ", ", ");
    let items: Vec<&str> = unified.split(", ").map(str::trim).filter(|i| !i.is_empty()).collect();
    let short = items.iter().all(|i| words(i).count() <= ITEM_WORDS_MAX);
    if items.len() <= ITEMS_KEPT_TOGETHER || !short || items.iter().any(|i| terms(i).is_empty()) {
        return vec![text.to_owned()];
    }
    items.into_iter().map(|item| format!("{lead} {item}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(description: &str) -> Vec<(String, RequirementKind)> {
        let task = Task {
            task_id: "t".into(),
            user_id: String::new(),
            title: "t".into(),
            description: description.into(),
            priority: crate::model::Priority::Medium,
            context: crate::model::TaskContext::default(),
            documents: Vec::new(),
        };
        parse(&task).into_iter().map(|r| (r.text, r.kind)).collect()
    }

    #[test]
    fn questions_requests_items_and_limits_are_told_apart() {
        use RequirementKind::{Constraint, Deliverable, Question};
        let found = parsed(
            "We run an engine. What does a lease protect? Use only the supplied documents.\n\n## Wanted\nPlease find out:\n- retry defaults\n  of activities\n2) Compare timers with leases.\n",
        );
        let expected = [
            ("What does a lease protect?", Question),
            ("Use only the supplied documents.", Constraint),
            ("retry defaults of activities", Deliverable),
            ("Compare timers with leases.", Deliverable),
        ];
        assert_eq!(found, expected.map(|(t, k)| (t.to_owned(), k)));
    }

    #[test]
    fn a_description_that_asks_nothing_is_looked_up_sentence_by_sentence() {
        assert_eq!(parsed("Leases of workers. Timers must fire.").len(), 2);
    }

    #[test]
    fn long_enumerations_are_taken_apart_and_short_ones_are_not() {
        let texts = |d: &str| parsed(d).into_iter().map(|(t, _)| t).collect::<Vec<_>>();
        assert_eq!(
            texts("Explain leases, fences, claims and the take-over."),
            ["Explain leases", "Explain fences", "Explain claims", "Explain the take-over"]
        );
        assert_eq!(texts("Explain leases, fences and claims.").len(), 1);
        assert_eq!(texts("For each queue, report: depth, rate, age and owner.").len(), 4);
        assert_eq!(texts("How do leases, fences, claims and timers work?").len(), 1);
    }

    #[test]
    fn terms_are_about_the_subject() {
        assert_eq!(terms("List the documents that mention retry policies"), ["retri", "polici"]);
        assert_eq!(terms("How long is a long lease?"), ["long", "leas"]);
    }
}
