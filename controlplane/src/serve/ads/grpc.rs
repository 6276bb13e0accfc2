//! The framing of gRPC over HTTP/2, for one method. A message has a prefix: a byte that says whether the message is
//! compressed, and its size in four bytes. The last headers (trailers) of an answer have the status.
//!
//! tonic would keep the largest message of each stream in memory: 64 KiB for the first request of an Envoy.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Status;

use super::stream_slots::{LargeRequest, LargeRequests};
use crate::xds::message::{self, MAX_REQUEST, Request};
use weir_core::manifest::problem::messages::answer as messages;

/// Number of bytes before a message.
const PREFIX: usize = 5;
/// Time from the first byte of a message to the last one.
const MESSAGE: Duration = Duration::from_secs(15);
/// Time for which a response waits for a client that reads nothing.
const SEND: Duration = Duration::from_secs(30);
/// A request with more bytes needs a place of [`LargeRequests`]. The first request of an Envoy has about 60 KiB.
const LARGE: usize = 128 << 10;
/// A buffer with more unused bytes is not kept for the next message.
const SMALL: usize = 1 << 10;

/// The requests of a client.
pub(super) struct Requests {
    body: Body,
    buffer: Vec<u8>,
    /// When the message in the buffer must be complete.
    deadline: Option<Instant>,
    large_requests: LargeRequests,
    large: Option<LargeRequest>,
}

/// Sends messages to a client.
pub(super) struct Replies {
    messages: mpsc::Sender<Bytes>,
    status: oneshot::Sender<HeaderMap>,
}

/// The client has read nothing for too long.
pub(super) struct SlowReader;

/// The body of the answer.
struct ReplyBody {
    messages: mpsc::Receiver<Bytes>,
    status: Option<oneshot::Receiver<HeaderMap>>,
}

/// Returns the two directions of a stream, and the answer for HTTP.
pub(super) fn stream(body: Body, large_requests: LargeRequests) -> (Requests, Replies, Response) {
    let requests = Requests {
        body,
        buffer: Vec::new(),
        deadline: None,
        large_requests,
        large: None,
    };
    let (messages, message_receiver) = mpsc::channel(1);
    let (status, status_receiver) = oneshot::channel();
    let body = ReplyBody {
        messages: message_receiver,
        status: Some(status_receiver),
    };
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, content_type());
    (requests, Replies { messages, status }, response)
}

/// Returns an answer without messages.
pub(super) fn refused(status: &Status) -> Response {
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers_of(status);
    response.headers_mut().insert(CONTENT_TYPE, content_type());
    response
}

fn content_type() -> HeaderValue {
    HeaderValue::from_static("application/grpc")
}

fn headers_of(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // An error is impossible, because the status has no metadata.
    let _ = status.add_header(&mut headers);
    headers
}

impl Requests {
    /// Returns the next request, or None if the client sends no more. If this future is dropped, no bytes are lost.
    pub(super) async fn next(&mut self) -> Result<Option<Request>, Status> {
        loop {
            if let Some(request) = self.take()? {
                return Ok(Some(request));
            }
            let frame = match self.deadline {
                None => self.body.frame().await,
                Some(deadline) => timeout_at(deadline, self.body.frame())
                    .await
                    .map_err(|_| Status::deadline_exceeded("the rest of a request is missing"))?,
            };
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(Status::cancelled(error.to_string())),
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    self.buffer.extend_from_slice(&data);
                }
            }
            if self.deadline.is_none() && !self.buffer.is_empty() {
                self.deadline = Some(Instant::now() + MESSAGE);
            }
            if self.large.is_none() && self.buffer.len() > LARGE {
                let full = || Status::resource_exhausted(messages::full().to_string());
                self.large = Some(self.large_requests.take().ok_or_else(full)?);
            }
        }
    }

    /// Returns the request at the beginning of the buffer, if all its bytes are there.
    fn take(&mut self) -> Result<Option<Request>, Status> {
        let Some((prefix, rest)) = self.buffer.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let [is_compressed, size @ ..] = *prefix;
        if is_compressed != 0 {
            return Err(Status::unimplemented("requests must not be compressed"));
        }
        let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
        if size > MAX_REQUEST {
            return Err(Status::resource_exhausted(format!(
                "a request has {size} bytes, and the limit is {MAX_REQUEST}"
            )));
        }
        let Some(bytes) = rest.get(..size) else {
            return Ok(None);
        };
        let request = Request::parse(bytes);
        let request = request.map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.buffer.drain(..size.saturating_add(PREFIX));
        if self.buffer.capacity().saturating_sub(self.buffer.len()) > SMALL {
            self.buffer.shrink_to_fit();
        }
        self.deadline = None;
        if self.buffer.len() <= LARGE {
            self.large = None;
        }
        Ok(Some(request))
    }
}

