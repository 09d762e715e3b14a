//! `[credentials.NAME.hmac]`: what is signed, and where the signature goes.

use http::header::COOKIE;
use http::{HeaderName, HeaderValue};

use crate::config::file::Format;
use crate::config::resolve::Reading;
use crate::config::resolve::fields::{Fields, Text, text};
use crate::config::resolve::headers::header_name;
use crate::config::resolve::secrets::Alphabet;
use crate::config::{
    Hmac, HmacAlgorithm, KeyEncoding, Placeholder, Problem, RequestPiece, RequestTemplate, Signature,
    SignatureEncoding, TimestampFormat,
};
use crate::secret::Secret;

pub(in crate::config::resolve) fn hmac(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Signature> {
    let algorithm = match fields.choice(reading, "algorithm") {
        Some("sha1") => HmacAlgorithm::Sha1,
        Some("sha512") => HmacAlgorithm::Sha512,
        _ => HmacAlgorithm::Sha256,
    };
    let key_encoding = match fields.choice(reading, "key_encoding") {
        Some("base64") => KeyEncoding::Base64,
        Some("hex") => KeyEncoding::Hex,
        _ => KeyEncoding::Text,
    };
    let signature_encoding = match fields.choice(reading, "signature_encoding") {
        Some("base64") => SignatureEncoding::Base64,
        _ => SignatureEncoding::Hex,
    };
    let timestamp = match fields.choice(reading, "timestamp") {
        Some("milliseconds") => TimestampFormat::Milliseconds,
        Some("iso8601") => TimestampFormat::Iso8601,
        Some("http_date") => TimestampFormat::HttpDate,
        _ => TimestampFormat::Seconds,
    };
    let key = key(reading, fields, key_encoding);
    let secrets = secrets(reading, fields);
    // Without its secrets a template could not be told from a mistyped one.
    let known = secrets.as_deref()?;
    let string_to_sign = fields.text(reading, "string_to_sign").and_then(|text| {
        let template = template(reading, "string_to_sign", &text, known)?;
        refuse(reading, &template, Placeholder::Signature, &text, "what is signed cannot hold its own signature")?;
        Some(template)
    });
    let headers = headers(reading, fields, known);
    let query = query(reading, fields, known);
    let (headers, query) = (headers?, query?);
    let carried = headers.iter().map(|(_, template)| template).chain(query.iter().map(|(_, template)| template));
    if !carried.into_iter().any(|template| template.has(Placeholder::Signature)) {
        let hint = "write `headers = { X-Signature = \"{signature}\" }`, or the same with `query`";
        return reading.refuse(("nothing carries the signature".to_owned(), hint.to_owned()), &fields.span);
    }
    Some(Signature::Hmac(Hmac {
        algorithm,
        key: key?,
        key_encoding,
        string_to_sign: string_to_sign?,
        signature_encoding,
        timestamp,
        secrets: secrets?,
        headers,
        query,
    }))
}

fn key(reading: &mut Reading<'_>, fields: &Fields<'_>, encoding: KeyEncoding) -> Option<Secret> {
    let key = fields.secret(reading, "key", Alphabet::Text)?;
    if !fields.is_withheld(reading, "key") && encoding.decode(&key).is_none() {
        let what = if encoding == KeyEncoding::Hex { "hexadecimal" } else { "base64" };
        let hint = "`key_encoding` says how the key is written; `text` takes it as it is".to_owned();
        return reading.refuse((format!("`key` is no {what}"), hint), &fields.value("key")?.span());
    }
    Some(key)
}

fn secrets(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Vec<(String, Secret)>> {
    let mut secrets = Some(Vec::new());
    for (name, value) in fields.entries("secrets") {
        let is_taken =
            name.value.contains([':', '{', '}']) || Placeholder::ALL.iter().any(|other| other.name() == name.value);
        if is_taken {
            let why = format!("`{}` is no name for a secret", name.value.escape_debug());
            let hint = "it is a placeholder already, or holds `:`, `{` or `}`".to_owned();
            secrets = reading.refuse((why, hint), &name.span);
        }
        match (reading.secret(&name.value, value, Alphabet::HeaderValue), &mut secrets) {
            (Some(secret), Some(secrets)) => secrets.push((name.value, secret)),
            (Some(_), None) => {}
            (None, _) => secrets = None,
        }
    }
    secrets
}

fn template(
    reading: &mut Reading<'_>,
    key: &str,
    text: &Text,
    secrets: &[(String, Secret)],
) -> Option<RequestTemplate> {
    match RequestTemplate::parse(&text.value, secrets) {
        Ok(template) => Some(template),
        Err((why, hint)) => reading.refuse((format!("`{key}`: {why}"), hint), &text.span),
    }
}

fn refuse(
    reading: &mut Reading<'_>,
    template: &RequestTemplate,
    not: Placeholder,
    text: &Text,
    why: &str,
) -> Option<()> {
    if !template.has(not) {
        return Some(());
    }
    reading.refuse((why.to_owned(), format!("remove `{{{}}}`", not.name())), &text.span)
}

/// A template of a header or parameter, which is one line.
fn carried(
    reading: &mut Reading<'_>,
    name: &Text,
    value: &crate::config::file::Value<'_>,
    secrets: &[(String, Secret)],
) -> Option<RequestTemplate> {
    let text = text(reading, value, Format::Plain)?;
    let template = template(reading, &name.value, &text, secrets)?;
    refuse(reading, &template, Placeholder::Body, &text, "a body does not fit there; its hash does")?;
    let is_legal = |piece: &RequestPiece| match piece {
        RequestPiece::Text(text) => HeaderValue::from_str(text).is_ok(),
        RequestPiece::Value(_) | RequestPiece::Header(_) | RequestPiece::Secret { .. } => true,
    };
    if template.pieces.iter().all(is_legal) {
        return Some(template);
    }
    let hint = "it is made of visible ASCII characters, and spaces between them".to_owned();
    reading.refuse((format!("this cannot be the value of `{}`", name.value.escape_debug()), hint), &text.span)
}

fn headers(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    secrets: &[(String, Secret)],
) -> Option<Vec<(HeaderName, RequestTemplate)>> {
    let mut headers = Some(Vec::<(HeaderName, RequestTemplate)>::new());
    for (name, value) in fields.entries("headers") {
        let header = header_name(reading, &name);
        let template = carried(reading, &name, value, secrets);
        let (Some(header), Some(template)) = (header, template) else {
            headers = None;
            continue;
        };
        let taken = headers.as_ref().is_some_and(|headers| headers.iter().any(|(other, _)| *other == header));
        if header == COOKIE || taken {
            let problem = Problem::new(format!("`{header}` cannot be set here"), name.span);
            reading.problem(problem.hint("each header is set once, and cookies not at all"));
        }
        if let Some(headers) = &mut headers {
            headers.push((header, template));
        }
    }
    headers
}

fn query(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    secrets: &[(String, Secret)],
) -> Option<Vec<(String, RequestTemplate)>> {
    let mut query = Some(Vec::new());
    for (name, value) in fields.entries("query") {
        match (carried(reading, &name, value, secrets), &mut query) {
            (Some(template), Some(query)) => query.push((name.value, template)),
            (Some(_), None) => {}
            (None, _) => query = None,
        }
    }
    query
}
