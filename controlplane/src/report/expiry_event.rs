//! Warns when the server certificate expires in less than 30 days. The warning is a log line, and an Event on the Lease
//! of the replicas.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};

use super::Lease;
use crate::serve::listener::certificate_expiry;
use crate::serve::listener::tls::Certificates;
use weir_core::api::gateway::CONTROLLER;

/// Time between two checks. By default an API server deletes an Event after an hour, so each check writes the Event
/// again.
const LOOK: Duration = Duration::from_secs(3_600);
/// Time until the next check after a write that failed.
const RETRY: Duration = Duration::from_secs(60);

/// Checks the certificate again and again. The name of the Event contains the time at which the certificate expires, so
/// that several replicas create only one Event.
pub async fn follow(client: kube::Client, lease: Lease, certificates: Arc<Certificates>) {
    let api: Api<Event> = Api::namespaced(client, &lease.namespace);
    loop {
        let (now, end) = (Timestamp::now(), certificates.ends());
        let mut pause = LOOK;
        if let Some(note) = certificate_expiry::warning(end, now.as_second()) {
            tracing::warn!("{note}");
            match api
                .create(&PostParams::default(), &event(&lease, end, note))
                .await
            {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => {
                    tracing::warn!(
                        "the Event about the expiry of the certificate could not be written: {error}"
                    );
                    pause = RETRY;
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
}

fn event(lease: &Lease, end: i64, note: String) -> Event {
    Event {
        action: Some("Renew".to_owned()),
        event_time: Some(MicroTime(Timestamp::now())),
        metadata: ObjectMeta {
            name: Some(format!("{}.certificate-{end}", lease.name)),
            namespace: Some(lease.namespace.clone()),
            ..ObjectMeta::default()
        },
        note: Some(note),
        reason: Some("CertificateEnds".to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            name: Some(lease.name.clone()),
            namespace: Some(lease.namespace.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some("weir".to_owned()),
        type_: Some("Warning".to_owned()),
        ..Event::default()
    }
}
