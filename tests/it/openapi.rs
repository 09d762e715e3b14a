//! `attache openapi`: the document of the aggregates, held to OpenAPI by openapi-spec-validator.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::program;

const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/openapi/bin/python");
/// A configuration with what a document can have: see the unit test beside it.
const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/openapi/aggregates.toml");

fn attache_openapi(configuration: &Path) -> String {
    let mut command = Command::new(program());
    let output = command.arg("openapi").arg("--config").arg(configuration).output().expect("cargo builds it");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it is UTF-8")
}

fn validated(document: &str) -> Output {
    let folder = tempfile::tempdir().expect("there is room for a file");
    let file = folder.path().join("openapi.json");
    fs::write(&file, document).expect("there is room for a file");
    let mut command = Command::new(PYTHON);
    command.args(["-m", "openapi_spec_validator"]).arg(&file);
    command.output().unwrap_or_else(|error| panic!("{PYTHON}: {error}. ./test.sh makes its virtual environment"))
}

#[test]
fn the_document_of_aggregates_is_valid_openapi() {
    let document = attache_openapi(Path::new(CONFIGURATION));
    let output = validated(&document);
    assert!(output.status.success(), "{output:?}\n{document}");
    let mut document: Value = serde_json::from_str(&document).expect("it is JSON");
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["paths"].as_object().map(serde_json::Map::len), Some(2));
    // The validator finds what is wrong.
    document["paths"]["/customers/{id}/overview"]["get"]["responses"] = json!([]);
    assert!(!validated(&document.to_string()).status.success());
}

/// Without aggregates there is nothing to describe, and the document is valid nevertheless.
#[test]
fn a_configuration_without_aggregates_has_an_empty_document() {
    let folder = tempfile::tempdir().expect("there is room for a file");
    let file = folder.path().join("proxy.toml");
    fs::write(&file, "[[listeners]]\naddress = \"127.0.0.1:8080\"\n").expect("there is room for a file");
    let document = attache_openapi(&file);
    assert!(validated(&document).status.success(), "{document}");
    assert!(document.contains("\"paths\": {}"), "{document}");
}
