//! Following the pages of an answer, up to a bound. The next page is always asked of the same upstream: its credential goes
//! nowhere else, whatever an answer says.

mod link;
mod reference;

use std::borrow::Cow;
use std::collections::HashSet;

use super::call::{Answer, CallRequest, Caller, TARGET_BYTES_MAX};
use super::fetch::target;
use super::json::{Json, Kind};
use super::room::Room;
use crate::proxy::failure::PartCause;
use crate::proxy::query;
use crate::snapshot::plan::{NextPage, Pages};
use crate::token::NOT_UNRESERVED;
use crate::upstream::Upstream;

/// Of what leads to the next page.
const TOO_LONG: &str = "the next page's target would be longer than 32768 bytes";

/// All pages that were followed, as one list.
pub(super) struct Followed {
    pub(super) list: Json,
    /// There was another one beyond the last that may be asked for.
    pub(super) truncated: bool,
}

/// Asks for one page after another.
pub(super) async fn follow(
    caller: Caller<'_>,
    pages: &Pages,
    mut request: CallRequest,
    room: Room<'_>,
) -> Result<Followed, PartCause> {
    let first = request.target.clone();
    if let NextPage::Number { parameter, first: number } = &pages.next {
        request.target = with_parameter(&first, parameter, &number.to_string());
    }
    let mut asked = HashSet::from([request.target.clone()]);
    let mut lists: Vec<Json> = Vec::new();
    loop {
        let answer = caller.answer(&request).await?;
        room.take(answer.bytes)?;
        let list = list_of(caller, &answer).await?;
        let ends = is_empty(&list);
        lists.push(list);
        let next = match &pages.next {
            NextPage::Number { parameter, first: number } => {
                (!ends).then(|| with_parameter(&first, parameter, &(number + lists.len() as u64).to_string()))
            }
            NextPage::Cursor { path, parameter } => {
                cursor(&answer.json, path)?.map(|cursor| with_parameter(&first, parameter, &cursor))
            }
            NextPage::Link => match link::next(&answer.headers) {
                Some(url) => Some(resolved(caller, &answer, &request.target, &url)?),
                None => None,
            },
            NextPage::Url(path) => match url(&answer.json, path)? {
                Some(url) => Some(resolved(caller, &answer, &request.target, &url)?),
                None => None,
            },
        };
        let truncated = next.is_some() && lists.len() >= pages.pages_max;
        match next {
            Some(next) if !truncated => {
                if next.len() > TARGET_BYTES_MAX {
                    return Err(PartCause::NextPage(TOO_LONG));
                }
                if !asked.insert(next.clone()) {
                    return Err(PartCause::NextPage("the next page is one that was asked for before"));
                }
                request.target = next;
            }
            _ => {
                let list = room.made(&lists, || Json::joined(&lists).ok_or(PartCause::NoList("a page")))?;
                return Ok(Followed { list, truncated });
            }
        }
    }
}

/// The list of a page. Null is an empty one, as many say it.
async fn list_of(caller: Caller<'_>, answer: &Answer) -> Result<Json, PartCause> {
    let list = target(caller, &answer.json).await?;
    match list.kind() {
        Kind::List => Ok(list),
        Kind::Null => Ok(Json::list(&[])),
        _ => Err(PartCause::NoList("a page")),
    }
}

fn is_empty(list: &Json) -> bool {
    list.as_bytes()[1..].trim_ascii_start() == b"]"
}

/// The cursor of the next page; none, null and "" say that there is none.
fn cursor(answer: &Json, path: &[String]) -> Result<Option<String>, PartCause> {
    let Some(cursor) = answer.at(path) else { return Ok(None) };
    if cursor.as_bytes().len() > TARGET_BYTES_MAX {
        return Err(PartCause::NextPage(TOO_LONG));
    }
    match cursor.kind() {
        Kind::Null => Ok(None),
        Kind::Number => Ok(Some(String::from_utf8_lossy(cursor.as_bytes()).into_owned())),
        Kind::String => match cursor.text() {
            Some(text) => Ok(Some(text.into_owned()).filter(|text| !text.is_empty())),
            None => Err(PartCause::NextPage("the cursor is no text")),
        },
        Kind::Boolean | Kind::List | Kind::Object => {
            Err(PartCause::NextPage("the cursor is neither a text nor a number"))
        }
    }
}

/// The URL of the next page, likewise.
fn url(answer: &Json, path: &[String]) -> Result<Option<String>, PartCause> {
    let Some(url) = answer.at(path) else { return Ok(None) };
    if url.as_bytes().len() > TARGET_BYTES_MAX {
        return Err(PartCause::NextPage(TOO_LONG));
    }
    match (url.kind(), url.text()) {
        (Kind::Null, _) => Ok(None),
        (Kind::String, Some(text)) => Ok(Some(text.into_owned()).filter(|text| !text.is_empty())),
        _ => Err(PartCause::NextPage("the URL of the next page is no text")),
    }
}

/// Path and query of a URL that an answer gives, without the parameters that the credential sets (SEC-10).
fn resolved(caller: Caller<'_>, answer: &Answer, current: &str, url: &str) -> Result<String, PartCause> {
    let at = answer.moved.as_deref().map(Upstream::url).or(caller.call().config.url.fixed());
    let at = at.ok_or(PartCause::NextPage("nobody knows where this page came from"))?;
    let origin =
        reference::Origin { https: at.https, host: &at.host, port: at.port, base: caller.call().config.url.path() };
    let target = reference::resolve(origin, current, url).map_err(PartCause::NextPage)?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut target = path.to_owned();
    caller.add_query(&mut target, query);
    Ok(target)
}

/// The first page's target with this parameter, in place of its own of that name. It is none that the credential sets: resolve
/// refuses that.
fn with_parameter(target: &str, name: &str, value: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let others = query::without(query, &[name.to_owned()]);
    let parameter = [encoded(name), Cow::Borrowed("="), encoded(value)].concat();
    let between = if others.is_empty() { "" } else { "&" };
    [path, "?", &others, between, &parameter].concat()
}

fn encoded(text: &str) -> Cow<'_, str> {
    percent_encoding::utf8_percent_encode(text, NOT_UNRESERVED).into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn json(text: &'static str) -> Json {
        Json::check(Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_parameter_takes_the_place_of_its_own() {
        for (target, whole) in [
            ("/a", "/a?p=x%26y"),
            ("/a?b=1", "/a?b=1&p=x%26y"),
            ("/a?p=0&b=1&p=2", "/a?b=1&p=x%26y"),
            ("/a?%70=0", "/a?p=x%26y"),
        ] {
            assert_eq!(with_parameter(target, "p", "x&y"), whole, "{target}");
        }
    }

    #[test]
    fn a_cursor_is_a_text_or_a_number_or_the_end() {
        let path = ["next".to_owned()];
        for (text, expected) in [
            ("{}", Some(None)),
            (r#"{"next":null}"#, Some(None)),
            (r#"{"next":""}"#, Some(None)),
            (r#"{"next":"a\/b"}"#, Some(Some("a/b"))),
            (r#"{"next":12345678901234567890123}"#, Some(Some("12345678901234567890123"))),
            (r#"{"next":{}}"#, None),
            (r#"{"next":true}"#, None),
        ] {
            let found = cursor(&json(text), &path).ok();
            assert_eq!(found.as_ref().map(Option::as_deref), expected, "{text}");
        }
        assert!(url(&json(r#"{"next":3}"#), &path).is_err());
    }

    #[test]
    fn an_empty_list_may_have_space_in_it() {
        assert!(is_empty(&json("[ \n]")) && !is_empty(&json("[ [] ]")));
    }
}
