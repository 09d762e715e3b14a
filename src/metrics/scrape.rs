//! What a scrape sees: the sums of all workers' cells, with names after the conventions of Prometheus.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::cells::{Cell, Histogram, Sum};
use super::{BUCKETS, Counter, Fault, Metrics, PartCells, PartEnd, RouteCells, RouteKey, WorkerMetrics};

/// Encodes a family of counters; the name is written without `_total`. Nothing is written for a family without rows.
pub fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    family(encoder, name, help, MetricType::Counter, rows.into_iter().map(|(l, count)| (l, ConstCounter::new(count))))
}

/// Encodes a family of gauges.
pub fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (L, f64)>,
) -> fmt::Result {
    family(encoder, name, help, MetricType::Gauge, rows.into_iter().map(|(l, value)| (l, ConstGauge::new(value))))
}

/// Encodes one counter without labels.
pub fn counter(encoder: &mut Encoder<'_>, name: &str, help: &str, count: u64) -> fmt::Result {
    ConstCounter::new(count).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

/// Encodes one gauge without labels.
pub fn gauge(encoder: &mut Encoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn family<L: EncodeLabelSet, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    rows: impl Iterator<Item = (L, M)>,
) -> fmt::Result {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    rows.try_for_each(|(labels, value)| value.encode(metric.encode_family(&labels)?))
}

type Encoder<'a> = DescriptorEncoder<'a>;

/// One of a route's cells.
type Of<T> = fn(&RouteCells) -> &T;

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        gauges(encoder, "attache_build_info", "The version that runs", [(version, 1.0)])?;
        self.encode_process(encoder)?;
        self.encode_workers(encoder)?;
        self.encode_routes(encoder)?;
        self.encode_parts(encoder)
    }
}

impl Metrics {
    fn encode_process(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let process = &self.process;
        let (applied, refused) = process.reloads();
        let reloads = [([("result", "applied")], applied), ([("result", "refused")], refused)];
        counters(encoder, "attache_config_reloads", "Reloads of the configuration", reloads)?;
        let at = process.last_reload_at.load(Ordering::Relaxed);
        let help = "When the configuration was last reloaded or failed to be, in seconds since 1970";
        if at > 0 {
            gauge(encoder, "attache_config_last_reload_timestamp_seconds", help, at as f64)?;
        }
        let refused = process.last_reload_refused.load(Ordering::Relaxed);
        let help = "Whether the last reload was refused";
        gauge(encoder, "attache_config_last_reload_refused", help, refused as f64)?;
        let dropped = process.log_lines_dropped.load(Ordering::Relaxed);
        counter(encoder, "attache_log_lines_dropped", "Log lines that could not be written in time", dropped)
    }

    fn encode_workers(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let sum =
            |of: fn(&WorkerMetrics) -> &Counter| -> u64 { self.workers.iter().map(|worker| of(worker).get()).sum() };
        let open: i64 = self.workers.iter().map(|worker| worker.connections_open.load(Ordering::Relaxed)).sum();
        gauge(encoder, "attache_client_connections_open", "Connections of clients", open as f64)?;
        let help = "Requests that are being answered";
        gauge(encoder, "attache_requests_in_progress", help, self.requests_in_progress() as f64)?;
        let idle: u64 =
            self.workers.iter().map(|worker| worker.upstream_connections_idle.load(Ordering::Relaxed)).sum();
        gauge(encoder, "attache_upstream_connections_idle", "Connections to upstreams that wait for use", idle as f64)?;
        let mut family = |name, help, of| counter(encoder, name, help, sum(of));
        family("attache_client_connections_accepted", "Connections accepted", |w| &w.connections_accepted)?;
        family("attache_accept_pauses", "Times that a worker stopped accepting for a moment", |w| &w.accept_pauses)?;
        family("attache_tls_handshakes_failed", "TLS handshakes with clients that failed", |w| {
            &w.tls_handshakes_failed
        })?;
        family("attache_header_timeouts", "Connections closed since a head took too long", |w| &w.header_timeouts)?;
        family(
            "attache_write_timeouts",
            "Connections closed, and HTTP/2 streams reset, since the client took nothing",
            |w| &w.write_timeouts,
        )?;
        family("attache_requests_unparsable", "Requests refused while being parsed", |w| &w.requests_unparsable)?;
        family("attache_panics", "Panics while answering a request", |w| &w.panics)?;
        family("attache_upstream_connections_opened", "Connections to upstreams", |w| &w.upstream_connections_opened)?;
        family("attache_upstream_connections_reused", "Requests on a reused one", |w| &w.upstream_connections_reused)
    }

