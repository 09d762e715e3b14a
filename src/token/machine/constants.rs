//! The numbers of a token's life. What has a key in proxy.toml is not here: its default is in `config`.

use std::time::Duration;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// W is at most this long (States).
pub const WINDOW_MAX: Duration = secs(60 * 60);
/// A token without a lifetime is renewed this often (TL-13).
pub const SOFT_WITHOUT_LIFETIME: Duration = secs(45 * 60);
/// A token is late this long before its expiry, or L/10 (States).
pub const LATE_BEFORE_MAX: Duration = secs(60);
/// A token is dead this long before its expiry, or L/20 (States).
pub const DEAD_BEFORE_MAX: Duration = secs(5);
/// Soft is a random part of W before expiry, from here to all of it (States).
pub const SOFT_SPREAD_MIN: f64 = 0.8;

/// A request waits for a token at most this long, whatever its own deadline (TL-20), and so does suspicion (TL-41).
pub const WAIT_MAX: Duration = secs(10);
/// A request waits for a next try that is due within this time (TL-25).
pub const NEXT_TRY_WAIT_MAX: Duration = secs(2);
/// What a client is told when a fetch is still running as its wait ends (TL-20).
pub const RETRY_AFTER_RUNNING: Duration = secs(1);

/// Between a token that could not be cached and the next fetch (TL-14).
pub const UNCACHEABLE_PAUSE: Duration = secs(1);
/// How many fetches in a row may bring such a token before that is a failure (TL-14).
pub const UNCACHEABLE_MAX: u32 = 2;

/// Full jitter over these pauses; as many retries within a fetch (TL-32).
pub const RETRY_PAUSES: [Duration; 2] = [millis(250), secs(1)];
/// While a token serves, an attempt is given at least this long (TL-32).
pub const ATTEMPT_MIN_WHILE_USABLE: Duration = secs(1);
/// The first backoff, before doubling and jitter (TL-32).
pub const BACKOFF_BASE: Duration = secs(1);
/// Tries are at least this far apart; so are the beginnings of fetches, however short tokens live (TL-32).
pub const BACKOFF_MIN: Duration = millis(250);
/// While a token serves, backoff is at most this, or a quarter of what is left (TL-32).
pub const BACKOFF_MAX_WHILE_USABLE: Duration = secs(60);
/// While a token is late, backoff is at most this, or a quarter of what is left (TL-23).
pub const BACKOFF_MAX_WHILE_LATE: Duration = secs(5);
/// With nothing usable, backoff is at most this (TL-32).
pub const BACKOFF_MAX_DEAD: Duration = secs(30);
/// The first pause after a refusal, before doubling (TL-26).
pub const PROBE_BASE: Duration = secs(5);
/// Probes of a refused credential are at most this far apart (TL-26).
pub const PROBE_MAX: Duration = secs(5 * 60);

/// A `Retry-After` up to this is waited out within the fetch (TL-33).
pub const RETRY_AFTER_WITHIN_FETCH_MAX: Duration = secs(2);
/// A `Retry-After` holds a client back at most this long (TL-33).
pub const HOLD_MAX: Duration = secs(60 * 60);
/// A `Retry-After` that came for one subject holds others back at most this long. It may be meant for that one alone, which
/// nobody says: then another one's exchange tells, and if it is meant for the client, asking so seldom does no harm.
pub const SUBJECT_HOLD_MAX: Duration = secs(5);
/// Fetches at once at one token endpoint's origin (TL-34).
pub const FETCHES_PER_ORIGIN_MAX: usize = 4;

/// An expiry that moved by less than this, or 1 % of L, did not move (TL-36).
pub const EXPIRY_MOVED_MIN: Duration = secs(2);
/// The least pause after the same token came again, or L/20 but [`BACKOFF_MIN`] (TL-36).
pub const SAME_TOKEN_PAUSE_MIN: Duration = secs(5);

/// How long rejections start no fetch after one that proved nothing; doubles (TL-43).
pub const GUARD_BASE: Duration = secs(30);
/// Where the doubling ends; a quiet time as long starts it anew (TL-43).
pub const GUARD_MAX: Duration = secs(5 * 60);
/// A rejected token younger than this, or L/10, starts no fetch (TL-43).
pub const YOUNG_MAX: Duration = secs(10);

/// Subjects whose tokens are held at once (TL-70).
pub const SUBJECTS_MAX: usize = 100_000;
/// What they may take of memory, as far as it is known of them: half of what a small machine or container has.
pub const SUBJECT_BYTES_MAX: usize = 512 * 1024 * 1024;
/// What a subject takes without a token, measured.
pub const SUBJECT_BYTES: usize = 2 * 1024;
/// What its token takes beside its own bytes, measured: nearly all of it is for finding it in answers.
pub const SUBJECT_TOKEN_BYTES: usize = 6 * 1024;
/// How often a token's own bytes are held: as it is, as it is attached, and as what to look for in answers.
pub const SUBJECT_TOKEN_COPIES: usize = 8;
/// A subject that nobody came for in this time is forgotten.
pub const SUBJECT_IDLE_MAX: Duration = secs(60 * 60);
/// One for whom there is no token is forgotten sooner: it would be asked for again this often anyway.
pub const SUBJECT_EMPTY_IDLE_MAX: Duration = PROBE_MAX;
/// How often it is looked who that is.
pub const SUBJECT_SWEEP_EVERY: Duration = secs(60);
/// While so many fetches are under way in the process, none is begun for a subject without a token.
pub const SUBJECT_FETCHES_MAX: usize = 1_000;
/// A subject token that lives no longer than this beyond what it was exchanged for is what ends that.
pub const SUBJECT_OUTLIVES_MIN: Duration = secs(5);

/// Fetches at start are spread over this time (TL-29).
pub const WARM_SPREAD: Duration = secs(10);
/// A sleeping timer reads the clock at least this often, because that clock counts suspend (TL-15).
pub const SLEEP_SLICE_MAX: Duration = secs(30);
/// Shutdown waits for fetches in flight at most this long (TL-55).
pub const DRAIN_MAX: Duration = secs(10);

/// A request that waits for a token waits at most this long for an intent to be saved, and as long for a refresh token
/// (TL-50, TL-51).
pub const SAVE_WAIT_MAX: Duration = secs(2);
/// The first pause after saving failed, before doubling (TL-51).
pub const SAVE_RETRY_BASE: Duration = secs(1);
/// Where the doubling ends.
pub const SAVE_RETRY_MAX: Duration = secs(60);
/// Writes to the store that wait for it at once.
pub const STORE_CALLS_MAX: usize = 4;
