//! `attache token NAME`: what a token endpoint says, step by step, with every secret masked; or the bare token for a script.

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;

use super::refreshing::{self, Place};
use super::{Failure, running};
use crate::config::{self, Config, FreshSecret, Load};
use crate::credential;
use crate::credential::live::{self, GrantedToken, LOST, MayRotate, Outcome, Report};
use crate::token::Rotated;

/// Which token.
pub(super) struct Wanted<'a> {
    /// The credential's.
    pub name: &'a str,
    pub may_rotate: MayRotate,
    /// A file with the subject token of whom it is for, where it is for a subject.
    pub subject: Option<&'a Path>,
}

/// Writes what is said for people; the result is the last line.
pub(super) fn tell(file: &Path, wanted: &Wanted<'_>, out: &mut impl Write) -> Result<String, Failure> {
    let may_rotate = wanted.may_rotate;
    with(file, wanted, async |credential, parts, place, admin| {
        if let Some(warning) = place.warning(credential, may_rotate) {
            writeln!(out, "warning: {warning}").map_err(unwritten)?;
        }
        tell_of(credential, parts, admin, may_rotate, out).await
    })
}

/// The bare token, for scripts. `to_a_person`: it would be shown on a terminal, where it stays in the scrollback.
pub(super) fn print(file: &Path, wanted: &Wanted<'_>, to_a_person: bool) -> Result<String, Failure> {
    if to_a_person {
        let why = "--print is for scripts, and standard output is a terminal, which would keep the token in its scrollback: \
                   pipe it to where it is needed (or through `cat`)";
        return Err(Failure::Failed(why.to_owned()));
    }
    let may_rotate = wanted.may_rotate;
    with(file, wanted, async |credential, parts, place, _| {
        // Standard output is the script's.
        let say = |warning: &str| writeln!(io::stderr(), "warning: {warning}").map_err(unwritten);
        place.warning(credential, may_rotate).map_or(Ok(()), say)?;
        let (token, rotated) = live::fetch(credential, parts, may_rotate).await.map_err(Failure::Failed)?;
        if rotated == Rotated::Lost {
            say(LOST)?;
        }
        Ok(format!("{}\n", token.expose()))
    })
}

fn unwritten(error: io::Error) -> Failure {
    Failure::Failed(format!("cannot print what was said: {error}"))
}

/// Loads the configuration and does this with the credential, unless its refresh token is in use elsewhere.
fn with(
    file: &Path,
    wanted: &Wanted<'_>,
    work: impl AsyncFnOnce(&config::Credential, &credential::Parts, &Place, Option<SocketAddr>) -> Result<String, Failure>,
) -> Result<String, Failure> {
    let config = super::load(file, Load::Full)?.config;
    let (credential, may_rotate) = (find(&config, wanted.name)?, wanted.may_rotate);
    let credential = &match wanted.subject {
        None => credential.clone(),
        Some(subject) => Arc::new(for_subject(credential, subject)?),
    };
    let failed = |error: io::Error| Failure::Failed(format!("cannot fetch a token: {error}"));
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (living, place) =
        refreshing::living(&config, std::iter::once(credential), may_rotate, runtime.handle().clone());
    let done = runtime.block_on(async {
        if let Some(why) = place.refusal(credential, may_rotate).await {
            return Err(Failure::Failed(format!("`{}` was left alone: {why}", wanted.name)));
        }
        work(credential, &living.credential_parts(), &place, config.admin).await
    });
    // A resolver that hangs is not waited for.
    runtime.shutdown_background();
    done
}

/// The credential of the subject whose token is in this file, which is read as every file with a secret is.
fn for_subject(credential: &config::Credential, file: &Path) -> Result<config::Credential, Failure> {
    let unread = |unread: config::Unread| Failure::Failed(format!("{}; {}", unread.message, unread.hint));
    let token = FreshSecret::File(file.to_owned()).read().map_err(unread)?;
    if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = "holds more than a subject token: it stands alone, without a blank and without `Bearer`";
        return Err(Failure::Failed(format!("{} {why}", file.display())));
    }
    credential.for_subject(token).ok_or_else(|| {
        let why = "has no subjects that come with requests: leave --subject-token-file out";
        Failure::Failed(format!("`{}` {why}", credential.name))
    })
}

