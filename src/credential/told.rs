//! A conversation with a token endpoint as a person reads it, with every secret masked. Lines begin as curl's do: `*` is about
//! the connection, `>` was sent, `<` was received.

mod received;
mod sent;

use std::borrow::Cow;

use rustls::ProtocolVersion;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::reflection::Reflections;
use super::tape::{Connected, Exchange};
use crate::config::{AnswerShape, HttpUrl};
use crate::secret::Secret;
pub use received::Clocks;
pub(super) use received::{clocks, received};
use sent::Sent;

const SHOWN_BYTES_MAX: usize = 500;

/// What is shown of an exchange beyond what is harmless anyway.
#[derive(Default)]
pub(super) struct Showing<'a> {
    /// Names of fields whose values stand in proxy.toml as text.
    pub configured: Vec<Cow<'a, str>>,
    /// Where secrets stand in answers.
    pub shapes: Vec<&'a AnswerShape>,
    /// What is hidden wherever it stands, also where nothing is shown of it.
    pub secrets: Vec<Secret>,
}

impl Showing<'_> {
    fn hidden(&self) -> Vec<&Secret> {
        self.secrets.iter().collect()
    }
}

/// One request and what came of it. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub lines: Vec<String>,
}

impl Told {
    pub(super) fn of(exchange: &Exchange, showing: &Showing<'_>) -> Told {
        let mut lines: Vec<String> =
            exchange.connected.iter().map(|connected| format!("* {}", connection(connected))).collect();
        let sent = Sent::of(exchange, showing);
        lines.extend(sent.lines.iter().map(|line| format!("> {line}").trim_end().to_owned()));
        match &exchange.reply {
            Some((Ok(reply), wall)) => {
                let hidden: Vec<&Secret> = sent.hidden.iter().collect();
                let reflections = Reflections::of(&hidden);
                let received = received(reply, *wall, is_metadata(&exchange.url), &showing.shapes, &reflections);
                lines.extend(received.iter().map(|line| format!("< {line}").trim_end().to_owned()));
            }
            Some((Err(broken), _)) => lines.push(format!("* {}", broken.cause)),
            None => {}
        }
        Told { lines }
    }
}

fn is_metadata(url: &HttpUrl) -> bool {
    url.path.contains("/.well-known/")
}

fn connection(connected: &Connected) -> String {
    let to = match connected.address {
        Some(address) if connected.by_proxy => format!("connected through the egress proxy {address}"),
        Some(address) => format!("connected to {address}"),
        None => "connected".to_owned(),
    };
    let tls = match connected.tls {
        None => return format!("{to}, in cleartext"),
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(_) => "TLS",
    };
    let certificate = connected.certificate.as_ref().and_then(|der| X509Certificate::from_der(der).ok());
    match certificate {
        None => format!("{to}, {tls}"),
        Some((_, certificate)) => {
            let quoted = |text: String| Reflections::of(&[]).quotable(&text, SHOWN_BYTES_MAX).unwrap_or_default();
            let (subject, issuer) =
                (quoted(certificate.subject().to_string()), quoted(certificate.issuer().to_string()));
            let subject = if subject.is_empty() { "nobody by name".to_owned() } else { subject };
            format!(
                "{to}, {tls}, certificate of {subject} issued by {issuer} until {}",
                certificate.validity().not_after
            )
        }
    }
}
