use std::path::Path;

use serde_json::json;

use super::*;
use crate::config::{Config, Environment, Load, expansion, load_text};

/// A proxy.toml with this credential, loaded with everything in the environment that it asks for.
fn loaded(name: &str, credential: &str) -> Config {
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n\n{credential}\n[upstreams.api]\nurl = \"https://api.example\"\n\
         credential = \"{name}\"\n\n[[routes]]\npath = \"/{{*rest}}\"\nupstream = \"api\"\nclients = \"anyone\"\n"
    );
    let secrets = text.split("{ env = \"").skip(1).filter_map(|rest| rest.split('"').next()).map(|variable| {
        let key = include_str!("../../jws/keys/rsa.pem");
        let value = match variable {
            _ if variable.ends_with("PRIVATE_KEY") => key.to_owned(),
            "GOOGLE_KEY_FILE" => json!({
                "type": "service_account",
                "private_key_id": "1",
                "private_key": key,
                "client_email": "attache@example.iam.gserviceaccount.com",
                "token_uri": "https://oauth2.googleapis.com/token",
            })
            .to_string(),
            _ => "a-secret-of-enough-length".to_owned(),
        };
        (variable.to_owned(), value)
    });
    let environment = Environment(secrets.collect());
    let loaded = load_text(Path::new("proxy.toml"), &text, &environment, Load::Full);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{text}\n{problems}"));
    // Whether there is a store is no matter of a preset.
    let others = loaded.warnings.problems.iter().filter(|warning| !warning.message.starts_with("without a store"));
    assert_eq!(others.count(), 0, "{text}\n{}", loaded.warnings);
    loaded.config
}

/// What `attache providers NAME` shows is what the preset does: both tables are one credential.
#[test]
fn a_preset_is_what_it_says_that_it_stands_for() {
    for preset in presets() {
        let short = loaded(preset.name, &preset.example());
        let long = loaded(preset.name, &preset.expansion());
        assert_eq!(format!("{:?}", short.credentials), format!("{:?}", long.credentials), "{}", preset.name);
    }
    assert!(presets().len() >= 25);
}

/// The table that an example with these lines more stands for, as text.
fn table_with(preset: &Preset, lines: &str) -> String {
    let example = format!("{}{lines}", preset.example());
    let expanded = expansion(&example).unwrap_or_else(|| panic!("{example} does not stand for anything"));
    format!("{expanded:?}")
}

/// Another value for a key of a preset, of the kind that this key takes.
fn another(key: &str, value: &DeValue<'_>) -> String {
    match (key, value) {
        (_, DeValue::Boolean(is)) => (!is).to_string(),
        ("token_url" | "url", _) => "\"https://overridden.example/token\"".to_owned(),
        ("token_endpoint_auth_method", _) => "\"client_secret_basic_raw\"".to_owned(),
        ("method", _) => "\"PUT\"".to_owned(),
        ("header", _) => "\"X-Overridden\"".to_owned(),
        ("base_urls", _) => "{ instance_url = [\"overridden.example\"] }".to_owned(),
        ("success", _) => "{ path = \"overridden\", equals = 1 }".to_owned(),
        // A secret is never a text alone.
        ("password", _) => "\"overridden {secret}\"".to_owned(),
        _ => "\"overridden\"".to_owned(),
    }
}