fn find<'a>(config: &'a Config, name: &str) -> Result<&'a Arc<config::Credential>, Failure> {
    if let Some(credential) = config.credentials.iter().find(|credential| *credential.name == *name) {
        return Ok(credential);
    }
    let names: Vec<String> = config.credentials.iter().map(|credential| format!("`{}`", credential.name)).collect();
    let there = if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) };
    Err(Failure::Failed(format!("there is no credential `{name}`: {there}")))
}

async fn tell_of(
    credential: &config::Credential,
    parts: &credential::Parts,
    admin: Option<SocketAddr>,
    may_rotate: MayRotate,
    out: &mut impl Write,
) -> Result<String, Failure> {
    let report = live::probe(credential, parts, may_rotate).await;
    for told in &report.said {
        for line in &told.lines {
            writeln!(out, "{line}").map_err(unwritten)?;
        }
        writeln!(out).map_err(unwritten)?;
    }
    let name = &report.credential;
    match &report.outcome {
        Outcome::NothingToFetch => Err(Failure::Failed(format!(
            "`{name}` has no token to fetch: it is sent as it is, and only the API can tell whether it is right"
        ))),
        Outcome::NeedsSubject { header } => Err(Failure::Failed(format!(
            "`{name}` has a token for each subject, which requests bring in {header}: name a file with the token of one by \
             --subject-token-file"
        ))),
        Outcome::LeftAlone => left_alone(name, admin).await,
        Outcome::Unkept(why) => Err(Failure::Failed(format!("`{name}`: {why}"))),
        Outcome::Granted { lifetime, took, token } => Ok(granted(&report, *lifetime, *took, token)),
        Outcome::Failed { failure, .. } => {
            let failure = credential::Failure { hint: None, ..failure.clone() }.text();
            let hint = report.likely_cause().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            let rotated = rotated(&report);
            Err(Failure::Failed(format!("{}{rotated}{failure}{hint}", client(&report))))
        }
    }
}

async fn left_alone(name: &str, admin: Option<SocketAddr>) -> Result<String, Failure> {
    let why = format!("`{name}` was left alone: a new token would end the one that is in use (`single_active`)");
    let running = match admin {
        Some(admin) => running::credential(admin, name).await,
        None => None,
    };
    match running {
        Some(says) => Ok(format!("{why}\n{says}\n")),
        None => Err(Failure::Failed(format!("{why}; --may-rotate fetches one nevertheless"))),
    }
}

/// How the client authenticated, and why so.
fn client(report: &Report) -> String {
    match (report.auth_method, report.auth_method_from) {
        (Some(method), Some(from)) => format!("the client authenticated by {method} ({from})\n"),
        _ => String::new(),
    }
}

/// What became of the refresh token that was exchanged; also where that was all that came, or came to another method.
fn rotated(report: &Report) -> String {
    match report.rotated {
        Rotated::No => String::new(),
        Rotated::Kept => "the refresh token that came is in the store\n".to_owned(),
        Rotated::Lost => format!("warning: {LOST}\n"),
    }
}

fn granted(report: &Report, lifetime: Option<Duration>, took: Duration, token: &GrantedToken) -> String {
    let mut text = client(report);
    text.push_str(&format!("token {} from `{}`, after {} ms\n", token.fingerprint, token.member, took.as_millis()));
    text.push_str(&match (lifetime, &token.lifetime_member) {
        (Some(lifetime), Some(member)) => format!("it lives {} s, by `{member}`\n", lifetime.as_secs()),
        (Some(lifetime), None) => format!("it lives {} s\n", lifetime.as_secs()),
        (None, _) => "it names no lifetime: only a rejection ends it\n".to_owned(),
    });
    match &token.claims {
        None => text.push_str("it is opaque: only the API can read what it says\n"),
        Some(claims) => {
            text.push_str("it is a JWT that says (its signature was not checked):\n");
            for (name, value) in claims {
                text.push_str(&format!("  {name:<11} {value}\n"));
            }
        }
    }
    text.push_str(&rotated(report));
    if let Some(hint) = report.likely_cause() {
        text.push_str(&format!("hint: {hint}\n"));
    }
    text
}
