//! HTML to text: what a reader sees, without what only a browser needs.
//!
//! The extracted text is kept beside the file and is what citations index, so extraction must give the same bytes for ever: a change
//! here changes offsets. Paragraphs are divided by an empty line; `<pre>` and `<nav>` stay in the text but give no sentences.

use super::block::{Block, BlockKind};
use super::sentence::SentenceKind;

/// Elements whose content is not text.
const RAW: &[&str] =
    &["script", "style", "template", "svg", "math", "iframe", "object", "noscript", "select", "textarea"];

/// Elements that begin and end a paragraph.
const PARAGRAPHS: &[&str] = &[
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "caption",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hr",
    "html",
    "li",
    "main",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "title",
    "tr",
    "ul",
];

/// Extracts the text of an HTML file and the blocks in it.
pub(crate) fn extract(html: &str) -> (String, Vec<Block>) {
    let mut extractor = Extractor { lower: html.to_ascii_lowercase(), html, ..Extractor::default() };
    let mut at = usize::from(html.starts_with('\u{feff}')) * '\u{feff}'.len_utf8();
    while at < html.len() {
        at = extractor.step(at);
    }
    extractor.close();
    (extractor.out, extractor.blocks)
}

#[derive(Default)]
struct Extractor<'a> {
    html: &'a str,
    /// The same text in lower case, of the same length, to find tags in.
    lower: String,
    out: String,
    blocks: Vec<Block>,
    /// Where the open paragraph begins in `out`.
    paragraph: Option<usize>,
    heading: Option<u8>,
    pre: u32,
    nav: u32,
}

impl Extractor<'_> {
    /// Takes one tag, comment, entity or character at `at`; gives the next offset.
    fn step(&mut self, at: usize) -> usize {
        let rest = &self.html[at..];
        if rest.starts_with("<!--") {
            return self.after(at + 4, "-->");
        }
        if rest.starts_with("<!") || rest.starts_with("<?") {
            return self.after(at, ">");
        }
        if let Some(tag) = rest.strip_prefix('<')
            && tag.trim_start_matches('/').starts_with(|c: char| c.is_ascii_alphabetic())
        {
            return self.tag(at);
        }
        if rest.starts_with('&')
            && let Some((decoded, length)) = entity(rest)
        {
            self.push(decoded);
            return at + length;
        }
        let Some(c) = rest.chars().next() else { return self.html.len() };
        self.push(c);
        at + c.len_utf8()
    }

    fn after(&self, at: usize, mark: &str) -> usize {
        self.html[at..].find(mark).map_or(self.html.len(), |n| at + n + mark.len())
    }

    fn tag(&mut self, at: usize) -> usize {
        let closing = self.html[at + 1..].starts_with('/');
        let from = at + 1 + usize::from(closing);
        let length = self.lower[from..]
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .unwrap_or(self.lower.len() - from);
        let name = self.lower[from..from + length].to_owned();
        let end = tag_end(self.html, from + length);
        let self_closed = self.html[..end].ends_with("/>");
        if RAW.contains(&name.as_str()) && !closing && !self_closed {
            let close = format!("</{name}");
            return self.lower[end..].find(&close).map_or(self.html.len(), |n| tag_end(self.html, end + n));
        }
        if name == "br" {
            self.line_break();
        } else if PARAGRAPHS.contains(&name.as_str()) {
            self.close();
            self.enter(&name, closing);
        }
        end
    }

    fn enter(&mut self, name: &str, closing: bool) {
        match name {
            "pre" => self.pre = if closing { self.pre.saturating_sub(1) } else { self.pre + 1 },
            "nav" => self.nav = if closing { self.nav.saturating_sub(1) } else { self.nav + 1 },
            "title" => self.heading = (!closing).then_some(1),
            _ => {
                let level = name.strip_prefix('h').and_then(|n| n.parse::<u8>().ok());
                self.heading = if closing { None } else { level.or(self.heading) };
            }
        }
    }

    fn line_break(&mut self) {
        if self.paragraph.is_some() {
            while self.out.ends_with(' ') {
                self.out.pop();
            }
            self.out.push('\n');
        }
    }

    fn push(&mut self, c: char) {
        let c = if c == '\u{a0}' { ' ' } else { c };
        if self.pre > 0 {
            if c != '\r' && (self.paragraph.is_some() || !c.is_whitespace()) {
                self.begin();
                self.out.push(c);
            }
            return;
        }
        if c.is_whitespace() || c.is_control() {
            if self.paragraph.is_some() && !self.out.ends_with([' ', '\n']) {
                self.out.push(' ');
            }
            return;
        }
        self.begin();
        self.out.push(c);
    }

    fn begin(&mut self) {
        if self.paragraph.is_none() {
            if !self.out.is_empty() {
                self.out.push_str("\n\n");
            }
            self.paragraph = Some(self.out.len());
        }
    }

    /// Ends the open paragraph and records it as a block, unless it is code or navigation.
    fn close(&mut self) {
        let Some(start) = self.paragraph.take() else { return };
        self.out.truncate(self.out.trim_end().len());
        if self.pre > 0 || self.nav > 0 || self.out.len() <= start {
            return;
        }
        let kind = self.heading.map_or(BlockKind::Text(SentenceKind::Prose), BlockKind::Heading);
        self.blocks.push(Block::new(&self.out, start, self.out.len(), kind));
    }
}

