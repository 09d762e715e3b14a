//! `attache check --live`: fetches every token and connects to every upstream, and says what failed and why it probably
//! did. To the APIs themselves no request is sent.

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ProtocolVersion;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::check::{counted, valid};
use super::refreshing::{self, Place};
use super::{Failure, running};
use crate::config::{Config, HttpUrl, Load, UpstreamUrl};
use crate::credential;
use crate::credential::live::{LOST, MayRotate, Outcome, Report};
use crate::snapshot::Living;
use crate::token::Rotated;
use crate::upstream::{ConnectError, ExchangeErrorKind, Probed, Upstream};

/// Checks that are under way at once.
const CHECKS_MAX: usize = 16;

/// What became of one credential or upstream.
#[derive(Debug)]
struct Checked {
    verdict: Verdict,
    /// What was done, and what came of it. Holds no secret.
    text: String,
    /// The likely cause, and what to do.
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Failed,
    /// There was nothing to try.
    Skipped,
}

/// A check that is under way, and what it is about.
struct Check {
    kind: &'static str,
    name: Arc<str>,
    checked: JoinHandle<Checked>,
}

/// Writes a line for each check as it becomes known; the result is the last one.
pub(super) fn check(file: &Path, may_rotate: MayRotate, out: &mut impl Write) -> Result<String, Failure> {
    let loaded = super::load(file, Load::Full)?;
    let failed = |error: io::Error| Failure::Failed(format!("cannot check: {error}"));
    write!(out, "{}", valid(file, &loaded.config)).map_err(failed)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (config, control) = (&loaded.config, runtime.handle().clone());
    let (living, place) = refreshing::living(config, config.credentials.iter(), may_rotate, control);
    let done = runtime.block_on(run(config, &living, &place, may_rotate, out)).map_err(failed);
    // A resolver that hangs is not waited for.
    runtime.shutdown_background();
    done?
}

/// All checks at once, told in the order of the configuration.
async fn run(
    config: &Config,
    living: &Living,
    place: &Place,
    may_rotate: MayRotate,
    out: &mut impl Write,
) -> io::Result<Result<String, Failure>> {
    for credential in &config.credentials {
        if let Some(warning) = place.warning(credential, may_rotate) {
            writeln!(out, "warning: `{}`: {warning}", credential.name)?;
        }
    }
    let checks = begin(config, living, place, may_rotate);
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let (number, mut failed) = (checks.len(), 0);
    for Check { kind, name, checked } in checks {
        let Checked { verdict, text, hint } = checked.await.map_err(io::Error::other)?;
        let word = match verdict {
            Verdict::Ok => "ok",
            Verdict::Failed => "failed",
            Verdict::Skipped => "skipped",
        };
        writeln!(out, "{word:<8}{kind:<11}{name:<width$}  {text}")?;
        if let Some(hint) = hint {
            writeln!(out, "{:8}hint: {hint}", "")?;
        }
        failed += usize::from(verdict == Verdict::Failed);
    }
    Ok(match failed {
        0 => Ok(String::new()),
        failed => Err(Failure::Failed(format!("{failed} of {} failed", counted(number, "check")))),
    })
}

fn begin(config: &Config, living: &Living, place: &Place, may_rotate: MayRotate) -> Vec<Check> {
    let places = Arc::new(Semaphore::new(CHECKS_MAX));
    let mut checks = Vec::new();
    for credential in &config.credentials {
        let (credential, parts) = (credential.clone(), living.credential_parts());
        let name = credential.name.clone();
        let (admin, place) = (config.admin, place.clone());
        let check = async move {
            if let Some(text) = place.refusal(&credential, may_rotate).await {
                return Checked { verdict: Verdict::Skipped, text, hint: None };
            }
            let report = credential::live::probe(&credential, &parts, may_rotate).await;
            match (&report.outcome, admin) {
                (Outcome::LeftAlone, Some(admin)) => left_alone(running::credential(admin, &credential.name).await),
                (Outcome::LeftAlone, None) => left_alone(None),
                _ => of_credential(&report),
            }
        };
        checks.push(Check { kind: "credential", name, checked: spawn(check, &places) });
    }
    for upstream in &config.upstreams {
        let (upstream, connector) = (upstream.clone(), living.connector.clone());
        let name = upstream.name.clone();
        let check = async move {
            let UpstreamUrl::Fixed(url) = &upstream.url else { return placed_by_token() };
            let probed = Upstream::new(&upstream, url, &connector).probe(upstream.timeouts.connect).await;
            of_upstream(url, probed)
        };
        checks.push(Check { kind: "upstream", name, checked: spawn(check, &places) });
    }
    checks
}

fn spawn(check: impl Future<Output = Checked> + Send + 'static, places: &Arc<Semaphore>) -> JoinHandle<Checked> {
    let places = places.clone();
    Handle::current().spawn(async move {
        // It is never closed.
        let _place = places.acquire().await;
        check.await
    })
}

