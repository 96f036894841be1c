//! One document: its text, and everything citable in it.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::block::{Block, BlockKind};
use super::delimited::{self, Table};
use super::media::MediaType;
use super::sentence::{Sentence, is_citable, split};
use super::source::{self, CodeFacts};
use super::terms::{Term, stem, words};
use super::{html, json, markdown, plain};

/// A larger file is refused: 16 MiB of text are some ten thousand pages, and all of it is held in memory.
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A heading and what stands under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Section {
    /// The heading on one line.
    pub title: String,
    /// The level of the heading, 1 the highest.
    pub level: u8,
    /// Byte offset of the heading's first byte.
    pub start: usize,
    /// Byte offset after the heading's last byte.
    pub end: usize,
    /// The heading's terms as indexes into the document's vocabulary, sorted.
    pub terms: Vec<u32>,
}

/// A document as read. It does not know its file name: the same bytes under two names are one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Document {
    /// SHA-256 of the file as given, in hexadecimal.
    pub sha256: String,
    /// SHA-256 of [`Self::text`]: the same, except for HTML.
    pub text_sha256: String,
    /// What the file was read as.
    pub media_type: MediaType,
    /// The text that offsets index: the file as given, or what was extracted from it.
    pub text: String,
    /// The headings, in order.
    pub sections: Vec<Section>,
    /// The sentences, in order.
    pub sentences: Vec<Sentence>,
    /// The terms of the document, sorted by stem.
    pub vocabulary: Vec<Term>,
    /// The cells, for a delimited file.
    pub table: Option<Table>,
    /// What can be counted, for a program.
    pub code: Option<CodeFacts>,
}

/// Says why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// The file has no text at all.
    #[error("the file is empty: leave it out or give it content")]
    Empty,
    /// The file is larger than [`DOCUMENT_BYTES_MAX`].
    #[error("the file has {bytes} bytes, at most {limit} are read: split it")]
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// The bytes are not UTF-8.
    #[error("byte {at} is not UTF-8: convert the file to UTF-8{hint}")]
    NotUtf8 {
        /// Offset of the first wrong byte.
        at: usize,
        /// What the file seems to be, where it tells.
        hint: &'static str,
    },
    /// The text has a NUL character, so it is not text.
    #[error("byte {at} is NUL: this is a binary file, give its text instead")]
    Binary {
        /// Offset of the first NUL.
        at: usize,
    },
    /// A JSON file that is not JSON.
    #[error("not JSON at line {line}, column {column}: correct it or name the file .txt")]
    InvalidJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A delimited file with an open quotation mark.
    #[error("the quotation mark at byte {at} is never closed: correct it or name the file .txt")]
    UnclosedQuote {
        /// Offset of the mark.
        at: usize,
    },
    /// The bytes are not those that the reference names.
    #[error("the content has digest {found}, the task names {expected}: store the file again")]
    DigestMismatch {
        /// The digest asked for.
        expected: String,
        /// The digest of the bytes.
        found: String,
    },
}

/// Gives the SHA-256 of bytes in hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, b| {
        for nibble in [b >> 4, b & 15] {
            hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        hex
    })
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// What makes the file unreadable, see [`DocumentError`].
    pub fn ingest(media_type: MediaType, bytes: &[u8]) -> Result<Self, DocumentError> {
        let given = checked_text(bytes)?;
        // A byte order mark stays in the text, so that offsets are those of the file; reading begins behind it.
        let from = if given.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let mut text = given.to_owned();
        let mut table = None;
        let mut code = None;
        let blocks = match media_type {
            MediaType::Plain => plain::blocks(given, from),
            MediaType::Markdown => markdown::blocks(given, from),
            MediaType::Html => {
                let (extracted, blocks) = html::extract(given);
                text = extracted;
                blocks
            }
            MediaType::Json => json::blocks(given, from)
                .map_err(|e| DocumentError::InvalidJson { line: e.line(), column: e.column() })?,
            MediaType::Csv => {
                let (read, blocks) = delimited::read(given, from).map_err(|at| DocumentError::UnclosedQuote { at })?;
                table = Some(read);
                blocks
            }
            MediaType::Source => {
                let (blocks, facts) = source::read(given, from);
                code = Some(facts);
                blocks
            }
        };
        let sha256 = digest(bytes);
        let text_sha256 = if media_type.is_extracted() { digest(text.as_bytes()) } else { sha256.clone() };
        let mut builder = Builder::default();
        for block in &blocks {
            builder.block(block);
        }
        if let Some(table) = &table {
            table.header.iter().for_each(|cell| drop(builder.terms(&cell.value)));
        }
        let (sections, sentences, vocabulary) = builder.finish();
        Ok(Self { sha256, text_sha256, media_type, text, sections, sentences, vocabulary, table, code })
    }

    /// Gives the bytes of a span, or nothing where the span does not lie in the text.
    #[must_use]
    pub fn quote(&self, start: usize, end: usize) -> Option<&str> {
        self.text.get(start..end)
    }

    /// Tells whether the document's vocabulary has a stem.
    #[must_use]
    pub fn knows(&self, stem: &str) -> bool {
        self.vocabulary.binary_search_by(|t| t.stem.as_str().cmp(stem)).is_ok()
    }
}

