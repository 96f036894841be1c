//! The answer as Markdown: headings, statements, numbered sources. Nothing is added to what the statements say.

use std::collections::BTreeMap;

use dacapo_activities::model::{Citation, FinalAnswer, Statement};

/// Sources shown of one statement: a figure may have a hundred, and all are in the JSON.
const SOURCES_SHOWN_MAX: usize = 4;

/// Shows an answer as Markdown.
#[must_use]
pub fn markdown(title: &str, answer: &FinalAnswer) -> String {
    let mut page = Page::default();
    page.line(&format!("# {title}"));
    page.section("Summary", &answer.summary_statements);
    for (heading, statements) in &answer.main_content {
        page.section(heading, statements);
    }
    page.section("Said by several documents", &answer.key_insights);
    page.section("Advised by the documents", &answer.recommendations);
    if !answer.limitations.is_empty() {
        page.line("\n## Limitations\n");
        for limitation in &answer.limitations {
            page.line(&format!("- {limitation}"));
        }
    }
    page.sources();
    page.text
}

#[derive(Default)]
struct Page<'a> {
    text: String,
    numbers: BTreeMap<&'a Citation, usize>,
    cited: Vec<&'a Citation>,
}

impl<'a> Page<'a> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn section(&mut self, heading: &str, statements: &'a [Statement]) {
        if statements.is_empty() {
            return;
        }
        self.line(&format!("\n## {heading}\n"));
        for statement in statements {
            let marks: String =
                statement.citations.iter().take(SOURCES_SHOWN_MAX).map(|c| format!("[{}]", self.number(c))).collect();
            let more = statement.citations.len().saturating_sub(SOURCES_SHOWN_MAX);
            let more = if more > 0 { format!(" and {more} more places") } else { String::new() };
            self.line(&format!("- {} {marks}{more}", statement.text));
        }
    }

    fn number(&mut self, citation: &'a Citation) -> usize {
        *self.numbers.entry(citation).or_insert_with(|| {
            self.cited.push(citation);
            self.cited.len()
        })
    }

    fn sources(&mut self) {
        if self.cited.is_empty() {
            return;
        }
        self.line("\n## Sources\n");
        for (n, citation) in std::mem::take(&mut self.cited).into_iter().enumerate() {
            self.line(&format!("{}. {}, bytes {} to {}", n + 1, citation.doc, citation.start, citation.end));
        }
    }
}
