//! What waits for what: dependencies, which follow from the placeholders, and parts that are called in place of others.

use std::collections::BTreeSet;

use super::super::Reading;
use super::super::fields::{Fields, Text};
use crate::config::{JsonValue, OnFailure, Part, Place, Problem, ValueSource};

/// A part as it was read, with where the file says so.
#[derive(Debug)]
pub(super) struct Read<'t> {
    pub name: &'t Text,
    pub fields: &'t Fields<'t>,
    /// `None`: it has a problem, which was reported.
    pub part: Option<Part>,
}

/// Why a part waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Reads,
    FallsBack,
}

/// Sets what each part waits for, and hides those that only stand in for others.
pub(super) fn order(reading: &mut Reading<'_>, parts: &mut [Read<'_>], template: Option<&JsonValue>) {
    fallbacks(reading, parts, template);
    for read in parts.iter_mut() {
        let Some(part) = &mut read.part else { continue };
        let needs: BTreeSet<usize> = part.references().into_iter().filter_map(|reference| reference.part()).collect();
        part.needs = needs.into_iter().collect();
    }
    cycles(reading, parts);
}

/// A fallback stands in the place of one part, and has nothing of its own to say about the answer.
fn fallbacks(reading: &mut Reading<'_>, parts: &mut [Read<'_>], template: Option<&JsonValue>) {
    let fallback = |read: &Read<'_>| match read.part.as_ref()?.on_failure {
        OnFailure::Part(part) => Some(part),
        _ => None,
    };
    let pairs: Vec<(usize, usize)> =
        parts.iter().enumerate().filter_map(|(of, read)| Some((of, fallback(read)?))).collect();
    for (index, (of, stand_in)) in pairs.iter().enumerate() {
        let name = &parts[*of].name.value;
        let span = || parts[*of].fields.value("on_failure").map(|value| value.span());
        if let Some((first, _)) = pairs[..index].iter().find(|(_, other)| other == stand_in) {
            let first = &parts[*first].name.value;
            let message = format!("`{}` stands in for `{first}` already", parts[*stand_in].name.value);
            reading.problem(Problem::new(message, span()).hint("write a part of its own for each"));
        }
        for key in ["into", "merge", "hidden", "pick", "drop", "rename"] {
            if let Some(value) = parts[*stand_in].fields.value(key) {
                let message = format!("`{key}`: this part stands in the place of `{name}`, if that fails");
                let hint = format!("remove it: what `{name}` says of place and shape holds for this one, too");
                reading.problem(Problem::new(message, value.span()).hint(hint));
            }
        }
        refuse_readers(reading, parts, template, *of, *stand_in);
    }
    for (_, stand_in) in pairs {
        if let Some(part) = &mut parts[stand_in].part {
            part.place = Place::Hidden;
        }
    }
}

/// Nobody reads a fallback: it may never be called, and what it answered is what the part that failed has.
fn refuse_readers(
    reading: &mut Reading<'_>,
    parts: &[Read<'_>],
    template: Option<&JsonValue>,
    of: usize,
    stand_in: usize,
) {
    let [of, name] = [of, stand_in].map(|part| &parts[part].name.value);
    let why = format!("`{name}` is called only if `{of}` fails, and then stands in its place");
    let hint = format!("read `{{{of}}}`");
    for read in parts {
        let reads = |part: &&Part| part.references().iter().any(|reference| reference.part() == Some(stand_in));
        if read.part.as_ref().filter(reads).is_some() {
            let problem = Problem::new(format!("`{}` reads `{name}`: {why}", read.name.value), read.name.span.clone());
            reading.problem(problem.hint(hint.clone()));
        }
    }
    let read = template.is_some_and(|template| {
        template.references().iter().any(|reference| reference.source == ValueSource::Part(stand_in))
    });
    if read {
        let span = parts[stand_in].name.span.clone();
        reading.problem(Problem::new(format!("`answer` reads `{name}`: {why}"), span).hint(hint));
    }
}

/// Reports each cycle once, drawn as `a waits for b, which waits for a`.
fn cycles(reading: &mut Reading<'_>, parts: &[Read<'_>]) {
    let mut told: Vec<BTreeSet<usize>> = Vec::new();
    for start in 0..parts.len() {
        let Some(way) = way_back(parts, start) else { continue };
        let members: BTreeSet<usize> = way.iter().map(|(part, _)| *part).collect();
        if told.iter().any(|other| !other.is_disjoint(&members)) {
            continue;
        }
        told.push(members);
        let name = |part: usize| match way.len() {
            1 => "itself".to_owned(),
            _ => format!("`{}`", parts[part].name.value),
        };
        let drawn: Vec<String> = way
            .iter()
            .map(|(part, why)| match why {
                Why::Reads => format!("waits for {}", name(*part)),
                Why::FallsBack => format!("falls back on {}", name(*part)),
            })
            .collect();
        let message = format!("`{}` {}", parts[start].name.value, drawn.join(", which "));
        let hint = "parts wait for those that their placeholders read: let one of these read something else";
        reading.problem(Problem::new(message, parts[start].name.span.clone()).hint(hint));
    }
}

fn edges(part: &Part) -> Vec<(usize, Why)> {
    let mut edges: Vec<_> = part.needs.iter().map(|need| (*need, Why::Reads)).collect();
    if let OnFailure::Part(stand_in) = part.on_failure {
        edges.push((stand_in, Why::FallsBack));
    }
    edges
}

/// The shortest way from a part to itself.
fn way_back(parts: &[Read<'_>], start: usize) -> Option<Vec<(usize, Why)>> {
    let mut ways: Vec<Vec<(usize, Why)>> = vec![Vec::new()];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = way.last().map_or(start, |(part, _)| *part);
            for edge in parts[last].part.as_ref().map(edges).unwrap_or_default() {
                let way = [&way[..], &[edge]].concat();
                if edge.0 == start {
                    return Some(way);
                }
                if seen.insert(edge.0) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}
