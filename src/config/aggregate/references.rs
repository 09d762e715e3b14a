//! Which values the texts of an aggregate read.

use super::{Aggregate, Condition, JsonValue, Layout, Part, PartRequest, Reference, TextPiece, ValueSource};

impl Part {
    /// All placeholders of its condition, its list and its request, as they are declared.
    pub fn references(&self) -> Vec<&Reference> {
        let mut found: Vec<&Reference> = self.when.iter().map(Condition::reference).collect();
        found.extend(self.for_each.iter().map(|each| &each.items));
        found.extend(self.request.references());
        found
    }
}

impl PartRequest {
    /// All placeholders, as they are declared.
    pub fn references(&self) -> Vec<&Reference> {
        let mut found: Vec<&Reference> = of_text(&self.path).collect();
        self.query.iter().for_each(|(_, value)| value.collect(&mut found));
        found.extend(self.headers.iter().flat_map(|(_, value)| of_text(value)));
        self.body.iter().for_each(|body| body.collect(&mut found));
        found
    }
}

impl Aggregate {
    /// All placeholders: of its parts, and of its template.
    pub fn references(&self) -> Vec<&Reference> {
        let mut found: Vec<&Reference> = self.parts.iter().flat_map(Part::references).collect();
        if let Layout::Template(template) = &self.layout {
            template.collect(&mut found);
        }
        found
    }
}

impl JsonValue {
    /// All placeholders in it.
    pub fn references(&self) -> Vec<&Reference> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found
    }

    fn collect<'v>(&'v self, found: &mut Vec<&'v Reference>) {
        match self {
            JsonValue::Value(reference) => found.push(reference),
            JsonValue::Text(pieces) => found.extend(of_text(pieces)),
            JsonValue::Other(_) => {}
            JsonValue::List(items) => items.iter().for_each(|item| item.collect(found)),
            JsonValue::Object(members) => members.iter().for_each(|(_, member)| member.collect(found)),
        }
    }
}

impl Condition {
    /// The value that it is about.
    pub fn reference(&self) -> &Reference {
        match self {
            Condition::Holds(reference) | Condition::OneOf(reference, _) | Condition::NoneOf(reference, _) => reference,
        }
    }
}

impl Reference {
    /// The part that it reads.
    pub fn part(&self) -> Option<usize> {
        match self.source {
            ValueSource::Part(part) => Some(part),
            _ => None,
        }
    }
}

impl ValueSource {
    /// Whether it may be more than a text or a number.
    pub fn may_hold_lists(&self) -> bool {
        matches!(self, ValueSource::Request | ValueSource::Part(_) | ValueSource::Item)
    }
}

fn of_text(pieces: &[TextPiece]) -> impl Iterator<Item = &Reference> {
    pieces.iter().filter_map(|piece| match piece {
        TextPiece::Value(reference) => Some(reference),
        TextPiece::Text(_) => None,
    })
}
