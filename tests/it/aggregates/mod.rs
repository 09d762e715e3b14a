//! Aggregates: one request, several scripted APIs, one answer.

mod bounds;
mod cancelling;
mod documented;
mod failing;
mod fanning_out;
mod order;
mod paging;
mod renewing;
mod sizes;
mod slow_clients;
mod streaming;
mod unneeded;
mod whole;

use std::fmt::Write as _;

use crate::support::{Proxy, Reply, Upstream};

/// A proxy.toml with an upstream for each of these, and a route `/overview/{id}` for anyone. `more` are further keys of
/// `[routes.aggregate]`; of a part all that is not its upstream.
struct Overview<'a> {
    head: &'a str,
    route: &'a str,
    more: &'a str,
    parts: Vec<(&'a str, &'a Upstream, &'a str)>,
}

impl<'a> Overview<'a> {
    fn of(parts: &[(&'a str, &'a Upstream, &'a str)]) -> Self {
        Overview { head: "", route: "", more: "", parts: parts.to_vec() }
    }

    fn with(self, more: &'a str) -> Self {
        Overview { more, ..self }
    }

    fn toml(&self) -> String {
        let mut toml = format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{}\n", self.head);
        for (name, upstream, _) in &self.parts {
            write!(toml, "[upstreams.{name}]\nurl = \"{}/v1\"\n", upstream.url()).unwrap();
        }
        let (route, more) = (self.route, self.more);
        write!(toml, "[[routes]]\npath = \"/overview/{{id}}\"\nclients = \"anyone\"\n{route}\n").unwrap();
        write!(toml, "[routes.aggregate]\n{more}\n").unwrap();
        for (name, _, keys) in &self.parts {
            let path = if keys.contains("path = ") { String::new() } else { format!("path = \"/{name}\"\n") };
            write!(toml, "[routes.aggregate.parts.{name}]\nupstream = \"{name}\"\n{path}{keys}\n").unwrap();
        }
        toml
    }

    fn start(&self) -> Proxy {
        Proxy::start(&self.toml())
    }
}

fn json(text: &str) -> Reply {
    Reply::answer(200, &[("Content-Type", "application/json")], text.as_bytes())
}
