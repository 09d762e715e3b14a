//! `attache routes`: which requests go where, in the order of the file.

use crate::config::{Access, Answers, Config, Route, Upstream};

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
    let credential = |upstream: &Upstream| upstream.credential.as_ref().map(|credential| credential.name.to_string());
    let (upstream, credential) = match &route.answers {
        Answers::Upstream(forward) => {
            let upstream = &forward.upstream;
            (format!("{} {}", upstream.name, upstream.url), credential(upstream).unwrap_or_else(|| "-".to_owned()))
        }
        Answers::Aggregate(aggregate) => {
            let parts = aggregate.parts.iter().map(|part| format!("{} of {}", part.name, part.upstream.name));
            let mut credentials: Vec<_> =
                aggregate.parts.iter().filter_map(|part| credential(&part.upstream)).collect();
            credentials.sort_unstable();
            credentials.dedup();
            (parts.collect::<Vec<_>>().join(", "), credentials.join(", "))
        }
    };
    let requests = format!("{methods} {host}{}", route.path.text);
    // A name that only repeats what stands before it is left out.
    let written = format!("{methods} {host} {}", route.path.text).replace("* ", "").replace("  ", " ");
    let name = if *route.name == *written.trim() { String::new() } else { route.name.to_string() };
    [requests, clients(&route.access), upstream, credential, name]
}

/// Who may call.
pub(super) fn clients(access: &Access) -> String {
    match access {
        Access::Anyone => "anyone".to_owned(),
        Access::Clients(clients) => clients.iter().map(|client| &*client.name).collect::<Vec<_>>().join(", "),
    }
}
