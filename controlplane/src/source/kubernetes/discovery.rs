//! Finds the supported kinds that a cluster has, and their versions.
//!
//! Aggregated discovery lists all kinds in one small answer, and every client may read this answer. Shortly after the
//! start of an API server, kinds may be missing in the answer. So a kind counts as absent only after a request for the
//! list of its objects was answered with 404.

use http_body_util::BodyExt;
use hyper::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::{Request, StatusCode};
use kube::client::{APIGroupDiscoveryList, Body};

use super::resource::{ApiResource, Served};

const AGGREGATED: HeaderValue = HeaderValue::from_static(
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
);

pub struct Discovery {
    client: kube::Client,
    groups: APIGroupDiscoveryList,
    /// The ETag of the answer with `groups`.
    etag: Option<HeaderValue>,
}

#[derive(Debug, thiserror::Error)]
pub enum Undiscovered {
    #[error(transparent)]
    Failed(#[from] kube::Error),
    #[error("no answer to GET /apis")]
    Silent,
    #[error("GET /apis answers {0}")]
    Refused(StatusCode),
    #[error("GET /apis has no aggregated discovery; Kubernetes 1.26 or later is required")]
    TooOld,
    #[error("GET /apis cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl Discovery {
    pub fn new(client: kube::Client) -> Discovery {
        Discovery {
            client,
            groups: APIGroupDiscoveryList::default(),
            etag: None,
        }
    }

    /// Reads the kinds of the cluster, if they have changed since the last call.
    pub async fn refresh(&mut self) -> Result<(), Undiscovered> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = hyper::Uri::from_static("/apis");
        request.headers_mut().insert(ACCEPT, AGGREGATED);
        if let Some(etag) = &self.etag {
            request.headers_mut().insert(IF_NONE_MATCH, etag.clone());
        }
        let answer = self.client.send(request).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED => return Ok(()),
            other => return Err(Undiscovered::Refused(other)),
        }
        let content_type = answer.headers().get(CONTENT_TYPE);
        if !content_type.is_some_and(|it| it.as_bytes().windows(12).any(|it| it == b"apidiscovery"))
        {
            return Err(Undiscovered::TooOld);
        }
        let etag = answer.headers().get(ETAG).cloned();
        let body = answer.into_body().collect().await?.to_bytes();
        self.groups = serde_json::from_slice(&body)?;
        self.etag = etag;
        Ok(())
    }

    /// Returns the supported version that the cluster prefers. Returns None if the cluster has no supported version.
    pub fn served(&self, resource: &ApiResource) -> Option<Served> {
        let plural = resource.plural();
        if resource.group.is_empty() {
            // Discovery lists the core group in another answer, and every cluster has the core group.
            let version = *resource.versions.first()?;
            return Some(Served {
                version,
                has_status: true,
            });
        }
        let is_it = |name: Option<&str>| name == Some(resource.group);
        let mut groups = self.groups.items.iter();
        let group = groups.find(|group| {
            let metadata = group.metadata.as_ref();
            is_it(metadata.and_then(|metadata| metadata.name.as_deref()))
        })?;
        group.versions.iter().find_map(|offered| {
            let supported = resource.versions.iter();
            let version = supported
                .copied()
                .find(|it| Some(*it) == offered.version.as_deref())?;
            let mut resources = offered.resources.iter();
            let found = resources.find(|it| it.resource.as_deref() == Some(plural.as_str()))?;
            let mut subresources = found.subresources.iter();
            Some(Served {
                version,
                has_status: subresources.any(|it| it.subresource.as_deref() == Some("status")),
            })
        })
    }
}
