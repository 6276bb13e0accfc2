//! Finds out whether a client speaks HTTP/1.1 or HTTP/2. A client of HTTP/2 sends a fixed preface first (RFC 9113, 3.4).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The bytes that every client of HTTP/2 sends first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// A stream from which some bytes were read. It returns these bytes a second time.
pub(super) struct Replayed<S> {
    bytes: [u8; PREFACE.len()],
    /// The number of bytes that were read.
    size: usize,
    /// The number of bytes that were returned a second time.
    returned: usize,
    stream: S,
}

/// Reads bytes until they differ from the preface or are the preface.
pub(super) async fn detect<S: AsyncRead + Unpin>(
    mut stream: S,
) -> io::Result<(Version, Replayed<S>)> {
    let mut bytes = [0; PREFACE.len()];
    let mut size: usize = 0;
    let version = loop {
        let Some(free) = bytes.get_mut(size..).filter(|free| !free.is_empty()) else {
            break Version::Http2;
        };
        let count = stream.read(free).await?;
        size = size.saturating_add(count);
        if count == 0 || bytes.get(..size) != PREFACE.get(..size) {
            break Version::Http1;
        }
    };
    let replayed = Replayed {
        bytes,
        size,
        returned: 0,
        stream,
    };
    Ok((version, replayed))
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = this.bytes.get(this.returned..this.size).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..count).unwrap_or_default());
        this.returned = this.returned.saturating_add(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replayed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn preface_is_found_and_kept() {
        let http2 = [&PREFACE[..], b"more"].concat();
        for (sent, expected) in [
            (&http2[..], Version::Http2),
            (b"", Version::Http1),
            (b"GET / HTTP/1.1\r\n\r\n", Version::Http1),
            (b"PRI / HTTP/1.1\r\n\r\n", Version::Http1),
            (b"P", Version::Http1),
            (b"\x16\x03", Version::Http1),
        ] {
            let (version, mut replayed) = detect(sent).await.unwrap();
            assert_eq!(version, expected, "{sent:?}");
            let mut read = Vec::new();
            replayed.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, sent);
        }
    }
}
