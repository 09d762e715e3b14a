//! `subject_token = { header = …, clients = […] }`: subjects that come with requests.

use std::ops::Range;
use std::sync::Arc;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE};

use super::Reading;
use super::fields::Fields;
use super::headers::header_name;
use super::named::Named;
use crate::config::{Access, Client, Credential, Problem, SubjectHeader};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Keys that are about a token of which there is one.
const FOR_ONE_TOKEN: [(&str, &str); 3] = [
    ("warm", "there is nobody to fetch a token for before a request comes"),
    ("keep_warm", "a subject's token is renewed for as long as requests come for it"),
    ("stale_if_error", "no token outlives the subject token that it was had for"),
];

/// The header that subject tokens come in. `from`: its table.
pub(super) fn subject_header(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    from: &Fields<'_>,
) -> Option<SubjectHeader> {
    for (key, why) in FOR_ONE_TOKEN {
        if let Some(value) = fields.value(key) {
            let problem =
                Problem::new(format!("`{key}` has no use where subject tokens come with requests"), value.span());
            reading.problem(problem.hint(format!("remove it: {why}")));
        }
    }
    let text = from.text(reading, "header");
    let clients = from.texts(reading, "clients");
    let name = header_name(reading, text.as_ref()?)?;
    if [AUTHORIZATION, COOKIE, X_API_KEY].contains(&name) {
        let why = format!("`{name}` is no header for a subject token: clients' own keys and cookies come in it");
        return reading.refuse((why, "give it one of its own, such as \"X-Subject-Token\"".to_owned()), &text?.span);
    }
    if clients.is_empty() {
        let value = from.value("clients")?;
        let why = "nobody may set the header: it names no client".to_owned();
        let hint = "name the `clients` that are trusted to say on whose behalf they call".to_owned();
        return reading.refuse((why, hint), &value.span());
    }
    Some(SubjectHeader { name, clients: clients.into_iter().map(|text| text.value.into()).collect() })
}

/// The clients that credentials name are read before there are any; here it is looked whether there are.
pub(super) fn check_clients(reading: &mut Reading<'_>, root: &Fields<'_>, clients: &Named<Client>) {
    for (_, fields) in root.named("credentials") {
        let from = fields.and_then(|fields| fields.table("token_exchange")?.table("subject_token"));
        for name in from.map(|from| from.texts(reading, "clients")).unwrap_or_default() {
            clients.find(reading, &name);
        }
    }
}

/// A route to an upstream that wants a token for each subject is for clients that may say who that is. `span`: that of the
/// route's `clients`.
pub(super) fn check_route(
    reading: &mut Reading<'_>,
    credential: Option<&Arc<Credential>>,
    access: &Access,
    span: Range<usize>,
) {
    let Some((credential, subject)) = credential.and_then(|one| Some((one, one.subject_header()?))) else { return };
    let (credential, header) = (&credential.name, &subject.name);
    let message = match access {
        Access::Anyone => {
            format!(
                "anyone could say on whose behalf he calls: `{credential}` takes the subject's token from `{header}`"
            )
        }
        Access::Clients(clients) if !clients.iter().any(|client| subject.clients.contains(&client.name)) => {
            format!("nobody could use this route: none of its clients may set `{header}` for `{credential}`")
        }
        Access::Clients(_) => return,
    };
    let who = subject.clients.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let hint = format!("write `clients = [{who}]`: the clients that `subject_token` of `{credential}` names");
    reading.problem(Problem::new(message, span).hint(hint));
}
