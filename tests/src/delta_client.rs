//! A client of delta ADS that may do harm: the test writes each request, and decides whether to read and to answer.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::http::Request;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

pub const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub const ECDS: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// One stream, on a connection of its own.
pub struct DeltaStream {
    node: Vec<u8>,
    requests: Sender<Bytes>,
    responses: Incoming,
    buffer: Vec<u8>,
}

/// A request (`DeltaDiscoveryRequest`).
#[derive(Clone, Copy, Debug, Default)]
pub struct DeltaRequest<'r> {
    pub kind: &'r str,
    pub subscribe: &'r [String],
    /// The names and versions of resources from an earlier stream.
    pub versions: &'r [(&'r str, &'r str)],
    pub nonce: &'r str,
    /// The message of a NACK.
    pub error: Option<&'r str>,
}

/// A response (`DeltaDiscoveryResponse`).
#[derive(Clone, Debug, Default)]
pub struct DeltaResponse {
    pub kind: String,
    pub nonce: String,
    /// The encoded resources, which contain their names as they are.
    pub resources: Vec<Vec<u8>>,
}

impl DeltaStream {
    /// Opens a stream of the node `node`. `filters` is the value of the header `weir-filters`. Returns None if the server
    /// closes the connection.
    pub async fn open(address: SocketAddr, node: &str, filters: &str) -> Option<DeltaStream> {
        let stream = TcpStream::connect(address).await.ok()?;
        let builder = http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let (requests, body) = Channel::<Bytes>::new(1);
        let request = Request::post(format!("http://weir{METHOD}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("weir-filters", filters);
        let request = request.body(body).expect("a request");
        let response = sender.send_request(request).await.ok()?;
        Some(DeltaStream {
            node: field(1, &field(1, node.as_bytes())),
            requests,
            responses: response.into_body(),
            buffer: Vec::new(),
        })
    }

    /// Sends a request. Returns false if the stream has ended.
    pub async fn send(&mut self, request: DeltaRequest<'_>) -> bool {
        self.send_encoded(&request.encode()).await
    }

    /// Like [`DeltaStream::send`], with a result of [`DeltaRequest::encode`].
    pub async fn send_encoded(&mut self, request: &[u8]) -> bool {
        // Only the first request names the node.
        let node = std::mem::take(&mut self.node);
        let size = u32::try_from(node.len() + request.len()).expect("a size");
        let message = [&[0][..], &size.to_be_bytes(), &node, request].concat();
        self.requests.send_data(message.into()).await.is_ok()
    }

    /// Returns the next response, or None if the stream has ended.
    pub async fn next(&mut self) -> Option<DeltaResponse> {
        loop {
            if let Some((prefix, rest)) = self.buffer.split_first_chunk::<5>() {
                let [_, size @ ..] = *prefix;
                let size = usize::try_from(u32::from_be_bytes(size)).expect("a size");
                if rest.len() >= size {
                    let response = DeltaResponse::of(&rest[..size]);
                    self.buffer.drain(..5 + size);
                    return Some(response);
                }
            }
            let frame = self.responses.frame().await?.ok()?;
            self.buffer.extend(frame.into_data().ok()?);
        }
    }

    /// Accepts a response. Returns false if the stream has ended.
    pub async fn accept(&mut self, response: &DeltaResponse) -> bool {
        let request = DeltaRequest {
            kind: &response.kind,
            nonce: &response.nonce,
            ..DeltaRequest::default()
        };
        self.send(request).await
    }
}

impl DeltaRequest<'_> {
    pub fn encode(&self) -> Vec<u8> {
        let mut message = field(2, self.kind.as_bytes());
        for name in self.subscribe {
            message.extend(field(3, name.as_bytes()));
        }
        for (name, version) in self.versions {
            let entry = [field(1, name.as_bytes()), field(2, version.as_bytes())];
            message.extend(field(5, &entry.concat()));
        }
        message.extend(field(6, self.nonce.as_bytes()));
        if let Some(error) = self.error {
            message.extend(field(7, &field(2, error.as_bytes())));
        }
        message
    }
}

impl DeltaResponse {
    fn of(message: &[u8]) -> DeltaResponse {
        let mut response = DeltaResponse::default();
        for (number, value) in fields(message) {
            let text = || String::from_utf8_lossy(value).into_owned();
            match number {
                2 => response.resources.push(value.to_vec()),
                4 => response.kind = text(),
                5 => response.nonce = text(),
                _ => {}
            }
        }
        response
    }

    /// True if the bytes of a resource have this part.
    pub fn contains(&self, part: &[u8]) -> bool {
        let has_part = |it: &Vec<u8>| it.windows(part.len()).any(|it| it == part);
        self.resources.iter().any(has_part)
    }
}

/// Returns a field of a protocol buffer with bytes as its value.
pub fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    bytes.extend(varint(value.len()));
    bytes.extend(value);
    bytes
}

/// Returns a number in the encoding of protocol buffers.
fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Returns the numbers and the values of the fields of a message whose fields all have bytes as their values.
fn fields(mut message: &[u8]) -> Vec<(u8, &[u8])> {
    let mut fields = Vec::new();
    while let Some((key, mut rest)) = message.split_first() {
        assert_eq!(key & 7, 2, "a field without bytes");
        let (mut size, mut shift) = (0, 0);
        while let Some((byte, after)) = rest.split_first() {
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            rest = after;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (value, after) = rest.split_at(size);
        fields.push((key >> 3, value));
        message = after;
    }
    fields
}
