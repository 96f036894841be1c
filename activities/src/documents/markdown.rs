//! Markdown: headings, paragraphs, list items and quotes; what is not prose is skipped.
//!
//! Skipped: fenced and indented code, tables, link and footnote definitions, HTML comments, front matter, images. Link targets
//! are blanked inside a paragraph, so that the words of an address never count as words of a sentence.

use super::block::{Block, BlockKind, Line, blank, fold, lines};
use super::plain::item_marker;
use super::sentence::SentenceKind;

/// Finds the headings and the prose of a Markdown text from byte `from` on.
pub(crate) fn blocks(text: &str, from: usize) -> Vec<Block> {
    let all: Vec<Line<'_>> = lines(text, from).collect();
    let mut reader = Reader { text, found: Vec::new(), paragraph: None, in_list: false };
    let mut n = front_matter(&all);
    while n < all.len() {
        n = reader.line(&all, n);
    }
    reader.close();
    reader.found
}

struct Reader<'a> {
    text: &'a str,
    found: Vec<Block>,
    paragraph: Option<(usize, usize)>,
    in_list: bool,
}

impl Reader<'_> {
    /// Takes the line `n` and what belongs to it; gives the next line to take.
    fn line(&mut self, all: &[Line<'_>], n: usize) -> usize {
        let line = all[n];
        let bare = strip_quote(line.text);
        let trimmed = bare.trim();
        if trimmed.is_empty() {
            self.close();
            return n + 1;
        }
        if let Some(fence) = fence(trimmed) {
            self.close();
            return all[n + 1..]
                .iter()
                .position(|l| closes(strip_quote(l.text).trim(), fence))
                .map_or(all.len(), |k| n + k + 2);
        }
        if trimmed.starts_with("<!--") {
            self.close();
            return all[n..].iter().position(|l| l.text.contains("-->")).map_or(all.len(), |k| n + k + 1);
        }
        let indent = bare.len() - bare.trim_start().len();
        let marker = item_marker(bare);
        let is_item = marker > indent;
        if self.paragraph.is_none() && indent >= 4 && !self.in_list {
            return n + 1;
        }
        if let Some(level) = atx_level(trimmed) {
            self.close();
            self.heading(line, level);
            return n + 1;
        }
        let underlined = all.get(n + 1).and_then(|l| setext_level(l.text.trim()));
        if let (Some(level), None, false) = (underlined, self.paragraph, is_item) {
            self.heading(line, level);
            return n + 2;
        }
        if is_skipped(trimmed) {
            self.close();
            return n + 1;
        }
        self.prose(line, is_item, indent);
        n + 1
    }

    fn prose(&mut self, line: Line<'_>, is_item: bool, indent: usize) {
        if is_item {
            self.close();
            self.in_list = true;
        } else if indent == 0 && self.paragraph.is_none() {
            self.in_list = false;
        }
        self.paragraph = Some((self.paragraph.map_or(line.start, |(start, _)| start), line.end()));
    }

    fn heading(&mut self, line: Line<'_>, level: u8) {
        self.in_list = false;
        let lead = line.text.len() - line.text.trim_start_matches([' ', '#', '>']).len();
        let title = line.text[lead..].trim_end_matches([' ', '#']);
        let start = line.start + lead;
        self.found.push(Block::new(self.text, start, start + title.len(), BlockKind::Heading(level)));
    }

    /// Ends the open paragraph, its markers blanked.
    fn close(&mut self) {
        let Some((start, end)) = self.paragraph.take() else { return };
        let raw = &self.text[start..end];
        let mut folded = fold(raw);
        for line in lines(raw, 0) {
            let quoted = line.text.len() - strip_quote(line.text).len();
            let first = line.start == 0;
            let marker = if first { quoted + item_marker(&line.text[quoted..]) } else { quoted };
            blank(&mut folded, line.start..line.start + marker);
        }
        blank_link_targets(&mut folded);
        self.found.push(Block { start, folded, kind: BlockKind::Text(SentenceKind::Prose) });
    }
}

