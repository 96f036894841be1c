//! Words and terms: what two texts must share to speak of the same thing.
//!
//! A term is a lower-case word, British spelling brought to American, reduced by the Porter2 stemmer. The stop word list is kept
//! here so that results never change with a dependency.

use rust_stemmers::{Algorithm, Stemmer};
use serde::Serialize;

/// A stem with the word form it most often had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Term {
    /// The stem, as compared.
    pub stem: String,
    /// The most frequent word form, as shown to people.
    pub surface: String,
}

/// English function words that carry no topic, sorted.
const STOP_WORDS: &[&str] = &[
    "a",
    "about",
    "above",
    "across",
    "after",
    "again",
    "against",
    "all",
    "almost",
    "already",
    "also",
    "although",
    "always",
    "am",
    "among",
    "an",
    "and",
    "another",
    "any",
    "anyone",
    "anything",
    "are",
    "around",
    "as",
    "at",
    "away",
    "be",
    "became",
    "because",
    "become",
    "becomes",
    "been",
    "before",
    "being",
    "below",
    "between",
    "both",
    "but",
    "by",
    "came",
    "can",
    "cannot",
    "could",
    "did",
    "do",
    "does",
    "doing",
    "done",
    "down",
    "during",
    "each",
    "either",
    "else",
    "enough",
    "etc",
    "even",
    "ever",
    "every",
    "everything",
    "few",
    "for",
    "from",
    "further",
    "had",
    "has",
    "have",
    "having",
    "he",
    "hence",
    "her",
    "here",
    "hers",
    "him",
    "his",
    "how",
    "however",
    "i",
    "if",
    "in",
    "indeed",
    "instead",
    "into",
    "is",
    "it",
    "its",
    "itself",
    "just",
    "least",
    "less",
    "let",
    "many",
    "may",
    "me",
    "might",
    "more",
    "most",
    "much",
    "must",
    "my",
    "neither",
    "no",
    "nor",
    "not",
    "nothing",
    "now",
    "of",
    "off",
    "often",
    "on",
    "once",
    "one",
    "only",
    "or",
    "other",
    "others",
    "otherwise",
    "our",
    "ours",
    "out",
    "over",
    "own",
    "per",
    "perhaps",
    "quite",
    "rather",
    "really",
    "said",
    "same",
    "say",
    "says",
    "shall",
    "she",
    "should",
    "since",
    "so",
    "some",
    "someone",
    "something",
    "still",
    "such",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "thereby",
    "therefore",
    "these",
    "they",
    "this",
    "those",
    "though",
    "through",
    "thus",
    "to",
    "too",
    "toward",
    "towards",
    "two",
    "under",
    "unless",
    "until",
    "up",
    "upon",
    "us",
    "very",
    "via",
    "was",
    "we",
    "well",
    "were",
    "what",
    "whatever",
    "when",
    "whenever",
    "where",
    "whereas",
    "wherever",
    "whether",
    "which",
    "while",
    "who",
    "whoever",
    "whom",
    "whose",
    "why",
    "will",
    "with",
    "within",
    "without",
    "would",
    "yet",
    "you",
    "your",
    "yours",
];

/// Tells whether a lower-case word carries no topic.
#[must_use]
pub fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok()
}

/// Gives the words of a text in order: runs of letters and digits, with the byte offset of each.
pub fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(char::is_alphanumeric)?;
        let end = text[start..].find(|c: char| !c.is_alphanumeric()).map_or(text.len(), |n| start + n);
        rest = end;
        Some((start, &text[start..end]))
    })
}

/// Gives the term of a word, or nothing when the word carries no topic.
#[must_use]
pub fn stem(word: &str) -> Option<String> {
    let lower = word.to_lowercase();
    if is_stop_word(&lower) || (lower.len() == 1 && !lower.starts_with(|c: char| c.is_ascii_digit())) {
        return None;
    }
    Some(Stemmer::create(Algorithm::English).stem(&american(&lower)).into_owned())
}

/// Words whose two spellings no rule of endings brings together.
const SPELLINGS: &[(&str, &str)] = &[
    ("cancelled", "canceled"),
    ("cancelling", "canceling"),
    ("catalogue", "catalog"),
    ("centre", "center"),
    ("defence", "defense"),
    ("labelled", "labeled"),
    ("licence", "license"),
    ("licences", "licenses"),
    ("metre", "meter"),
    ("modelling", "modeling"),
    ("programme", "program"),
];

/// Brings the British spellings that the stemmer does not know to the American ones.
fn american(word: &str) -> String {
    if let Some((_, american)) = SPELLINGS.iter().find(|(british, _)| *british == word) {
        return (*american).to_owned();
    }
    for (british, american) in [
        ("isations", "izations"),
        ("isation", "ization"),
        ("ising", "izing"),
        ("ised", "ized"),
        ("ises", "izes"),
        ("ise", "ize"),
        ("ours", "ors"),
        ("our", "or"),
    ] {
        // Five letters before the ending keep "rise", "hour" and "advise" out; a wrong hit is harmless, both texts get it.
        if word.len() >= british.len() + 3
            && let Some(head) = word.strip_suffix(british)
        {
            return format!("{head}{american}");
        }
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_sorted() {
        assert!(STOP_WORDS.windows(2).all(|w| w[0] < w[1]));
    }

    #[test]
    fn words_keep_their_offsets() {
        let text = "Über max_attempts=5, d'accord";
        let found: Vec<_> = words(text).collect();
        assert_eq!(found.iter().map(|(_, w)| *w).collect::<Vec<_>>(), ["Über", "max", "attempts", "5", "d", "accord"]);
        assert!(found.iter().all(|(at, w)| &text[*at..*at + w.len()] == *w));
    }

    #[test]
    fn forms_of_a_word_share_a_stem() {
        assert_eq!(stem("retries"), stem("Retry"));
        assert_eq!(stem("colour"), stem("colors"));
        assert_eq!(stem("summarise"), stem("summarized"));
        assert_eq!(stem("licence"), stem("licenses"));
        assert_eq!(stem("the"), None);
        assert_eq!(stem("x"), None);
        assert_eq!(stem("7"), Some("7".to_owned()));
    }
}
