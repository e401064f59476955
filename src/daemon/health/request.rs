//! What little of HTTP the health endpoint speaks: the first line of a request, and answers that end the connection.

/// A request's first line and headers may have so many bytes.
pub const MOST_BYTES: usize = 4096;

/// What can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `/healthz`
    Health,
    /// `/metrics`
    Metrics,
}

/// What a request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// More of it must come.
    Incomplete,
    /// For this page.
    Page(Page),
    /// 400: this is not HTTP/1.
    Nonsense,
    /// 404.
    NoSuchPage,
    /// 405.
    NotGet,
    /// 431.
    TooLong,
}

/// Reads a request, as far as it has come. Headers and a body mean nothing here.
pub fn asked(bytes: &[u8]) -> Asked {
    let is_whole = bytes.windows(4).any(|w| w == b"\r\n\r\n") || bytes.windows(2).any(|w| w == b"\n\n");
    if !is_whole {
        return if bytes.len() >= MOST_BYTES { Asked::TooLong } else { Asked::Incomplete };
    }
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let Ok(line) = str::from_utf8(line) else { return Asked::Nonsense };
    let words: Vec<&str> = line.strip_suffix('\r').unwrap_or(line).split(' ').collect();
    let [method, target, version] = words.as_slice() else { return Asked::Nonsense };
    let is_token = !method.is_empty() && method.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_token || !matches!(*version, "HTTP/1.1" | "HTTP/1.0") {
        return Asked::Nonsense;
    }
    if *method != "GET" {
        return Asked::NotGet;
    }
    match target.split('?').next() {
        Some("/healthz") => Asked::Page(Page::Health),
        Some("/metrics") => Asked::Page(Page::Metrics),
        Some(_) | None => Asked::NoSuchPage,
    }
}

/// The answer to a request that is whole, with the page that `render` makes; `None` while more must come.
pub fn answer(asked: Asked, render: impl FnOnce() -> String) -> Option<Vec<u8>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let (status, kind, body) = match asked {
        Asked::Incomplete => return None,
        Asked::Page(Page::Health) => ("200 OK", TEXT, "ok".to_owned()),
        Asked::Page(Page::Metrics) => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", render()),
        Asked::Nonsense => ("400 Bad Request", TEXT, "this is not HTTP/1.1\n".to_owned()),
        Asked::NoSuchPage => ("404 Not Found", TEXT, "there are /healthz and /metrics\n".to_owned()),
        // Without a body: it may answer HEAD.
        Asked::NotGet => ("405 Method Not Allowed\r\nAllow: GET", TEXT, String::new()),
        Asked::TooLong => ("431 Request Header Fields Too Large", TEXT, "at most 4096 bytes\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    Some((head + &body).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        for (request, wanted) in [
            ("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", Asked::Page(Page::Health)),
            ("GET /healthz HTTP/1.0\r\n\r\n", Asked::Page(Page::Health)),
            ("GET /healthz HTTP/1.1\n\n", Asked::Page(Page::Health)),
            ("GET /metrics?x=/healthz HTTP/1.1\r\n\r\nbody", Asked::Page(Page::Metrics)),
            ("GET /healthz/ HTTP/1.1\r\n\r\n", Asked::NoSuchPage),
            ("GET / HTTP/1.1\r\n\r\n", Asked::NoSuchPage),
            ("GET ../metrics HTTP/1.1\r\n\r\n", Asked::NoSuchPage),
            ("HEAD /healthz HTTP/1.1\r\n\r\n", Asked::NotGet),
            ("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", Asked::NotGet),
            ("get /healthz HTTP/1.1\r\n\r\n", Asked::NotGet),
            ("GET /healthz HTTP/2.0\r\n\r\n", Asked::Nonsense),
            ("GET  /healthz HTTP/1.1\r\n\r\n", Asked::Nonsense),
            ("GET /healthz\r\n\r\n", Asked::Nonsense),
            ("\r\n\r\n", Asked::Nonsense),
            ("\u{16}\u{3}\u{1}\n\n", Asked::Nonsense),
            ("GET /healthz HTTP/1.1\r\nHost: x\r\n", Asked::Incomplete),
            ("GET /hea", Asked::Incomplete),
            ("", Asked::Incomplete),
        ] {
            assert_eq!(asked(request.as_bytes()), wanted, "{request:?}");
        }
        assert_eq!(asked(b"GET /\xff HTTP/1.1\r\n\r\n"), Asked::Nonsense);
    }

    #[test]
    fn a_request_has_a_bound() {
        let long = format!("GET /healthz HTTP/1.1\r\nX: {}", "x".repeat(MOST_BYTES));
        assert_eq!(asked(&long.as_bytes()[..MOST_BYTES - 1]), Asked::Incomplete);
        assert_eq!(asked(&long.as_bytes()[..MOST_BYTES]), Asked::TooLong);
    }

    #[test]
    fn answers_tell_their_length_and_end_the_connection() {
        let text = |asked| answer(asked, || "a 1\n".to_owned()).map(|b| String::from_utf8(b).unwrap());
        assert_eq!(text(Asked::Incomplete), None);
        for (asked, status, body) in [
            (Asked::Page(Page::Health), "200 OK", "ok"),
            (Asked::Page(Page::Metrics), "200 OK", "a 1\n"),
            (Asked::Nonsense, "400 Bad Request", "this is not HTTP/1.1\n"),
            (Asked::NoSuchPage, "404 Not Found", "there are /healthz and /metrics\n"),
            (Asked::NotGet, "405 Method Not Allowed", ""),
            (Asked::TooLong, "431 Request Header Fields Too Large", "at most 4096 bytes\n"),
        ] {
            let text = text(asked).unwrap();
            let (head, found) = text.split_once("\r\n\r\n").unwrap();
            assert_eq!((head.lines().next().unwrap(), found), (&*format!("HTTP/1.1 {status}"), body));
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
            assert!(head.ends_with("\r\nConnection: close"), "{head}");
            assert_eq!(head.contains("\r\nAllow: GET\r\n"), asked == Asked::NotGet);
        }
    }
}
