//! The pages themselves.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text as openmetrics};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::{State, page, text};
use crate::metrics::{counter, counters, gauge, gauges};
use crate::snapshot::MemoryBudget;
use crate::token::{CellStatus, SubjectsStatus};
use crate::upstream::{Bulkhead, ReplayBudget};

pub(super) fn readiness(state: &State) -> Response<Full<Bytes>> {
    match state.health.why_not_ready(state.living.clock.now(), || state.living.tokens.statuses()) {
        None => text(StatusCode::OK, "ready\n"),
        Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
    }
}

/// What a person wants to see: what runs, since when, and how the credentials are.
pub(super) fn status(state: &State) -> Response<Full<Bytes>> {
    let living = &state.living;
    let cells = living.tokens.statuses();
    let not_ready = state.health.why_not_ready(living.clock.now(), || cells.clone());
    let (applied, refused) = living.metrics.process().reloads();
    let listeners = state.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": living.clock.now().since(state.started).as_secs(),
        "ready": not_ready.is_none(),
        "not_ready_because": not_ready,
        "listeners": listeners.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "reloads": { "applied": applied, "refused": refused },
        "requests": living.metrics.requests(),
        "log_lines_dropped": (state.log_lines_dropped)(),
        "credentials": cells.iter().map(credential).collect::<Vec<_>>(),
        "subjects": living.tokens.subject_statuses().iter().map(subjects).collect::<Vec<_>>(),
    });
    // A value of `json!` can always be written.
    page(StatusCode::OK, "application/json", format!("{status:#}\n"))
}

fn credential(cell: &CellStatus) -> Value {
    json!({
        "name": &*cell.name,
        "state": cell.state,
        "generation": cell.generation.map(|generation| generation.0),
        "suspect": cell.suspect,
        "expires_in_seconds": cell.expires_in.map(seconds),
        "fetching": cell.fetching,
        "next_try_in_seconds": cell.next_try_in.map(seconds),
        "last_error": cell.last_error.as_deref(),
        "unsaved": cell.unsaved,
        "fetches_granted": cell.fetches_granted,
        "fetches_failed": cell.fetches_failed,
        "rejections": cell.rejections,
        "replays_accepted": cell.replays_accepted,
        "late": cell.late,
    })
}

/// Of a credential with a token for each subject: none of them by name.
fn subjects(of: &SubjectsStatus) -> Value {
    json!({
        "name": &*of.name,
        "subjects": of.subjects,
        "evicted": of.evicted,
        "fetches_granted": of.fetches_granted,
        "fetches_failed": of.fetches_failed,
    })
}

/// Seconds with milliseconds: more digits would say nothing.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

pub(super) fn metrics(state: &State) -> Response<Full<Bytes>> {
    state.living.metrics.process().set_log_lines_dropped((state.log_lines_dropped)());
    let mut registry = Registry::default();
    registry.register_collector(Box::new(state.living.metrics.clone()));
    registry.register_collector(Box::new(Tokens {
        cells: state.living.tokens.statuses(),
        subjects: state.living.tokens.subject_statuses(),
    }));
    registry.register_collector(Box::new(ReplayCopies(state.living.replay_budget.clone())));
    registry.register_collector(Box::new(AggregateMemory(state.living.aggregate_memory.clone())));
    registry.register_collector(Box::new(UpstreamConnections(state.living.upstream_connections.clone())));
    let mut scraped = String::with_capacity(16 << 10);
    match openmetrics::encode(&mut scraped, &registry) {
        Ok(()) => page(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", scraped),
        // Writing to a string fails only if a metric refuses to be encoded.
        Err(fmt::Error) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be encoded\n"),
    }
}

/// The copies of bodies that are kept for a replay.
#[derive(Debug)]
struct ReplayCopies(Arc<ReplayBudget>);

impl Collector for ReplayCopies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        counter(&mut encoder, "attache_replay_copies_refused", "Bodies not kept for want of memory", self.0.refused())?;
        gauge(&mut encoder, "attache_replay_copies_bytes", "Bytes of bodies that are kept", self.0.used() as f64)
    }
}

