//! Whole files: the reports of broken ones, and what a good one becomes.

use std::path::Path;

use super::*;

mod aggregates;
mod golden;
mod good;
mod secrets;

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

/// Resolves a text whose files are in a folder.
fn resolve_in(folder: &Path, text: &str, variables: &[(&str, &str)], how: Load) -> Result<Loaded, Problems> {
    load_text(&folder.join("proxy.toml"), text, &environment(variables), how)
}

fn resolve(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    resolve_in(Path::new("."), text, variables, Load::Full)
}
