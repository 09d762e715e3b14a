//! Which route a request takes. Imports nothing of ours: patterns come in as plain data.

mod path;
mod table;

pub use path::{PathRefused, check_path};
pub use table::{Matched, NoRoute, Pattern, PatternSegment, RouteTable};
