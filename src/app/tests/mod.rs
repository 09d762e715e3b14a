//! The whole process, in this one: real configuration files, a scripted upstream, plain blocking clients.

mod admin;
mod control;
mod drain;
mod process;
mod reload;
mod rig;
mod watch;

pub(crate) use process::in_a_process_of_its_own;
use rig::{Client, Rig};
