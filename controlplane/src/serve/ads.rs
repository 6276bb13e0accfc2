//! Delta ADS streams (gRPC over HTTP/2): a proxy gets the clusters, the endpoints and the filters of its scopes.
//!
//! The header `weir-filters` names the filters of the proxy and their plugin configurations. They decide the scopes of
//! the stream.

mod grpc;
mod session;
mod stream_filters;
mod stream_slots;

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use tonic::{Code, Status};

use super::Server;
use super::listener::{ConnectionSlot, Http2Connection, Peer, set_connection_close};
use super::reader::Refusal;
use crate::xds::filter_request;
use session::{Session, StreamEnds};
pub use stream_filters::FilterSource;
use stream_filters::StreamFilters;
pub(super) use stream_slots::StreamSlots;
use weir_core::envoy::FILTERS_HEADER;
use weir_core::manifest::problem::messages::answer as messages;

/// The path of the method.
pub(super) const PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

pub(super) async fn open(
    State(server): State<Server>,
    peer: Option<Extension<Peer>>,
    slot: Option<Extension<Arc<ConnectionSlot>>>,
    connection: Option<Extension<Arc<Http2Connection>>>,
    request: Request,
) -> Response {
    let Some(Extension(connection)) = connection.filter(|_| request.version() == Version::HTTP_2)
    else {
        let mut response = StatusCode::HTTP_VERSION_NOT_SUPPORTED.into_response();
        set_connection_close(&mut response);
        return response;
    };
    let content = request.headers().get(CONTENT_TYPE);
    if !content.is_some_and(|it| it.as_bytes().starts_with(b"application/grpc")) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    match server.open_stream(peer, slot, connection, request).await {
        Ok(response) => response,
        Err(status) => {
            let is_stranger = status.code() == Code::Unauthenticated;
            let mut response = grpc::refused(&status);
            if is_stranger {
                set_connection_close(&mut response);
            }
            response
        }
    }
}

impl Server {
    async fn open_stream(
        self,
        peer: Option<Extension<Peer>>,
        slot: Option<Extension<Arc<ConnectionSlot>>>,
        connection: Arc<Http2Connection>,
        request: Request,
    ) -> Result<Response, Status> {
        let headers = request.headers();
        let own_peer = peer.clone().unwrap_or_default().0;
        let reader = self.authenticate(peer, slot, headers).await?;
        let header = headers.get(FILTERS_HEADER);
        let requests = filter_request::parse(header.map(HeaderValue::as_bytes));
        let requests = requests.map_err(|it| Status::invalid_argument(it.to_string()))?;
        let filters = StreamFilters::new(requests, self.filters.clone());
        for scope in filters.scopes() {
            reader.may_read(scope)?;
        }
        let owner = reader.owner();
        let Some(slot) = self.stream_slots.take(&owner) else {
            return Err(Refusal::Full.into());
        };
        let token = self.authentication.token_session(&own_peer, headers);
        let (requests, replies, response) =
            grpc::stream(request.into_body(), slot.large_requests.clone());
        let ends = StreamEnds {
            connection,
            slot,
            token,
        };
        let session = Session::new(self, owner, filters);
        tokio::spawn(session.run(ends, requests, replies));
        Ok(response)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        match refusal {
            Refusal::Unknown(message) => Status::unauthenticated(message),
            Refusal::Forbidden(message) => Status::permission_denied(message),
            Refusal::Unavailable(message) => Status::unavailable(message),
            Refusal::Full => Status::resource_exhausted(messages::full().to_string()),
        }
    }
}
