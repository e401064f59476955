//! An HTTP server of the test's own, which says what it is told to say.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

/// What the server says to a request (its lines, in lower case); `None`: it closes the connection.
pub type Answer = dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync;

/// An HTTP server whose answer can be changed; it ends with this.
pub struct Server {
    /// On 127.0.0.1.
    pub port: u16,
    answer: Arc<Mutex<Arc<Answer>>>,
    /// What it was asked.
    pub requests: mpsc::Receiver<String>,
    over: Arc<AtomicBool>,
}

impl Server {
    /// At a port that is free.
    pub fn new(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::at(0, answer)
    }

    /// At this port.
    pub fn at(port: u16, answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer: Arc<Mutex<Arc<Answer>>> = Arc::new(Mutex::new(Arc::new(answer)));
        let (told, requests) = mpsc::channel();
        let over = Arc::new(AtomicBool::new(false));
        let (current, is_over) = (answer.clone(), over.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let answer = current.lock().unwrap().clone();
                let told = told.clone();
                std::thread::spawn(move || serve(stream, &*answer, &told));
            }
        });
        Self { port, answer, requests, over }
    }

    /// Answers otherwise from now on.
    pub fn set(&self, answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    /// Where it is asked.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/pods.yaml", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Its listener closes when it has seen that.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(mut stream: TcpStream, answer: &Answer, told: &mpsc::Sender<String>) {
    let mut request = String::new();
    for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
        request.push_str(&line.to_ascii_lowercase());
        request.push('\n');
    }
    if let Some(bytes) = answer(&request) {
        let _ = stream.write_all(&bytes);
    }
    let _ = told.send(request);
}

/// An answer.
pub fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A good answer.
pub fn ok(body: &str) -> Vec<u8> {
    reply("200 OK", "", body.as_bytes())
}
