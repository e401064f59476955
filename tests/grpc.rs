//! gRPC probes against a server that says what real servers have said, byte for byte: gRPC's own C core (under Python), and
//! Go's (in etcd), which compresses its headers with Huffman's code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use podstrap::helper::probe::{ProbeSpec, Verdict};
use podstrap::pod::ProbeAction;

/// C core, service "": SERVING.
const CORE_SERVING: &str = "\
    000018040000000000000400400000000500400000000600004000fe0300000001000004080000000000003f00010000\
    000401000000000000040800000000000000000500000806000000000044b6ddc96f0488f400004e0104000000018840\
    0c636f6e74656e742d74797065106170706c69636174696f6e2f677270634014677270632d6163636570742d656e636f\
    64696e67176964656e746974792c206465666c6174652c20677a69700000070000000000010000000002080100001e01\
    0500000001400b677270632d7374617475730130000c677270632d6d65737361676500";
/// C core, service "bad": NOT_SERVING.
const CORE_NOT_SERVING: &str = "\
    000018040000000000000400400000000500400000000600004000fe0300000001000004080000000000003f00010000\
    000401000000000000040800000000000000000a0000080600000000009bd78f3d58b34ade00004e0104000000018840\
    0c636f6e74656e742d74797065106170706c69636174696f6e2f677270634014677270632d6163636570742d656e636f\
    64696e67176964656e746974792c206465666c6174652c20677a69700000070000000000010000000002080200001e01\
    0500000001400b677270632d7374617475730130000c677270632d6d65737361676500";
/// C core, service "absent", which it does not know.
const CORE_NOT_FOUND: &str = "\
    000018040000000000000400400000000500400000000600004000fe0300000001000004080000000000003f00010000\
    000401000000000000040800000000000000000d000008060000000000739380721c25efb900004e0104000000018840\
    0c636f6e74656e742d74797065106170706c69636174696f6e2f677270634014677270632d6163636570742d656e636f\
    64696e67176964656e746974792c206465666c6174652c20677a6970000005000000000001000000000000001e010500\
    000001400b677270632d7374617475730135000c677270632d6d65737361676500";
/// C core without the health service.
const CORE_UNIMPLEMENTED: &str = "\
    000018040000000000000400400000000500400000000600004000fe0300000001000004080000000000003f00010000\
    00040100000000000004080000000000000000050000080600000000007658b52cbfc8394a0000500105000000018840\
    0c636f6e74656e742d74797065106170706c69636174696f6e2f67727063400b677270632d737461747573023132000c\
    677270632d6d657373616765114d6574686f64206e6f7420666f756e6421";
/// etcd 3.5.1, service "": SERVING.
const GO_SERVING: &str = "\
    00000c0400000000000005000040000003ffffffff000000040100000000000004080000000000000000050000080600\
    0000000002041010090e070700000e010400000001885f8b1d75d0620d263d4c4d656400000700000000000100000000\
    02080100001801050000000140889acac8b21234da8f013040899acac8b5254207317f00";
/// etcd 3.5.1, service "nothing", which it does not know.
const GO_NOT_FOUND: &str = "\
    00000c0400000000000005000040000003ffffffff0000000401000000000000040800000000000000000e0000080600\
    0000000002041010090e0707000031010500000001885f8b1d75d0620d263d4c4d656440889acac8b21234da8f013540\
    899acac8b5254207317f8bb6aeb51fc54a20b677310b";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

/// A frame: kind, flags, stream 1 (or 0 for those of the connection), payload.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let stream = u8::from(matches!(kind, 0 | 1 | 3 | 9));
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

fn probe(port: u16, service: &str, timeout_ms: u64) -> (Verdict, String, Duration) {
    let spec = ProbeSpec {
        action: ProbeAction::Grpc { port, service: service.into() },
        timeout_ms,
        default_host: "127.0.0.1".into(),
        exec: None,
    };
    let begin = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_podstrap"))
        .arg("probe")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(&spec).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert_eq!(line.lines().count(), 1, "{line:?}");
    (Verdict::from_exit_code(output.status.code().unwrap()), line.trim_end().to_owned(), begin.elapsed())
}

