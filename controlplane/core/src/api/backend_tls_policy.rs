//! BackendTLSPolicy of Gateway API (v1, v1alpha3), and the ConfigMaps with its certificates: how proxies verify the
//! endpoints of a Service.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::manifest::hostname::{Hostname, is_dns_name};
use crate::manifest::object::Object;
use crate::manifest::problem::messages::backend_tls_policy as messages;
use crate::manifest::problem::{ObjectRef, Problem};
use crate::manifest::unknown_fields::at_most;

/// The limit of the API server for `targetRefs`.
const MAX_TARGETS: usize = 16;
/// The limits of the API server for `caCertificateRefs` and `subjectAltNames`.
const MAX_REFS: usize = 8;
const MAX_NAMES: usize = 5;
/// Maximum size of the certificates in one ConfigMap. Each cluster has a copy of its certificates.
const MAX_CERTIFICATES: usize = 64 << 10;
/// The key of the certificates in a ConfigMap.
const CA: &str = "ca.crt";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTlsPolicy {
    pub object: ObjectRef,
    pub created: Option<Timestamp>,
    /// The Services of the policy, in its own namespace.
    pub targets: Box<[PolicyTarget]>,
    /// None if the policy is invalid. Then proxies must send no requests to the targets.
    pub validation: Option<Validation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyTarget {
    pub service: Box<str>,
    /// The name of a port; None for every port.
    pub port: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// The name in SNI. It is also the expected name in the certificate if `names` is empty.
    pub hostname: Box<str>,
    pub authorities: Authorities,
    /// The expected names in the certificate; one of them must be there.
    pub names: Box<[CertificateName]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorities {
    /// The certificates of the proxy's operating system.
    System,
    /// The names of ConfigMaps in the namespace of the policy.
    ConfigMaps(Box<[Box<str>]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    Hostname(Box<str>),
    Uri(Box<str>),
}

#[derive(Deserialize)]
struct PolicyManifest {
    spec: PolicySpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PolicySpec {
    target_refs: Vec<PolicyTargetManifest>,
    #[serde(default)]
    validation: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PolicyTargetManifest {
    group: Option<String>,
    kind: Option<String>,
    name: String,
    section_name: Option<String>,
}

// Unknown fields are errors: if Weir ignored a misspelled field, proxies could trust too many certificates.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ValidationManifest {
    ca_certificate_refs: Option<Vec<CaReference>>,
    #[serde(rename = "wellKnownCACertificates")]
    well_known: Option<String>,
    hostname: String,
    subject_alt_names: Option<Vec<NameManifest>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaReference {
    group: Option<String>,
    kind: Option<String>,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameManifest {
    #[serde(rename = "type")]
    kind: String,
    hostname: Option<String>,
    uri: Option<String>,
}

impl BackendTlsPolicy {
    /// Parses a policy. If its validation is invalid, the policy still has its targets, because proxies must not send
    /// requests to them without the validation.
    pub fn parse(
        object: &Object,
        problems: &mut Vec<Problem>,
    ) -> Result<BackendTlsPolicy, Problem> {
        let PolicyManifest { spec } = object.decode()?;
        let reference = object.reference();
        at_most(
            &spec.target_refs,
            MAX_TARGETS,
            &reference,
            "spec.targetRefs",
        )?;
        let mut targets = Vec::new();
        for (index, target) in spec.target_refs.into_iter().enumerate() {
            let is_core = target.group.as_deref().unwrap_or_default().is_empty();
            if is_core && target.kind.as_deref() == Some("Service") {
                targets.push(PolicyTarget {
                    service: target.name.into(),
                    port: target.section_name.map(Into::into),
                });
            } else {
                let path = format!("spec.targetRefs[{index}]");
                problems.push(reference.problem(path, messages::target_is_no_service()));
            }
        }
        let validation = Validation::parse(&reference, &spec.validation);
        Ok(BackendTlsPolicy {
            object: reference,
            created: object.created,
            targets: targets.into(),
            validation: validation.map_err(|it| problems.push(*it)).ok(),
        })
    }

    /// Returns the names of the ConfigMaps that the policy needs.
    pub fn config_maps(&self) -> &[Box<str>] {
        match self.validation.as_ref().map(|it| &it.authorities) {
            Some(Authorities::ConfigMaps(names)) => names,
            Some(Authorities::System) | None => &[],
        }
    }
}

impl Validation {
    fn parse(object: &ObjectRef, value: &Value) -> Result<Validation, Box<Problem>> {
        let path = "spec.validation";
        let fail =
            |field: &str, message| Box::new(object.problem(format!("{path}{field}"), message));
        let manifest: ValidationManifest = serde_json::from_value(value.clone())
            .map_err(|error| fail("", messages::unreadable_validation(error)))?;
        if Hostname::parse(&manifest.hostname).is_none_or(|_| !is_dns_name(&manifest.hostname)) {
            return Err(fail(
                ".hostname",
                messages::bad_hostname(&manifest.hostname),
            ));
        }
        let refs = manifest.ca_certificate_refs.unwrap_or_default();
        let well_known = manifest.well_known.unwrap_or_default();
        let authorities = match (refs.is_empty(), well_known.as_str()) {
            (true, "System") => Authorities::System,
            (false, "") => Authorities::ConfigMaps(config_maps(refs).map_err(|index| {
                let field = format!(".caCertificateRefs[{index}]");
                fail(&field, messages::authority_is_no_config_map())
            })?),
            (true, "") | (false, _) => return Err(fail("", messages::one_authority())),
            (true, other) => {
                let field = ".wellKnownCACertificates";
                return Err(fail(field, messages::unknown_authority(other)));
            }
        };
        let names = manifest.subject_alt_names.unwrap_or_default();
        if names.len() > MAX_NAMES {
            return Err(fail(".subjectAltNames", messages::too_many(MAX_NAMES)));
        }
        let mut checked = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            let field = format!(".subjectAltNames[{index}]");
            let name = certificate_name(name);
            checked.push(name.ok_or_else(|| fail(&field, messages::bad_certificate_name()))?);
        }
        Ok(Validation {
            hostname: manifest.hostname.into(),
            authorities,
            names: checked.into(),
        })
    }
}

/// Returns the names of the ConfigMaps, or the index of the first reference that is wrong.
fn config_maps(refs: Vec<CaReference>) -> Result<Box<[Box<str>]>, usize> {
    let mut names: Vec<Box<str>> = Vec::new();
    for (index, it) in refs.into_iter().enumerate() {
        let is_core = it.group.as_deref().unwrap_or_default().is_empty();
        let is_config_map = is_core && it.kind.as_deref() == Some("ConfigMap");
        // The name becomes a part of a URL.
        if !is_config_map || !is_dns_name(&it.name) || index >= MAX_REFS {
            return Err(index);
        }
        names.push(it.name.into());
    }
    Ok(names.into())
}

fn certificate_name(name: NameManifest) -> Option<CertificateName> {
    match (name.kind.as_str(), name.hostname, name.uri) {
        ("Hostname", Some(name), None) if Hostname::parse(&name).is_some() => {
            Some(CertificateName::Hostname(name.into()))
        }
        ("URI", None, Some(uri)) if uri.contains(':') => Some(CertificateName::Uri(uri.into())),
        _ => None,
    }
}

/// Returns the certificates of a ConfigMap: the value of `ca.crt` in PEM. Returns None if there is no such key, or its
/// value has no certificate or more than 64 KiB.
pub fn certificates(config_map: &Object) -> Option<Arc<str>> {
    let data = config_map.body.get("data")?;
    let text = data.get(CA)?.as_str()?;
    let has_certificate = text.contains("-----BEGIN CERTIFICATE-----");
    let is_small = text.len() <= MAX_CERTIFICATES;
    (has_certificate && is_small).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::object::read;

    fn parse(spec: &str) -> (BackendTlsPolicy, Vec<String>) {
        let text = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
        );
        let objects = read("a.yaml", &text).unwrap().objects;
        let mut problems = Vec::new();
        let policy = BackendTlsPolicy::parse(&objects[0], &mut problems).unwrap();
        (policy, problems.into_iter().map(|it| it.path).collect())
    }

    fn validation(text: &str) -> Result<Validation, String> {
        let target = "{group: '', kind: Service, name: a}";
        let (policy, mut paths) = parse(&format!("{{targetRefs: [{target}], validation: {text}}}"));
        assert_eq!(policy.targets.len(), 1);
        policy.validation.ok_or_else(|| paths.remove(0))
    }

    #[test]
    fn authorities_and_names_are_parsed() {
        let system = validation("{hostname: a.example, wellKnownCACertificates: System}").unwrap();
        assert_eq!(system.authorities, Authorities::System);
        let maps = validation(
            "{hostname: a.example, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}],
              subjectAltNames: [{type: Hostname, hostname: b.example}, {type: URI, uri: 'spiffe://x/y'}]}",
        )
        .unwrap();
        assert_eq!(
            maps.authorities,
            Authorities::ConfigMaps(["ca".into()].into())
        );
        assert_eq!(maps.names.len(), 2);
    }

    #[test]
    fn invalid_policy_keeps_its_targets() {
        let path = |text: &str| validation(text).unwrap_err();
        let system = "wellKnownCACertificates: System";
        assert_eq!(path("{}"), "spec.validation");
        assert_eq!(
            path(&format!("{{hostname: a.b, color: red, {system}}}")),
            "spec.validation"
        );
        assert_eq!(path("{hostname: a.b}"), "spec.validation");
        assert_eq!(
            path(&format!("{{hostname: '*.b', {system}}}")),
            "spec.validation.hostname"
        );
        assert_eq!(
            path("{hostname: a.b, wellKnownCACertificates: Mine}"),
            "spec.validation.wellKnownCACertificates"
        );
        assert_eq!(
            path("{hostname: a.b, caCertificateRefs: [{group: '', kind: Secret, name: ca}]}"),
            "spec.validation.caCertificateRefs[0]"
        );
        assert_eq!(
            path(
                "{hostname: a.b, caCertificateRefs: [{group: '', kind: ConfigMap, name: '../ca'}]}"
            ),
            "spec.validation.caCertificateRefs[0]"
        );
        assert_eq!(
            path(&format!(
                "{{hostname: a.b, {system}, subjectAltNames: [{{type: URI, hostname: a.b}}]}}"
            )),
            "spec.validation.subjectAltNames[0]"
        );
    }
}
