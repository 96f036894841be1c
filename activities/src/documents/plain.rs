//! Plain text: paragraphs divided by empty lines, headings by their form.

use super::block::{Block, BlockKind, Line, blank, lines};
use super::sentence::SentenceKind;

/// A longer line is never a heading.
const HEADING_CHARS_MAX: usize = 80;

/// Finds the paragraphs and headings of a plain text from byte `from` on.
pub(crate) fn blocks(text: &str, from: usize) -> Vec<Block> {
    let all: Vec<Line<'_>> = lines(text, from).collect();
    let mut found = Vec::new();
    let mut paragraph: Option<(usize, usize)> = None;
    let mut previous_empty = true;
    for (n, line) in all.iter().enumerate() {
        let next_empty = all.get(n + 1).is_none_or(|l| l.text.trim().is_empty());
        let empty = line.text.trim().is_empty();
        let item = starts_item(line.text);
        let heading = !empty && previous_empty && next_empty && is_heading(line.text.trim());
        if (empty || heading || item)
            && let Some((start, end)) = paragraph.take()
        {
            found.push(paragraph_block(text, start, end));
        }
        if heading {
            found.push(Block::new(text, line.start, line.end(), BlockKind::Heading(1)));
        } else if !empty {
            paragraph = Some((paragraph.map_or(line.start, |(start, _)| start), line.end()));
        }
        previous_empty = empty;
    }
    if let Some((start, end)) = paragraph {
        found.push(paragraph_block(text, start, end));
    }
    found
}

/// Makes a paragraph of which the item marker, if any, is blanked.
fn paragraph_block(text: &str, start: usize, end: usize) -> Block {
    let mut block = Block::new(text, start, end, BlockKind::Text(SentenceKind::Prose));
    let marker = item_marker(&block.folded);
    blank(&mut block.folded, 0..marker);
    block
}

fn starts_item(line: &str) -> bool {
    item_marker(line) > line.len() - line.trim_start().len()
}

/// Gives the length of leading space and list marker (`- `, `* `, `12. `, `a) `) of a line.
pub(crate) fn item_marker(line: &str) -> usize {
    let space = line.len() - line.trim_start().len();
    let rest = &line[space..];
    if rest.starts_with("- ") || rest.starts_with("* ") || rest.starts_with("+ ") {
        return space + 2;
    }
    if rest.starts_with("• ") {
        return space + "• ".len();
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let label = if digits > 0 { digits } else { usize::from(rest.starts_with(|c: char| c.is_ascii_lowercase())) };
    let after = &rest[label..];
    let closes = if digits > 0 { after.starts_with(". ") || after.starts_with(") ") } else { after.starts_with(") ") };
    if label > 0 && digits <= 3 && closes { space + label + 2 } else { space }
}

/// Tells whether a line standing alone reads as a heading: short, without closing punctuation, a letter or number first.
fn is_heading(line: &str) -> bool {
    line.chars().count() <= HEADING_CHARS_MAX
        && !line.ends_with(['.', '!', '?', ';', ',', ':'])
        && line.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit())
        && line.chars().any(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_headings_and_items_are_told_apart() {
        let text =
            "1. Leases\r\n\r\nA lease is renewed\r\nevery two seconds.\r\n\r\n- first item\n  goes on\n- second item\n";
        let found = blocks(text, 0);
        let shown: Vec<_> = found.iter().map(|b| (b.kind, b.folded.trim())).collect();
        let prose = BlockKind::Text(SentenceKind::Prose);
        assert_eq!(
            shown,
            [
                (BlockKind::Heading(1), "1. Leases"),
                (prose, "A lease is renewed  every two seconds."),
                (prose, "first item   goes on"),
                (prose, "second item"),
            ]
        );
        assert!(found.iter().all(|b| text.len() >= b.start + b.folded.len()));
    }
}