/// The bytes of a request, and those that came after it.
type Heard = (Vec<u8>, Vec<u8>);

/// A server for one connection: waits for the whole request, then does `answer`.
fn server(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        // The request ends with a DATA frame that ends the stream.
        while !ends_stream(&request) {
            stream.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        answer(&mut stream);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        (request, rest)
    });
    (address, thread)
}

fn frames(bytes: &[u8]) -> Option<Vec<(u8, u8, Vec<u8>)>> {
    let mut rest = bytes.strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let head = rest.get(..9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        found.push((head[3], head[4], rest.get(9..9 + length)?.to_vec()));
        rest = &rest[9 + length..];
    }
    Some(found)
}

fn ends_stream(bytes: &[u8]) -> bool {
    frames(bytes).is_some_and(|f| f.last().is_some_and(|(kind, flags, _)| (*kind, *flags) == (0, 1)))
}

fn says(bytes: Vec<u8>) -> (Verdict, String) {
    let (address, thread) = server(move |stream| stream.write_all(&bytes).unwrap());
    let (verdict, line, _) = probe(address.port(), "", 5_000);
    thread.join().unwrap();
    (verdict, line)
}

#[test]
fn what_real_servers_say_is_understood() {
    for (bytes, verdict, line) in [
        (CORE_SERVING, Verdict::Success, "SERVING"),
        (GO_SERVING, Verdict::Success, "SERVING"),
        (CORE_NOT_SERVING, Verdict::Failure, "the server is not healthy: NOT_SERVING"),
        (CORE_NOT_FOUND, Verdict::Failure, "the server knows no service \"\" (NOT_FOUND)"),
        (GO_NOT_FOUND, Verdict::Failure, "the server knows no service \"\" (NOT_FOUND: unknown service)"),
        (
            CORE_UNIMPLEMENTED,
            Verdict::Failure,
            "the server has no grpc.health.v1.Health (UNIMPLEMENTED: Method not found!)",
        ),
    ] {
        assert_eq!(says(hex(bytes)), (verdict, line.to_owned()));
    }
}

#[test]
fn the_request_is_the_one_that_servers_know() {
    let (address, thread) = server(|stream| stream.write_all(&hex(GO_SERVING)).unwrap());
    let (verdict, _, _) = probe(address.port(), "kv", 5_000);
    assert_eq!(verdict, Verdict::Success);
    let (request, rest) = thread.join().unwrap();
    let sent = frames(&request).unwrap();
    let kinds: Vec<(u8, u8)> = sent.iter().map(|(k, f, _)| (*k, *f)).collect();
    // SETTINGS, HEADERS that end their block, DATA that ends the stream.
    assert_eq!(kinds, [(4, 0), (1, 4), (0, 1)]);
    let authority = format!("127.0.0.1:{}", address.port());
    for word in ["POST", "/grpc.health.v1.Health/Check", "application/grpc", "trailers", "5000m", &authority]
    {
        assert!(sent[1].2.windows(word.len()).any(|w| w == word.as_bytes()), "{word}");
    }
    assert_eq!(sent[2].2, b"\0\0\0\0\x04\x0a\x02kv");
    // The server's settings and ping were answered.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let answered: Vec<(u8, u8)> =
        frames(&[preface, rest].concat()).unwrap().iter().map(|(k, f, _)| (*k, *f)).collect();
    assert_eq!(answered, [(4, 1), (6, 1)]);
}

