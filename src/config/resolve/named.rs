//! Things that the file gives names to and refers to: clients, credentials, upstreams.

use std::sync::Arc;

use super::Reading;
use super::fields::Text;
use crate::config::Problem;
use crate::config::problem::did_you_mean;

/// Names go to logs and metrics, where longer ones are in the way.
const NAME_BYTES_MAX: usize = 100;

/// All things of one sort, in the order of the file.
#[derive(Debug)]
pub(super) struct Named<T> {
    /// What they are: "client".
    sort: &'static str,
    things: Vec<Thing<T>>,
}

#[derive(Debug)]
struct Thing<T> {
    name: Text,
    /// `None`: it has a problem, which was reported.
    value: Option<Arc<T>>,
}

impl<T> Named<T> {
    pub(super) fn new(sort: &'static str) -> Self {
        Named { sort, things: Vec::new() }
    }

    /// Adds a thing; TOML sees to it that names differ.
    pub(super) fn add(&mut self, reading: &mut Reading<'_>, name: Text, value: Option<T>) {
        if !is_name(&name.value) {
            let message = format!("the name of a {} is made of letters, digits, `.`, `_` and `-`", self.sort);
            let hint = format!("and is at most {NAME_BYTES_MAX} bytes long");
            reading.problem(Problem::new(message, name.span.clone()).hint(hint));
        }
        self.things.push(Thing { name, value: value.map(Arc::new) });
    }

    /// What a name refers to. A name that nothing has is reported.
    pub(super) fn find(&self, reading: &mut Reading<'_>, name: &Text) -> Option<Arc<T>> {
        match self.things.iter().find(|thing| thing.name.value == name.value) {
            Some(thing) => thing.value.clone(),
            None => {
                let hint = did_you_mean(&name.value, self.things.iter().map(|thing| thing.name.value.as_str()))
                    .unwrap_or_else(|| format!("write a `[{}s.{}]`", self.sort, name.value));
                let message = format!("there is no {} `{}`", self.sort, name.value);
                reading.problem(Problem::new(message, name.span.clone()).hint(hint));
                None
            }
        }
    }

    /// Whether something is called that.
    pub(super) fn has(&self, name: &str) -> bool {
        self.things.iter().any(|thing| thing.name.value == name)
    }

    /// Those without a problem, with their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Text, &Arc<T>)> {
        self.things.iter().filter_map(|thing| Some((&thing.name, thing.value.as_ref()?)))
    }

    pub(super) fn into_values(self) -> Vec<Arc<T>> {
        self.things.into_iter().filter_map(|thing| thing.value).collect()
    }
}

/// Whether something can be called that: it goes to logs and metrics as it is.
pub fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(legal)
}