    fn encode_routes(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let routes: Vec<(RouteKey, Vec<Arc<RouteCells>>)> =
            self.routes().iter().map(|(key, cells)| (key.clone(), cells.clone())).collect();
        let mut requests = Vec::new();
        let mut faults = Vec::new();
        for (key, cells) in &routes {
            requests.extend(statuses(key, cells));
            for (fault, name) in FAULTS {
                let count: u64 = cells.iter().map(|cells| cells.faults(fault)).sum();
                faults.push(([("route", &*key.0), ("upstream", &*key.1), ("fault", name)], count));
            }
        }
        let borrowed = requests
            .iter()
            .map(|(key, code, count)| ([("route", &*key.0), ("upstream", &*key.1), ("code", &**code)], *count));
        counters(encoder, "attache_requests", "Requests answered", borrowed)?;
        counters(encoder, "attache_request_failures", "Requests that failed, by whose fault it was", faults)?;
        let families: [(&str, &str, Of<Cell>); 4] = [
            ("attache_request_body_bytes", "Bytes of requests' bodies", |cells| &cells.bytes_in),
            ("attache_response_body_bytes", "Bytes of answers' bodies", |cells| &cells.bytes_out),
            (
                "attache_retries",
                "Requests sent again since a connection failed or a part could not be scanned",
                |cells| &cells.retries,
            ),
            ("attache_replays", "Requests sent again with a new token", |cells| &cells.replays),
        ];
        for (name, help, of) in families {
            let rows = routes.iter().map(|(key, cells)| (labels(key), cells.iter().map(|cells| of(cells).get()).sum()));
            counters(encoder, name, help, rows)?;
        }
        let families: [(&str, &str, Of<Histogram>); 3] = [
            ("attache_request_duration_seconds", "From a request's head to its answer's end", |cells| &cells.duration),
            ("attache_token_wait_seconds", "What requests waited for a token", |cells| &cells.token_wait),
            ("attache_first_byte_seconds", "From a request's head to its answer's", |cells| &cells.first_byte),
        ];
        families.into_iter().try_for_each(|(name, help, of)| histograms(encoder, name, help, &routes, "upstream", of))
    }

    fn encode_parts(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let parts: Vec<(RouteKey, Vec<Arc<PartCells>>)> =
            self.parts().iter().map(|(key, cells)| (key.clone(), cells.clone())).collect();
        let ends = parts.iter().flat_map(|(key, cells)| {
            PartEnd::ALL.into_iter().map(move |end| {
                let count = cells.iter().map(|cells| cells.ended(end)).sum();
                ([("route", &*key.0), ("part", &*key.1), ("outcome", end.name())], count)
            })
        });
        counters(encoder, "attache_parts", "Parts of aggregates, by how they ended", ends)?;
        let (name, help) =
            ("attache_part_duration_seconds", "What the calls of a part took, its pages and items included");
        histograms(encoder, name, help, &parts, "part", |cells| &cells.duration)
    }
}

const FAULTS: [(Fault, &str); 4] = [
    (Fault::Client, "client"),
    (Fault::Proxy, "proxy"),
    (Fault::TokenEndpoint, "token_endpoint"),
    (Fault::Upstream, "upstream"),
];

fn labels(key: &RouteKey) -> [(&str, &str); 2] {
    [("route", &key.0), ("upstream", &key.1)]
}

/// The statuses that a route has answered with.
fn statuses<'a>(key: &'a RouteKey, cells: &[Arc<RouteCells>]) -> Vec<(&'a RouteKey, String, u64)> {
    let mut rows: Vec<(&RouteKey, String, u64)> = Vec::new();
    for cells in cells {
        for (index, (code, count)) in cells.statuses().enumerate() {
            match rows.get_mut(index) {
                Some(row) => row.2 += count,
                None => rows.push((key, code, count)),
            }
        }
    }
    rows.retain(|(_, _, count)| *count > 0);
    rows
}

