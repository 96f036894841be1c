//! Blocks: the runs of text that a media type's reader finds, before sentences.
//!
//! A block carries its text *folded*: of the same byte length as the original, with whatever is not prose (line breaks, quote and
//! comment markers, link targets) overwritten by spaces. Sentences are found in the folded text and their offsets hold in the original.

use super::sentence::SentenceKind;

/// One run of text of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// Byte offset of the first byte in the document's text.
    pub(crate) start: usize,
    /// The text with everything that is not prose blanked, byte for byte as long as the original.
    pub(crate) folded: String,
    /// What the run is.
    pub(crate) kind: BlockKind,
}

/// Tells what a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockKind {
    /// A heading of this level, 1 the highest.
    Heading(u8),
    /// Text to be split into sentences of this kind.
    Text(SentenceKind),
    /// One sentence whatever its punctuation: a record, a declaration, a member of an object.
    Whole(SentenceKind),
}

impl Block {
    /// Makes a block of `text[start..end]`, line breaks and tabs folded into spaces.
    pub(crate) fn new(text: &str, start: usize, end: usize, kind: BlockKind) -> Self {
        Self { start, folded: fold(&text[start..end]), kind }
    }
}

/// Overwrites line breaks and other control characters by spaces, keeping the byte length.
pub(crate) fn fold(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_control() { ' ' } else { c }).collect()
}

/// Overwrites `range` of a folded text by spaces; the range must lie on character borders.
pub(crate) fn blank(folded: &mut String, range: std::ops::Range<usize>) {
    let spaces = " ".repeat(range.len());
    folded.replace_range(range, &spaces);
}

/// A line of a text: its bytes without the line break, and where they lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    /// The line without its break.
    pub(crate) text: &'a str,
    /// Byte offset of its first byte.
    pub(crate) start: usize,
}

impl Line<'_> {
    /// Gives the offset after the last byte, the line break not counted.
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// Gives the lines of `text` from byte `from` on; `\n`, `\r\n` and form feeds end a line.
pub(crate) fn lines(text: &str, from: usize) -> impl Iterator<Item = Line<'_>> {
    let mut start = from;
    text[from..].split_inclusive(['\n', '\u{c}']).map(move |raw| {
        let line = Line { text: raw.trim_end_matches(['\n', '\r', '\u{c}']), start };
        start += raw.len();
        line
    })
}