impl Replies {
    /// Waits until the client has space for the message. Returns Err if the client reads nothing.
    pub(super) async fn send(&self, response: message::Response) -> Result<(), SlowReader> {
        let place = timeout(SEND, self.messages.reserve()).await;
        let place = place.map_err(|_| SlowReader)?;
        // If the client has closed the stream, `Replies::closed` reports it.
        let Ok(place) = place else {
            return Ok(());
        };
        // The message is encoded here, so that a waiting stream has only one message in memory.
        let mut bytes = vec![0; PREFIX];
        response.encode_into(&mut bytes);
        let size = u32::try_from(bytes.len().saturating_sub(PREFIX)).unwrap_or(u32::MAX);
        if let Some((_, prefix)) = bytes.get_mut(..PREFIX).and_then(<[u8]>::split_first_mut) {
            prefix.copy_from_slice(&size.to_be_bytes());
        }
        place.send(bytes.into());
        Ok(())
    }

    /// Waits until the client has closed the stream.
    pub(super) async fn closed(&self) {
        self.messages.closed().await;
    }

    /// Ends the stream.
    pub(super) fn end(self, status: &Status) {
        let _ = self.status.send(headers_of(status));
    }
}

impl HttpBody for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.messages.poll_recv(context) {
            Poll::Ready(None) => {}
            Poll::Ready(Some(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
            Poll::Pending => return Poll::Pending,
        }
        let Some(status) = &mut self.status else {
            return Poll::Ready(None);
        };
        let trailers = std::task::ready!(Pin::new(status).poll(context));
        self.status = None;
        Poll::Ready(trailers.ok().map(|it| Ok(Frame::trailers(it))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::ads::StreamSlots;
    use crate::xds::message::ResourceType;

    fn large_requests() -> LargeRequests {
        let slot = StreamSlots::default().take(&Default::default());
        slot.unwrap().large_requests
    }

    #[tokio::test(start_paused = true)]
    async fn slow_reader_is_found() {
        let (_, replies, answer) = stream(Body::empty(), large_requests());
        let response = || message::Response {
            kind: ResourceType::Clusters,
            nonce: String::new(),
            resources: Vec::new(),
            removed: Vec::new(),
        };
        assert!(replies.send(response()).await.is_ok());
        let start = Instant::now();
        assert!(replies.send(response()).await.is_err());
        assert_eq!(start.elapsed().as_secs(), 30);
        drop(answer);
    }

    /// A client that announces a request and sends only its beginning.
    #[tokio::test]
    async fn half_request_ends_its_stream() {
        let (requests, mut receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(10);
        let body = Body::from_stream(futures::stream::poll_fn(move |context| {
            receiver.poll_recv(context)
        }));
        let (mut messages, _, _) = stream(body, large_requests());
        tokio::time::pause();
        let half = Bytes::from_static(b"\0\0\0\0\x09abc");
        requests.send(Ok(half)).await.unwrap();
        let start = Instant::now();
        let status = messages.next().await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
        assert_eq!(start.elapsed().as_secs(), 15);
    }

    #[tokio::test]
    async fn frames_and_messages_are_independent() {
        let wanted = Request {
            type_url: ResourceType::Clusters.url().into(),
            ..Request::default()
        };
        let message = prost::Message::encode_to_vec(&wanted);
        let size = u8::try_from(message.len()).unwrap();
        let framed = [&[0, 0, 0, 0, size][..], &message].concat();
        let bytes: Vec<u8> = std::iter::repeat_n(framed, 5).flatten().collect();
        for size in [1, 3, 7, 100, bytes.len()] {
            let chunks: Vec<Bytes> = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
            let chunks = chunks.into_iter().map(Ok::<_, std::io::Error>);
            let body = Body::from_stream(futures::stream::iter(chunks));
            let (mut requests, _, _) = stream(body, large_requests());
            let mut count = 0;
            while let Some(request) = requests.next().await.unwrap() {
                assert_eq!(request.type_url, ResourceType::Clusters.url());
                count += 1;
            }
            assert_eq!(count, 5, "{size}");
        }
    }
}