/// A preset is only defaults, and what takes their place counts. (What is filled into several keys has nothing else.)
#[test]
fn every_key_of_a_preset_can_be_overridden() {
    let mut overridden = 0;
    for preset in presets() {
        let DeValue::Table(template) = preset.template.get_ref() else { continue };
        let default = format!("{:?}", loaded(preset.name, &preset.example()).credentials);
        for (key, value) in template {
            let (key, other) = match value.get_ref() {
                DeValue::Table(inner) => {
                    let (inner, value) = inner.iter().next().expect("there is something in it");
                    let other = another(inner.get_ref(), value.get_ref());
                    (format!("{}.{}", key.get_ref(), inner.get_ref()), other)
                }
                value => (key.get_ref().to_string(), another(key.get_ref(), value)),
            };
            if key == "token_endpoint_auth_method" && preset.example().contains("private_key = ") {
                // Every other method wants another key than the example has: see the test below.
                continue;
            }
            let example = format!("{}{key} = {other}\n", preset.example());
            let config = loaded(preset.name, &example);
            // Base URLs count where an upstream names them, which these examples do not.
            let counts = match key.ends_with(".base_urls") {
                true => format!("{:?}", expansion(&example)).contains("overridden"),
                false => format!("{:?}", config.credentials) != default,
            };
            assert!(counts, "{}: {key} = {other}", preset.name);
            overridden += 1;
        }
    }
    assert!(overridden >= 40, "{overridden}");
}

fn named(name: &str) -> &'static Preset {
    presets().iter().find(|preset| preset.name == name).expect("there is one")
}

#[test]
fn what_a_credential_says_itself_takes_the_place_of_what_excludes_it() {
    let issuer = table_with(named("auth0"), "issuer = \"https://acme.example/\"\n");
    assert!(issuer.contains("acme.example") && !issuer.contains("token_url"), "{issuer}");
    let certificate = "[credentials.microsoft]\nprovider = \"microsoft\"\ntenant = \"contoso\"\nclient_id = \"a\"\n\
                       token_endpoint_auth_method = \"private_key_jwt\"\nprivate_key = { env = \"PRIVATE_KEY\" }\n";
    let config = loaded("microsoft", certificate);
    assert!(format!("{:?}", config.credentials).contains("PrivateKeyJwt"), "{:?}", config.credentials);
}

/// `{tenant}` is one text within another: whatever its source, it is filled in as it is.
#[test]
fn what_is_filled_into_a_text_may_come_from_the_environment() {
    let example = named("microsoft").example().replace("\"TENANT\"", "{ env = \"TENANT\" }");
    let config = loaded("microsoft", &example);
    let shown = format!("{:?}", config.credentials);
    assert!(shown.contains("/a-secret-of-enough-length/oauth2/v2.0/token"), "{shown}");
}

/// Where a URL can be overridden, what it would be made of need not be said.
#[test]
fn what_is_not_filled_in_anywhere_need_not_be_said() {
    let text = "[credentials.a]\nprovider = \"salesforce\"\ntoken_url = \"https://login.example/token\"\n\
                client_id = \"a\"\nclient_secret = { env = \"SECRET\" }\n";
    assert!(format!("{:?}", loaded("a", text).credentials).contains("login.example"));
}

/// The page for people has every preset. With `ATTACHE_BLESS` in the environment its table is written anew.
#[test]
fn the_page_on_providers_is_current() {
    let page = std::fs::read_to_string("docs/providers.md").unwrap();
    let (before, rest) = page.split_once("<!-- presets -->\n").expect("the table has a beginning");
    let (_, after) = rest.split_once("<!-- end -->\n").expect("the table has an end");
    let row = |preset: &Preset| {
        let asks: Vec<String> = preset.asks.iter().map(|(name, _)| format!("`{name}`")).collect();
        let note = preset.note.map(|note| format!(". Note: {note}")).unwrap_or_default();
        let (name, kind, page) = (preset.name, preset.kind, preset.documentation);
        format!("| [`{name}`]({page}) | {}{note} | `{kind}` | {} |\n", preset.purpose, asks.join(", "))
    };
    let rows: String = presets().iter().map(row).collect();
    let current = format!(
        "{before}<!-- presets -->\n| `provider` | for | kind | what you write |\n|---|---|---|---|\n{rows}<!-- end -->\n{after}"
    );
    if std::env::var_os("ATTACHE_BLESS").is_some() {
        std::fs::write("docs/providers.md", &current).unwrap();
    }
    let page = std::fs::read_to_string("docs/providers.md").unwrap();
    assert!(page == current, "write it anew with ATTACHE_BLESS=1");
}
