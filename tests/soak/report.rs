//! What came of a run, and what should have.

use std::time::Duration;

use serde_json::Value;

use crate::load::Sample;

/// Of a line of the access log.
const TOKEN_WAIT: &str = "token_ms";

/// A run's figures and its broken promises.
pub struct Report {
    name: &'static str,
    time: Duration,
    granted: usize,
    /// Sorted by time.
    samples: Vec<Sample>,
    /// Of each request that attache logged.
    token_waits_ms: Vec<f64>,
    broken: Vec<String>,
}

impl Report {
    /// `log`: JSON, one line a request among others. Whatever the run, every request has to succeed.
    pub fn new(name: &'static str, time: Duration, granted: usize, mut samples: Vec<Sample>, log: &[String]) -> Report {
        samples.sort_by_key(|sample| sample.time);
        let lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let waits = lines.filter_map(|line| line.get(TOKEN_WAIT)?.as_f64());
        let mut report = Report { name, time, granted, samples, token_waits_ms: waits.collect(), broken: Vec::new() };
        let failed: Vec<_> = report.samples.iter().filter(|sample| sample.status != 200).collect();
        if let Some(first) = failed.first() {
            let what = format!("{} requests failed, one of them with {}", failed.len(), first.status);
            report.broken.push(what);
        }
        // The first request, which fetched the token, is logged and is no sample.
        if report.token_waits_ms.len() < report.samples.len() {
            let what = format!("{} of {} requests are in the log", report.token_waits_ms.len(), report.samples.len());
            report.broken.push(what);
        }
        report
    }

    pub fn assert_fetches_bounded(&mut self, lifetime: Duration) {
        let max = (self.time.as_secs_f64() / (0.75 * lifetime.as_secs_f64())).ceil() as usize + 2;
        if self.granted > max {
            self.broken.push(format!("{} fetches were granted, {max} are allowed", self.granted));
        }
    }

    /// Neither by the log nor by the clients' clocks; the very first request is not counted.
    pub fn assert_nobody_waited(&mut self, slow: Duration) {
        let waited = self.token_waits_ms.iter().skip(1).filter(|wait| **wait > 0.0).count();
        if waited > 0 {
            self.broken.push(format!("{waited} requests waited for a token"));
        }
        let slow_ones = self.samples.iter().filter(|sample| sample.time >= slow).count();
        if slow_ones > 0 {
            self.broken.push(format!("{slow_ones} requests took {slow:?} or longer"));
        }
    }

    /// Otherwise the run has not shown what it is for.
    pub fn assert_some_waited(&mut self) {
        if self.token_waits_ms.iter().skip(1).all(|wait| *wait == 0.0) {
            self.broken.push("no request waited for a token, though there was none to be had".into());
        }
    }

    pub fn is_good(&self) -> bool {
        self.broken.is_empty()
    }

    pub fn print(&self) {
        let at = |part: f64| self.samples.get((self.samples.len() as f64 * part) as usize).map(|sample| sample.time);
        println!("soak: {}", self.name);
        println!(
            "  {:.0} s, {} requests, {} tokens; request times: median {:?}, 99 % {:?}, longest {:?}",
            self.time.as_secs_f64(),
            self.samples.len(),
            self.granted,
            at(0.5).unwrap_or_default(),
            at(0.99).unwrap_or_default(),
            self.samples.last().map(|sample| sample.time).unwrap_or_default(),
        );
        match &self.broken[..] {
            [] => println!("  good"),
            broken => broken.iter().for_each(|what| println!("  BROKEN: {what}")),
        }
    }
}
