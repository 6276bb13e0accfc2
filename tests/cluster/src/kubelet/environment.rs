//! A container's environment variables and arguments, from its manifest and its image.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, ObjectFieldSelector, Pod};

use super::objects::Objects;
use crate::images::Start;
use crate::network::NODE;

/// Returns the environment variables of a container. A variable may refer to variables before it in the manifest.
pub fn environment(
    pod: &Pod,
    container: &Container,
    start: &Start,
    objects: &Objects,
    address: &str,
) -> Result<BTreeMap<String, String>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut known = BTreeMap::from([
        ("PATH".to_owned(), path.to_owned()),
        ("HOME".to_owned(), "/".to_owned()),
        (
            "HOSTNAME".to_owned(),
            pod.metadata.name.clone().unwrap_or_default(),
        ),
        ("KUBERNETES_SERVICE_HOST".to_owned(), "10.96.0.1".to_owned()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned()),
        ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), "443".to_owned()),
        (
            "KUBERNETES_PORT".to_owned(),
            "tcp://10.96.0.1:443".to_owned(),
        ),
    ]);
    known.extend(start.environment.iter().cloned());
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let (data, optional) = if let Some(map) = &source.config_map_ref {
            (objects.config_map(namespace, &map.name), map.optional)
        } else if let Some(secret) = &source.secret_ref {
            (objects.secret(namespace, &secret.name), secret.optional)
        } else {
            continue;
        };
        match data {
            Err(_) if optional == Some(true) => {}
            data => known.extend(data?.into_iter().map(|(key, value)| {
                (
                    format!("{prefix}{key}"),
                    String::from_utf8_lossy(&value).into_owned(),
                )
            })),
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(pod, container, variable, objects, address)? {
            let value = expand(&value, &known);
            known.insert(variable.name.clone(), value);
        }
    }
    Ok(known)
}

fn value(
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    objects: &Objects,
    address: &str,
) -> Result<Option<String>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let Some(from) = &variable.value_from else {
        return Ok(Some(variable.value.clone().unwrap_or_default()));
    };
    let (data, key, optional) = if let Some(field) = &from.field_ref {
        return field_value(pod, field, address).map(Some);
    } else if let Some(resource) = &from.resource_field_ref {
        return resource_value(container, &resource.resource).map(Some);
    } else if let Some(map) = &from.config_map_key_ref {
        (
            objects.config_map(namespace, &map.name),
            &map.key,
            map.optional,
        )
    } else if let Some(secret) = &from.secret_key_ref {
        (
            objects.secret(namespace, &secret.name),
            &secret.key,
            secret.optional,
        )
    } else {
        return Err(format!(
            "env {}: this source is not supported",
            variable.name
        ));
    };
    let found = data.and_then(|mut data| {
        let missing = || format!("env {}: no key {key}", variable.name);
        data.remove(key).ok_or_else(missing)
    });
    match found {
        Ok(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
        Err(_) if optional == Some(true) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the value of a pod field in the downward API.
pub fn field_value(
    pod: &Pod,
    field: &ObjectFieldSelector,
    address: &str,
) -> Result<String, String> {
    let meta = &pod.metadata;
    let account = || {
        pod.spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.clone())
    };
    let all = |map: &Option<BTreeMap<String, String>>| {
        let lines = map.iter().flatten();
        let lines = lines.map(|(key, value)| format!("{key}={value:?}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let path = field.field_path.as_str();
    if let Some((kind, rest)) = path.split_once("['") {
        let key = rest.strip_suffix("']").unwrap_or(rest);
        let map = match kind {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(format!("fieldPath {path} is not supported")),
        };
        let value = map.as_ref().and_then(|map| map.get(key));
        return Ok(value.cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => all(&meta.labels),
        "metadata.annotations" => all(&meta.annotations),
        "spec.nodeName" => super::NODE_NAME.to_owned(),
        "spec.serviceAccountName" => account().unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => NODE.to_string(),
        "status.podIP" | "status.podIPs" => address.to_owned(),
        _ => return Err(format!("fieldPath {path} is not supported")),
    })
}

/// Returns a limit or request in whole cores or bytes. If the manifest does not set the value, returns the capacity of
/// the node: 2 cores or 8 GiB.
pub fn resource_value(container: &Container, resource: &str) -> Result<String, String> {
    let missing = || format!("resource {resource} is not supported");
    let (kind, name) = resource.split_once('.').ok_or_else(missing)?;
    let resources = container.resources.as_ref();
    let map = match kind {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        "requests" => resources.and_then(|resources| resources.requests.as_ref()),
        _ => return Err(missing()),
    };
    let given = map
        .and_then(|map| map.get(name))
        .map(|quantity| quantity.0.as_str());
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|_| format!("{resource}: {text}"))
    };
    let value = match (name, given) {
        ("cpu", None) => 2,
        ("cpu", Some(text)) => match text.strip_suffix('m') {
            Some(milli) => number(milli)?.div_ceil(1000),
            None => number(text)?,
        },
        (_, None) => 8 << 30,
        (_, Some(text)) => {
            let units = [
                ("Ki", 1 << 10),
                ("Mi", 1 << 20),
                ("Gi", 1 << 30),
                ("M", 1_000_000),
            ];
            let unit = units
                .iter()
                .find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)));
            match unit {
                Some((count, size)) => number(count)? * size,
                None => number(text)?,
            }
        }
    };
    Ok(value.to_string())
}

/// Returns the command line: `command` or the image's entry point, then `args`. The image's arguments apply only if the
/// manifest has neither `command` nor `args`.
pub fn arguments(
    container: &Container,
    start: &Start,
    known: &BTreeMap<String, String>,
) -> Vec<String> {
    let expanded = |list: &Vec<String>| -> Vec<String> {
        list.iter()
            .map(|argument| expand(argument, known))
            .collect()
    };
    let command = container.command.as_ref().map(expanded);
    let args = container.args.as_ref().map(expanded);
    let defaults = match (&command, &args) {
        (None, None) => start.command.clone(),
        _ => Vec::new(),
    };
    let program = command.unwrap_or_else(|| start.entrypoint.clone());
    [program, args.unwrap_or(defaults)].concat()
}

/// Replaces `$(NAME)` with the value of the variable, and `$$` with `$`. An unknown `$(NAME)` stays.
pub fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix('(').and_then(|rest| rest.split_once(')'))
        {
            match known.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_expanded_as_in_kubernetes() {
        let known = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        let cases = [
            ("x$(A)y", "x1y"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, &known), expected, "{text}");
        }
    }

    #[test]
    fn command_replaces_image_entry_and_arguments() {
        let start = Start {
            entrypoint: vec!["entry".into()],
            command: vec!["default".into()],
            ..Start::default()
        };
        let case = |command: Option<&str>, args: Option<&str>| {
            let container = Container {
                command: command.map(|word| vec![word.to_owned()]),
                args: args.map(|word| vec![word.to_owned()]),
                ..Container::default()
            };
            arguments(&container, &start, &BTreeMap::new()).join(" ")
        };
        assert_eq!(case(None, None), "entry default");
        assert_eq!(case(None, Some("own")), "entry own");
        assert_eq!(case(Some("other"), None), "other");
        assert_eq!(case(Some("other"), Some("own")), "other own");
    }
}
