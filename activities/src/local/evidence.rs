//! What a finding's evidence covers, and whether it holds.
//!
//! Reviewing starts here: from the quotes and the documents, never from what the specialist says of its own work.

use std::collections::BTreeSet;

use super::arithmetic::{Vector, cosine, share};
use super::desk::Desk;
use super::index::Index;
use super::marks::negations;
use super::number::Quantity;
use super::{counts, figures};
use crate::documents::{Corpus, collapse, stem, words};
use crate::model::{Citation, Finding, FindingKind, MICRO, Requirement};

/// Two statements less alike than this speak of different things: a negation in one denies nothing in the other.
const CONTRADICTION_COSINE_MIN: i64 = 600_000;

/// With different numbers, the other words must agree to this share: 8 of 10.
const SAME_WORDS_MIN: i64 = 800_000;

/// Gives the stems that a finding's evidence has.
pub(crate) fn stems(kind: FindingKind, text: &str, citations: &[Citation]) -> BTreeSet<String> {
    let of = |text: &str| words(text).filter_map(|(_, w)| stem(w)).collect::<BTreeSet<_>>();
    match kind {
        FindingKind::Quote => citations.iter().flat_map(|c| of(&c.quote)).collect(),
        FindingKind::Figure => {
            let meant = figures::meant_words(text).into_iter().chain(counts::meant_words(text).iter().copied());
            meant.filter_map(stem).chain(of(text)).collect()
        }
    }
}

/// Gives the terms of a requirement that are among `stems`, as positions in the requirement.
pub(crate) fn covered(requirement: &Requirement, stems: &BTreeSet<String>) -> BTreeSet<usize> {
    requirement.terms.iter().enumerate().filter(|(_, t)| stems.contains(*t)).map(|(n, _)| n).collect()
}

/// Gives how many terms of a requirement a finding must have to speak of it: two, or its only one.
pub(crate) fn relevant_min(requirement: &Requirement) -> usize {
    requirement.terms.len().min(2)
}

/// Gives the terms of a requirement that the relevant ones of several findings cover together.
///
/// A finding with a single word of the requirement adds nothing: words that only occur apart are not an answer.
pub(crate) fn covered_by<'a>(
    requirement: &Requirement,
    findings: impl IntoIterator<Item = &'a BTreeSet<String>>,
) -> BTreeSet<usize> {
    let each = findings.into_iter().map(|stems| covered(requirement, stems));
    each.filter(|c| c.len() >= relevant_min(requirement)).flatten().collect()
}

/// Gives the share of a requirement that the terms at `positions` make, weighted by how rare each is, in micro-units.
pub(crate) fn covered_share(index: &Index, requirement: &Requirement, positions: &BTreeSet<usize>) -> i64 {
    let weight = |n: usize| index.idf_of(&requirement.terms[n]);
    let whole: i64 = (0..requirement.terms.len()).map(weight).sum();
    share(positions.iter().map(|n| weight(*n)).sum(), whole)
}

/// Tells whether a citation's quote is what stands at its place.
pub(crate) fn verifies(corpus: &Corpus, citation: &Citation) -> bool {
    corpus.get(&citation.doc).is_some_and(|document| {
        document.text_sha256 == citation.sha256
            && citation.start < citation.end
            && document.quote(citation.start, citation.end) == Some(citation.quote.as_str())
    })
}

/// Tells whether a finding holds: every citation verifies, a quote says its first citation, a figure comes out again.
///
/// A figure may have been computed for another requirement of the task and handed on.
pub(crate) fn holds(corpus: &Corpus, desk: &Desk, finding: &Finding) -> bool {
    let cited = !finding.citations.is_empty() && finding.citations.iter().all(|c| verifies(corpus, c));
    cited
        && match finding.kind {
            FindingKind::Quote => finding.text == collapse(&finding.citations[0].quote),
            FindingKind::Figure => {
                let figures = desk.requirements.iter().flat_map(|r| figures::figures(&desk.index, r).0);
                figures
                    .chain(counts::counts(&desk.index).0)
                    .any(|f| f.text == finding.text && f.citations == finding.citations)
            }
        }
}

/// Tells whether two statements may contradict: much alike but negated differently, or of the same words with different numbers of
/// one unit.
pub(crate) fn may_contradict(index: &Index, a: (&str, &Vector), b: (&str, &Vector)) -> bool {
    if negations(a.0) % 2 != negations(b.0) % 2 {
        return cosine(a.1, b.1, &index.idf) >= CONTRADICTION_COSINE_MIN;
    }
    let (left, right) = (Quantity::in_text(a.0), Quantity::in_text(b.0));
    let differs = left.iter().any(|p| right.iter().any(|q| p.unit == q.unit && p.micro != q.micro))
        && !left.iter().any(|p| right.contains(p));
    differs && same_words(a.0, b.0) >= SAME_WORDS_MIN
}

fn same_words(a: &str, b: &str) -> i64 {
    let of = |text: &str| -> BTreeSet<String> {
        words(text).filter(|(_, w)| !w.starts_with(|c: char| c.is_ascii_digit())).filter_map(|(_, w)| stem(w)).collect()
    };
    let (a, b) = (of(a), of(b));
    let common = super::arithmetic::count(a.intersection(&b).count());
    share(common, super::arithmetic::count(a.union(&b).count())).min(MICRO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RequirementKind;

    fn fixture() -> (Corpus, Index, Requirement) {
        let text = "The lease lasts 8 s. The lease lasts 9 s. The lease is renewed by its worker. The lease is not renewed by its worker. Bananas are yellow.";
        let corpus = Corpus::read([("a.txt", text.as_bytes())]);
        let requirement = Requirement {
            id: "r1".into(),
            text: "How is the lease renewed?".into(),
            kind: RequirementKind::Question,
            terms: vec!["leas".into(), "renew".into()],
        };
        let index = Index::build(&corpus, std::slice::from_ref(&requirement));
        (corpus, index, requirement)
    }

    #[test]
    fn negation_and_numbers_may_contradict_and_other_things_do_not() {
        let (_, index, _) = fixture();
        let contradict = |a: &str, b: &str| may_contradict(&index, (a, &index.vector(a)), (b, &index.vector(b)));
        assert!(contradict("The lease lasts 8 s.", "The lease lasts 9 s."));
        assert!(contradict("The lease is renewed by its worker.", "The lease is not renewed by its worker."));
        assert!(!contradict("The lease lasts 8 s.", "The lease lasts 8 s."));
        assert!(!contradict("The lease lasts 8 s.", "Bananas are not yellow."));
    }

    #[test]
    fn words_that_occur_apart_do_not_cover() {
        let (_, _, requirement) = fixture();
        let of = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<BTreeSet<_>>();
        assert!(covered_by(&requirement, [&of(&["leas"]), &of(&["renew"])]).is_empty());
        assert_eq!(covered_by(&requirement, [&of(&["leas", "renew"])]).len(), 2);
    }

    #[test]
    fn a_changed_quote_does_not_verify() {
        let (corpus, _, _) = fixture();
        let document = corpus.get("a.txt").unwrap();
        let mut citation = Citation {
            doc: "a.txt".into(),
            start: 0,
            end: 20,
            sha256: document.text_sha256.clone(),
            quote: "The lease lasts 8 s.".into(),
        };
        assert!(verifies(&corpus, &citation));
        citation.quote = "The lease lasts 9 s.".into();
        assert!(!verifies(&corpus, &citation));
    }
}
