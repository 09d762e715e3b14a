//! `attache providers`: the presets that `provider` can name, and what each stands for.

use super::Failure;
use crate::config::{Preset, presets};

/// All of them, a line each.
pub(super) fn list() -> String {
    let widths = |of: fn(&Preset) -> &str| presets().iter().map(|preset| of(preset).len()).max().unwrap_or(0);
    let (name, kind) = (widths(|preset| preset.name), widths(|preset| preset.kind));
    let line = |preset: &Preset| format!("{:name$}  {:kind$}  {}\n", preset.name, preset.kind, preset.purpose);
    let lines: String = presets().iter().map(line).collect();
    format!("{:name$}  {:kind$}  FOR\n{lines}", "PROVIDER", "KIND")
}

/// One of them: what to write, and what that stands for.
pub(super) fn show(name: &str) -> Result<String, Failure> {
    let found = presets().iter().find(|preset| preset.name == name);
    let preset = found.ok_or_else(|| {
        Failure::Failed(format!("there is no preset `{}`: `attache providers` lists them", name.escape_debug()))
    })?;
    let note = preset.note.map(|note| format!("# Note: {note}.\n")).unwrap_or_default();
    let commented: String =
        preset.expansion().lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect();
    Ok(format!(
        "# {}\n# {}\n{note}\n{}\n# This is short for what follows. Each key of it can be written above, too, and then counts.\n#\n{commented}",
        preset.purpose,
        preset.documentation,
        preset.example()
    ))
}