fn checked_text(bytes: &[u8]) -> Result<&str, DocumentError> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge { bytes: bytes.len(), limit: DOCUMENT_BYTES_MAX });
    }
    let text = std::str::from_utf8(bytes).map_err(|e| DocumentError::NotUtf8 {
        at: e.valid_up_to(),
        hint: if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            " (it begins like UTF-16)"
        } else {
            ""
        },
    })?;
    if let Some(at) = text.find('\0') {
        return Err(DocumentError::Binary { at });
    }
    if text.trim_start_matches('\u{feff}').trim().is_empty() {
        return Err(DocumentError::Empty);
    }
    Ok(text)
}

/// Gathers sections, sentences and terms; terms get their final index when all are known.
#[derive(Default)]
struct Builder {
    sections: Vec<Section>,
    sentences: Vec<Sentence>,
    /// Word form to provisional term; most words of a text occur again, and stemming is the dearest step.
    forms: BTreeMap<String, Option<u32>>,
    stems: BTreeMap<String, u32>,
    /// For each provisional term, its word forms and how often each occurred.
    surfaces: Vec<BTreeMap<String, u32>>,
}

impl Builder {
    fn block(&mut self, block: &Block) {
        match block.kind {
            BlockKind::Heading(level) => {
                let terms = self.terms(&block.folded).into_keys().collect();
                let title = super::collapse(&block.folded);
                self.sections.push(Section {
                    title,
                    level,
                    start: block.start,
                    end: block.start + block.folded.len(),
                    terms,
                });
            }
            BlockKind::Text(kind) => {
                for range in split(&block.folded) {
                    self.sentence(block, range, kind);
                }
            }
            BlockKind::Whole(kind) => self.sentence(block, 0..block.folded.len(), kind),
        }
    }

    fn sentence(&mut self, block: &Block, range: std::ops::Range<usize>, kind: super::SentenceKind) {
        let text = &block.folded[range.clone()];
        let count = u32::try_from(words(text).count()).unwrap_or(u32::MAX);
        let terms = self.terms(text).into_iter().collect();
        self.sentences.push(Sentence {
            start: block.start + range.start,
            end: block.start + range.end,
            section: self.sections.len().checked_sub(1),
            kind,
            words: count,
            citable: is_citable(text, kind),
            terms,
        });
    }

    /// Gives the provisional terms of a text with their counts.
    fn terms(&mut self, text: &str) -> BTreeMap<u32, u32> {
        let mut counts = BTreeMap::new();
        for (_, word) in words(text) {
            let lower = word.to_lowercase();
            let term = match self.forms.get(&lower) {
                Some(known) => *known,
                None => {
                    let term = stem(&lower).map(|s| {
                        let next = u32::try_from(self.stems.len()).unwrap_or(u32::MAX);
                        *self.stems.entry(s).or_insert(next)
                    });
                    self.surfaces.resize_with(self.stems.len(), BTreeMap::new);
                    self.forms.insert(lower.clone(), term);
                    term
                }
            };
            if let Some(term) = term {
                *counts.entry(term).or_insert(0) += 1;
                *self.surfaces[term as usize].entry(lower).or_insert(0) += 1;
            }
        }
        counts
    }

