//! `attache routes`: which requests go where, in the order of the file.

use crate::config::{Access, Config, Route};

pub(super) fn list(config: &Config) -> String {
    let rows: Vec<[String; 5]> = config.routes.iter().map(|route| row(route)).collect();
    let header = ["REQUESTS", "CLIENTS", "UPSTREAM", "CREDENTIAL", "NAME"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(route: &Route) -> [String; 5] {
    let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    let methods = if methods.is_empty() { "*".to_owned() } else { methods.join(",") };
    let host = route.host.as_deref().unwrap_or_default();
    let credential = route.upstream.credential.as_ref().map_or("-", |credential| &*credential.name);
    let upstream = format!("{} {}", route.upstream.name, route.upstream.url);
    let requests = format!("{methods} {host}{}", route.path.text);
    // A name that only repeats what stands before it is left out.
    let written = format!("{methods} {host} {}", route.path.text).replace("* ", "").replace("  ", " ");
    let name = if *route.name == *written.trim() { String::new() } else { route.name.to_string() };
    [requests, clients(&route.access), upstream, credential.to_owned(), name]
}

/// Who may call.
pub(super) fn clients(access: &Access) -> String {
    match access {
        Access::Anyone => "anyone".to_owned(),
        Access::Clients(clients) => clients.iter().map(|client| &*client.name).collect::<Vec<_>>().join(", "),
    }
}
