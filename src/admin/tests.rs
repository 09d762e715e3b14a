//! The admin listener over real connections.
