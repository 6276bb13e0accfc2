//! One write of a status.

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use weir_core::status::subject::{Subject, Written};

/// What became of it.
pub enum Done {
    Written {
        version: u64,
        status: Written,
        /// Whether it says all that was written.
        is_whole: bool,
    },
    /// The object is not as it was read.
    Conflict,
    Gone,
    Refused,
    Failed,
}

pub async fn patch(client: kube::Client, subject: &Subject, version: &str, wanted: Value) -> Done {
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
    // The API server refuses it where the object is no longer as it was read.
    let body = json!({"metadata": {"resourceVersion": version}, "status": &wanted});
    let params = PatchParams {
        field_manager: Some("weir".to_owned()),
        ..PatchParams::default()
    };
    match api
        .patch_status(&object.name, &params, &Patch::Merge(body))
        .await
    {
        Ok(written) => {
            let version = written.metadata.resource_version.unwrap_or_default();
            let status = written.data.get("status").unwrap_or(&Value::Null);
            let mut fields = wanted.as_object().into_iter().flatten();
            Done::Written {
                version: version.parse().unwrap_or_default(),
                status: Written::from(status),
                is_whole: fields.all(|(name, it)| status.get(name) == Some(it)),
            }
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Done::Conflict,
        Err(kube::Error::Api(status)) if status.code == 404 => Done::Gone,
        Err(error) => {
            tracing::warn!(%object, "status could not be written: {error}");
            match is_for_good(&error) {
                true => Done::Refused,
                false => Done::Failed,
            }
        }
    }
}

/// Whether the API server will not have it another time either.
pub fn is_for_good(error: &kube::Error) -> bool {
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

    /// What becomes of a write that the API server answers so.
    async fn done(code: u16, answer: Value) -> Done {
        let api_server = tower::service_fn(move |_: Request<Body>| {
            let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
            *response.status_mut() = code.try_into().unwrap();
            async { Ok::<_, std::convert::Infallible>(response) }
        });
        let client = kube::Client::new(api_server, "default");
        let wanted = json!({"conditions": [{"type": "Accepted", "status": "True"}]});
        patch(client, &split_subject(true), "1", wanted).await
    }

    #[tokio::test]
    async fn a_status_of_which_a_part_is_dropped_is_known() {
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
            match done(200, answer).await {
                Done::Written {
                    version, is_whole, ..
                } => {
                    assert_eq!((version, is_whole), (2, whole), "{kept}");
                }
                _ => panic!("it was written: {kept}"),
            }
        }
    }

    #[tokio::test]
    async fn what_the_api_server_will_never_have_is_refused() {
        for (code, is_refused) in [
            (403, true),
            (422, true),
            (401, false),
            (429, false),
            (500, false),
        ] {
            let answer = json!({"kind": "Status", "status": "Failure", "code": code, "message": "", "reason": ""});
            let done = done(code, answer).await;
            assert_eq!(matches!(done, Done::Refused), is_refused, "{code}");
            assert_eq!(matches!(done, Done::Failed), !is_refused, "{code}");
        }
    }
}
