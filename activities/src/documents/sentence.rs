//! Sentences with byte offsets, found in folded text.
//!
//! Unicode's rules (UAX #29) find the borders; a short list of abbreviations undoes the wrong ones. A run without any border is cut
//! at spaces so that no sentence, and no work per sentence, grows with a hostile line.

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use super::terms::words;

/// A longer sentence is cut at a space: 1,200 bytes are about 200 words, three times what reads as one statement.
const SENTENCE_BYTES_MAX: usize = 1_200;

/// Abbreviations after which a full stop ends nothing.
const ABBREVIATIONS: &[&str] = &[
    "e.g.", "i.e.", "cf.", "vs.", "fig.", "no.", "nos.", "sec.", "dr.", "mr.", "mrs.", "ms.", "prof.", "st.",
    "approx.", "resp.", "al.", "ca.", "p.", "pp.", "vol.",
];

/// One statement of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// Byte offset of the first byte in the document's text.
    pub start: usize,
    /// Byte offset after the last byte.
    pub end: usize,
    /// Index of the section it stands in.
    pub section: Option<usize>,
    /// What it was read from.
    pub kind: SentenceKind,
    /// How many words it has, stop words included.
    pub words: u32,
    /// Whether it can stand as a statement: not a fragment, a question, a lead-in or a drawing.
    pub citable: bool,
    /// Its terms as (index into the document's vocabulary, times), in index order.
    pub terms: Vec<(u32, u32)>,
}

/// Tells what a sentence was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SentenceKind {
    /// Running text.
    Prose,
    /// A record of a table.
    Row,
    /// A member of a JSON object or array.
    Field,
    /// A comment of a program.
    Comment,
    /// A declaration of a program.
    Declaration,
}

/// Gives the sentences of a folded text as byte ranges without surrounding space.
pub(crate) fn split(folded: &str) -> Vec<std::ops::Range<usize>> {
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    let mut open: Option<usize> = None;
    for (at, piece) in folded.split_sentence_bound_indices() {
        let start = open.unwrap_or(at);
        let end = at + piece.len();
        if ends_with_abbreviation(&folded[start..end]) && end < folded.len() {
            open = Some(start);
            continue;
        }
        open = None;
        push_bounded(folded, start, end, &mut found);
    }
    found
}

fn ends_with_abbreviation(text: &str) -> bool {
    let trimmed = text.trim_end();
    let word = trimmed.rsplit([' ', '(', '[']).next().unwrap_or_default();
    word.len() <= 7 && ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

/// Pushes the trimmed range, cut into pieces of at most [`SENTENCE_BYTES_MAX`].
fn push_bounded(folded: &str, start: usize, end: usize, found: &mut Vec<std::ops::Range<usize>>) {
    let mut from = start;
    while end - from > SENTENCE_BYTES_MAX {
        let limit = floor_char_boundary(folded, from + SENTENCE_BYTES_MAX);
        let cut = folded[from..limit].rfind(' ').filter(|n| *n > 0).map_or(limit, |n| from + n);
        push_trimmed(folded, from, cut, found);
        from = cut;
    }
    push_trimmed(folded, from, end, found);
}

fn push_trimmed(folded: &str, start: usize, end: usize, found: &mut Vec<std::ops::Range<usize>>) {
    let piece = &folded[start..end];
    let trimmed = piece.trim();
    if !trimmed.is_empty() {
        let lead = piece.len() - piece.trim_start().len();
        found.push(start + lead..start + lead + trimmed.len());
    }
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0)
}

/// Tells whether a sentence of this kind can stand as a statement in an answer.
pub(crate) fn is_citable(text: &str, kind: SentenceKind) -> bool {
    let trimmed = text.trim_end_matches(['*', '_', '`', ' ', '"', ')']);
    if trimmed.ends_with([':', '?']) {
        return false;
    }
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let visible = text.chars().filter(|c| !c.is_whitespace()).count();
    match kind {
        SentenceKind::Prose | SentenceKind::Comment => {
            let spoken = words(text).filter(|(_, w)| w.chars().any(char::is_alphabetic)).count();
            spoken >= 3 && letters * 2 >= visible && words_in_brackets(text) * 2 <= spoken
        }
        SentenceKind::Row | SentenceKind::Field | SentenceKind::Declaration => letters > 0,
    }
}

/// Counts the words between square brackets: a sentence that is mostly links says where to read, not what is so.
fn words_in_brackets(text: &str) -> usize {
    text.split('[').skip(1).filter_map(|piece| piece.split_once(']')).map(|(inside, _)| words(inside).count()).sum()
}

/// Shows a quote on one line: every run of white space becomes one space.
#[must_use]
pub fn collapse(quote: &str) -> String {
    quote.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(folded: &str) -> Vec<&str> {
        split(folded).into_iter().map(|r| &folded[r]).collect()
    }

    #[test]
    fn abbreviations_do_not_end_a_sentence() {
        assert_eq!(
            texts("Retry on errors, e.g. Timeout or 503. The next attempt waits 1.5 s.  It is final."),
            ["Retry on errors, e.g. Timeout or 503.", "The next attempt waits 1.5 s.", "It is final."]
        );
    }

    #[test]
    fn a_line_without_borders_is_cut_at_spaces() {
        let long = "word ".repeat(2_000);
        assert!(texts(&long).iter().all(|s| s.len() <= SENTENCE_BYTES_MAX && !s.contains("wordword")));
        let solid = "ä".repeat(5_000);
        assert_eq!(texts(&solid).concat(), solid);
    }

    #[test]
    fn fragments_questions_and_drawings_are_not_statements() {
        assert!(is_citable("The lease is renewed every two seconds.", SentenceKind::Prose));
        for text in [
            "See below:",
            "Who renews it?",
            "+---->| x | <----+ a b c",
            "Two words",
            "See [one page], [another page] and [a third].",
        ] {
            assert!(!is_citable(text, SentenceKind::Prose), "{text}");
        }
    }

    proptest! {
        #[test]
        fn sentences_lie_in_order_and_lose_nothing_but_space(text in "[a-zA-Z .,!?é\u{200b}-]{0,400}") {
            let found = split(&text);
            prop_assert!(found.windows(2).all(|w| w[0].end <= w[1].start));
            let kept: String = found.into_iter().map(|r| text[r].to_owned()).collect();
            let strip = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(strip(&kept), strip(&text));
        }
    }
}
