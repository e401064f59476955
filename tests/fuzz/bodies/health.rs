//! The health endpoint's request: whoever can connect may send anything, in any pieces.

use podstrap::daemon::health::request::{Asked, MOST_BYTES, answer, asked};

pub fn run(data: &[u8]) {
    let data = &data[..data.len().min(MOST_BYTES)];
    let whole = asked(data);
    let bytes = answer(whole, || "podstrap_up 1\n".to_owned());
    assert_eq!(bytes.is_none(), whole == Asked::Incomplete);
    if let Some(bytes) = bytes {
        let text = String::from_utf8(bytes).expect("an answer is text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 "));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        // Nothing of the request comes back.
        assert!(head.len() < 250 && body.len() < 100);
    }
    // Once it can be told what was asked for, more bytes do not change it.
    let earliest = (0..data.len()).map(|end| asked(&data[..end])).find(|a| *a != Asked::Incomplete);
    if let Some(earliest) = earliest {
        assert_eq!(earliest, whole);
    }
}
