//! `[clients.NAME.KIND]`: who may call.

use std::collections::HashMap;

use super::Reading;
use super::fields::{Fields, Text};
use super::named::Named;
use crate::config::{Client, ClientAuthentication, Problem};

pub(super) fn clients(reading: &mut Reading<'_>, root: &Fields<'_>) -> Named<Client> {
    let mut clients = Named::new("client");
    let mut owners = HashMap::new();
    for (name, fields) in root.named("clients") {
        if name.value == "anyone" {
            let problem = Problem::new("no client can be called `anyone`", name.span.clone());
            reading.problem(problem.hint("`clients = \"anyone\"` means something else"));
        }
        let authentication = fields.and_then(|fields| match fields.kind()? {
            "key" => {
                let key = fields.table("key")?;
                Some(ClientAuthentication::Key { sha256: digests(reading, &name, &key, &mut owners) })
            }
            _ => None,
        });
        let client = authentication.map(|authentication| Client { name: name.value.as_str().into(), authentication });
        clients.add(reading, name, client);
    }
    clients
}

/// The digests of a client's keys. Two clients with one key could not be told apart.
fn digests(
    reading: &mut Reading<'_>,
    client: &Text,
    key: &Fields<'_>,
    owners: &mut HashMap<[u8; 32], String>,
) -> Vec<[u8; 32]> {
    let mut digests = Vec::new();
    let texts = key.texts(reading, "sha256");
    if texts.is_empty() && key.list("sha256").is_empty() && key.value("sha256").is_some() {
        let problem = Problem::new(format!("client `{}` has no key", client.value), key.span.clone());
        reading.problem(problem.hint(format!("`attache key new {}` makes one", client.value)));
    }
    for text in texts {
        let Some(digest) = parse_hex(&text.value) else {
            // Somebody may have written the key itself.
            reading.hide(&text);
            let problem = Problem::new("`sha256` holds digests of 64 hexadecimal digits", text.span);
            reading.problem(
                problem.hint("it wants the SHA-256 of the key, as `attache key new NAME` prints it, not the key"),
            );
            continue;
        };
        match owners.insert(digest, client.value.clone()) {
            None => digests.push(digest),
            Some(owner) => {
                let message = format!("this key is also one of client `{owner}`");
                reading.problem(Problem::new(message, text.span).hint("give each client a key of its own, once"));
            }
        }
    }
    digests
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(digest)
}
