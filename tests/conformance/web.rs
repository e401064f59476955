//! Servers for probes and hooks to ask: HTTP/1.1, and just enough HTTP/2 for gRPC health checks. Each answers as it is
//! told, and keeps what it was asked.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::bench::uptime;

/// A server on a port of its own, until the test program ends.
pub struct Web {
    /// The port, on all addresses.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    asked: Vec<(f64, String)>,
    status: u16,
    body: String,
    headers: Vec<String>,
    delay: Duration,
    /// The one service that is SERVING.
    service: Option<String>,
}

impl Web {
    /// Starts one that answers 200.
    pub fn start() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { status: 200, ..State::default() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || drop(answer(stream, &shared)));
            }
        });
        Self { port, state }
    }

    /// What every later request is answered with.
    pub fn reply(&self, status: u16, body: &str, headers: &[String]) {
        let mut state = self.state.lock().unwrap();
        (state.status, state.body, state.headers) = (status, body.to_owned(), headers.to_vec());
    }

    /// How long every later answer takes.
    pub fn delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// Which service is healthy: gRPC's answer.
    pub fn serves(&self, service: Option<&str>) {
        self.state.lock().unwrap().service = service.map(str::to_owned);
    }

    /// What was asked, with the times since boot: whole requests of HTTP/1.1, names of services of gRPC.
    pub fn asked(&self) -> Vec<(f64, String)> {
        self.state.lock().unwrap().asked.clone()
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        request.push(byte[0]);
    }
    if request.starts_with(b"PRI * HTTP/2.0") {
        // The preface goes on after the blank line.
        stream.read_exact(&mut [0; 6])?;
        return grpc(stream, state);
    }
    if request.is_empty() {
        return Ok(());
    }
    let (delay, reply) = {
        let mut state = state.lock().unwrap();
        state.asked.push((uptime(), String::from_utf8_lossy(&request).into_owned()));
        let headers: String = state.headers.iter().map(|h| format!("{h}\r\n")).collect();
        let reply = format!(
            "HTTP/1.1 {} Said\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{}",
            state.status,
            state.body.len(),
            state.body
        );
        (state.delay, reply)
    };
    std::thread::sleep(delay);
    stream.write_all(reply.as_bytes())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header field that is not indexed (RFC 7541 section 6.2.2), without Huffman coding.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0, name.len() as u8];
    bytes.extend(name.bytes());
    bytes.push(value.len() as u8);
    bytes.extend(value.bytes());
    bytes
}

/// Answers `grpc.health.v1.Health/Check`, whatever the path: frames by RFC 9113, messages by gRPC over HTTP/2.
fn grpc(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    stream.write_all(&frame(4, 0, 0, &[]))?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        match (kind, flags) {
            (4, 0) => stream.write_all(&frame(4, 1, 0, &[]))?,
            (6, 0) => stream.write_all(&frame(6, 1, 0, &payload))?,
            (0, _) if !payload.is_empty() => {
                // 5 bytes of gRPC, then field 1: the service's name.
                let service = payload.get(7..).unwrap_or_default();
                let service = String::from_utf8_lossy(service).into_owned();
                let serving = {
                    let mut state = state.lock().unwrap();
                    state.asked.push((uptime(), service.clone()));
                    state.service.as_deref() == Some(&service)
                };
                let mut headers = vec![0x88];
                headers.extend(literal("content-type", "application/grpc"));
                stream.write_all(&frame(1, 4, id, &headers))?;
                stream.write_all(&frame(0, 0, id, &[0, 0, 0, 0, 2, 8, if serving { 1 } else { 2 }]))?;
                stream.write_all(&frame(1, 5, id, &literal("grpc-status", "0")))?;
            }
            _ => {}
        }
    }
}
