//! `grpc`: asks a server for its health by `grpc.health.v1.Health/Check`, without TLS (`pkg/probe/grpc`). SERVING is good,
//! everything else is not.
//!
//! One request on one connection needs little of HTTP/2, and that little is here. The server may do all that the
//! protocol allows: compress its headers, pad, ping, split header blocks.

mod frame;
mod hpack;

use std::io;
use std::net::TcpStream;

use self::frame::{ACK, Connection, END_HEADERS, END_STREAM, Frame, Kind, ReadError};
use self::hpack::{Decoder, Header};
use super::http::USER_AGENT;
use super::{Millis, Outcome, tcp};
use crate::sys::clock::boot_ms;

/// The only stream that is opened: clients have the odd numbers.
const STREAM: u32 = 1;

/// The longest header block or message that is read, in bytes; below the window that a server has without asking.
const LARGEST: usize = 32 * 1024;

/// The longest service name that is asked for, in bytes: request and name fit into one frame.
const LONGEST_SERVICE: usize = 8 * 1024;

/// How many frames are read before the answer must be whole.
const FRAMES: usize = 1000;

/// Asks `host` once for the health of `service` (empty: the server as a whole).
pub fn check(host: &str, port: u16, service: &str, timeout_ms: u64) -> Outcome {
    if service.len() > LONGEST_SERVICE {
        return Outcome::failure(format!(
            "a service's name of {} bytes is too long to ask for",
            service.len()
        ));
    }
    let until = boot_ms().saturating_add(timeout_ms);
    let stream = match tcp::open(host, port, timeout_ms) {
        Ok(stream) => stream,
        Err(outcome) => return outcome,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let authority = if bare.contains(':') { format!("[{bare}]:{port}") } else { format!("{bare}:{port}") };
    if let Err(e) = stream.set_nodelay(true) {
        return Failure::Io(e).outcome(timeout_ms);
    }
    converse(stream, until, &authority, service, timeout_ms)
}

/// Asks over a connection that is open, until that moment of the boot clock (milliseconds).
pub fn converse(stream: TcpStream, until: u64, authority: &str, service: &str, timeout_ms: u64) -> Outcome {
    let asked = Connection::greet(stream, until).and_then(|mut connection| {
        ask(&mut connection, authority, service, timeout_ms)?;
        Ok(connection)
    });
    let answer = match asked {
        Ok(mut connection) => listen(&mut connection),
        Err(e) => Err(Failure::Io(e)),
    };
    match answer {
        Ok(answer) => judge(&answer, service, timeout_ms),
        Err(failure) => failure.outcome(timeout_ms),
    }
}

fn ask(connection: &mut Connection, authority: &str, service: &str, timeout_ms: u64) -> io::Result<()> {
    // At most 8 digits (gRPC over HTTP/2, "Timeout").
    let timeout = format!("{}m", timeout_ms.clamp(1, 99_999_999));
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("user-agent", USER_AGENT),
        ("te", "trailers"),
        ("grpc-timeout", &timeout),
    ] {
        hpack::encode(&mut block, name, value);
    }
    connection.send(Kind::Headers, END_HEADERS, STREAM, &block)?;
    connection.send(Kind::Data, END_STREAM, STREAM, &request(service))
}

/// HealthCheckRequest: field 1 is the service's name. Before it: not compressed, and its length.
fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        let mut length = service.len();
        while length >= 128 {
            message.push((length % 128) as u8 | 128);
            length /= 128;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut bytes = vec![0];
    bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&message);
    bytes
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    Io(io::Error),
    NotHttp2,
    /// Against the protocol.
    Malformed(&'static str),
    /// The server ended the stream or the connection, with this code (RFC 9113 §7).
    Ended(&'static str, u32),
    TooMuch,
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(e) => Self::Io(e),
            ReadError::NotHttp2 => Self::NotHttp2,
        }
    }
}

impl Failure {
    /// All of them are failures, as under the kubelet.
    fn outcome(&self, timeout_ms: u64) -> Outcome {
        match self {
            Self::Io(e) if e.kind() == io::ErrorKind::TimedOut => Outcome::timed_out(timeout_ms),
            Self::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => Outcome::failure(
                "gRPC: the server closed the connection without an answer; does it want TLS?",
            ),
            Self::Io(e) => Outcome::failure(format!("gRPC: {e}")),
            Self::NotHttp2 => {
                Outcome::failure("gRPC: the server does not speak HTTP/2 without TLS on this port")
            }
            Self::Malformed(what) => Outcome::failure(format!("gRPC: malformed {what} from the server")),
            Self::Ended(what, code) => {
                Outcome::failure(format!("gRPC: the server ended the {what} with HTTP/2 error {code}"))
            }
            Self::TooMuch => Outcome::failure("gRPC: the server's answer is longer than any answer can be"),
        }
    }
}

/// What the server said.
#[derive(Debug, Default)]
struct Answer {
    /// All headers, those before and those after the message.
    headers: Vec<Header>,
    message: Vec<u8>,
}

impl Answer {
    /// The last of that name: trailers come after headers.
    fn header(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().rfind(|(n, _)| n == name.as_bytes());
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }
}

