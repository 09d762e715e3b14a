use super::*;
use crate::snapshot::plan::FailStatus;
use crate::token::{FetchError, Reached};

fn fetch_error(kind: FetchErrorKind) -> FetchError {
    fetch_error_when(kind, Reached::Answered)
}

fn fetch_error_when(kind: FetchErrorKind, reached: Reached) -> FetchError {
    let text = "asking login.crm.example: it answered 503 \"backend 10.1.2.3 is down\"";
    FetchError { kind, reached, code: Some("invalid_scope"), text: Arc::from(text) }
}

fn no_token(cause: TokenUnavailable) -> Failure {
    Failure::NoToken { credential: Arc::from("crm"), cause }
}

fn no_subject(flaw: SubjectFlaw) -> Failure {
    Failure::NoSubject { credential: Arc::from("crm"), header: HeaderName::from_static("x-subject-token"), flaw }
}

fn exchange(kind: ExchangeErrorKind) -> Failure {
    let text = "connecting to 10.1.2.3:443 (api.crm.example): refused".to_owned();
    Failure::Exchange(ExchangeError { kind, text, nothing_sent: true, reused_closed: false, connection_ends: false })
}

fn unfilled(by_client: bool) -> Unfilled {
    Unfilled { text: "the placeholder {x} has no value".to_owned(), by_client }
}

fn part(cause: PartCause) -> Failure {
    Failure::Part(Box::new(PartFailure {
        part: Arc::from("orders"),
        cause: Arc::new(cause),
        status: FailStatus::Default,
    }))
}

fn status(status: u16) -> PartCause {
    of_credential(status, false)
}

fn of_credential(status: u16, of_credential: bool) -> PartCause {
    PartCause::Status(Refusal { status: StatusCode::from_u16(status).unwrap(), retry_after: None, of_credential })
}