fn histograms<C>(
    encoder: &mut Encoder<'_>,
    name: &str,
    help: &str,
    all: &[(RouteKey, Vec<Arc<C>>)],
    second_label: &'static str,
    of: fn(&C) -> &Histogram,
) -> fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (key, cells) in all {
        let mut sum = Sum::default();
        cells.iter().for_each(|cells| sum.add(of(cells)));
        let bounds = BUCKETS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(sum.buckets).collect();
        let labels = [("route", &*key.0), (second_label, &*key.1)];
        let mut row = metric.encode_family(&labels)?;
        row.encode_histogram::<[(&str, &str); 0]>(sum.seconds, sum.count(), &buckets, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::metrics::Outcome;

    fn scraped(metrics: &Arc<Metrics>) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics.clone()));
        let mut scraped = String::new();
        text::encode(&mut scraped, &registry).unwrap();
        scraped
    }

    fn outcome(status: u16) -> Outcome {
        Outcome {
            status,
            total: Duration::from_millis(20),
            token_wait: Duration::ZERO,
            first_byte: Duration::from_millis(10),
            bytes_in: 3,
            bytes_out: 5,
            retries: 1,
            replayed: true,
            fault: (status == 502).then_some(Fault::Upstream),
        }
    }

    #[test]
    fn cells_of_all_workers_are_summed() {
        let metrics = Metrics::new(2);
        metrics.route(0, "crm", "api").record(&outcome(200));
        metrics.route(1, "crm", "api").record(&outcome(200));
        metrics.route(1, "crm", "api").record(&outcome(502));
        metrics.worker(0).connections_accepted.add(2);
        metrics.worker(1).connections_accepted.add(3);
        metrics.process().reloaded(false, SystemTime::UNIX_EPOCH + Duration::from_secs(7));
        let scraped = scraped(&metrics);
        for line in [
            r#"attache_requests_total{route="crm",upstream="api",code="200"} 2"#,
            r#"attache_requests_total{route="crm",upstream="api",code="502"} 1"#,
            r#"attache_request_failures_total{route="crm",upstream="api",fault="upstream"} 1"#,
            r#"attache_request_duration_seconds_count{route="crm",upstream="api"} 3"#,
            r#"attache_request_duration_seconds_bucket{le="0.01",route="crm",upstream="api"} 0"#,
            r#"attache_request_duration_seconds_bucket{le="0.025",route="crm",upstream="api"} 3"#,
            r#"attache_request_duration_seconds_bucket{le="+Inf",route="crm",upstream="api"} 3"#,
            r#"attache_token_wait_seconds_bucket{le="0.001",route="crm",upstream="api"} 3"#,
            r#"attache_replays_total{route="crm",upstream="api"} 3"#,
            r#"attache_client_connections_accepted_total 5"#,
            r#"attache_config_reloads_total{result="refused"} 1"#,
            r#"attache_config_last_reload_timestamp_seconds 7.0"#,
        ] {
            assert!(scraped.lines().any(|found| found == line), "{line} is not in\n{scraped}");
        }
        assert!(scraped.ends_with("# EOF\n"));
    }

    #[test]
    fn a_name_cannot_break_out_of_its_label() {
        let metrics = Metrics::new(1);
        metrics.route(0, "a\"} 1\nevil 1", "x\\").record(&outcome(200));
        let scraped = scraped(&metrics);
        assert!(!scraped.lines().any(|line| line.starts_with("evil")), "{scraped}");
    }

    #[test]
    fn routes_that_are_gone_are_forgotten() {
        let metrics = Metrics::new(1);
        metrics.route(0, "old", "api").record(&outcome(200));
        let kept = metrics.route(0, "kept", "api");
        kept.record(&outcome(200));
        metrics.forget_unused();
        let scraped = scraped(&metrics);
        assert!(scraped.contains("kept") && !scraped.contains("old\""));
    }
}
