//! Whether this process should get traffic (SEC-45).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Boot;
use crate::token::CellStatus;

/// How long required credentials may keep readiness off.
const WARMING_MAX: Duration = Duration::from_secs(30);

/// What readiness depends on. One credential's dead provider is not among it: that would take a fleet down for the sake
/// of one team.
#[derive(Debug)]
pub struct Health {
    started: Boot,
    required: Vec<Arc<str>>,
    serving: AtomicBool,
    /// Required tokens were there, once.
    warm: AtomicBool,
    draining: AtomicBool,
}

impl Health {
    pub(super) fn new(started: Boot, required: Vec<Arc<str>>) -> Self {
        let off = || AtomicBool::new(false);
        Health { started, warm: AtomicBool::new(required.is_empty()), required, serving: off(), draining: off() }
    }

    pub(super) fn serving(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    pub(super) fn draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Why there should be no traffic, or `None` if all is well. `cells` is asked only while tokens are waited for.
    pub(super) fn why_not_ready(&self, now: Boot, cells: impl FnOnce() -> Vec<CellStatus>) -> Option<String> {
        if self.draining.load(Ordering::Relaxed) {
            return Some("draining".to_owned());
        }
        if !self.serving.load(Ordering::Relaxed) {
            return Some("starting: no configuration serves yet".to_owned());
        }
        if self.warm.load(Ordering::Relaxed) {
            return None;
        }
        let cells = cells();
        let has_token = |name: &Arc<str>| cells.iter().any(|cell| cell.name == *name && cell.generation.is_some());
        let missing: Vec<&str> = self.required.iter().filter(|name| !has_token(name)).map(|name| &**name).collect();
        if missing.is_empty() || now.since(self.started) >= WARMING_MAX {
            self.warm.store(true, Ordering::Relaxed);
            return None;
        }
        Some(format!("waiting for the first token of {}", missing.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Generation;

    fn cell(name: &str, has_token: bool) -> CellStatus {
        CellStatus {
            name: name.into(),
            state: if has_token { "fresh" } else { "empty" },
            generation: has_token.then_some(Generation(1)),
            suspect: false,
            expires_in: None,
            fetching: false,
            next_try_in: None,
            last_error: None,
            unsaved: false,
            fetches_granted: 0,
            fetches_failed: 0,
            rejections: 0,
            replays_accepted: 0,
            late: 0,
        }
    }

    /// SEC-45: readiness is off before the first snapshot, until required tokens are there for the first time, and
    /// while draining; a provider that dies later does not switch it off.
    #[test]
    fn readiness_waits_for_the_first_snapshot_and_required_tokens_only() {
        let start = Boot::from_nanos(1_000_000_000);
        let health = Health::new(start, vec!["crm".into()]);
        let ready = |cells: Vec<CellStatus>| health.why_not_ready(start.after(Duration::from_secs(1)), || cells);
        assert!(ready(vec![]).unwrap().contains("starting"));
        health.serving();
        assert!(ready(vec![cell("crm", false), cell("maps", true)]).unwrap().contains("crm"));
        assert_eq!(ready(vec![cell("crm", true), cell("maps", false)]), None);
        assert_eq!(ready(vec![cell("crm", false)]), None, "what was ready stays so");
        health.draining();
        assert!(ready(vec![cell("crm", true)]).unwrap().contains("draining"));
    }

    /// SEC-45: a required credential keeps readiness off for 30 s at most.
    #[test]
    fn a_required_credential_is_waited_for_30_seconds() {
        let start = Boot::from_nanos(1_000_000_000);
        let health = Health::new(start, vec!["crm".into()]);
        health.serving();
        let ready_after = |after| health.why_not_ready(start.after(after), || vec![cell("crm", false)]).is_none();
        assert!(!ready_after(Duration::from_millis(29_999)));
        assert!(ready_after(Duration::from_secs(30)));
    }
}
