//! What the process asks of the system for itself: descriptors, no core files, and what a panic says.

use std::panic::PanicHookInfo;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::descriptors::RESERVED_DESCRIPTORS;

/// Keeps secrets out of core files, and other processes of the same user out of our memory (SEC-15).
///
/// What the system refuses is logged: it is a lock less, not a reason to stay down.
pub fn harden() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "cannot switch off core files");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "cannot keep other processes of this user from reading our memory");
    }
}

/// Raises the number of descriptors to what the system allows, and returns it.
pub(super) fn raise_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // `None` is "unlimited" to the library.
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        Err(_) => limit,
    };
    limit.current.map_or(usize::MAX, |current| usize::try_from(current).unwrap_or(usize::MAX))
}

/// The warning for a limit that is too low, if it is.
pub(super) fn descriptors_warning(descriptors: usize, connections_max: usize) -> Option<String> {
    let wanted = connections_max.saturating_mul(2).saturating_add(RESERVED_DESCRIPTORS);
    (descriptors < wanted).then(|| {
        format!(
            "the system allows {descriptors} file descriptors, but limits.connections_max = {connections_max} wants \
             {wanted} (two for each connection and {RESERVED_DESCRIPTORS}): fewer connections will be accepted; raise \
             RLIMIT_NOFILE (ulimit -n, LimitNOFILE=) or lower connections_max"
        )
    })
}

/// Says where and why something panicked, in a line of the log.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed").to_owned();
        let at = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let why = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(thread, at, "panic: {why}");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::tests::in_a_process_of_its_own;

    #[test]
    fn a_low_limit_is_warned_of_with_the_number_that_is_wanted() {
        assert_eq!(descriptors_warning(20_256, 10_000), None);
        assert!(descriptors_warning(20_255, 10_000).unwrap().contains("20256"));
    }

    /// SEC-15, and the attack S03: no core files, and not readable for other processes of the user.
    #[test]
    fn a_hardened_process_leaves_no_core_and_cannot_be_read() {
        in_a_process_of_its_own("app::process::tests::a_hardened_process_leaves_no_core_and_cannot_be_read", || {
            harden();
            assert_eq!(getrlimit(Resource::Core).current, Some(0));
            let behaviour = rustix::process::dumpable_behavior().unwrap();
            assert_eq!(behaviour, DumpableBehavior::NotDumpable);
        });
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        in_a_process_of_its_own("app::process::tests::the_soft_limit_is_raised_to_the_hard_one", || {
            let maximum = getrlimit(Resource::Nofile).maximum;
            setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).unwrap();
            let raised = raise_descriptors();
            assert_eq!(getrlimit(Resource::Nofile).current, maximum);
            assert_eq!(Some(raised as u64), maximum);
        });
    }
}