/// Every failure with the status, problem name, error type and fault that it must have.
fn table() -> Vec<(Failure, u16, &'static str, &'static str, &'static str)> {
    use ExchangeErrorKind as K;
    let (request, denied) = ("http_request_error", "http_request_denied");
    let temporarily = |error| TokenUnavailable::Temporarily { error, retry_after: Duration::from_millis(1500) };
    let transient = Some(fetch_error(FetchErrorKind::Transient));
    let limited = Some(fetch_error(FetchErrorKind::RateLimited { retry_after: None }));
    let refused = TokenUnavailable::Refused { error: fetch_error(FetchErrorKind::Refused) };
    let of_subject = TokenUnavailable::Refused { error: fetch_error(FetchErrorKind::SubjectRefused) };
    vec![
        (Failure::BadTarget("x"), 400, "bad_target", request, "client"),
        (Failure::BadHost("x"), 400, "bad_host", request, "client"),
        (Failure::BadPath("x"), 400, "bad_path", request, "client"),
        (Failure::ConnectRefused, 405, "connect_refused", denied, "client"),
        (Failure::TraceRefused, 405, "trace_refused", denied, "client"),
        (Failure::RequestLineTooLong, 414, "request_line_too_long", request, "client"),
        (Failure::HeadersTooLarge, 431, "headers_too_large", request, "client"),
        (Failure::TooManyHeaders, 431, "too_many_headers", request, "client"),
        (Failure::UnknownTransferCoding, 501, "unknown_transfer_coding", request, "client"),
        (Failure::UnknownExpectation, 417, "unknown_expectation", request, "client"),
        (Failure::NoRoute, 404, "no_route", request, "client"),
        (Failure::MethodNotAllowed(vec![Method::GET, Method::PUT]), 405, "method_not_allowed", request, "client"),
        (Failure::Unrecognised(Unrecognised::Missing), 401, "key_missing", denied, "client"),
        (Failure::Unrecognised(Unrecognised::Unknown), 401, "key_unknown", denied, "client"),
        (Failure::Unrecognised(Unrecognised::Ambiguous), 400, "key_ambiguous", request, "client"),
        (Failure::Unrecognised(Unrecognised::Malformed), 400, "key_malformed", request, "client"),
        (Failure::ClientNotAllowed, 403, "client_not_allowed", denied, "client"),
        (Failure::Loop, 508, "loop", "proxy_loop_detected", "proxy"),
        (Failure::Unsignable(Unsignable::BodyTooLarge), 413, "body_too_large_to_sign", denied, "client"),
        (Failure::Unsignable(Unsignable::NoMemory), 503, "no_memory_to_sign", "connection_limit_reached", "proxy"),
        (Failure::Unsignable(Unsignable::LengthUnknown), 411, "signature_needs_length", request, "client"),
        (Failure::Unsignable(Unsignable::SignedByClient), 400, "body_signed_already", request, "client"),
        (Failure::Unsignable(Unsignable::UnsignedChunks), 400, "body_unprotected", request, "client"),
        (Failure::Unsignable(Unsignable::NoRandomBytes), 500, "no_random_bytes", "proxy_internal_error", "proxy"),
        (no_token(temporarily(None)), 503, "token_unavailable", "destination_unavailable", "token_endpoint"),
        (no_token(temporarily(transient)), 503, "token_unavailable", "destination_unavailable", "token_endpoint"),
        (no_token(temporarily(limited)), 503, "token_unavailable", "destination_unavailable", "token_endpoint"),
        (no_token(refused), 502, "token_refused", "proxy_configuration_error", "token_endpoint"),
        (no_token(of_subject), 403, "subject_refused", denied, "client"),
        (no_subject(SubjectFlaw::NotAllowed), 403, "subject_not_allowed", denied, "client"),
        (no_subject(SubjectFlaw::Missing), 400, "subject_missing", request, "client"),
        (no_subject(SubjectFlaw::Malformed), 400, "subject_malformed", request, "client"),
        (exchange(K::Resolve), 502, "upstream_unresolved", "dns_error", "upstream"),
        (exchange(K::AddressRefused), 502, "upstream_address_refused", "destination_ip_prohibited", "proxy"),
        (exchange(K::NoDescriptor), 503, "no_descriptor", "connection_limit_reached", "proxy"),
        (exchange(K::EgressRefused), 502, "egress_refused", "proxy_configuration_error", "proxy"),
        (exchange(K::Connect), 502, "upstream_unreachable", "connection_refused", "upstream"),
        (exchange(K::ConnectTimeout), 504, "upstream_connect_timeout", "connection_timeout", "upstream"),
        (exchange(K::TlsTimeout), 504, "upstream_tls_timeout", "connection_timeout", "upstream"),
        (exchange(K::Tls), 502, "upstream_tls", "tls_protocol_error", "upstream"),
        (exchange(K::Closed), 502, "upstream_closed", "connection_terminated", "upstream"),
        (exchange(K::FirstByteTimeout), 504, "upstream_timeout", "http_response_timeout", "upstream"),
        (exchange(K::BadAnswer), 502, "upstream_bad_answer", "http_protocol_error", "upstream"),
        (exchange(K::ClientBody), 400, "body_broken", request, "client"),
        (exchange(K::TargetTooLong), 414, "target_too_long", request, "client"),
        (exchange(K::ClientBodyTimeout), 408, "body_timeout", request, "client"),
        (exchange(K::TooManyInformational), 502, "upstream_informational", "http_protocol_error", "upstream"),
        (Failure::EncodedAnswer, 502, "encoded_answer", "http_response_content_coding", "upstream"),
        (Failure::PartialAnswer, 502, "partial_answer", "http_protocol_error", "upstream"),
        (Failure::RequestTooLarge, 413, "request_too_large", denied, "client"),
        (Failure::RequestType, 415, "request_not_json_type", request, "client"),
        (Failure::RequestNotJson("is none".to_owned()), 400, "request_not_json", request, "client"),
        (Failure::NoAggregateMemory, 503, "no_memory", "connection_limit_reached", "proxy"),
        (Failure::AggregateDeadline, 504, "deadline", "http_response_timeout", "proxy"),
        (Failure::NoReplayMemory, 503, "no_memory", "connection_limit_reached", "proxy"),
        (part(status(404)), 502, "upstream_status", "destination_unavailable", "upstream"),
        (part(PartCause::Timeout), 504, "timeout", "http_response_timeout", "upstream"),
        (part(PartCause::Deadline), 504, "deadline", "http_response_timeout", "upstream"),
        (part(PartCause::Call(Box::new(exchange(K::Tls)))), 502, "upstream_tls", "tls_protocol_error", "upstream"),
        (part(PartCause::Broken("10.1.2.3".to_owned())), 502, "answer_broken", "http_response_incomplete", "upstream"),
        (part(PartCause::Encoding), 502, "answer_encoding", "http_response_content_coding", "upstream"),
        (part(PartCause::TooLarge(7)), 502, "answer_too_large", "http_response_body_size", "upstream"),
        (part(PartCause::NotJson("is none".to_owned())), 502, "not_json", "http_protocol_error", "upstream"),
        (part(PartCause::NoTarget("it is not there".to_owned())), 502, "no_target", "http_protocol_error", "upstream"),
        (part(PartCause::Unfilled(unfilled(true))), 400, "request_incomplete", request, "client"),
        (part(PartCause::Unfilled(unfilled(false))), 502, "unfilled", "http_protocol_error", "upstream"),
        (part(PartCause::TooLong(unfilled(true))), 400, "request_values_too_long", request, "client"),
        (part(PartCause::TooLong(unfilled(false))), 502, "values_too_long", "http_protocol_error", "upstream"),
        (part(PartCause::NoList("a page")), 502, "no_list", "http_protocol_error", "upstream"),
        (part(PartCause::NoObject), 502, "no_object", "http_protocol_error", "upstream"),
        (part(PartCause::TooManyItems(7)), 502, "too_many_items", "http_protocol_error", "upstream"),
        (part(PartCause::NextPage("it leads elsewhere")), 502, "next_page", "http_protocol_error", "upstream"),
        (part(PartCause::NoMemory), 503, "no_memory", "connection_limit_reached", "proxy"),
        (Failure::Panicked, 500, "internal_error", "proxy_internal_error", "proxy"),
    ]
}

