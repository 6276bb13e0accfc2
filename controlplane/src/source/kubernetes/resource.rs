//! A kind as an API server knows it: where its objects are listed, and what of it is watched by itself.

use std::sync::Arc;

use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object::{Kind, UNDERSTOOD};

/// A kind that is understood.
#[derive(Clone, Copy, Debug)]
pub struct Resource {
    pub kind: Kind,
    pub group: &'static str,
    /// The kind's name within its group.
    pub name: &'static str,
    /// Those that are understood.
    pub versions: &'static [&'static str],
    /// A field of the spec that translation makes no use of, and that is large where there are many objects.
    pub unused: Option<&'static str>,
}

/// A resource at the version at which this cluster is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    pub version: &'static str,
    /// Whether it has a status subresource.
    pub has_status: bool,
}

/// What one watch is about: a resource, or what of it one namespace has.
#[derive(Clone, Debug)]
pub struct Source {
    pub resource: Resource,
    pub namespace: Option<String>,
    /// As in a watermark: `PLURAL.GROUP` or `PLURAL.GROUP/NAMESPACE`.
    pub id: Arc<str>,
}

impl Resource {
    /// Those that translation makes use of under this policy.
    pub fn all(policy: Policy) -> impl Iterator<Item = Resource> {
        let of = move |(group, name, versions, kind)| Resource {
            kind,
            group,
            name,
            versions,
            // The policy alone asks which pods are behind a Service.
            unused: (kind == Kind::Service && policy != Policy::Smi).then_some("selector"),
        };
        let is_needed =
            move |resource: &Resource| policy == Policy::Smi || !resource.kind.is_of_policy();
        UNDERSTOOD.into_iter().map(of).filter(is_needed)
    }

    pub fn plural(&self) -> String {
        let singular = self.name.to_ascii_lowercase();
        let ending = if singular.ends_with('s') { "es" } else { "s" };
        singular + ending
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
    /// What has to be watched to see all of the resource in these namespaces; in all, where none are named.
    pub fn of(resource: Resource, namespaces: &[String]) -> Vec<Source> {
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

    /// Path of the list at this version.
    pub fn path(&self, version: &str) -> String {
        self.path_in(version, self.namespace.as_deref().unwrap_or_default())
    }

    /// Path of the list of one namespace, or of all namespaces if `namespace` is empty.
    pub fn path_in(&self, version: &str, namespace: &str) -> String {
        let base = match self.resource.group {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        let plural = self.resource.plural();
        match namespace.is_empty() || self.resource.kind.is_cluster_scoped() {
            false => format!("{base}/namespaces/{namespace}/{plural}"),
            true => format!("{base}/{plural}"),
        }
    }

    /// What a list has to be narrowed by, where its path does not do it.
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
    fn where_a_kind_is_listed() {
        let known = |name: &str, group: &str| {
            let mut all = Resource::all(Policy::Smi);
            all.find(|it| it.name == name && it.group == group).unwrap()
        };
        let shop = ["shop".to_owned()];
        let places = |resource: Resource, namespaces: &[String]| {
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
            assert_eq!(places(known(name, group), &[]), wide);
            assert_eq!(places(known(name, group), &shop), narrow);
        }
        let permissive: Vec<_> = Resource::all(Policy::Unstated).map(|it| it.name).collect();
        assert!(permissive.contains(&"HTTPRouteGroup") && !permissive.contains(&"Pod"));
    }
}
