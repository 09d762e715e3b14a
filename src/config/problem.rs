//! What is wrong with a configuration: file, line, the text underlined, and what to do.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::LogFormat;
use super::file::line_of;

/// More than this many are counted, not shown.
const SHOWN_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in a sentence.
    pub message: String,
    /// The bytes of the file that are at fault.
    pub span: Option<Range<usize>>,
    /// What to do.
    pub hint: Option<String>,
}

/// Whether a configuration with these problems can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// Every problem of one file. Displays as one annotated report.
#[derive(Debug)]
pub struct Problems {
    pub file: PathBuf,
    /// The file's text, in which every literal secret is overwritten with as many `*`: reports quote from it.
    pub text: Arc<str>,
    pub problems: Vec<Problem>,
    pub severity: Severity,
    /// How the file says that the log is written (text where it does not say): who reads it wants these so, too.
    pub format: LogFormat,
}

impl Problem {
    pub fn new(message: impl Into<String>, span: impl Into<Option<Range<usize>>>) -> Self {
        Problem { message: message.into(), span: span.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Problems {
    /// The report, with colours for a terminal or without. Ends without a line break; empty if there is no problem.
    pub fn report(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let file = self.file.display().to_string();
        let mut reports: Vec<String> = self
            .problems
            .iter()
            .take(SHOWN_MAX)
            .map(|problem| renderer.render(&[self.group(problem, &file)]).trim_end().to_owned())
            .collect();
        if let Some(more @ 1..) = self.problems.len().checked_sub(SHOWN_MAX) {
            reports.push(format!("… and {more} more"));
        }
        reports.join("\n\n")
    }

    /// `FILE:LINE` of a problem, or the file alone for what is missing in it.
    pub fn place(&self, problem: &Problem) -> String {
        let file = self.file.display();
        match &problem.span {
            Some(span) => format!("{file}:{}", line_of(&self.text, span.start)),
            None => file.to_string(),
        }
    }

    fn group<'a>(&'a self, problem: &'a Problem, file: &'a str) -> Group<'a> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(problem.message.as_str());
        let group = match &problem.span {
            Some(span) => title.element(
                Snippet::source(&*self.text).path(file).annotation(AnnotationKind::Primary.span(self.visible(span))),
            ),
            None => title.element(Origin::path(file)),
        };
        match &problem.hint {
            Some(hint) => group.element(Level::HELP.with_name("hint").message(hint.as_str())),
            None => group,
        }
    }

    /// The span within its first line: an underline over many lines hides what it wants to show.
    fn visible(&self, span: &Range<usize>) -> Range<usize> {
        let end = span.end.min(self.text.len());
        let start = span.start.min(end);
        let line = self.text[start..end].lines().next().map_or(0, str::len);
        start..start + line
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report(false))
    }
}

impl std::error::Error for Problems {}

/// A hint for a name that is not known: the one that was probably meant, else all there are.
pub(super) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(meant) = closest(name, &known) {
        return Some(format!("did you mean `{meant}`?"));
    }
    match known.len() {
        0 => None,
        1..=24 => {
            let list: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            Some(format!("there is {}", list.join(", ")))
        }
        _ => None,
    }
}

/// The known name that a slip of the pen would turn into `name`, else the shortest that `name` is a word of, as `basic` is
/// of `client_secret_basic`, else the longest that is a word of `name`, as `1` is of `1.1`.
pub(super) fn closest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase().replace('-', "_");
    let distance = |other: &str| strsim::damerau_levenshtein(&name, &other.to_lowercase().replace('-', "_"));
    let best = known.iter().min_by_key(|other| distance(other))?;
    let longer = name.chars().count().max(best.chars().count());
    // A third of a short word is all that tells it from the others.
    let bound = if longer < 3 { 0 } else { 1.max(longer / 3) };
    if distance(best) <= bound {
        return Some(best);
    }
    let is_word = |word: &str, of: &str| of.split(|c: char| !c.is_alphanumeric()).any(|part| part == word);
    let longer = known.iter().filter(|other| is_word(&name, other)).min_by_key(|other| other.len());
    longer.or_else(|| known.iter().filter(|other| is_word(other, &name)).max_by_key(|other| other.len())).copied()
}

/// "a, b or c"
pub(super) fn either(words: &[impl AsRef<str>]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