/// The server may do all that the protocol allows.
#[test]
fn padding_pieces_and_strange_frames_do_no_harm() {
    let settings = frame(4, 0, &[]);
    // Padded, with priority, split into three, then a dynamic table entry that the trailers refer to.
    let block = hex("88 40 0b 677270632d737461747573 01 30 0f0d 00");
    let mut first = vec![2, 0, 0, 0, 0, 16];
    first.extend(&block[..4]);
    first.extend([0, 0]);
    let headers = [frame(1, 0x28, &first), frame(9, 0, &block[4..9]), frame(9, 4, &block[9..])].concat();
    let body = [
        frame(0, 8, b"\x03\0\0\0xyz"),
        frame(0xab, 0xff, b"unknown"),
        frame(8, 0, &[0, 0, 1, 0]),
        frame(7, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
        frame(0, 0, b"\0\x02"),
        frame(0, 0, b"\x08\x01"),
    ]
    .concat();
    // Index 62 is the newest entry: grpc-status 0.
    let trailers = frame(1, 5, &[0xbe]);
    assert_eq!(says([settings, headers, body, trailers].concat()), (Verdict::Success, "SERVING".to_owned()));
}

#[test]
fn what_is_no_answer_is_a_failure_with_words() {
    let settings = || frame(4, 0, &[]);
    for (bytes, words) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "does not speak HTTP/2"),
        (hex("15030100020246"), "does not speak HTTP/2"),
        ([settings(), frame(7, 0, &[0, 0, 0, 0, 0, 0, 0, 11])].concat(), "connection with HTTP/2 error 11"),
        ([settings(), frame(3, 0, &[0, 0, 0, 7])].concat(), "request with HTTP/2 error 7"),
        ([settings(), frame(1, 5, &[0xff])].concat(), "malformed headers"),
        ([settings(), frame(1, 1, &[0x88]), settings()].concat(), "malformed headers"),
        ([settings(), frame(0, 9, &[9, 0])].concat(), "malformed data"),
        ([settings(), frame(5, 4, &[0, 0, 0, 2])].concat(), "malformed frame"),
        ([settings(), frame(1, 5, &[0x8d])].concat(), "HTTP status 404"),
        ([settings(), frame(1, 5, &[0x88])].concat(), "no grpc-status"),
        (frame(6, 1, &[0; 8]).repeat(1100), "longer than any answer"),
        (frame(0, 0, &[0; 16_384]).repeat(3), "longer than any answer"),
    ] {
        let (verdict, line) = says(bytes);
        assert_eq!(verdict, Verdict::Failure, "{line}");
        assert!(line.contains(words), "{words}: {line}");
    }
    let (address, thread) = server(|stream| stream.shutdown(std::net::Shutdown::Both).unwrap());
    let (verdict, line, _) = probe(address.port(), "", 5_000);
    assert_eq!(verdict, Verdict::Failure);
    assert!(line.contains("closed the connection without an answer"), "{line}");
    thread.join().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (verdict, line, _) = probe(port, "", 5_000);
    assert_eq!(verdict, Verdict::Failure);
    assert!(line.contains("Connection refused"), "{line}");
}

#[test]
fn neither_silence_nor_dripping_stretches_the_time() {
    let (address, thread) = server(|stream| {
        // Until the other side has had enough; a frame's head, then a payload byte by byte.
        let drip = [frame(4, 0, &[]), vec![0, 0x3f, 0xff, 0, 0, 0, 0, 0, 1]].concat();
        let mut sent = stream.write_all(&drip);
        while sent.is_ok() {
            std::thread::sleep(Duration::from_millis(20));
            sent = stream.write_all(&[0]);
        }
    });
    let (verdict, line, took) = probe(address.port(), "", 400);
    assert_eq!((verdict, line.as_str()), (Verdict::Failure, "timed out after 0.4s"));
    assert!(took < Duration::from_secs(5), "{took:?}");
    thread.join().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (verdict, line, took) = probe(silent.local_addr().unwrap().port(), "", 300);
    assert_eq!((verdict, line.as_str()), (Verdict::Failure, "timed out after 0.3s"));
    assert!(took < Duration::from_secs(5), "{took:?}");
}