fn of_credential(report: &Report) -> Checked {
    let by = report.auth_method.map(|method| format!(" by {method}")).unwrap_or_default();
    match &report.outcome {
        Outcome::NothingToFetch => Checked {
            verdict: Verdict::Skipped,
            text: "it is sent as it is: only the API can tell whether it is right".to_owned(),
            hint: None,
        },
        Outcome::NeedsSubject { header } => Checked {
            verdict: Verdict::Skipped,
            text: format!("it has a token for each subject, which requests bring in {header}"),
            hint: Some(format!("`attache token {} --subject-token-file FILE` asks for one", report.credential)),
        },
        Outcome::LeftAlone => left_alone(None),
        Outcome::Unkept(why) => Checked { verdict: Verdict::Failed, text: why.clone(), hint: None },
        Outcome::Granted { lifetime, took, .. } => {
            let host = report.host.as_deref().unwrap_or_default();
            let lives = match lifetime {
                Some(lifetime) => format!("it lives {lifetime:?}"),
                None => "it names no lifetime".to_owned(),
            };
            let (kept, lost) = match report.rotated {
                Rotated::No => ("", None),
                Rotated::Kept => ("; its new refresh token is in the store", None),
                Rotated::Lost => ("", Some(LOST.to_owned())),
            };
            let text = format!("fetched a token from {host}{by}: {lives}{}{kept}", took_text(*took));
            Checked { verdict: Verdict::Ok, text, hint: lost.or_else(|| report.likely_cause()) }
        }
        Outcome::Failed { failure, .. } => {
            // The hint is told by itself.
            let asked_by = match failure.status {
                Some(_) if !by.is_empty() => format!(" (asked{by})"),
                _ => String::new(),
            };
            let text = credential::Failure { hint: None, ..failure.clone() }.text();
            // Another method may have been answered with one.
            let (kept, lost) = match report.rotated {
                Rotated::No => ("", String::new()),
                Rotated::Kept => ("; the refresh token that came is in the store", String::new()),
                Rotated::Lost => ("", format!("; {LOST}")),
            };
            let text = format!("{text}{asked_by}{kept}{lost}");
            Checked { verdict: Verdict::Failed, text, hint: report.likely_cause() }
        }
    }
}

/// `running`: what the instance says that uses the token.
fn left_alone(running: Option<String>) -> Checked {
    let why = "a new token would end the one that is in use (`single_active`)";
    let (text, hint) = match running {
        Some(says) => (format!("{why}; {says}"), None),
        None => (why.to_owned(), Some("--may-rotate fetches one nevertheless".to_owned())),
    };
    Checked { verdict: Verdict::Skipped, text, hint }
}

fn placed_by_token() -> Checked {
    let text = "where it is, the answer says that its credential's token comes with";
    Checked { verdict: Verdict::Skipped, text: text.to_owned(), hint: None }
}

fn of_upstream(url: &HttpUrl, probed: Result<Probed, ConnectError>) -> Checked {
    let probed = match probed {
        Ok(probed) => probed,
        Err(error) => {
            let hint = likely_cause(error.kind).map(str::to_owned);
            return Checked { verdict: Verdict::Failed, text: error.text, hint };
        }
    };
    let way = match probed.address {
        Some(address) if url.ip == Some(address) => String::new(),
        Some(address) => format!(" ({address})"),
        None => " through the egress proxy".to_owned(),
    };
    let tls = match probed.tls {
        None => "cleartext",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(_) => "TLS",
    };
    let http = if probed.http2 { "HTTP/2" } else { "HTTP/1.1" };
    let text = format!("connected to {}{way}: {tls}, {http}{}", url.authority(), took_text(probed.took));
    Checked { verdict: Verdict::Ok, text, hint: None }
}

fn took_text(took: Duration) -> String {
    format!(", after {} ms", took.as_millis())
}

/// What most often is behind a connection that cannot be opened. What the error's own text says is not said again.
fn likely_cause(kind: ExchangeErrorKind) -> Option<&'static str> {
    match kind {
        ExchangeErrorKind::Resolve => Some(
            "check the host of `url`, and that this machine's resolver knows it; where names are the egress proxy's to \
             resolve, set `[egress] proxy`",
        ),
        ExchangeErrorKind::Connect => Some(
            "check host and port of `url`, and that the API is up; where connections have to leave by a proxy, set \
             `[egress] proxy`",
        ),
        ExchangeErrorKind::ConnectTimeout => Some(
            "a firewall may drop what is sent there; where connections have to leave by a proxy, set `[egress] proxy`; \
             `timeouts.connect` is the limit",
        ),
        ExchangeErrorKind::TlsTimeout => {
            Some("perhaps no TLS is spoken on that port: then `url` is http://, or has another port")
        }
        ExchangeErrorKind::Closed => Some("does the port belong to the API? A firewall or a proxy may stand before it"),
        ExchangeErrorKind::AddressRefused
        | ExchangeErrorKind::NoDescriptor
        | ExchangeErrorKind::EgressRefused
        | ExchangeErrorKind::Tls
        | ExchangeErrorKind::FirstByteTimeout
        | ExchangeErrorKind::BadAnswer
        | ExchangeErrorKind::ClientBody
        | ExchangeErrorKind::TargetTooLong
        | ExchangeErrorKind::ClientBodyTimeout
        | ExchangeErrorKind::TooManyInformational => None,
    }
}
