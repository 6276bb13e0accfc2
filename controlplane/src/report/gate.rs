//! The gate for release tools: answers 200 if the current generation of an object is live on every proxy.
//!
//! Every replica can answer, also a replica without the Lease. It requests the proxies of the other replicas, reads the
//! object from the API server, and computes the status that Weir would write for exactly this generation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::all_proxies::AllProxies;
use crate::publish::Outcome;
use weir_core::manifest::object::SupportedKind;
use weir_core::manifest::problem::messages::{Message, gate as messages};
use weir_core::status::liveness::{liveness, parse_kind};
use weir_core::status::subject::Subject;

/// Maximum number of requests that the gate works on at the same time.
const MAX_CHECKS: usize = 8;
/// Time limit for each of two steps of a request: the wait for a turn, and the read of the object.
const STEP: Duration = Duration::from_secs(3);
/// Maximum size of a request body. Flagger sends some hundred bytes, plus the `metadata` of its webhook.
const MAX_BODY: usize = 64 << 10;

/// The parts of `weir serve --kubernetes` that the gate reads.
pub struct Gate {
    client: kube::Client,
    outcome: watch::Receiver<Arc<Outcome>>,
    proxies: Arc<AllProxies>,
    turns: Semaphore,
}

impl Gate {
    pub fn new(
        client: kube::Client,
        outcome: watch::Receiver<Arc<Outcome>>,
        proxies: Arc<AllProxies>,
    ) -> Gate {
        Gate {
            client,
            outcome,
            proxies,
            turns: Semaphore::new(MAX_CHECKS),
        }
    }
}

/// `GET` or `POST /gate/KIND/NAMESPACE/NAME` names the object in the URL. `POST /gate/KIND` names it in the body, as
/// Flagger's webhooks do. Without a gate (a folder of manifests) every answer is 501.
pub fn router(gate: Option<Gate>) -> Router {
    let gate_routes = Router::new()
        .route("/{kind}", post(by_body).fallback(without_target))
        .route("/{kind}/{namespace}/{name}", get(by_url).post(by_url))
        .fallback(without_target);
    Router::new()
        .nest("/gate", gate_routes)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(gate.map(Arc::new))
}

/// The status and the message of an answer whose status is not 200.
struct GateClosed(StatusCode, Message);

