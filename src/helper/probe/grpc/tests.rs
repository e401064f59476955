use super::*;

fn answer(status: &str, message: &[u8]) -> Answer {
    let headers =
        [(":status", "200"), ("grpc-status", "0"), ("grpc-status", status), ("grpc-message", "why%3F%zz")];
    let headers = headers.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
    Answer { headers, message: message.to_vec() }
}

#[test]
fn only_serving_is_good() {
    let line = |status: &str, message: &[u8]| {
        let outcome = judge(&answer(status, message), "svc", 1500);
        (outcome.verdict.exit_code(), outcome.line)
    };
    assert_eq!(line("0", b"\0\0\0\0\x02\x08\x01"), (0, "SERVING".into()));
    // A field that is not known, then the status.
    assert_eq!(line("0", b"\0\0\0\0\x06\x12\x02hi\x08\x01"), (0, "SERVING".into()));
    let bad = |message: &[u8]| {
        let (code, line) = line("0", message);
        assert_eq!(code, 1, "{line}");
        line
    };
    assert!(bad(b"\0\0\0\0\0").ends_with("UNKNOWN"));
    assert!(bad(b"\0\0\0\0\x02\x08\x02").ends_with("NOT_SERVING"));
    assert!(bad(b"\0\0\0\0\x02\x08\x03").ends_with("SERVICE_UNKNOWN"));
    assert!(bad(b"\0\0\0\0\x02\x08\x7f").ends_with("status 127"));
    for message in [
        &b""[..],
        b"\x01\0\0\0\x02\x08\x01",
        b"\0\0\0\0\x03\x08\x01",
        b"\0\0\0\0\x01\x08",
        b"\0\0\0\0\x02\x0a\x09",
    ] {
        assert!(bad(message).contains("HealthCheckResponse"), "{message:?}");
    }
    assert_eq!(
        line("12", b""),
        (1, "the server has no grpc.health.v1.Health (UNIMPLEMENTED: why?%zz)".into())
    );
    assert_eq!(line("5", b""), (1, "the server knows no service \"svc\" (NOT_FOUND: why?%zz)".into()));
    assert_eq!(line("4", b""), (1, "the health check did not end within 1.5s: why?%zz".into()));
    assert_eq!(line("14", b""), (1, "gRPC status UNAVAILABLE: why?%zz".into()));
    assert_eq!(line("99", b""), (1, "gRPC status 99: why?%zz".into()));
}

#[test]
fn an_answer_of_another_kind_of_server_is_told() {
    let headers = vec![(b":status".to_vec(), b"404".to_vec())];
    let outcome = judge(&Answer { headers, message: Vec::new() }, "", 1000);
    assert!(outcome.line.contains("HTTP status 404"), "{}", outcome.line);
    assert!(judge(&Answer::default(), "", 1000).line.contains("no grpc-status"));
}

#[test]
fn requests_name_their_service() {
    assert_eq!(request(""), b"\0\0\0\0\0");
    assert_eq!(request("etcd"), b"\0\0\0\0\x06\x0a\x04etcd");
    let long = "x".repeat(300);
    assert_eq!(request(&long)[..8], *b"\0\0\0\x01\x2f\x0a\xac\x02");
}
