//! What an API answers for a part of an aggregate, checked, opened and edited.
#![no_main]

use attache::proxy::aggregate::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    fuzz::shaped_answer(data);
});
