//! attache: a reverse proxy that attaches credentials to requests to third-party APIs.
//!
//! ARCHITECTURE.md walks through the modules; `tests/it/house.rs` holds their imports to the floors given there.
#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod cli;
pub mod client_auth;
pub mod clock;
pub mod config;
pub mod credential;
pub mod demo;
pub mod descriptors;
pub mod fields;
pub mod jws;
pub mod listener;
pub mod metrics;
pub mod proxy;
pub mod route;
pub mod secret;
pub mod snapshot;
mod tcp;
pub mod token;
pub mod upstream;