fn listen(connection: &mut Connection) -> Result<Answer, Failure> {
    let mut answer = Answer::default();
    let mut decoder = Decoder::new();
    for _ in 0..FRAMES {
        let frame = connection.next()?;
        let ours = frame.stream == STREAM;
        match frame.kind {
            Kind::Settings if !frame.has(ACK) => {
                connection.send(Kind::Settings, ACK, 0, &[]).map_err(Failure::Io)?;
            }
            Kind::Ping if !frame.has(ACK) => {
                connection.send(Kind::Ping, ACK, 0, &frame.payload).map_err(Failure::Io)?;
            }
            Kind::Headers => {
                // Also those that are not ours: the decoder must see all.
                let block = header_block(connection, &frame)?;
                let headers = decoder.decode(&block).map_err(|_| Failure::Malformed("headers"))?;
                if ours {
                    answer.headers.extend(headers);
                }
            }
            Kind::Data if ours => {
                let content = frame.content().ok_or(Failure::Malformed("data"))?;
                if answer.message.len().saturating_add(content.len()) > LARGEST {
                    return Err(Failure::TooMuch);
                }
                answer.message.extend_from_slice(content);
            }
            Kind::Reset if ours => {
                return Err(Failure::Ended("request", frame.number(0).unwrap_or_default()));
            }
            // One that names our stream or a later one lets it be finished.
            Kind::GoAway if frame.number(0).unwrap_or_default() & 0x7fff_ffff < STREAM => {
                return Err(Failure::Ended("connection", frame.number(4).unwrap_or_default()));
            }
            Kind::PushPromise | Kind::Continuation => return Err(Failure::Malformed("frame")),
            Kind::Settings | Kind::Ping | Kind::Data | Kind::Reset | Kind::GoAway | Kind::Other => {}
        }
        let may_end = matches!(frame.kind, Kind::Headers | Kind::Data);
        if ours && may_end && frame.has(END_STREAM) {
            return Ok(answer);
        }
    }
    Err(Failure::TooMuch)
}

/// A header block may go on in further frames; nothing else may come between (RFC 9113 §6.10).
fn header_block(connection: &mut Connection, first: &Frame) -> Result<Vec<u8>, Failure> {
    let mut block = first.content().ok_or(Failure::Malformed("headers"))?.to_vec();
    let mut whole = first.has(END_HEADERS);
    while !whole {
        let next = connection.next()?;
        if next.kind != Kind::Continuation || next.stream != first.stream {
            return Err(Failure::Malformed("headers"));
        }
        // An empty one costs us time and the server nothing.
        if next.payload.is_empty() && !next.has(END_HEADERS)
            || block.len().saturating_add(next.payload.len()) > LARGEST
        {
            return Err(Failure::TooMuch);
        }
        block.extend_from_slice(&next.payload);
        whole = next.has(END_HEADERS);
    }
    Ok(block)
}

fn judge(answer: &Answer, service: &str, timeout_ms: u64) -> Outcome {
    let Some(status) = answer.header("grpc-status") else {
        return match answer.header(":status") {
            Some(http) if http != "200" => {
                Outcome::failure(format!("gRPC: HTTP status {http}; no gRPC server?"))
            }
            Some(_) | None => Outcome::failure("gRPC: the answer has no grpc-status; no gRPC server?"),
        };
    };
    let said = percent_decoded(&answer.header("grpc-message").unwrap_or_default());
    let said = if said.is_empty() { said } else { format!(": {said}") };
    match status.as_str() {
        "0" => serving(&answer.message),
        "4" => Outcome::failure(format!("the health check did not end within {}{said}", Millis(timeout_ms))),
        "5" => Outcome::failure(format!("the server knows no service {service:?} (NOT_FOUND{said})")),
        "12" => Outcome::failure(format!("the server has no grpc.health.v1.Health (UNIMPLEMENTED{said})")),
        other => Outcome::failure(format!("gRPC status {}{said}", status_name(other))),
    }
}

/// The names of the gRPC status codes (<https://grpc.io/docs/guides/status-codes/>).
fn status_name(code: &str) -> &str {
    match code {
        "1" => "CANCELLED",
        "2" => "UNKNOWN",
        "3" => "INVALID_ARGUMENT",
        "6" => "ALREADY_EXISTS",
        "7" => "PERMISSION_DENIED",
        "8" => "RESOURCE_EXHAUSTED",
        "9" => "FAILED_PRECONDITION",
        "10" => "ABORTED",
        "11" => "OUT_OF_RANGE",
        "13" => "INTERNAL",
        "14" => "UNAVAILABLE",
        "15" => "DATA_LOSS",
        "16" => "UNAUTHENTICATED",
        other => other,
    }
}

/// HealthCheckResponse: field 1 is the status.
fn serving(body: &[u8]) -> Outcome {
    match message(body).map(status_of) {
        Some(Some(1)) => Outcome::success("SERVING"),
        Some(Some(0)) => Outcome::failure("the server is not healthy: UNKNOWN"),
        Some(Some(2)) => Outcome::failure("the server is not healthy: NOT_SERVING"),
        Some(Some(3)) => Outcome::failure("the server is not healthy: SERVICE_UNKNOWN"),
        Some(Some(other)) => Outcome::failure(format!("the server is not healthy: status {other}")),
        Some(None) | None => Outcome::failure("gRPC: the answer is no HealthCheckResponse"),
    }
}

/// The one message of a body, which must not be compressed: we have not offered to take that.
fn message(body: &[u8]) -> Option<&[u8]> {
    let (head, message) = body.split_at_checked(5)?;
    let [0, length @ ..] = head else { return None };
    let length = u32::from_be_bytes(length.try_into().ok()?);
    (message.len() == length as usize).then_some(message)
}

/// Field 1 of a protobuf message, as a varint; 0 where it is left out. Other fields are passed over.
fn status_of(message: &[u8]) -> Option<u64> {
    let mut status = 0;
    let mut rest = message;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut rest)?,
            (_, 0) => {
                varint(&mut rest)?;
            }
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Some(value);
        }
    }
    None
}

/// grpc-message is percent-encoded UTF-8; what is encoded wrongly stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok()).filter(|_| *first == b'%');
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
