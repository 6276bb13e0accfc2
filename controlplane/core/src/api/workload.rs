//! Reads Pods and the controllers that make Pods, to find the ServiceAccounts of the Pods of a Service.
//!
//! Only the access policy uses workloads, so Weir reads only their labels and ServiceAccounts.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::api::service::Selector;
use crate::manifest::hostname;
use crate::manifest::object::{Kind, Object};
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::access as messages;

/// Labels and ServiceAccount of a Pod, or of the Pods of a Deployment, StatefulSet, DaemonSet or ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The labels, sorted by name. The type is a slice, because a map would take too much memory.
    labels: Box<[(Box<str>, Box<str>)]>,
    /// Name of the ServiceAccount, in the workload's namespace.
    pub account: String,
}

#[derive(Deserialize)]
struct Pod {
    metadata: Option<Metadata>,
    spec: Option<PodSpec>,
}

#[derive(Deserialize)]
struct Metadata {
    labels: Option<BTreeMap<Box<str>, Box<str>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    service_account_name: Option<String>,
    /// The old name of the field `serviceAccountName`.
    service_account: Option<String>,
}

#[derive(Deserialize)]
struct Controller {
    spec: ControllerSpec,
}

#[derive(Deserialize)]
struct ControllerSpec {
    replicas: Option<i64>,
    template: Pod,
}

impl Workload {
    /// Parses a workload. Returns None for a ReplicaSet with 0 replicas, because such a ReplicaSet is an old revision
    /// of a Deployment.
    pub fn parse(object: &Object) -> Result<Option<Workload>, Problem> {
        let pod = match object.kind {
            Kind::Workload("Pod") => object.decode()?,
            kind => {
                let Controller { spec } = object.decode()?;
                if kind == Kind::Workload("ReplicaSet") && spec.replicas == Some(0) {
                    return Ok(None);
                }
                spec.template
            }
        };
        let Pod { metadata, spec } = pod;
        let spec = spec.unwrap_or_default();
        let names = [spec.service_account_name, spec.service_account];
        let account = names.into_iter().flatten().find(|name| !name.is_empty());
        if let Some(account) = account.as_deref().filter(|it| !hostname::is_dns_name(it)) {
            let message = messages::pod_account_no_name(account);
            return Err(object.reference().problem("spec", message));
        }
        Ok(Some(Workload {
            labels: metadata
                .and_then(|metadata| metadata.labels)
                .unwrap_or_default()
                .into_iter()
                .collect(),
            account: account.unwrap_or_else(|| "default".to_owned()),
        }))
    }

    /// True if a Service with this selector selects the Pods of the workload. An empty selector selects no Pod.
    pub fn fits(&self, selector: &Selector) -> bool {
        let has = |(name, value): &(Box<str>, Box<str>)| {
            let found = self.labels.binary_search_by(|(it, _)| it.cmp(name));
            let label = found.ok().and_then(|index| self.labels.get(index));
            label.is_some_and(|(_, it)| it == value)
        };
        !selector.is_empty() && selector.iter().all(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::object::read;

    #[test]
    fn workloads_have_labels_and_account() {
        let account = |text: &str| {
            let object = read("a.yaml", text).unwrap().objects.remove(0);
            let workload = Workload::parse(&object).map_err(|problem| problem.path);
            let selector: Selector = [("app".into(), "web".into())].into();
            workload.map(|it| it.map(|it| (it.fits(&selector), it.account)))
        };
        let controller = |kind: &str, rest: &str| {
            account(&format!(
                "{{apiVersion: apps/v1, kind: {kind}, metadata: {{name: a, labels: {{app: other}}}}, spec: {{\
                 template: {{metadata: {{labels: {{app: web, v: '1'}}}}, spec: {{serviceAccountName: web}}}}{rest}}}}}"
            ))
        };
        let web = |fits: bool, name: &str| Ok(Some((fits, name.to_owned())));
        for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"] {
            assert_eq!(controller(kind, ""), web(true, "web"), "{kind}");
        }
        assert_eq!(controller("ReplicaSet", ", replicas: 0"), Ok(None));
        assert_eq!(controller("Deployment", ", replicas: 0"), web(true, "web"));
        let pod = |rest: &str| account(&format!("{{apiVersion: v1, kind: Pod, {rest}}}"));
        assert_eq!(
            pod("metadata: {generateName: a-, labels: {app: web}}"),
            web(true, "default")
        );
        assert_eq!(
            pod("metadata: {}, spec: {serviceAccount: old}"),
            web(false, "old")
        );
        assert_eq!(
            account("{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {}}"),
            Err("spec".to_owned())
        );
        assert_eq!(
            pod("metadata: {}, spec: {serviceAccount: 'a/b'}"),
            Err("spec".to_owned())
        );
    }
}