fn document(response: &mut Response<Content>) -> serde_json::Value {
    let Content::Ready(bytes) = response.body_mut() else { panic!("a failure has a document") };
    serde_json::from_slice(bytes).unwrap()
}

/// TL-71, SEC-30, SEC-31, SEC-34: every failure is a problem document that names the one at fault, with `Proxy-Status`.
#[test]
fn every_failure_has_its_answer() {
    let table = table();
    assert_eq!(table.len(), 74);
    for (failure, status, name, proxy_error, fault) in table {
        let mut response = failure.answer("0123456789abcdef", false);
        assert_eq!(response.status().as_u16(), status, "{failure:?}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["proxy-status"], format!("attache; error={proxy_error}"), "{failure:?}");
        let document = document(&mut response);
        assert_eq!(document["type"], format!("urn:attache:problem:{name}"));
        assert_eq!(document["status"], status);
        assert_eq!(document["fault"], fault, "{failure:?}");
        assert_eq!(document["request_id"], "0123456789abcdef");
        let of_credential = fault == "token_endpoint" || name.starts_with("subject_");
        assert_eq!(document.get("credential").is_some(), of_credential, "{failure:?}");
        assert_eq!(document.get("part").is_some(), matches!(failure, Failure::Part(_)), "{failure:?}");
        for member in ["title", "detail"] {
            assert!(!document[member].as_str().unwrap().is_empty(), "{failure:?} has a {member}");
        }
    }
}

/// Attack S04: clients learn neither where an upstream or a token endpoint is nor how it failed in detail: that is for the log.
#[test]
fn no_failure_shows_an_address_or_what_an_endpoint_said() {
    for (failure, ..) in table() {
        let mut response = failure.answer("0", false);
        let shown = format!("{:?} {}", response.headers().clone(), document(&mut response));
        assert!(!shown.contains("10.1.2.3") && !shown.contains("crm.example") && !shown.contains("backend"), "{shown}");
    }
    assert!(exchange(ExchangeErrorKind::Connect).line().contains("10.1.2.3"));
    let refused = no_token(TokenUnavailable::Refused { error: fetch_error(FetchErrorKind::Refused) });
    assert!(refused.line().contains("backend 10.1.2.3"));
    let detail = refused.detail();
    assert!(
        detail.contains("token endpoint of credential `crm` gives this proxy no token")
            && detail.contains("invalid_scope"),
        "{detail}"
    );
}

/// TL-71: a client is told whether the token endpoint is unreachable, silent, busy or unhelpful: each calls for something
/// else.
#[test]
fn what_is_wrong_with_a_token_endpoint_has_words_of_its_own() {
    let said = |error| {
        let retry_after = Duration::from_secs(1);
        no_token(TokenUnavailable::Temporarily { error, retry_after }).detail()
    };
    let transient = |reached| said(Some(fetch_error_when(FetchErrorKind::Transient, reached)));
    let limited = fetch_error(FetchErrorKind::RateLimited { retry_after: None });
    for (detail, words) in [
        (transient(Reached::No), "cannot be reached (invalid_scope)"),
        (transient(Reached::Silent), "has not answered in time (invalid_scope)"),
        (transient(Reached::Answered), "fails to answer with a token (invalid_scope)"),
        (said(Some(limited)), "is rate limiting this proxy (invalid_scope)"),
        (said(None), "has not answered in time"),
    ] {
        let expected = format!("The token endpoint of credential `crm` {words}. The cause has been logged.");
        assert_eq!(detail, expected);
    }
}

#[test]
fn the_log_says_nothing_twice() {
    assert_eq!(Failure::NoRoute.line(), "No route matches");
    assert_eq!(Failure::BadPath("it has //").line(), "The path is ambiguous: it has //");
}

/// TL-20, TL-25: what passes says when to come back, in whole seconds and never too early.
#[test]
fn what_passes_says_when_to_come_back() {
    let retry_after = |milliseconds| {
        let retry_after = Duration::from_millis(milliseconds);
        let failure = no_token(TokenUnavailable::Temporarily { error: None, retry_after });
        failure.answer("0", false).headers()["retry-after"].to_str().unwrap().to_owned()
    };
    assert_eq!([0, 1, 1000, 1001, 60_000].map(retry_after), ["1", "1", "1", "2", "60"]);
    let refused = no_token(TokenUnavailable::Refused { error: fetch_error(FetchErrorKind::Refused) });
    assert!(!refused.answer("0", false).headers().contains_key("retry-after"));
}

/// RFC 9110 sections 11.6.1 and 15.5.6: a 401 has a challenge, a 405 says what is allowed.
#[test]
fn statuses_carry_the_fields_that_they_require() {
    for (failure, status, ..) in table() {
        let response = failure.answer("0", false);
        assert_eq!(response.headers().contains_key("www-authenticate"), status == 401, "{failure:?}");
        assert_eq!(response.headers().contains_key("allow"), status == 405, "{failure:?}");
    }
    let failure = Failure::MethodNotAllowed(vec![Method::GET, Method::PUT]);
    assert_eq!(failure.answer("0", false).headers()["allow"], "GET, PUT");
}

#[test]
fn a_failed_head_request_gets_no_body() {
    let response = Failure::NoRoute.answer("0", true);
    assert!(matches!(response.body(), Content::Empty));
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

/// SEC-43: a credential's cell logs what its token endpoint says, once per fetch, and a pool that there are no descriptors:
/// requests that fail for it must not flood the log.
#[test]
fn what_was_said_already_is_not_logged_for_each_request() {
    for (failure, _, problem, ..) in table() {
        if failure.credential().is_some() || problem == "no_descriptor" {
            assert_eq!(failure.meaning().level, Level::DEBUG, "{failure:?}");
        }
    }
}

/// A required part chooses the status that the whole fails with: its own, if its upstream's answer had one that says that
/// something failed, or a fixed one.
#[test]
fn a_required_part_chooses_the_status() {
    for (cause, mapping, expected) in [
        (status(404), FailStatus::Default, 502),
        (status(404), FailStatus::Own, 404),
        (status(503), FailStatus::Own, 503),
        (status(302), FailStatus::Own, 502),
        (status(401), FailStatus::Own, 502),
        (status(405), FailStatus::Own, 502),
        (status(407), FailStatus::Own, 502),
        (status(426), FailStatus::Own, 502),
        (status(403), FailStatus::Own, 403),
        (of_credential(403, true), FailStatus::Own, 502),
        (of_credential(400, true), FailStatus::Own, 502),
        (of_credential(403, true), FailStatus::Fixed(StatusCode::FORBIDDEN), 403),
        (PartCause::Timeout, FailStatus::Own, 504),
        (PartCause::Timeout, FailStatus::Fixed(StatusCode::NOT_FOUND), 404),
        (status(500), FailStatus::Fixed(StatusCode::FAILED_DEPENDENCY), 424),
    ] {
        let text = format!("{cause:?} {mapping:?}");
        let failure = PartFailure { part: Arc::from("orders"), cause: Arc::new(cause), status: mapping };
        let mut response = Failure::Part(Box::new(failure)).answer("0", false);
        assert_eq!(response.status().as_u16(), expected, "{text}");
        let document = document(&mut response);
        assert_eq!((&document["status"], &document["part"]), (&expected.into(), &"orders".into()));
    }
}
