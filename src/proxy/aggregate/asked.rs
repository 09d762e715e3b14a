//! What is asked of an aggregate: all that its parts may want to know, for as long as any of them runs.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, StatusCode, Uri, Version};
use tokio::time::Instant;

use super::PartNotes;
use super::json::Json;
use super::value::{self, Content, Known};
use crate::clock::Boot;
use crate::credential::Credential;
use crate::proxy::Client;
use crate::proxy::access_log::{RequestId, RequestName};
use crate::proxy::failure::{self, PartCause};
use crate::proxy::target::Authority;
use crate::proxy::worker::{Installed, Worker};
use crate::route::Matched;
use crate::snapshot::plan::{ForEach, Part, ValueSource};
use crate::snapshot::{Aggregate, Answers, Call, Route, Via};

/// A request, and what belongs to it. It owns all of it: an answer that is streamed outlives the request's own future.
pub(super) struct Asked {
    pub(super) worker: Rc<Worker>,
    /// The snapshot that serves it to its end.
    pub(super) installed: Rc<Installed>,
    pub(super) route: usize,
    pub(super) id: RequestId,
    pub(super) name: RequestName,
    pub(super) caller: Client,
    pub(super) authority: Authority,
    pub(super) version: Version,
    pub(super) matched: Matched,
    pub(super) uri: Uri,
    /// Without what is between the client and us: its key is none of the parts' business.
    pub(super) headers: HeaderMap,
    pub(super) client: Option<Arc<str>>,
    /// What each part is called with.
    pub(super) credentials: Vec<Option<Arc<Credential>>>,
    /// Its JSON, if a placeholder reads it.
    pub(super) body: Option<Json>,
    /// When all parts have to be there.
    pub(super) deadline: Instant,
    pub(super) notes: Rc<PartNotes>,
    /// The status of each part's last answer.
    pub(super) statuses: RefCell<Vec<Option<StatusCode>>>,
}

impl Asked {
    pub(super) fn route(&self) -> &Route {
        &self.installed.snapshot.routes[self.route]
    }

    pub(super) fn aggregate(&self) -> &Aggregate {
        match &self.route().answers {
            Answers::Aggregate(aggregate) => aggregate,
            Answers::Upstream(_) => unreachable!("its route was matched as an aggregate's"),
        }
    }

    /// The call of a part.
    pub(super) fn call(&self, part: usize) -> &Call {
        &self.aggregate().calls[part]
    }

    /// What a part is called with.
    pub(super) fn credential(&self, part: usize) -> Option<&Credential> {
        self.credentials[part].as_deref()
    }

    pub(super) fn route_name(&self) -> &str {
        &self.route().config.name
    }

    pub(super) fn via(&self) -> &Via {
        &self.installed.snapshot.via
    }

    /// What placeholders can read.
    pub(super) fn known<'a>(&'a self, parts: &'a [Option<Content>], item: Option<(&'a Json, usize)>) -> Known<'a> {
        Known {
            matched: &self.matched,
            path: self.uri.path(),
            query: self.uri.query(),
            headers: &self.headers,
            request: self.body.as_ref(),
            client: self.client.as_deref(),
            parts,
            item,
            seen: None,
        }
    }

    /// Names a placeholder that has no value. Whose fault that is depends on where the value should have come from.
    pub(super) fn unfilled(&self, unfilled: value::Unfilled, for_each: Option<&ForEach>) -> failure::Unfilled {
        let parts = &self.aggregate().config.parts;
        let first = unfilled.placeholder.split(['.', '?', '|']).next().unwrap_or_default();
        let by_client = match first {
            "item" | "index" => for_each.is_some_and(|each| !matches!(each.items.source, ValueSource::Part(_))),
            name => !parts.iter().any(|part| *part.name == *name),
        };
        failure::Unfilled { text: unfilled.to_string(), by_client }
    }

    pub(super) fn now(&self) -> Boot {
        self.worker.living.clock.now()
    }

    /// An upstream answered with this status.
    pub(super) fn saw(&self, part: usize, status: StatusCode) {
        self.statuses.borrow_mut()[part] = Some(status);
    }

    pub(super) fn last_status(&self, part: usize) -> Option<StatusCode> {
        self.statuses.borrow()[part]
    }

    /// A part failed, and the answer does without it.
    pub(super) fn part_failed(&self, part: &Part, cause: &PartCause) {
        self.name.part_failed(&part.name, cause);
    }
}