    /// Renumbers terms in the order of their stems.
    fn finish(mut self) -> (Vec<Section>, Vec<Sentence>, Vec<Term>) {
        let mut order = vec![0_u32; self.stems.len()];
        let mut vocabulary = Vec::with_capacity(self.stems.len());
        for (n, (stem, provisional)) in self.stems.into_iter().enumerate() {
            order[provisional as usize] = u32::try_from(n).unwrap_or(u32::MAX);
            // The most frequent form; of equals the first in the alphabet, because `max_by_key` would keep the last.
            let forms = &self.surfaces[provisional as usize];
            let surface = forms
                .iter()
                .rev()
                .max_by_key(|(_, count)| **count)
                .map_or_else(|| stem.clone(), |(form, _)| form.clone());
            vocabulary.push(Term { stem, surface });
        }
        for section in &mut self.sections {
            section.terms = section.terms.iter().map(|t| order[*t as usize]).collect();
            section.terms.sort_unstable();
        }
        for sentence in &mut self.sentences {
            for term in &mut sentence.terms {
                term.0 = order[term.0 as usize];
            }
            sentence.terms.sort_unstable();
        }
        (self.sections, self.sentences, vocabulary)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(name: &str, bytes: &[u8]) -> Result<Document, DocumentError> {
        Document::ingest(MediaType::of(name), bytes)
    }

    fn quotes(document: &Document) -> Vec<&str> {
        document.sentences.iter().map(|s| document.quote(s.start, s.end).unwrap()).collect()
    }

    #[test]
    fn unreadable_bytes_have_a_clear_outcome() {
        assert_eq!(read("a.md", b"  \r\n"), Err(DocumentError::Empty));
        assert_eq!(read("a.md", b"\xef\xbb\xbf"), Err(DocumentError::Empty));
        assert!(matches!(read("a.md", b"abc \xff def"), Err(DocumentError::NotUtf8 { at: 4, .. })));
        let utf16 = read("a.txt", b"\xff\xfea\0b\0").unwrap_err();
        assert!(utf16.to_string().contains("UTF-16"), "{utf16}");
        assert_eq!(read("a.png", b"PNG\0"), Err(DocumentError::Binary { at: 3 }));
        assert!(matches!(read("a.txt", &vec![b'a'; DOCUMENT_BYTES_MAX + 1]), Err(DocumentError::TooLarge { .. })));
        assert!(matches!(read("a.json", b"{"), Err(DocumentError::InvalidJson { line: 1, .. })));
    }

    #[test]
    fn offsets_hold_behind_a_byte_order_mark_and_carriage_returns() {
        let document =
            read("a.md", "\u{feff}# Leases\r\n\r\nA lease is\r\nrenewed often. It ends.\r\n".as_bytes()).unwrap();
        assert_eq!(document.sections[0].title, "Leases");
        assert_eq!(quotes(&document), ["A lease is\r\nrenewed often.", "It ends."]);
        assert_eq!(document.sentences[0].section, Some(0));
    }

    #[test]
    fn the_text_of_html_has_a_digest_of_its_own() {
        let document = read("a.html", b"<p>A lease is renewed.</p>").unwrap();
        assert_eq!(document.text, "A lease is renewed.");
        assert_ne!(document.sha256, document.text_sha256);
        assert_eq!(document.text_sha256, digest(b"A lease is renewed."));
    }

    #[test]
    fn a_megabyte_on_one_line_is_read() {
        let text = "lease renewal ".repeat(75_000);
        let document = read("a.txt", text.as_bytes()).unwrap();
        assert!(document.sentences.len() > 800);
        assert_eq!(document.vocabulary.len(), 2);
    }

    proptest! {
        #[test]
        fn every_sentence_of_any_text_lies_in_it(text in "[a-zA-Z#>|`*.,;:\"{}\\[\\] é\r\n-]{1,300}") {
            for name in ["a.txt", "a.md", "a.html", "a.csv", "a.rs", "a.json"] {
                let Ok(document) = read(name, text.as_bytes()) else { continue };
                for sentence in &document.sentences {
                    let quote = document.quote(sentence.start, sentence.end);
                    prop_assert!(quote.is_some_and(|q| !q.is_empty()), "{name}: {sentence:?}");
                    prop_assert!(sentence.terms.windows(2).all(|w| w[0].0 < w[1].0));
                }
                for section in &document.sections {
                    prop_assert!(document.quote(section.start, section.end).is_some());
                }
            }
        }
    }
}
