//! What a provider's own documentation says of an exchange: a file of tests/providers. Secrets and tokens in them are
//! shortened, or made up where a page has none.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use toml::{Table, Value};

use crate::sources::below;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transcript {
    /// The preset that it is about.
    #[serde(skip)]
    pub name: String,
    /// The provider's pages that it was taken from.
    pub documentation: Vec<String>,
    /// What a user writes beside `provider`.
    #[serde(default)]
    pub credential: Table,
    /// The same for secrets. `<rsa.pem>` stands for a key of the tests, within JSON as JSON has it.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// What is asked of the provider, in order.
    #[serde(default, rename = "exchange")]
    pub exchanges: Vec<Exchange>,
    pub attached: Attached,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Method and URL.
    pub request: String,
    /// `ID:SECRET` of Basic authentication.
    pub basic: Option<String>,
    /// Headers that the request must have; `*` at the end stands for what cannot be foreseen.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The whole form, where the request has one; `*` stands for what cannot be foreseen.
    pub form: Option<BTreeMap<String, String>>,
    /// The whole body, where it is JSON.
    pub json: Option<String>,
    /// What the JSON Web Token among the fields of the form claims, as far as the documentation says.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    #[serde(default = "ok")]
    pub status: u16,
    #[serde(default)]
    pub answer_headers: BTreeMap<String, String>,
    /// Its body. `<in an hour>` stands for that date.
    pub answer: String,
}

fn ok() -> u16 {
    200
}

/// What a request to the API gets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attached {
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// `ID:PASSWORD` of Basic authentication.
    pub basic: Option<String>,
    #[serde(default)]
    pub query: String,
    /// Seconds that the token lives; absent: the provider does not say.
    pub lifetime: Option<u64>,
}

/// All of them, by name.
pub fn transcripts() -> Vec<Transcript> {
    let read = |source: crate::sources::Source| {
        let name = source.path.rsplit('/').next().and_then(|file| file.strip_suffix(".toml")).expect("a .toml file");
        let transcript: Transcript =
            toml::from_str(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.path));
        Transcript { name: name.to_owned(), ..transcript }
    };
    let mut transcripts: Vec<Transcript> = below("tests/providers", "toml").into_iter().map(read).collect();
    transcripts.sort_by(|a, b| a.name.cmp(&b.name));
    transcripts
}

impl Transcript {
    /// The credential's table, as a user writes it.
    pub fn table(&self) -> Table {
        let mut table = self.credential.clone();
        table.insert("provider".to_owned(), self.name.clone().into());
        for key in self.secrets.keys() {
            let source = Table::from_iter([("env".to_owned(), Value::from(self.variable(key)))]);
            table.insert(key.clone(), source.into());
        }
        table
    }

    /// What the environment holds for it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let key = crate::sources::file("src/jws/keys/rsa.pem").text;
        let value = |text: &String| match text.as_str() {
            "<rsa.pem>" => key.clone(),
            text => text.replace("\"<rsa.pem>\"", &serde_json::Value::from(key.as_str()).to_string()),
        };
        self.secrets.iter().map(|(key, text)| (self.variable(key), value(text))).collect()
    }

    fn variable(&self, key: &str) -> String {
        format!("{}_{key}", self.name.replace('-', "_"))
    }
}

/// What a JSON Web Token claims.
pub fn claims(token: &str) -> serde_json::Value {
    let payload = token.split('.').nth(1).expect("a token has three parts");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("the second part is base64url");
    serde_json::from_slice(&payload).expect("and in it JSON")
}

/// The value of `Authorization` that Basic makes of a pair.
pub fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}
