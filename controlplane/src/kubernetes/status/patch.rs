//! One write of a status.

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::subject::{Subject, Written};

/// What became of it.
pub enum Done {
    Written(u64, Written),
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
    let body = json!({"metadata": {"resourceVersion": version}, "status": wanted});
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
            let status = written.data.get("status").map(Written::from);
            Done::Written(
                version.parse().unwrap_or_default(),
                status.unwrap_or_default(),
            )
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Done::Conflict,
        Err(kube::Error::Api(status)) if status.code == 404 => Done::Gone,
        Err(error) => {
            tracing::warn!(%object, "status could not be written: {error}");
            match error {
                kube::Error::Api(status) if (400..500).contains(&status.code) => {
                    match status.code {
                        401 | 408 | 429 => Done::Failed,
                        _ => Done::Refused,
                    }
                }
                _ => Done::Failed,
            }
        }
    }
}
