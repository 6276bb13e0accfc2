//! Writes the status of one object.

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use weir_core::status::subject::{JsonText, Subject};

/// The result of a write.
pub enum PatchResult {
    Written {
        version: u64,
        status: JsonText,
        /// True if the API server has kept every field that was written.
        is_whole: bool,
    },
    /// The object has changed since it was read.
    Conflict,
    /// The object does not exist.
    Gone,
    /// The API server refuses the write, and would refuse the same write again.
    Refused,
    /// The write may succeed later.
    Failed,
}

pub async fn patch(
    client: kube::Client,
    subject: &Subject,
    version: &str,
    status: Value,
) -> PatchResult {
    let Subject {
        object,
        api_version,
        resource,
        ..
    } = subject;
    let (group, api) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource {
        group: group.to_owned(),
        version: api.to_owned(),
        api_version: api_version.clone(),
        kind: object.kind.clone(),
        plural: resource.split('.').next().unwrap_or(resource).to_owned(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client, &object.namespace, &resource);
    // The API server refuses the write if the object no longer has this resource version.
    let body = json!({"metadata": {"resourceVersion": version}, "status": &status});
    let params = PatchParams {
        field_manager: Some("weir".to_owned()),
        ..PatchParams::default()
    };
    match api
        .patch_status(&object.name, &params, &Patch::Merge(body))
        .await
    {
        Ok(object) => {
            let version = object.metadata.resource_version.unwrap_or_default();
            let kept = object.data.get("status").unwrap_or(&Value::Null);
            let mut fields = status.as_object().into_iter().flatten();
            PatchResult::Written {
                version: version.parse().unwrap_or_default(),
                status: JsonText::from(kept),
                is_whole: fields.all(|(name, it)| kept.get(name) == Some(it)),
            }
        }
        Err(kube::Error::Api(status)) if status.code == 409 => PatchResult::Conflict,
        Err(kube::Error::Api(status)) if status.code == 404 => PatchResult::Gone,
        Err(error) => {
            tracing::warn!(%object, "status could not be written: {error}");
            if is_permanent(&error) {
                PatchResult::Refused
            } else {
                PatchResult::Failed
            }
        }
    }
}

/// True if the API server would refuse the same request again.
pub fn is_permanent(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            (400..500).contains(&status.code) && !matches!(status.code, 401 | 408 | 429)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::report::fixtures::split_subject;
    use axum::http::{Request, Response};
    use kube::client::Body;

    use super::*;

    /// Writes to an API server that answers with the status `code` and the body `answer`. Returns the result.
    async fn result(code: u16, answer: Value) -> PatchResult {
        let api_server = tower::service_fn(move |_: Request<Body>| {
            let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
            *response.status_mut() = code.try_into().unwrap();
            async { Ok::<_, std::convert::Infallible>(response) }
        });
        let client = kube::Client::new(api_server, "default");
        let status = json!({"conditions": [{"type": "Accepted", "status": "True"}]});
        patch(client, &split_subject(true), "1", status).await
    }

    #[tokio::test]
    async fn partly_dropped_status_is_detected() {
        for (kept, whole) in [
            (
                json!({"conditions": [{"type": "Accepted", "status": "True"}]}),
                true,
            ),
            (
                json!({"conditions": [{"type": "Accepted", "status": "True"}], "more": 1}),
                true,
            ),
            (json!({"conditions": [{"status": "True"}]}), false),
            (json!({}), false),
            (Value::Null, false),
        ] {
            let answer = json!({"metadata": {"resourceVersion": "2"}, "status": kept});
            match result(200, answer).await {
                PatchResult::Written {
                    version, is_whole, ..
                } => {
                    assert_eq!((version, is_whole), (2, whole), "{kept}");
                }
                _ => panic!("not written: {kept}"),
            }
        }
    }

    #[tokio::test]
    async fn permanent_errors_are_refusals() {
        for (code, is_refused) in [
            (403, true),
            (422, true),
            (401, false),
            (429, false),
            (500, false),
        ] {
            let answer = json!({"kind": "Status", "status": "Failure", "code": code, "message": "", "reason": ""});
            let result = result(code, answer).await;
            assert_eq!(matches!(result, PatchResult::Refused), is_refused, "{code}");
            assert_eq!(matches!(result, PatchResult::Failed), !is_refused, "{code}");
        }
    }
}