impl IntoResponse for GateClosed {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

/// The object that a request names.
struct GateTarget {
    kind: SupportedKind,
    namespace: String,
    name: String,
}

/// The fields of a webhook's body that name the object. Flagger sends the names of the Canary.
#[derive(Deserialize)]
struct NamesInBody {
    name: String,
    namespace: String,
}

async fn without_target() -> GateClosed {
    GateClosed(StatusCode::BAD_REQUEST, messages::no_target())
}

async fn by_url(
    State(gate): State<Option<Arc<Gate>>>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
) -> Result<String, GateClosed> {
    let kind = read_kind(&kind)?;
    check(gate, kind, namespace, name).await
}

async fn by_body(
    State(gate): State<Option<Arc<Gate>>>,
    Path(kind): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<String, GateClosed> {
    let kind = read_kind(&kind)?;
    let invalid = |why: String| GateClosed(StatusCode::BAD_REQUEST, messages::no_names(why));
    let body = body.map_err(|error| invalid(error.body_text()))?;
    let body: NamesInBody =
        serde_json::from_slice(&body).map_err(|error| invalid(error.to_string()))?;
    let NamesInBody { name, namespace } = body;
    check(gate, kind, namespace, name).await
}

fn read_kind(text: &str) -> Result<SupportedKind, GateClosed> {
    parse_kind(text)
        .ok_or_else(|| GateClosed(StatusCode::BAD_REQUEST, messages::unknown_kind(text)))
}

async fn check(
    gate: Option<Arc<Gate>>,
    kind: SupportedKind,
    namespace: String,
    name: String,
) -> Result<String, GateClosed> {
    let target = GateTarget {
        kind,
        namespace,
        name,
    };
    let gate =
        gate.ok_or_else(|| GateClosed(StatusCode::NOT_IMPLEMENTED, messages::no_cluster()))?;
    let turn = timeout(STEP, gate.turns.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        return Err(GateClosed(
            StatusCode::SERVICE_UNAVAILABLE,
            messages::busy(),
        ));
    };
    gate.check(&target).await
}

impl Gate {
    async fn check(&self, target: &GateTarget) -> Result<String, GateClosed> {
        let unavailable = |message| GateClosed(StatusCode::SERVICE_UNAVAILABLE, message);
        let failures = self.proxies.ask().await;
        if !failures.is_empty() {
            let failures: Vec<String> = failures.into_iter().collect();
            return Err(unavailable(messages::peers_away(failures.join(", "))));
        }
        let proxies = self.proxies.list(Instant::now());
        let proxies = proxies.ok_or_else(|| unavailable(messages::starting()))?;
        let subject = self.subject(target)?;
        // The object is read after the list of proxies, so its generation is at least as new as the list.
        let mut object = self.read(&subject).await?;
        // Weir may have read the newest edit during these requests.
        let subject = self.subject(target)?;
        let metadata = &object["metadata"];
        if metadata["uid"] != subject.uid.as_str() {
            return Err(conflict(messages::recreated(&subject.object)));
        }
        let generation = metadata["generation"].as_i64().unwrap_or_default();
        if generation != subject.generation {
            let read = subject.generation;
            return Err(conflict(messages::older(&subject.object, read, generation)));
        }
        let outcome = self.outcome.borrow().clone();
        let evidence = outcome.evidence(&proxies);
        let before = subject.status.value();
        let status = evidence.new_status(&subject, &before, jiff::Timestamp::now());
        let status = status.map(|(field, value)| serde_json::json!({ field: value }));
        object["status"] = status.unwrap_or_default();
        match liveness(subject.kind, &object) {
            Ok(live) => Ok(format!(
                "generation {generation} of {} is live: {}\n",
                subject.object,
                live.join("; ")
            )),
            Err(missing) => {
                let missing = format!("generation {generation}: {}", missing.join("; "));
                Err(conflict(messages::not_live(&subject.object, missing)))
            }
        }
    }

    fn subject(&self, target: &GateTarget) -> Result<Arc<Subject>, GateClosed> {
        let outcome = self.outcome.borrow();
        let mut subjects = outcome.subjects.iter();
        let found = subjects.find(|it| {
            it.kind == target.kind.kind
                && it.object.namespace == target.namespace
                && it.object.name == target.name
        });
        found.cloned().ok_or_else(|| {
            if outcome.published.is_none() {
                let unread = messages::nothing_read();
                return GateClosed(StatusCode::SERVICE_UNAVAILABLE, unread);
            }
            let GateTarget {
                kind,
                namespace,
                name,
            } = target;
            no_object(format!("{} {namespace}/{name}", kind.name))
        })
    }

    /// Reads the newest state of the object from the API server. This is a list request with a field selector, because
    /// Weir has the right to list objects anyway.
    async fn read(&self, subject: &Subject) -> Result<Value, GateClosed> {
        let unread = |why: String| {
            GateClosed(
                StatusCode::SERVICE_UNAVAILABLE,
                messages::object_unread(why),
            )
        };
        let plural = subject
            .resource
            .split(['.', '/'])
            .next()
            .unwrap_or_default();
        let path = format!(
            "/apis/{}/namespaces/{}/{plural}",
            subject.api_version, subject.object.namespace
        );
        let name = format!("metadata.name={}", subject.object.name);
        let request = Request::new(path).list(&ListParams::default().fields(&name));
        let request = request.map_err(|error| unread(error.to_string()))?;
        let answer = timeout(STEP, self.client.request::<Value>(request)).await;
        let list = answer
            .map_err(|_| unread("no answer in time".to_owned()))?
            .map_err(|error| unread(error.to_string()))?;
        let object = list["items"].as_array().and_then(|items| items.first());
        object
            .cloned()
            .ok_or_else(|| no_object(subject.object.to_string()))
    }
}

fn conflict(message: Message) -> GateClosed {
    GateClosed(StatusCode::CONFLICT, message)
}

fn no_object(object: String) -> GateClosed {
    GateClosed(StatusCode::NOT_FOUND, messages::no_object(object))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::{Body, to_bytes};
    use serde_json::json;
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt;

    use super::*;
    use crate::publish::Publisher;
    use crate::report::fixtures::split_subject;
    use crate::serve::{Authentication, Server};
    use crate::source::kubernetes::cluster_versions::ClusterVersions;
    use weir_core::api::smi::traffic_target::Policy;
    use weir_core::metrics::Metrics;

    /// Asks the gate of a replica that has read generation 1 of TrafficSplit `shop/web`. The API server answers with
    /// `code` and these objects. Returns the status and the text.
    async fn ask(code: u16, objects: Value) -> (u16, String) {
        let outcome = Outcome {
            subjects: vec![Arc::new(split_subject(false))],
            ..Outcome::default()
        };
        ask_after(outcome, "/gate/trafficsplit/shop/web", code, objects).await
    }

    async fn ask_after(outcome: Outcome, path: &str, code: u16, objects: Value) -> (u16, String) {
        let api_server = tower::service_fn(move |_: axum::http::Request<kube::client::Body>| {
            let list = json!({ "metadata": {}, "items": objects });
            let mut response =
                Response::new(kube::client::Body::from(list.to_string().into_bytes()));
            *response.status_mut() = code.try_into().unwrap();
            async { Ok::<_, Infallible>(response) }
        });
        let metrics = Arc::new(Metrics::default());
        let publisher = Publisher::new(metrics.clone(), Policy::Unstated);
        let server = Server::new(
            &publisher,
            ClusterVersions::default(),
            Authentication::Anyone,
            CancellationToken::new(),
            metrics,
        );
        let (_sender, outcome) = watch::channel(Arc::new(outcome));
        let proxies = AllProxies::gathered(server.proxies());
        let client = kube::Client::new(api_server, "default");
        let gate = Gate::new(client, outcome, Arc::new(proxies));
        let request = axum::http::Request::get(path);
        let request = request.body(Body::empty()).unwrap();
        let response = router(Some(gate)).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let text = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8_lossy(&text).into_owned())
    }

    #[tokio::test]
    async fn api_server_decides_about_generation() {
        let object = |uid: &str, generation: i64| json!([{ "metadata": { "uid": uid, "generation": generation, "namespace": "shop" } }]);
        for (code, objects, status, says) in [
            (200, object("1", 2), 409, "Weir has read generation 1"),
            (200, object("2", 1), 409, "deleted and created again"),
            (
                200,
                json!([]),
                404,
                "Weir has read no TrafficSplit shop/web",
            ),
            (
                500,
                json!([]),
                503,
                "the API server does not send the object",
            ),
            (
                200,
                object("1", 1),
                409,
                "no proxy requests a configuration",
            ),
        ] {
            let (found, text) = ask(code, objects).await;
            assert!(found == status && text.contains(says), "{found} {text}");
        }
    }

    #[tokio::test]
    async fn unread_cluster_has_no_answer() {
        let path = "/gate/trafficsplit/shop/web";
        let (status, text) = ask_after(Outcome::default(), path, 200, json!([])).await;
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("Weir has not read the objects"), "{text}");
    }

    #[tokio::test]
    async fn incomplete_url_is_explained() {
        for path in [
            "/gate/ts",
            "/gate/ts/shop",
            "/gate/ts/shop/",
            "/gate/ts/shop/web/more",
        ] {
            let (status, text) = ask_after(Outcome::default(), path, 200, json!([])).await;
            assert_eq!(status, 400, "{path}: {text}");
            assert!(text.contains("/gate/KIND/NAMESPACE/NAME"), "{text}");
        }
    }

    #[tokio::test]
    async fn folder_has_no_gate() {
        let request = axum::http::Request::get("/gate/trafficsplit/shop/web");
        let request = request.body(Body::empty()).unwrap();
        let response = router(None).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
    }
}
