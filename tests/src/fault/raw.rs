//! A client that sends raw bytes, for requests that HTTP libraries refuse to send.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Answer;

/// A GET request with these header lines and `connection: close`.
pub fn raw_request(host: &[u8], path: &[u8], lines: &[&[u8]]) -> Vec<u8> {
    let mut bytes = [b"GET ", path, b" HTTP/1.1\r\nhost: ", host, b"\r\n"].concat();
    for line in lines {
        bytes.extend_from_slice(line);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"connection: close\r\n\r\n");
    bytes
}

/// Sends the bytes on a new connection and reads one answer, up to its `content-length` or the end of the connection.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        // The server may close the connection before it has read all bytes.
        let _ = stream.write_all(bytes).await;
        let mut read = Vec::new();
        while stream.read_buf(&mut read).await.is_ok_and(|more| more > 0) {
            if let Some(answer) = parse(&read)
                && answer.header("content-length").parse() == Ok(answer.body.len())
            {
                break;
            }
        }
        read
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), exchange).await;
    let answer = answer.unwrap_or_else(|_| panic!("no answer to {}", bytes.escape_ascii()));
    parse(&answer).unwrap_or_else(|| panic!("not an answer: {}", answer.escape_ascii()))
}

/// Parses an answer. Returns None if the head is incomplete or invalid.
pub fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        headers.append(
            HeaderName::try_from(name).ok()?,
            HeaderValue::try_from(value.trim()).ok()?,
        );
    }
    Some(Answer {
        status: StatusCode::from_bytes(status.as_bytes()).ok()?,
        headers,
        body: bytes[end + 4..].to_vec().into(),
    })
}
