//! The kinds that Weir reads, their sources, and the paths of their lists.

use std::sync::Arc;

use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object::{Kind, SUPPORTED_KINDS, SupportedKind};

/// A supported kind.
#[derive(Clone, Copy, Debug)]
pub struct ApiResource {
    pub kind: Kind,
    pub group: &'static str,
    /// The name of the kind, such as `Service`.
    pub name: &'static str,
    /// The supported versions.
    pub versions: &'static [&'static str],
    /// A field of `spec` that the translation does not use. The field is removed, because it needs much memory.
    pub unused: Option<&'static str>,
}

/// The version at which a resource is read from this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    pub version: &'static str,
    /// True if the resource has a status subresource.
    pub has_status: bool,
}

/// The objects of one watch: a resource in all namespaces or in one namespace.
#[derive(Clone, Debug)]
pub struct Source {
    pub resource: ApiResource,
    pub namespace: Option<String>,
    /// `PLURAL.GROUP` or `PLURAL.GROUP/NAMESPACE`, as in a watermark.
    pub id: Arc<str>,
}

impl ApiResource {
    /// Returns the resources that the translation uses under this access policy.
    pub fn all(policy: Policy) -> impl Iterator<Item = ApiResource> {
        let of = move |SupportedKind {
                           group,
                           name,
                           versions,
                           kind,
                       }| ApiResource {
            kind,
            group,
            name,
            versions,
            // Only the policy smi uses the selector, to find the pods of a Service.
            unused: (kind == Kind::Service && policy != Policy::Smi).then_some("selector"),
        };
        let is_needed = move |resource: &ApiResource| match resource.kind {
            // Most ConfigMaps are not for Weir. It reads only the ConfigMaps of BackendTLSPolicies.
            Kind::ConfigMap => false,
            kind => policy == Policy::Smi || !kind.is_of_policy(),
        };
        SUPPORTED_KINDS.into_iter().map(of).filter(is_needed)
    }

    pub fn plural(&self) -> String {
        let singular = self.name.to_ascii_lowercase();
        match singular.strip_suffix("cy") {
            Some(stem) => format!("{stem}cies"),
            None if singular.ends_with('s') => singular + "es",
            None => singular + "s",
        }
    }

    pub fn api_version(&self, version: &str) -> String {
        match self.group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }

    fn id(&self) -> String {
        match self.group {
            "" => self.plural(),
            group => format!("{}.{group}", self.plural()),
        }
    }
}

impl Source {
    /// Returns the sources of the resource in these namespaces, or in every namespace if `namespaces` is empty.
    pub fn of(resource: ApiResource, namespaces: &[String]) -> Vec<Source> {
        let is_narrowed = !namespaces.is_empty() && resource.kind != Kind::GatewayClass;
        if !is_narrowed {
            let id = resource.id().into();
            let namespace = None;
            return vec![Source {
                resource,
                namespace,
                id,
            }];
        }
        let of = |namespace: &String| Source {
            resource,
            namespace: Some(namespace.clone()),
            id: format!("{}/{namespace}", resource.id()).into(),
        };
        namespaces.iter().map(of).collect()
    }

    /// Returns the path of the list at this version.
    pub fn path(&self, version: &str) -> String {
        self.path_in(version, self.namespace.as_deref().unwrap_or_default())
    }

    /// Returns the path of the list of one namespace, or of all namespaces if `namespace` is empty.
    pub fn path_in(&self, version: &str, namespace: &str) -> String {
        let base = match self.resource.group {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        let plural = self.resource.plural();
        if namespace.is_empty() || self.resource.kind.is_cluster_scoped() {
            format!("{base}/{plural}")
        } else {
            format!("{base}/namespaces/{namespace}/{plural}")
        }
    }

    /// Returns a field selector for the namespace, if the path of the list cannot select the namespace.
    pub fn field_selector(&self) -> Option<String> {
        let name = self.namespace.as_ref()?;
        let is_namespace = self.resource.kind == Kind::Namespace;
        is_namespace.then(|| format!("metadata.name={name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_paths_of_kinds() {
        let find = |name: &str, group: &str| {
            let mut all = ApiResource::all(Policy::Smi);
            all.find(|it| it.name == name && it.group == group).unwrap()
        };
        let shop = ["shop".to_owned()];
        let paths = |resource: ApiResource, namespaces: &[String]| {
            let source = Source::of(resource, namespaces).remove(0);
            let version = resource.versions.last().unwrap();
            let selector = source.field_selector().unwrap_or_default();
            format!("{} {} {selector}", source.id, source.path(version))
        };
        for (name, group, wide, narrow) in [
            (
                "Service",
                "",
                "services /api/v1/services ",
                "services/shop /api/v1/namespaces/shop/services ",
            ),
            (
                "Namespace",
                "",
                "namespaces /api/v1/namespaces ",
                "namespaces/shop /api/v1/namespaces metadata.name=shop",
            ),
            (
                "GatewayClass",
                "gateway.networking.k8s.io",
                "gatewayclasses.gateway.networking.k8s.io /apis/gateway.networking.k8s.io/v1beta1/gatewayclasses ",
                "gatewayclasses.gateway.networking.k8s.io /apis/gateway.networking.k8s.io/v1beta1/gatewayclasses ",
            ),
            (
                "TrafficSplit",
                "split.smi-spec.io",
                "trafficsplits.split.smi-spec.io /apis/split.smi-spec.io/v1alpha4/trafficsplits ",
                "trafficsplits.split.smi-spec.io/shop /apis/split.smi-spec.io/v1alpha4/namespaces/shop/trafficsplits ",
            ),
        ] {
            assert_eq!(paths(find(name, group), &[]), wide);
            assert_eq!(paths(find(name, group), &shop), narrow);
        }
        let permissive: Vec<_> = ApiResource::all(Policy::Unstated)
            .map(|it| it.name)
            .collect();
        assert!(permissive.contains(&"HTTPRouteGroup") && !permissive.contains(&"Pod"));
    }
}