fn strip_quote(line: &str) -> &str {
    let mut rest = line;
    while let Some(inner) = rest.trim_start().strip_prefix('>') {
        rest = inner;
    }
    rest
}

/// Gives the number of lines of a leading `---` block.
fn front_matter(all: &[Line<'_>]) -> usize {
    if all.first().is_none_or(|l| l.text.trim_end() != "---") {
        return 0;
    }
    all[1..].iter().position(|l| l.text.trim_end() == "---").map_or(0, |k| k + 2)
}

fn fence(line: &str) -> Option<(char, usize)> {
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.chars().take_while(|c| *c == mark).count();
    (length >= 3).then_some((mark, length))
}

fn closes(line: &str, (mark, length): (char, usize)) -> bool {
    line.chars().count() >= length && line.chars().all(|c| c == mark)
}

fn atx_level(line: &str) -> Option<u8> {
    let level = line.bytes().take_while(|b| *b == b'#').count();
    let heads = (1..=6).contains(&level) && line[level..].starts_with(' ') && !line[level..].trim().is_empty();
    heads.then(|| u8::try_from(level).unwrap_or(6))
}

fn setext_level(line: &str) -> Option<u8> {
    let all = |mark: char| line.len() >= 3 && line.chars().all(|c| c == mark);
    if all('=') {
        Some(1)
    } else if all('-') {
        Some(2)
    } else {
        None
    }
}

/// Tells whether a line is a table row, a definition, an image or a rule.
fn is_skipped(line: &str) -> bool {
    let table =
        line.starts_with('|') || (line.contains('|') && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' ')));
    let definition = line.starts_with('[') && line.split_once("]:").is_some_and(|(label, _)| !label[1..].contains('['));
    let image = line.starts_with("![") || line.starts_with("[![");
    let rule = line.len() >= 3 && line.chars().all(|c| matches!(c, '-' | '*' | '_' | ' ' | '='));
    let tag = line.starts_with('<') && line.ends_with('>');
    table || definition || image || rule || tag
}

/// Blanks `](target)` to the closing parenthesis on the same paragraph.
fn blank_link_targets(folded: &mut String) {
    let mut from = 0;
    while let Some(at) = folded[from..].find("](").map(|n| from + n + 1) {
        let Some(end) = folded[at..].find(')').map(|n| at + n + 1) else { return };
        blank(folded, at..end);
        from = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "---\ntitle: x\n---\n# Retry *policy* #\n\nThe first attempt\nwaits [one](http://a.example/second.html) second.\n\n```rust\nlet hidden = true;\n```\n\n| a | b |\n|---|---|\n| hidden | cell |\n\n[ref]: https://example.org/hidden\n\n> Quoted text that\n> goes on.\n\n1. One item.\n   Still it.\n2. Two items.\n\nLeases\n------\n\n    indented hidden code\n\n<!-- hidden\nstill --> \nLast words here.";

    #[test]
    fn prose_is_kept_and_code_tables_and_definitions_are_not() {
        let found = blocks(TEXT, 0);
        let shown: Vec<String> =
            found.iter().map(|b| b.folded.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            shown,
            [
                "Retry *policy*",
                "The first attempt waits [one] second.",
                "Quoted text that goes on.",
                "One item. Still it.",
                "Two items.",
                "Leases",
                "Last words here."
            ]
        );
        assert_eq!(found[0].kind, BlockKind::Heading(1));
        assert_eq!(found[5].kind, BlockKind::Heading(2));
    }

    #[test]
    fn folded_text_is_as_long_as_the_original() {
        for block in blocks(TEXT, 0) {
            let original = &TEXT[block.start..block.start + block.folded.len()];
            for (folded, kept) in block.folded.chars().zip(original.chars()) {
                assert!(folded == kept || folded == ' ');
            }
        }
    }

    #[test]
    fn an_unclosed_fence_hides_the_rest_and_ends() {
        assert_eq!(blocks("Seen text here.\n\n```\nhidden", 0).len(), 1);
    }
}
