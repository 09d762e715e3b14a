//! What would become of a request, found by the very parts that serve one: `attache explain`. No client is recognised, no
//! token is taken and nothing is sent.

use std::borrow::Cow;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request};

use super::cookie;
use super::failure::Failure;
use super::forward::with_parameter;
use super::own::Own;
use super::survey::Survey;
use super::target::{self, Target};
use super::{Client, check_limits, clean, match_route, prepare, upstream_target};
use crate::route::Matched;
use crate::snapshot::{Aggregate, Answers, Forward, Route, Snapshot};

/// What would become of a request.
#[derive(Debug)]
pub enum Plan<'s> {
    Forward(ForwardPlan<'s>),
    Aggregate(AggregatePlan<'s>),
}

/// An aggregate, and what the request says that its parts are asked.
#[derive(Debug)]
pub struct AggregatePlan<'s> {
    pub route: &'s Route,
    pub aggregate: &'s Aggregate,
    /// Ranges of the request's path.
    pub matched: Matched,
}

/// What would be sent, but for the credential.
#[derive(Debug)]
pub struct ForwardPlan<'s> {
    pub route: &'s Route,
    pub forward: &'s Forward,
    target: String,
    /// What is left of the client's headers, and what is added to them. `Host` and framing are the codec's to write.
    pub headers: HeaderMap,
}

impl ForwardPlan<'_> {
    /// Path and query, with the parameters that the credential sets (`name=value`, with `&` between several).
    pub fn target(&self, parameter: Option<&str>) -> Cow<'_, str> {
        with_parameter(&self.target, parameter)
    }

    /// The `Cookie` field, with the cookies that the credential sets (`name=value`, with `; ` between several).
    pub fn cookies(&self, names: &[String], pairs: &HeaderValue) -> HeaderValue {
        cookie::before_the_others(&self.headers, names, pairs)
    }
}

/// Takes a request as far as its route, and makes of it what the upstream would get. Its headers are examples: they are
/// not held to the limits.
///
/// # Errors
/// The failure that a client would be answered with. `OPTIONS *`, which has no route, counts as such.
pub fn plan<'s>(snapshot: &'s Snapshot, client: &Client, request: &Request<()>) -> Result<Plan<'s>, Failure> {
    let (method, uri, version) = (request.method(), request.uri(), request.version());
    let mut headers = request.headers().clone();
    check_limits(snapshot, method, uri, &Survey::default())?;
    let survey = Survey::of(request.headers());
    let present = survey.present;
    let authority = match target::normalise(method, uri, version, &survey)? {
        Target::Path(authority) => authority,
        Target::Asterisk => return Err(Failure::NoRoute),
    };
    let matched = match_route(snapshot, &authority, method, uri.path())?;
    let route = &snapshot.routes[matched.route];
    let forward = match &route.answers {
        Answers::Upstream(forward) => forward,
        Answers::Aggregate(aggregate) => {
            return Ok(Plan::Aggregate(AggregatePlan { route, aggregate, matched }));
        }
    };
    clean::clean(&mut headers, present, forward.config.cookies, &route.kept_back);
    let mut own = Own::stamp(&mut headers, present, &snapshot.via, version)?;
    prepare(&mut headers, &mut own, route, forward, client, &authority);
    own.settle(&mut headers);
    // The client's own, which the codec leaves out.
    headers.remove(HOST);
    let target = upstream_target(String::new(), forward, uri, matched);
    Ok(Plan::Forward(ForwardPlan { route, forward, target, headers }))
}