/// What aggregates hold of answers.
#[derive(Debug)]
struct AggregateMemory(Arc<MemoryBudget>);

impl Collector for AggregateMemory {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Bytes of answers that aggregates hold";
        gauge(&mut encoder, "attache_aggregate_memory_bytes", help, self.0.used() as f64)
    }
}

/// The connections to upstreams, as far as they share the process's file descriptors.
#[derive(Debug)]
struct UpstreamConnections(Arc<Bulkhead>);

impl Collector for UpstreamConnections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (open, refused) = (self.0.taken(), self.0.refused());
        gauge(
            &mut encoder,
            "attache_upstream_connections_open",
            "Connections to upstreams, opening ones too",
            open as f64,
        )?;
        let help = "Connections to upstreams not opened for want of file descriptors";
        counter(&mut encoder, "attache_upstream_connections_refused", help, refused)
    }
}

type Count = fn(&CellStatus) -> u64;
type SubjectsCount = fn(&SubjectsStatus) -> u64;

/// The tokens' cells, as a scrape sees them; those of subjects together.
#[derive(Debug)]
struct Tokens {
    cells: Vec<CellStatus>,
    subjects: Vec<SubjectsStatus>,
}

impl Collector for Tokens {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let label = |cell: &CellStatus| [("credential", cell.name.to_string())];
        let of_subjects = |subjects: &SubjectsStatus| [("credential", subjects.name.to_string())];
        let fetches: [(&str, &str, Count, SubjectsCount); 2] = [
            (
                "attache_token_fetches_granted",
                "Fetches that brought a token",
                |cell| cell.fetches_granted,
                |subjects| subjects.fetches_granted,
            ),
            (
                "attache_token_fetches_failed",
                "Fetches that failed",
                |cell| cell.fetches_failed,
                |subjects| subjects.fetches_failed,
            ),
        ];
        for (name, help, of, subjects_of) in fetches {
            let cells = self.cells.iter().map(|cell| (label(cell), of(cell)));
            let subjects = self.subjects.iter().map(|subjects| (of_subjects(subjects), subjects_of(subjects)));
            counters(encoder, name, help, cells.chain(subjects))?;
        }
        let families: [(&str, &str, Count); 3] = [
            ("attache_token_rejections", "Requests whose token the upstream rejected", |cell| cell.rejections),
            ("attache_token_replays_accepted", "Replays with a new token that were accepted", |cell| {
                cell.replays_accepted
            }),
            ("attache_token_late", "Times that a token was found late, with its renewal not done", |cell| cell.late),
        ];
        for (name, help, of) in families {
            counters(encoder, name, help, self.cells.iter().map(|cell| (label(cell), of(cell))))?;
        }
        let help = "Subjects forgotten to make room for others";
        let evicted = self.subjects.iter().map(|subjects| (of_subjects(subjects), subjects.evicted));
        counters(encoder, "attache_token_subjects_evicted", help, evicted)?;
        let subjects = self.subjects.iter().map(|subjects| (of_subjects(subjects), subjects.subjects as f64));
        gauges(encoder, "attache_token_subjects", "Subjects whose tokens are held", subjects)?;
        let states = self.cells.iter().map(|cell| ([("credential", &*cell.name), ("state", cell.state)], 1.0));
        gauges(encoder, "attache_token_state", "The state that a credential's token is in", states)?;
        let expiries = self.cells.iter().filter_map(|cell| Some((label(cell), cell.expires_in?.as_secs_f64())));
        gauges(encoder, "attache_token_expires_in_seconds", "How long the token is still valid", expiries)?;
        let unsaved = self.cells.iter().map(|cell| (label(cell), f64::from(u8::from(cell.unsaved))));
        gauges(encoder, "attache_token_unsaved", "Whether the store lacks what a restart would need", unsaved)?;
        let suspects = self.cells.iter().map(|cell| (label(cell), f64::from(u8::from(cell.suspect))));
        gauges(encoder, "attache_token_suspect", "Whether the upstream has rejected the current token", suspects)
    }
}
