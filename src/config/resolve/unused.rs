//! What nobody uses is often a name that was misspelt elsewhere.

use std::sync::Arc;

use super::Reading;
use super::fields::Text;
use super::named::Named;
use crate::config::{Access, Client, Credential, Problem, Route, Upstream};

/// Warns of clients, credentials and upstreams that nothing names.
pub(super) fn warn_of_unused(
    reading: &mut Reading<'_>,
    clients: &Named<Client>,
    credentials: &Named<Credential>,
    upstreams: &Named<Upstream>,
    routes: &[Arc<Route>],
) {
    for (name, client) in clients.iter() {
        let may_call = |route: &Arc<Route>| match &route.access {
            Access::Anyone => false,
            Access::Clients(named) => named.iter().any(|named| Arc::ptr_eq(named, client)),
        };
        if !routes.iter().any(may_call) {
            warn(reading, name, "no route names the client", "remove it, or name it in a route's `clients`");
        }
    }
    for (name, credential) in credentials.iter() {
        let used = |upstream: &Upstream| upstream.credential.as_ref().is_some_and(|used| Arc::ptr_eq(used, credential));
        if !upstreams.iter().any(|(_, upstream)| used(upstream)) {
            warn(reading, name, "no upstream wants the credential", "remove it, or name it in an upstream");
        }
    }
    for (name, upstream) in upstreams.iter() {
        if !routes.iter().any(|route| route.answers.upstreams().iter().any(|used| Arc::ptr_eq(used, upstream))) {
            warn(reading, name, "no route goes to the upstream", "remove it, or write a route to it");
        }
    }
}

fn warn(reading: &mut Reading<'_>, name: &Text, what: &str, hint: &str) {
    reading.warning(Problem::new(format!("{what} `{}`", name.value), name.span.clone()).hint(hint));
}
