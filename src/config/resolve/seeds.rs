//! Refresh tokens of the configuration: each is the seed of one authorization, which one credential keeps.

use super::Reading;
use super::fields::Fields;
use crate::config::{Grant, Problem};
use crate::secret::Secret;

/// Those that were read, with their credentials' names.
#[derive(Default)]
pub(super) struct Seeds(Vec<(String, Secret)>);

impl Seeds {
    /// Refuses a seed that another credential has, too: what the server gives in its place to one of them ends that of the
    /// other, and a server that detects reuse ends both.
    pub(super) fn add(&mut self, reading: &mut Reading<'_>, name: &str, fields: &Fields<'_>, grant: &Grant) {
        let Grant::RefreshToken { seed } = grant else { return };
        let key = "refresh_token";
        // What stands in for those that are not read is the same for all.
        if reading.withholds(fields, key) {
            return;
        }
        let Some((other, _)) = self.0.iter().find(|(_, known)| known == seed) else {
            return self.0.push((name.to_owned(), seed.clone()));
        };
        let message =
            format!("`{key}` is that of the credential `{other}`, too: each would use up what the other one has");
        let hint =
            format!("let both upstreams name `{other}` as their credential, or authorize once more, for `{name}`");
        let span = fields.value(key).map(|value| value.span());
        reading.problem(Problem::new(message, span).hint(hint));
    }
}
