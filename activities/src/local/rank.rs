//! Which findings matter most: PageRank over their likeness, in integers, with what was asked and what supports them.

use super::arithmetic::{Vector, cosine_with, count, norm, share};
use super::index::Index;
use crate::model::MICRO;

/// The usual damping, in thousandths.
const DAMPING: i64 = 850;

/// Iterations: the rest is below a micro-unit long before.
const ITERATIONS: usize = 60;

/// Gives the PageRank of texts over their cosines, over the highest, in micro-units.
pub(crate) fn page_rank(index: &Index, vectors: &[Vector]) -> Vec<i64> {
    let n = vectors.len();
    let norms: Vec<i64> = vectors.iter().map(|v| norm(v, &index.idf)).collect();
    let alike = |a: usize, b: usize| cosine_with(&vectors[a], norms[a], &vectors[b], norms[b], &index.idf);
    let weights: Vec<Vec<i64>> =
        (0..n).map(|a| (0..n).map(|b| if a == b { 0 } else { alike(a, b) }).collect()).collect();
    let sums: Vec<i64> = weights.iter().map(|row| row.iter().sum()).collect();
    let mut ranks = vec![MICRO; n];
    for _ in 0..ITERATIONS {
        let mut next = vec![MICRO * (1_000 - DAMPING) / 1_000; n];
        for from in 0..n {
            for to in 0..n {
                if sums[from] > 0 {
                    next[to] += ranks[from] * weights[from][to] / sums[from] * DAMPING / 1_000;
                }
            }
        }
        ranks = next;
    }
    let top = ranks.iter().copied().max().unwrap_or(0);
    ranks.into_iter().map(|r| share(r, top)).collect()
}

/// Combines relevance, centrality and the number of references, each in micro-units or as a count: 0.5, 0.3 and 0.2.
pub(crate) fn combined(relevance: i64, centrality: i64, references: usize, references_top: usize) -> i64 {
    (5 * relevance + 3 * centrality + 2 * share(count(references), count(references_top))) / 10
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::Corpus;
    use crate::model::{Requirement, RequirementKind};

    #[test]
    fn what_is_like_the_others_ranks_first() {
        let text =
            "Leases protect runs. Leases protect workers and runs. Workers own leases. Bananas are yellow fruit.";
        let requirement = Requirement {
            id: "r1".into(),
            text: String::new(),
            kind: RequirementKind::Question,
            terms: vec!["leas".into()],
        };
        let index = Index::build(&Corpus::read([("a.txt", text.as_bytes())]), &[requirement]);
        let vectors: Vec<Vector> = index.passages.iter().map(|p| p.terms.clone()).collect();
        let ranks = page_rank(&index, &vectors);
        assert_eq!(ranks[1], MICRO);
        assert!(ranks[3] < ranks[0] && ranks[3] < ranks[2]);
        assert!(page_rank(&index, &[]).is_empty());
    }
}
