//! Counts from programs: functions, tests, calls that panic, notes of work left; each counted place is cited.

use super::figures::{Figure, cite_span};
use super::index::Index;

/// A count of more places is not made, for the reason figures have.
const PLACES_CITED_MAX: usize = 100;

const FUNCTIONS: &str = "declarations of functions";
const TESTS: &str = "marks of tests";
const UNWRAPS: &str = "calls of unwrap or expect";
const TODOS: &str = "TODO or FIXME notes";

/// Gives the words beyond its own that a count answers to.
pub(crate) fn meant_words(count: &str) -> &'static [&'static str] {
    let counted = [FUNCTIONS, TESTS, UNWRAPS, TODOS].iter().any(|what| count.trim_end_matches('.').ends_with(what));
    if counted { &["code", "count", "number", "quality", "coverage", "program", "source"] } else { &[] }
}

/// Counts what can be counted in every program of the index; gives also what was left out and why.
pub(crate) fn counts(index: &Index) -> (Vec<Figure>, Vec<String>) {
    let mut found = Vec::new();
    let mut left_out = Vec::new();
    for entry in &index.entries {
        let Some(code) = &entry.document.code else { continue };
        for (places, what) in
            [(&code.functions, FUNCTIONS), (&code.tests, TESTS), (&code.unwraps, UNWRAPS), (&code.todos, TODOS)]
        {
            if places.is_empty() {
                continue;
            }
            if places.len() > PLACES_CITED_MAX {
                left_out.push(format!("{}: {} {what}, too many to cite each; not counted", entry.doc, places.len()));
                continue;
            }
            let citations = places.iter().map(|r| cite_span(&entry.doc, &entry.document, r.start, r.end)).collect();
            found.push(Figure { text: format!("{}: {} {what}.", entry.doc, places.len()), citations });
        }
    }
    (found, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::Corpus;
    use crate::model::{Requirement, RequirementKind};

    #[test]
    fn every_counted_place_is_cited() {
        let source =
            "/// Renews the lease.\nfn renew() { a.unwrap(); b.unwrap(); }\n#[test]\nfn lease_is_renewed() {}\n";
        let corpus = Corpus::read([("lease.rs", source.as_bytes())]);
        let requirement = Requirement {
            id: "r1".into(),
            text: "lease".into(),
            kind: RequirementKind::Question,
            terms: vec!["leas".into()],
        };
        let (found, _) = counts(&Index::build(&corpus, &[requirement]));
        let shown: Vec<(&str, usize)> = found.iter().map(|f| (f.text.as_str(), f.citations.len())).collect();
        assert_eq!(
            shown,
            [
                ("lease.rs: 2 declarations of functions.", 2),
                ("lease.rs: 1 marks of tests.", 1),
                ("lease.rs: 2 calls of unwrap or expect.", 2)
            ]
        );
    }
}
