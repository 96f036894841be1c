//! The documents of a task made searchable: BM25 over sentences, in integers.
//!
//! Only documents that share a word with the task are indexed. So a document that has nothing to do with a task changes nothing in
//! its answer, not even through document frequencies.

use std::collections::{BTreeMap, BTreeSet};

use super::arithmetic::{Vector, count, log2_micro, norm};
use crate::documents::{Corpus, Entry, Section, Sentence, stem, words};
use crate::model::Requirement;

/// BM25's k1 and b in thousandths: the usual 1.2 and 0.75.
const K1: i64 = 1_200;
const B: i64 = 750;

/// The searchable sentences of a task's documents.
#[derive(Debug)]
pub(crate) struct Index {
    /// The documents that share a word with the task, sorted by name.
    pub(crate) entries: Vec<Entry>,
    /// The sentences, in the order of documents and offsets.
    pub(crate) passages: Vec<Passage>,
    /// The inverse document frequency of every term, in micro-units.
    pub(crate) idf: Vec<i64>,
    stems: Vec<String>,
    surfaces: Vec<String>,
    postings: Vec<Vec<u32>>,
    average_length: i64,
}

/// A sentence in the index.
#[derive(Debug)]
pub(crate) struct Passage {
    /// Which document.
    pub(crate) entry: usize,
    /// Which sentence of it.
    pub(crate) sentence: usize,
    /// Its terms in the index's numbers.
    pub(crate) terms: Vector,
    /// The length of that vector.
    pub(crate) norm: i64,
    /// How many terms it has, repeated ones counted.
    length: i64,
}

/// A term searched for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// The term.
    pub(crate) term: u32,
    /// Its weight in thousandths.
    pub(crate) weight: i64,
}

impl Index {
    /// Indexes the documents that share a term with `requirements`.
    pub(crate) fn build(corpus: &Corpus, requirements: &[Requirement]) -> Self {
        let asked: BTreeSet<&str> = requirements.iter().flat_map(|r| &r.terms).map(String::as_str).collect();
        let entries: Vec<Entry> =
            corpus.entries().iter().filter(|e| asked.iter().any(|t| e.document.knows(t))).cloned().collect();
        let mut vocabulary: BTreeMap<&str, &str> = BTreeMap::new();
        for entry in &entries {
            for term in &entry.document.vocabulary {
                vocabulary.entry(&term.stem).or_insert(&term.surface);
            }
        }
        let number: BTreeMap<&str, u32> = vocabulary.keys().zip(0..).map(|(s, n)| (*s, n)).collect();
        let mut passages = Vec::new();
        let mut postings = vec![Vec::new(); vocabulary.len()];
        for (e, entry) in entries.iter().enumerate() {
            let local: Vec<u32> = entry.document.vocabulary.iter().map(|t| number[t.stem.as_str()]).collect();
            for (s, sentence) in entry.document.sentences.iter().enumerate() {
                // Local and global numbers both follow the order of stems, so the vector stays sorted.
                let terms: Vector = sentence.terms.iter().map(|(t, n)| (local[*t as usize], *n)).collect();
                let id = u32::try_from(passages.len()).unwrap_or(u32::MAX);
                terms.iter().for_each(|(t, _)| postings[*t as usize].push(id));
                let length = terms.iter().map(|(_, n)| i64::from(*n)).sum();
                passages.push(Passage { entry: e, sentence: s, terms, norm: 0, length });
            }
        }
        let idf: Vec<i64> = postings.iter().map(|p| idf(passages.len(), p.len())).collect();
        passages.iter_mut().for_each(|p| p.norm = norm(&p.terms, &idf));
        let total: i64 = passages.iter().map(|p| p.length).sum();
        let average_length = (total * 1_000 / count(passages.len()).max(1)).max(1);
        let (stems, surfaces) = vocabulary.into_iter().map(|(s, f)| (s.to_owned(), f.to_owned())).unzip();
        Self { entries, passages, idf, stems, surfaces, postings, average_length }
    }

    /// Gives the number of a stem.
    pub(crate) fn term(&self, stem: &str) -> Option<u32> {
        self.stems.binary_search_by(|s| s.as_str().cmp(stem)).ok().and_then(|n| u32::try_from(n).ok())
    }

    /// Gives the stem of a term.
    pub(crate) fn stem(&self, term: u32) -> &str {
        &self.stems[term as usize]
    }

