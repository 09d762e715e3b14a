//! `[credentials.NAME.login]`: logins that are no OAuth 2.0.

use http::{HeaderName, Method};
use toml::de::DeValue;

use super::Reading;
use super::answer::{answer, refuse_refresh_token, scalar};
use super::attach::attach;
use super::credential::{refuse_cleartext, token_life_with};
use super::fields::{Fields, Text, text};
use super::headers::header_name;
use super::known::{Known, is_value_name};
use super::secrets::Alphabet;
use crate::config::file::{Format, Value};
use crate::config::{
    AnswerShape, HttpUrl, JsonTemplate, Login, LoginBody, LoginRequest, LoginStep, Piece, Problem, Template,
};

/// The keys of a request, which a login with steps has in its steps.
const REQUEST_KEYS: [&str; 8] = ["method", "url", "query", "headers", "basic", "form", "json", "answer"];
/// What more there is to do where a secret stands in a request.
const ELSEWHERE: &str = ", and here `\"{NAME}\"`";
/// How the name of a secret ends, in any case.
const SECRET_NAMES: [&str; 5] = ["password", "passwd", "secret", "api_key", "apikey"];

pub(super) fn login(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Login> {
    let mut known = values(reading, fields);
    let steps = fields.tables("steps");
    let requests = if steps.is_empty() { std::slice::from_ref(fields) } else { &steps[..] };
    if !steps.is_empty() {
        refuse_keys_beside_steps(reading, fields);
    }
    let mut resolved = Vec::new();
    for (number, request) in requests.iter().enumerate() {
        let is_last = number + 1 == requests.len();
        let answer = answer(reading, request);
        refuse_second_names(reading, request, &known);
        let request = self::request(reading, fields, request, &known);
        let has_token = answer.token.is_some() || (is_last && !known.contains("token"));
        let token = has_token.then_some("token");
        known = known.with_answered(answer.values.keys().map(String::as_str).chain(token));
        resolved.push(request.map(|request| LoginStep { request, answer, has_token }));
    }
    let attach = attach(reading, fields, &known);
    let life = token_life_with(reading, fields, attach);
    let steps: Option<Vec<LoginStep>> = resolved.into_iter().collect();
    let refresh = match fields.table("refresh") {
        Some(request) => refresh(reading, fields, &request, known, steps.as_deref()).map(Some),
        None => {
            for request in requests {
                refuse_refresh_token(reading, request, "write a `[credentials.NAME.login.refresh]`, or remove it");
            }
            Some(None)
        }
    };
    Some(Login { steps: steps?, refresh: refresh?, life })
}

/// The request that renews the token: one more step, after those of the login.
fn refresh(
    reading: &mut Reading<'_>,
    login: &Fields<'_>,
    fields: &Fields<'_>,
    known: Known,
    steps: Option<&[LoginStep]>,
) -> Option<LoginStep> {
    if known.contains("refresh_token") {
        let problem = Problem::new("`refresh_token` is what the login is answered", fields.span.clone());
        reading.problem(problem.hint("give your own value another name"));
    }
    let known = known.with_answered(["token", "refresh_token"]);
    let answer = fields.value("answer").map(|_| answer(reading, fields));
    let request = request(reading, login, fields, &known);
    if request.as_ref().is_some_and(|request| !request.names("refresh_token")) {
        let problem = Problem::new("this request does not say `{refresh_token}`", fields.span.clone());
        reading.problem(
            problem.hint("write it where the API wants it, such as `form.refresh_token = \"{refresh_token}\"`"),
        );
    }
    let of_token = steps?.iter().rfind(|step| step.has_token).map(|step| &step.answer);
    let answer = answer.or_else(|| of_token.map(|shape| AnswerShape { values_may_lack: true, ..shape.clone() }));
    Some(LoginStep { request: request?, answer: answer.unwrap_or_default(), has_token: true })
}

/// What the file itself gives names to. A text is no secret; everything else is.
fn values(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Known {
    let mut known = Known::default();
    for (name, value) in fields.entries("values") {
        if !is_value_name(reading, &name) {
            reading.hide_value(value);
            continue;
        }
        let piece = match value.get_ref() {
            DeValue::String(text) => {
                refuse_literal(reading, &name.value, text, value, "");
                Some(Piece::Text(text.to_string()))
            }
            _ => reading.secret(&name.value, value, Alphabet::Text).map(Piece::Secret),
        };
        // A name whose value cannot be read was reported, and is no unknown one.
        known.insert(name.value, piece.unwrap_or(Piece::Text(String::new())));
    }
    known
}

/// One name for two values would make one of them useless.
fn refuse_second_names(reading: &mut Reading<'_>, step: &Fields<'_>, known: &Known) {
    for (name, _) in step.table("answer").map(|answer| answer.entries("values")).unwrap_or_default() {
        if known.contains(&name.value) {
            let problem = Problem::new(format!("`{}` is the name of another value already", name.value), name.span);
            reading.problem(problem.hint("give it another name"));
        }
    }
}

fn refuse_keys_beside_steps(reading: &mut Reading<'_>, fields: &Fields<'_>) {
    for key in REQUEST_KEYS {
        if let Some(value) = fields.value(key) {
            let problem = Problem::new(format!("`{key}` and `steps` exclude each other"), value.span());
            reading.problem(problem.hint(format!("write `{key}` into the step that it belongs to")));
        }
    }
}

fn request(reading: &mut Reading<'_>, login: &Fields<'_>, fields: &Fields<'_>, known: &Known) -> Option<LoginRequest> {
    let method = match fields.choice(reading, "method") {
        Some("GET") => Method::GET,
        Some("PUT") => Method::PUT,
        Some("PATCH") => Method::PATCH,
        _ => Method::POST,
    };
    let address = address(reading, login, fields, known);
    let query = pairs(reading, fields, "query", known);
    let headers = headers(reading, fields, known);
    let basic = match fields.table("basic") {
        None => Some(None),
        Some(basic) => {
            let [username, password] = ["username", "password"].map(|key| {
                let text = basic.text(reading, key)?;
                refuse_literal(reading, key, &text.value, basic.value(key)?, ELSEWHERE);
                known.template(reading, key, &text)
            });
            username.zip(password).map(Some)
        }
    };
    let body = body(reading, fields, known);
    let (origin, target) = address?;
    Some(LoginRequest { method, origin, target, query: query?, headers: headers?, basic: basic?, body: body? })
}

/// Where a request goes, and its target. The host is fixed: a secret goes where the file says, and nowhere else.
fn address(
    reading: &mut Reading<'_>,
    login: &Fields<'_>,
    fields: &Fields<'_>,
    known: &Known,
) -> Option<(HttpUrl, Template)> {
    let Some(text) = fields.text(reading, "url") else {
        if fields.value("url").is_none() && !fields.is_misspelt("url") && !fields.is_misplaced("url") {
            let hint = "write where the request goes, such as `url = \"https://api.example/login\"`".to_owned();
            return reading.refuse(("`url` is missing".to_owned(), hint), &fields.span);
        }
        return None;
    };
    let begin = text.value.find("://").map_or(0, |at| at + 3);
    let end = text.value[begin..].find(['/', '?']).map_or(text.value.len(), |at| begin + at);
    let part = |value: &str| Text { value: value.to_owned(), ..text.clone() };
    let (authority, target) = (part(&text.value[..end]), part(&text.value[end..]));
    if known.is_understood(&authority) && !known.texts().is_understood(&authority) {
        let why = "the host of a login's URL holds a secret, or a value of an answer".to_owned();
        let hint = "a secret goes to the host that the file names: write the value as a text, such as `values.tenant = \"acme\"`";
        return reading.refuse((why, hint.to_owned()), &text.span);
    }
    let [authority, sample] = [(known.texts(), &authority), (known.clone(), &target)]
        .map(|(known, part)| known.template(reading, "url", part));
    let (authority, target) = (authority?, sample?);
    let filled = |template: &Template| {
        let found = crate::secret::Secret::new("x");
        let filled = template.fill(|_| Some(&found), |_| "x".to_owned()).ok()?;
        Some(filled.expose().to_owned())
    };
    let url = format!("{}{}", filled(&authority)?, filled(&target)?);
    let url = reading.url("url", &Text { value: url, ..text.clone() })?;
    let cleartext = login.boolean("cleartext").unwrap_or(false);
    refuse_cleartext(reading, &url, cleartext, "what logs in", &text);
    Some((HttpUrl { path: String::new(), ..url }, target))
}

fn headers(reading: &mut Reading<'_>, fields: &Fields<'_>, known: &Known) -> Option<Vec<(HeaderName, Template)>> {
    let mut headers = Some(Vec::new());
    for (name, value) in fields.entries("headers") {
        let header = header_name(reading, &name);
        let template = template_of(reading, &name.value, value, known);
        headers = headers.and_then(|mut headers| {
            headers.push((header?, template?));
            Some(headers)
        });
    }
    headers
}

/// The entries of a table of texts, in the order of the file.
fn pairs(reading: &mut Reading<'_>, fields: &Fields<'_>, key: &str, known: &Known) -> Option<Vec<(String, Template)>> {
    let entries = fields.entries(key).into_iter();
    let templates: Vec<_> = entries
        .map(|(name, value)| template_of(reading, &name.value, value, known).map(|template| (name.value, template)))
        .collect();
    templates.into_iter().collect()
}

fn template_of(reading: &mut Reading<'_>, name: &str, value: &Value<'_>, known: &Known) -> Option<Template> {
    let text = text(reading, value, Format::Plain)?;
    refuse_literal(reading, name, &text.value, value, ELSEWHERE);
    known.template(reading, name, &text)
}

fn body(reading: &mut Reading<'_>, fields: &Fields<'_>, known: &Known) -> Option<LoginBody> {
    match (fields.value("form"), fields.value("json")) {
        (None, None) => Some(LoginBody::None),
        (Some(_), None) => pairs(reading, fields, "form", known).map(LoginBody::Form),
        (None, Some(value)) => json(reading, "json", value, known).map(LoginBody::Json),
        (Some(_), Some(json)) => {
            let why = ("`form` and `json` exclude each other".to_owned(), "a request has one body".to_owned());
            reading.refuse(why, &json.span())
        }
    }
}

/// TOML as JSON. `name`: of the member that it is the value of.
fn json(reading: &mut Reading<'_>, name: &str, value: &Value<'_>, known: &Known) -> Option<JsonTemplate> {
    match value.get_ref() {
        DeValue::String(_) => template_of(reading, name, value, known).map(JsonTemplate::Text),
        DeValue::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| json(reading, name, item, known)).collect();
            items.into_iter().collect::<Option<_>>().map(JsonTemplate::List)
        }
        DeValue::Table(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| key.span().start);
            let member = |(key, value): (&toml::Spanned<std::borrow::Cow<'_, str>>, &Value<'_>)| {
                json(reading, key.get_ref(), value, known).map(|value| (key.get_ref().to_string(), value))
            };
            let members: Vec<_> = entries.into_iter().map(member).collect();
            members.into_iter().collect::<Option<_>>().map(JsonTemplate::Object)
        }
        _ => match scalar(value) {
            Some(other) => Some(JsonTemplate::Other(other)),
            None => {
                let why = format!("`{name}`: JSON has no such value");
                reading.refuse((why, "write it in quotes".to_owned()), &value.span())
            }
        },
    }
}

/// A text that is called like a secret, and names none, is one in the file.
fn refuse_literal(reading: &mut Reading<'_>, name: &str, text: &str, value: &Value<'_>, then: &str) {
    let lower = name.to_ascii_lowercase().replace('-', "_");
    if text.contains('{') || text.is_empty() || !SECRET_NAMES.iter().any(|end| lower.ends_with(end)) {
        return;
    }
    reading.hide_value(value);
    let problem = Problem::new(format!("`{name}` is a secret, and is never written into the file"), value.span());
    let hint = format!("write `values.NAME = {{ file = \"PATH\" }}`{then}");
    reading.problem(problem.hint(hint));
}
