//! The answer on a terminal: statements with numbers, the sources with file, byte offsets and quote, what is missing.

use std::collections::BTreeMap;

use dacapo_activities::model::{Citation, Statement};
use dacapo_workflows::multi_agent_task::TaskResult;

use crate::cli::output::{Output, Tone};

/// The sources that a statement shows; a figure may have a hundred, and `--json` has all.
const SOURCES_SHOWN_MAX: usize = 4;

/// Writes an answer.
pub(super) fn render(output: Output, title: &str, answer: &TaskResult) -> String {
    let mut page = Page { output, text: format!("{title}\n"), numbers: BTreeMap::new(), cited: Vec::new() };
    let parts = &answer.final_answer;
    page.section("Summary", &parts.summary_statements);
    for (heading, statements) in &parts.main_content {
        page.section(heading, statements);
    }
    page.section("Said by several documents", &parts.key_insights);
    page.section("Advised by the documents", &parts.recommendations);
    page.sources();
    page.list("What the answer lacks", &parts.limitations);
    let failed: Vec<String> =
        answer.failed_parts.iter().map(|part| format!("{}: {}", part.requirements.join("; "), part.reason)).collect();
    page.list("Parts of the work that failed", &failed);
    page.text
}

struct Page<'a> {
    output: Output,
    text: String,
    numbers: BTreeMap<&'a Citation, usize>,
    cited: Vec<&'a Citation>,
}

impl<'a> Page<'a> {
    fn heading(&mut self, heading: &str) {
        let heading = self.output.paint(Tone::Active, heading);
        self.text.push_str(&format!("\n{heading}\n"));
    }

    fn section(&mut self, heading: &str, statements: &'a [Statement]) {
        if statements.is_empty() {
            return;
        }
        self.heading(heading);
        for statement in statements {
            let shown = statement.citations.iter().take(SOURCES_SHOWN_MAX);
            let marks: String = shown.map(|citation| format!("[{}]", self.number(citation))).collect();
            let more = statement.citations.len().saturating_sub(SOURCES_SHOWN_MAX);
            let more = if more > 0 { format!(" and {more} more places") } else { String::new() };
            self.text.push_str(&format!("- {} {marks}{more}\n", statement.text));
        }
    }

    fn number(&mut self, citation: &'a Citation) -> usize {
        let next = self.cited.len() + 1;
        let number = *self.numbers.entry(citation).or_insert(next);
        if number == next {
            self.cited.push(citation);
        }
        number
    }

    fn sources(&mut self) {
        if self.cited.is_empty() {
            return;
        }
        self.heading("Sources");
        for (index, citation) in std::mem::take(&mut self.cited).into_iter().enumerate() {
            let Citation { doc, start, end, quote, .. } = citation;
            let quote: String = quote.split_whitespace().collect::<Vec<_>>().join(" ");
            let place = self.output.paint(Tone::Faint, &format!("{doc}, bytes {start}–{end}"));
            self.text.push_str(&format!("[{}] {place}: “{quote}”\n", index + 1));
        }
    }

    fn list(&mut self, heading: &str, items: &[String]) {
        if items.is_empty() {
            return;
        }
        self.heading(heading);
        for item in items {
            self.text.push_str(&format!("- {item}\n"));
        }
    }
}
