//! When a call is made again, and after how long.

use std::time::Duration;

use http::StatusCode;

use crate::proxy::failure::{Failure, PartCause};
use crate::upstream::ExchangeErrorKind;

/// The longest pause before the first further try; it doubles with each.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Whether another try may fare better. A try that took too long is not made again: its time is gone.
pub(super) fn helps(cause: &PartCause) -> bool {
    match cause {
        PartCause::Status(refusal) => matches!(
            refusal.status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        ),
        PartCause::Broken(_) => true,
        PartCause::Call(failure) => match &**failure {
            Failure::Exchange(error) => matches!(
                error.kind,
                ExchangeErrorKind::Resolve | ExchangeErrorKind::Connect | ExchangeErrorKind::Closed
            ),
            _ => false,
        },
        _ => false,
    }
}

/// How long to wait before the next try: as long as was asked for, else any time up to a bound that doubles, so that those
/// who failed together do not come back together. `None`: that is longer than there is time.
pub(super) fn pause(tried: u32, retry_after: Option<Duration>, left: Duration) -> Option<Duration> {
    let pause = retry_after.unwrap_or_else(|| PAUSE_MAX.saturating_mul(1 << tried.min(10)).mul_f64(fastrand::f64()));
    (pause < left).then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::failure::Refusal;

    #[test]
    fn a_pause_doubles_and_never_lasts_longer_than_there_is_time() {
        let second = Duration::from_secs(1);
        for tried in 0..4 {
            let bound = PAUSE_MAX * (1 << tried);
            let pauses: Vec<_> = (0..200).map(|_| pause(tried, None, second).unwrap()).collect();
            assert!(pauses.iter().all(|pause| *pause <= bound));
            assert!(pauses.iter().any(|pause| *pause > bound / 2) && pauses.iter().any(|pause| *pause < bound / 2));
        }
        assert_eq!(pause(0, Some(second * 2), second * 3), Some(second * 2));
        assert_eq!(pause(0, Some(second * 2), second * 2), None);
        assert_eq!(pause(0, None, Duration::ZERO), None);
    }

    #[test]
    fn what_would_fail_again_is_not_tried_again() {
        for (status, expected) in [(429, true), (502, true), (503, true), (504, true), (500, false), (404, false)] {
            let status = StatusCode::from_u16(status).unwrap();
            let refusal = Refusal { status, retry_after: None, of_credential: false };
            assert_eq!(helps(&PartCause::Status(refusal)), expected, "{status}");
        }
        assert!(helps(&PartCause::Broken(String::new())));
        assert!(!helps(&PartCause::Timeout) && !helps(&PartCause::NotJson(String::new())));
    }
}
