//! The integration tests: one binary, the real proxy, scripted peers and real ones.

mod attacks;
mod commands;
mod demo;
mod descriptors;
mod examples;
mod fences;
mod forwarding;
mod grpc;
mod h2;
mod h2_attacks;
mod house;
mod metrics;
mod oidc;
mod packaging;
mod panics;
mod promises;
mod rejection;
mod reload_streams;
mod request_path;
mod secrets;
mod sources;
mod starting;
mod streaming;
mod support;
mod support_works;
mod under_load;
