//! What a token endpoint answers, read as the proxy reads it and shown as `attache token` shows it.
#![no_main]

use attache::credential::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    fuzz::token_answer(data);
    fuzz::shown_answer(data);
    fuzz::aws_keys_answer(data);
    fuzz::nonce_and_claims(data);
});
