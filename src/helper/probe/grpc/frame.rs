//! Frames of HTTP/2 (RFC 9113) over a connection without TLS, each read and write within one deadline.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::sys::clock::boot_ms;

/// What every client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest payload that either side may send where nothing else was agreed upon, in bytes.
pub const LARGEST: usize = 16 * 1024;

/// The kinds of frames that matter here; the numbers are those of RFC 9113 §6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Part of a body.
    Data,
    /// The begin of a header block.
    Headers,
    /// The end of one stream.
    Reset,
    /// What the other side can take.
    Settings,
    /// A stream that the server opens; forbidden by our settings.
    PushPromise,
    /// Asks for an answer.
    Ping,
    /// The end of the connection.
    GoAway,
    /// More of a header block.
    Continuation,
    /// Everything else: to be passed over.
    Other,
}

impl Kind {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Data,
            1 => Self::Headers,
            3 => Self::Reset,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            9 => Self::Continuation,
            _ => Self::Other,
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Headers => 1,
            Self::Reset => 3,
            Self::Settings => 4,
            Self::PushPromise => 5,
            Self::Ping => 6,
            Self::GoAway => 7,
            Self::Continuation => 9,
            // No such number is given to any frame.
            Self::Other => 0xff,
        }
    }
}

/// This is the last frame of its stream (DATA, HEADERS).
pub const END_STREAM: u8 = 0x1;
/// This is the answer (SETTINGS, PING).
pub const ACK: u8 = 0x1;
/// This ends the header block (HEADERS, CONTINUATION).
pub const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// [`END_STREAM`] and the like.
    pub flags: u8,
    /// Which stream; 0 is the connection.
    pub stream: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload without padding and priority; `None` when they are longer than it.
    pub fn content(&self) -> Option<&[u8]> {
        let mut rest = self.payload.as_slice();
        let mut padding = 0;
        if self.has(PADDED) {
            let (length, after) = rest.split_first()?;
            (padding, rest) = (usize::from(*length), after);
        }
        if self.kind == Kind::Headers && self.has(PRIORITY) {
            rest = rest.get(5..)?;
        }
        rest.get(..rest.len().checked_sub(padding)?)
    }

    /// A number of 32 bits at a place of the payload.
    pub fn number(&self, at: usize) -> Option<u32> {
        let bytes = self.payload.get(at..at.checked_add(4)?)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// Why there is no next frame.
#[derive(Debug)]
pub enum ReadError {
    /// The connection failed or ended; `TimedOut` when the time is up.
    Io(io::Error),
    /// What came is no frame: the server speaks something else.
    NotHttp2,
}

/// A connection with a deadline.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Milliseconds on CLOCK_BOOTTIME.
    until: u64,
}

impl Connection {
    /// Greets the server: preface and settings that forbid it to open streams.
    pub fn greet(stream: TcpStream, until: u64) -> io::Result<Self> {
        let mut connection = Self { stream, until };
        let mut bytes = PREFACE.to_vec();
        // SETTINGS_ENABLE_PUSH = 0
        append(&mut bytes, Kind::Settings, 0, 0, &[0, 2, 0, 0, 0, 0]);
        connection.write(&bytes)?;
        Ok(connection)
    }

    /// Sends one frame.
    pub fn send(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(payload.len().saturating_add(9));
        append(&mut bytes, kind, flags, stream, payload);
        self.write(&bytes)
    }

    /// Waits for the next frame.
    pub fn next(&mut self) -> Result<Frame, ReadError> {
        let mut length = [0; 4];
        let [_, low @ ..] = &mut length;
        self.fill(low).map_err(ReadError::Io)?;
        let length = u32::from_be_bytes(length) as usize;
        // HTTP/1 and TLS both begin with bytes that would be a length of millions; an alert of TLS has no more than 7.
        if length > LARGEST {
            return Err(ReadError::NotHttp2);
        }
        let mut head = [0; 6];
        self.fill(&mut head).map_err(ReadError::Io)?;
        let [kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; length];
        self.fill(&mut payload).map_err(ReadError::Io)?;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff;
        Ok(Frame { kind: Kind::of(kind), flags, stream, payload })
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.saturating_sub(boot_ms()) {
            0 => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(Duration::from_millis(left))),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write_all(bytes).map_err(late)
    }

    /// A server that sends a byte now and then must not stretch the time.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut rest = buffer;
        while !rest.is_empty() {
            self.stream.set_read_timeout(self.left()?)?;
            match self.stream.read(rest) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => rest = rest.get_mut(n..).unwrap_or_default(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(late(e)),
            }
        }
        Ok(())
    }
}

/// Linux says EAGAIN when the time of a socket is up (socket(7), SO_RCVTIMEO).
fn late(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

/// The nine bytes before every payload (RFC 9113 §4.1), and the payload.
fn append(bytes: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&[kind.number(), flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_and_priority_are_taken_off() {
        let frame = |kind, flags, payload: &[u8]| Frame { kind, flags, stream: 1, payload: payload.to_vec() };
        let content = |f: Frame| f.content().map(<[u8]>::to_vec);
        assert_eq!(content(frame(Kind::Data, 0, b"abc")), Some(b"abc".to_vec()));
        assert_eq!(content(frame(Kind::Data, PADDED, b"\x02ab\0\0")), Some(b"ab".to_vec()));
        assert_eq!(content(frame(Kind::Headers, PADDED | PRIORITY, b"\x01ppppwh\0")), Some(b"h".to_vec()));
        assert_eq!(content(frame(Kind::Data, PADDED, b"\x03ab")), None);
        assert_eq!(content(frame(Kind::Data, PADDED, b"")), None);
        assert_eq!(content(frame(Kind::Headers, PRIORITY, b"pppp")), None);
    }
}