    /// Gives the word to show for a term.
    pub(crate) fn surface(&self, term: u32) -> &str {
        &self.surfaces[term as usize]
    }

    /// Gives the inverse document frequency of a stem; one that no document has counts as the rarest.
    pub(crate) fn idf_of(&self, stem: &str) -> i64 {
        self.term(stem).map_or_else(|| idf(self.passages.len(), 0), |t| self.idf[t as usize])
    }

    /// Gives the sentence of a passage.
    pub(crate) fn sentence(&self, passage: &Passage) -> &Sentence {
        &self.entries[passage.entry].document.sentences[passage.sentence]
    }

    /// Gives the section a passage stands in.
    pub(crate) fn section(&self, passage: &Passage) -> Option<&Section> {
        let document = &self.entries[passage.entry].document;
        self.sentence(passage).section.map(|s| &document.sections[s])
    }

    /// Gives the terms of a text that the index knows.
    pub(crate) fn vector(&self, text: &str) -> Vector {
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        for (_, word) in words(text) {
            if let Some(term) = stem(word).and_then(|s| self.term(&s)) {
                *counts.entry(term).or_insert(0) += 1;
            }
        }
        counts.into_iter().collect()
    }

    /// Gives the passages that have a term.
    pub(crate) fn with_term(&self, term: u32) -> &[u32] {
        &self.postings[term as usize]
    }

    /// Scores every passage that has at least one wanted term, by passage number.
    pub(crate) fn search(&self, wanted: &[Wanted]) -> BTreeMap<u32, i64> {
        let mut scores = BTreeMap::new();
        for want in wanted {
            for id in self.with_term(want.term) {
                let passage = &self.passages[*id as usize];
                let times =
                    passage.terms.binary_search_by_key(&want.term, |(t, _)| *t).map_or(0, |n| passage.terms[n].1);
                *scores.entry(*id).or_insert(0) +=
                    self.bm25(want.term, i64::from(times), passage.length) * want.weight / 1_000;
            }
        }
        scores
    }

    /// Gives the BM25 score of a term that occurs `times` in a text of `length` terms, in micro-units.
    pub(crate) fn bm25(&self, term: u32, times: i64, length: i64) -> i64 {
        let relative = length * 1_000 * 1_000 / self.average_length;
        let saturation = K1 * (1_000 - B + B * relative / 1_000) / 1_000;
        self.idf[term as usize] * times * (K1 + 1_000) / (times * 1_000 + saturation).max(1)
    }
}

/// Gives log2(1 + (n - df + 1/2) / (df + 1/2)) in micro-units.
fn idf(n: usize, df: usize) -> i64 {
    log2_micro(2 * (n as u64 + 1), 2 * df as u64 + 1)
}

/// Ranks scored passages: best first, of equals the earlier one.
pub(crate) fn ranked(scores: BTreeMap<u32, i64>, limit: usize) -> Vec<(u32, i64)> {
    let mut all: Vec<(u32, i64)> = scores.into_iter().collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(limit);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RequirementKind;

    fn requirement(terms: &[&str]) -> Requirement {
        let terms = terms.iter().filter_map(|t| stem(t)).collect();
        Requirement { id: "r1".into(), text: String::new(), kind: RequirementKind::Question, terms }
    }

    #[test]
    fn rarer_terms_and_shorter_sentences_score_higher() {
        let corpus = Corpus::read([(
            "a.txt",
            &b"The lease is renewed. The lease lapses when a worker stops renewing the lease in time. Workers wait. Fences hold for workers."[..],
        )]);
        let index = Index::build(&corpus, &[requirement(&["lease", "fence"])]);
        let wanted: Vec<Wanted> = ["lease", "fence"]
            .iter()
            .map(|w| Wanted { term: index.term(&stem(w).unwrap()).unwrap(), weight: 1_000 })
            .collect();
        let found = ranked(index.search(&wanted), 9);
        assert_eq!(found.iter().map(|(p, _)| *p).collect::<Vec<_>>(), [3, 0, 1]);
        assert!(index.idf_of("carpet") > index.idf_of("fenc"));
    }

    #[test]
    fn a_document_without_a_word_of_the_task_is_left_out() {
        let corpus = Corpus::read([("a.txt", &b"The lease is renewed."[..]), ("b.txt", b"Bananas are yellow.")]);
        let index = Index::build(&corpus, &[requirement(&["lease"])]);
        assert_eq!(index.entries.len(), 1);
        assert!(index.term(&stem("bananas").unwrap()).is_none());
    }
}
