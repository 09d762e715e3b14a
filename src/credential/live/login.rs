//! Logging in once, and what of that a person may see.

use std::sync::Arc;

use super::super::tape::Exchange;
use super::{Login, Outcome, Parts, Showing, Tape, answer, granted_token};
use crate::clock::timer_now;
use crate::config;
use crate::secret::Secret;

/// Logs in once; also says where.
pub(super) async fn probe(
    name: &Arc<str>,
    config: &Arc<config::Login>,
    parts: &Parts,
    tape: &Tape,
) -> (Option<String>, Outcome) {
    let begun = parts.clock.now();
    let host = config.steps.first().map(|step| step.request.origin.authority());
    let deadline = timer_now() + config.life.timeouts.attempt;
    let outcome = match Login::new(name, config, parts).attempt(deadline).await {
        Ok(granted) => {
            let took = parts.clock.now().since(begun);
            let brought = config.steps.iter().rposition(|step| step.has_token).unwrap_or_default();
            let mut token = granted_token(&granted, &config.steps[brought].answer, tape);
            if brought + 1 != config.steps.len() {
                // The last answer is another one.
                token.lifetime_member = None;
            }
            Outcome::Granted { lifetime: granted.lifetime, took, token }
        }
        Err(failure) => Outcome::Failed { failure, method_that_works: None, secret_flaw: None },
    };
    (host, outcome)
}

/// What stands in proxy.toml as text is shown, and may be quoted by the server, as the failure's own text quotes it.
/// Everything that is sent as a secret, or that a step was answered for a later one, is hidden wherever it stands.
pub(super) fn showing<'a>(config: &'a config::Login, exchanges: &[Exchange]) -> Showing<'a> {
    let mut secrets: Vec<Secret> = config.requests().flat_map(config::LoginRequest::secrets).cloned().collect();
    for (step, exchange) in config.steps.iter().zip(exchanges) {
        if let Some((Ok(reply), _)) = &exchange.reply {
            secrets.extend(answer::declared_texts(reply, &step.answer));
        }
    }
    let names: Vec<_> = config.requests().flat_map(config::LoginRequest::sent_names).collect();
    // A name that has a secret anywhere has one everywhere.
    let is_plain = |name: &str| names.iter().all(|(other, is_plain)| *other != name || *is_plain);
    let configured = names.iter().filter(|(name, _)| is_plain(name)).map(|(name, _)| name.clone()).collect();
    Showing { configured, shapes: config.steps.iter().map(|step| &step.answer).collect(), secrets }
}
