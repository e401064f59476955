//! What a server answers to a gRPC probe: frames of HTTP/2 and compressed headers.
//!
//! An even first byte: the rest is what the server sends. An odd one: the rest is a header block, put into frames whose size
//! the byte tells, with a whole answer after it, so that the fuzzer need not learn to frame.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{setsockopt, sockopt};
use podstrap::helper::probe::{Verdict, grpc};
use podstrap::sys::clock::boot_ms;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let bytes = if first % 2 == 0 { rest.to_vec() } else { framed(rest, usize::from(*first)) };
    // What the helper sends goes unread, so both sides need room for all of it.
    if bytes.len() > 64 * 1024 {
        return;
    }
    let (mut server, client) = UnixStream::pair().expect("a pair of sockets");
    for socket in [&server, &client] {
        let _ = setsockopt(socket, sockopt::SndBufForce, &(8 << 20));
    }
    server.write_all(&bytes).expect("room for what the server says");
    server.shutdown(Shutdown::Write).expect("an open socket");
    let client = TcpStream::from(OwnedFd::from(client));
    let outcome = grpc::converse(client, boot_ms() + 2000, "h:1", "svc", 2000);
    assert!(matches!(outcome.verdict, Verdict::Success | Verdict::Failure));
    assert!(!outcome.line.starts_with("timed out"), "nothing is left to wait for");
    assert_eq!(outcome.verdict == Verdict::Success, outcome.line == "SERVING");
}

fn framed(block: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    let mut pieces = block.chunks(size).peekable();
    let mut kind = HEADERS;
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        frame(&mut bytes, kind, flags, 1, piece);
        kind = CONTINUATION;
    }
    frame(&mut bytes, DATA, 0, 1, b"\0\0\0\0\x02\x08\x01");
    // Trailers without any table: grpc-status: 0.
    frame(&mut bytes, HEADERS, END_HEADERS | END_STREAM, 1, b"\0\x0bgrpc-status\x010");
    bytes
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}
