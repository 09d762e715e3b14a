//! The answer while parts are put into it: what is their own stays text until two parts say something of one place.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::proxy::aggregate::json::Kind;
use crate::proxy::aggregate::json::walk::{Name, for_each_member, kind, list_interior, separate, write_items};
use crate::proxy::aggregate::shape::write_string;
use crate::snapshot::Held;
use crate::snapshot::plan::{Collision, Place};

/// So many members are searched one by one; for more there is an index.
const SEARCHED_MAX: usize = 16;
/// What a member of an opened object takes at most, in bytes: itself and its place in the index, in tables that are copied into
/// larger ones; or that it is one of lists that become one.
const MEMBER_BYTES: usize = 320;
/// What an opened object takes beside its members, in bytes.
const OBJECT_BYTES: usize = 128;

/// A value of the answer. Where texts are opened they are counted by `held`; `None` is: there is no room.
pub(super) enum Node<'a> {
    /// As it came.
    Text(&'a str),
    Object(Box<Object<'a>>),
    /// What stands between the brackets of lists that became one.
    Lists(Vec<&'a str>),
}

pub(super) struct Object<'a> {
    members: Vec<(MemberName<'a>, Node<'a>)>,
    /// By name, once there are many.
    index: Option<HashMap<Cow<'a, [u8]>, usize>>,
    /// A place for several parts, which is no part's own value. So what two of them say of it is no collision.
    shared: bool,
}

enum MemberName<'a> {
    Ours(&'a str),
    Theirs(Name<'a>),
}

impl<'a> Node<'a> {
    pub(super) fn root(members: usize) -> Node<'a> {
        Node::from(Object { members: Vec::with_capacity(members), ..Object::empty(true) })
    }

    /// The members of an object's text; of a name that occurs twice the last one counts.
    pub(super) fn opened(text: &'a str, held: &mut Held) -> Option<Node<'a>> {
        Object::opened(text, true, held).map(Node::from)
    }

    /// Puts a part's value at its place in this object. Without a rule nothing is known to collide.
    pub(super) fn add(
        &mut self,
        place: &'a Place,
        value: &'a str,
        rule: Option<Collision>,
        held: &mut Held,
    ) -> Option<()> {
        let rule = rule.unwrap_or(Collision::Last);
        let (path, node) = match place {
            Place::Hidden => return Some(()),
            Place::At(path) => (path, Node::Text(value)),
            Place::Merged(path) if kind(value.as_bytes()) == Kind::Object => (path, Node::opened(value, held)?),
            // Null has no members. What else has none did not fit, so that its part failed.
            Place::Merged(_) => return Some(()),
        };
        let Some((first, rest)) = path.split_first() else { return self.combine(node, rule, held) };
        let node = rest.iter().rev().fold(node, |node, name| Node::from(Object::around(name, node)));
        self.open(held)?.put(MemberName::Ours(first), node, rule, held)
    }

    /// Makes this the last member, in place of any of this name.
    pub(super) fn set(&mut self, name: &'a str, value: &'a str, held: &mut Held) -> Option<()> {
        let object = self.open(held)?;
        object.members.retain(|(known, _)| known.bytes() != name.as_bytes());
        object.members.push((MemberName::Ours(name), Node::Text(value)));
        object.index = None;
        Some(())
    }

    /// What becomes of two values of one place, of which this is the earlier.
    fn combine(&mut self, later: Node<'a>, rule: Collision, held: &mut Held) -> Option<()> {
        let goes_into_the_other = self.is_shared() || later.is_shared();
        let merges = goes_into_the_other || matches!(rule, Collision::Deep | Collision::Concat);
        if merges && self.kind() == Kind::Object && later.kind() == Kind::Object {
            let later = later.into_object(held)?;
            return self.open(held)?.merge(later, rule, held);
        }
        match rule {
            Collision::First => {}
            Collision::Concat if self.kind() == Kind::List && later.kind() == Kind::List => {
                let mut lists = std::mem::replace(self, Node::Text("")).into_lists();
                lists.extend(later.into_lists());
                *self = Node::Lists(lists);
            }
            Collision::Last | Collision::Deep | Collision::Concat => *self = later,
        }
        Some(())
    }

    fn kind(&self) -> Kind {
        match self {
            Node::Text(text) => kind(text.as_bytes()),
            Node::Object(_) => Kind::Object,
            Node::Lists(_) => Kind::List,
        }
    }

    fn is_shared(&self) -> bool {
        matches!(self, Node::Object(object) if object.shared)
    }

    /// Makes an object's text an object.
    fn open(&mut self, held: &mut Held) -> Option<&mut Object<'a>> {
        if let Node::Text(text) = *self {
            *self = Object::opened(text, false, held)?.into();
        }
        match self {
            Node::Object(object) => Some(object),
            Node::Text(_) | Node::Lists(_) => unreachable!("only objects are opened"),
        }
    }

    fn into_object(mut self, held: &mut Held) -> Option<Object<'a>> {
        let object = self.open(held)?;
        Some(std::mem::replace(object, Object::empty(false)))
    }

    fn into_lists(self) -> Vec<&'a str> {
        match self {
            Node::Lists(lists) => lists,
            Node::Text(text) => list_interior(text).into_iter().collect(),
            Node::Object(_) => Vec::new(),
        }
    }

    /// How many bytes it is written in.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Node::Text(text) => text.len(),
            Node::Lists(lists) => {
                let full: Vec<_> = lists.iter().filter(|list| !list.is_empty()).collect();
                2 + full.len().saturating_sub(1) + full.iter().map(|list| list.len()).sum::<usize>()
            }
            Node::Object(object) => {
                let members = object.members.iter().map(|(name, node)| name.written_bytes() + 1 + node.bytes());
                2 + object.members.len().saturating_sub(1) + members.sum::<usize>()
            }
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Node::Text(text) => out.extend_from_slice(text.as_bytes()),
            Node::Lists(lists) => {
                out.push(b'[');
                lists.iter().for_each(|list| write_items(out, list));
                out.push(b']');
            }
            Node::Object(object) => {
                out.push(b'{');
                for (name, node) in &object.members {
                    separate(out);
                    name.write(out);
                    out.push(b':');
                    node.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

impl<'a> Object<'a> {
    fn empty(shared: bool) -> Object<'a> {
        Object { members: Vec::new(), index: None, shared }
    }

    fn around(name: &'a str, node: Node<'a>) -> Object<'a> {
        Object { members: vec![(MemberName::Ours(name), node)], ..Object::empty(true) }
    }

    fn opened(text: &'a str, shared: bool, held: &mut Held) -> Option<Object<'a>> {
        let (mut members, mut bytes) = (0, OBJECT_BYTES);
        for_each_member(text, |name, _| {
            members += 1;
            bytes += MEMBER_BYTES + name.owned_bytes();
        });
        if !held.grow(bytes) {
            return None;
        }
        let mut object = Object { members: Vec::with_capacity(members), ..Object::empty(shared) };
        let mut put = Some(());
        for_each_member(text, |name, value| {
            let node = Node::Text(value);
            put = put.and_then(|()| object.put(MemberName::Theirs(name), node, Collision::Last, held));
        });
        put.map(|()| object)
    }

    /// What later parts say of this object's members.
    fn merge(&mut self, later: Object<'a>, rule: Collision, held: &mut Held) -> Option<()> {
        self.shared |= later.shared;
        // Doubled it would take more than was counted.
        self.members.reserve_exact(later.members.len());
        later.members.into_iter().try_for_each(|(name, node)| self.put(name, node, rule, held))
    }

    fn put(&mut self, name: MemberName<'a>, node: Node<'a>, rule: Collision, held: &mut Held) -> Option<()> {
        match self.position(name.bytes()) {
            Some(at) => self.members[at].1.combine(node, rule, held),
            None => {
                if let Some(index) = &mut self.index {
                    index.insert(name.decoded(), self.members.len());
                }
                self.members.push((name, node));
                Some(())
            }
        }
    }

    fn position(&mut self, name: &[u8]) -> Option<usize> {
        if self.members.len() < SEARCHED_MAX {
            return self.members.iter().position(|(known, _)| known.bytes() == name);
        }
        let names = self.members.iter().enumerate();
        let index = self.index.get_or_insert_with(|| names.map(|(at, (name, _))| (name.decoded(), at)).collect());
        index.get(name).copied()
    }
}

impl<'a> From<Object<'a>> for Node<'a> {
    fn from(object: Object<'a>) -> Self {
        Node::Object(Box::new(object))
    }
}

impl<'a> MemberName<'a> {
    fn bytes(&self) -> &[u8] {
        match self {
            MemberName::Ours(name) => name.as_bytes(),
            MemberName::Theirs(name) => &name.decoded,
        }
    }

    fn decoded(&self) -> Cow<'a, [u8]> {
        match self {
            MemberName::Ours(name) => Cow::Borrowed(name.as_bytes()),
            MemberName::Theirs(name) => name.decoded.clone(),
        }
    }

    fn written_bytes(&self) -> usize {
        match self {
            // A name of the configuration is short, and hardly ever escaped.
            MemberName::Ours(name) if is_plain(name) => name.len() + 2,
            MemberName::Ours(name) => {
                let mut out = Vec::new();
                write_string(&mut out, name);
                out.len()
            }
            MemberName::Theirs(name) => name.raw.len(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            MemberName::Ours(name) => write_string(out, name),
            MemberName::Theirs(name) => out.extend_from_slice(name.raw.as_bytes()),
        }
    }
}

/// Whether JSON writes this text as it is.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| !byte.is_ascii_control() && byte != b'"' && byte != b'\\')
}