/// Gives the offset after the `>` that ends a tag, quoted attribute values respected.
fn tag_end(html: &str, from: usize) -> usize {
    let mut quote = None;
    for (n, b) in html.as_bytes()[from..].iter().enumerate() {
        match (quote, b) {
            (None, b'>') => return from + n + 1,
            (None, b'"' | b'\'') => quote = Some(*b),
            (Some(open), b) if open == *b => quote = None,
            _ => {}
        }
    }
    html.len()
}

/// Decodes the character reference at the start of `text`; gives its length too.
fn entity(text: &str) -> Option<(char, usize)> {
    // The longest name known here has 8 letters; 12 bytes bound the search in a text full of ampersands.
    let end = text.bytes().take(12).position(|b| b == b';')?;
    let name = text.get(1..end)?;
    let decoded = if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        char::from_u32(code).filter(|c| *c != '\0').unwrap_or('\u{fffd}')
    } else {
        ENTITIES.iter().find(|(known, _)| *known == name).map(|(_, c)| *c)?
    };
    Some((decoded, end + 1))
}

/// The named references that occur in ordinary prose.
const ENTITIES: &[(&str, char)] = &[
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("shy", '\u{ad}'),
    ("ndash", '–'),
    ("mdash", '—'),
    ("hellip", '…'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("sbquo", '‚'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bdquo", '„'),
    ("laquo", '«'),
    ("raquo", '»'),
    ("bull", '•'),
    ("middot", '·'),
    ("copy", '©'),
    ("reg", '®'),
    ("trade", '™'),
    ("deg", '°'),
    ("plusmn", '±'),
    ("times", '×'),
    ("divide", '÷'),
    ("micro", 'µ'),
    ("para", '¶'),
    ("sect", '§'),
    ("euro", '€'),
    ("pound", '£'),
    ("yen", '¥'),
    ("cent", '¢'),
    ("frac12", '½'),
    ("frac14", '¼'),
    ("frac34", '¾'),
    ("sup2", '²'),
    ("sup3", '³'),
    ("le", '≤'),
    ("ge", '≥'),
    ("ne", '≠'),
    ("asymp", '≈'),
    ("infin", '∞'),
    ("minus", '−'),
    ("larr", '←'),
    ("rarr", '→'),
    ("uarr", '↑'),
    ("darr", '↓'),
    ("agrave", 'à'),
    ("aacute", 'á'),
    ("acirc", 'â'),
    ("atilde", 'ã'),
    ("auml", 'ä'),
    ("aring", 'å'),
    ("aelig", 'æ'),
    ("ccedil", 'ç'),
    ("egrave", 'è'),
    ("eacute", 'é'),
    ("ecirc", 'ê'),
    ("euml", 'ë'),
    ("igrave", 'ì'),
    ("iacute", 'í'),
    ("icirc", 'î'),
    ("iuml", 'ï'),
    ("ntilde", 'ñ'),
    ("ograve", 'ò'),
    ("oacute", 'ó'),
    ("ocirc", 'ô'),
    ("ouml", 'ö'),
    ("oslash", 'ø'),
    ("ugrave", 'ù'),
    ("uacute", 'ú'),
    ("ucirc", 'û'),
    ("uuml", 'ü'),
    ("szlig", 'ß'),
    ("Auml", 'Ä'),
    ("Ouml", 'Ö'),
    ("Uuml", 'Ü'),
    ("Eacute", 'É'),
    ("Ccedil", 'Ç'),
    ("alpha", 'α'),
    ("beta", 'β'),
    ("mu", 'μ'),
    ("pi", 'π'),
    ("sigma", 'σ'),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_becomes_what_a_reader_sees() {
        let (text, blocks) = extract(
            "<!doctype html><html><head><title>Release notes</title><style>p{color:red}</style>\
             <script>if (a < b) { '</p>' }</script></head><body><nav><a href=x>Home</a></nav>\
             <h2>Fixed</h2><p>Timers &amp; leases\n   fire <b>on</b> time&nbsp;&mdash; 5 &lt; 7.<br>Next line.</p>\
             <!-- <p>hidden</p> --><ul><li>One <a title=\"a > b\">item</a></li><li>Two</ul><pre>let x\n  = 1;</pre>\
             &#77;&#x4d;&unknown; 1 < 2",
        );
        assert_eq!(
            text,
            "Release notes\n\nHome\n\nFixed\n\nTimers & leases fire on time — 5 < 7.\nNext line.\n\nOne item\n\nTwo\n\nlet x\n  = 1;\n\nMM&unknown; 1 < 2"
        );
        let kinds: Vec<_> = blocks.iter().map(|b| (b.kind, b.folded.as_str())).collect();
        let prose = BlockKind::Text(SentenceKind::Prose);
        assert_eq!(
            kinds,
            [
                (BlockKind::Heading(1), "Release notes"),
                (BlockKind::Heading(2), "Fixed"),
                (prose, "Timers & leases fire on time — 5 < 7. Next line."),
                (prose, "One item"),
                (prose, "Two"),
                (prose, "MM&unknown; 1 < 2"),
            ]
        );
    }

    #[test]
    fn unclosed_things_end_with_the_file() {
        for html in ["<p>x<!-- y", "<script>z", "<p title='a>b", "a & b &#; &#xZZ; &", "<", "</", "<p"] {
            let (text, _) = extract(html);
            assert!(!text.contains('z') && !text.contains('y'), "{html} gave {text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_extracted_and_blocks_lie_in_it(html in "[<>/a-p!\"'=& ;#x0-9é\n-]{0,300}") {
            let (text, blocks) = extract(&html);
            for block in blocks {
                prop_assert_eq!(block.folded.len(), text[block.start..block.start + block.folded.len()].len());
            }
        }
    }
}
