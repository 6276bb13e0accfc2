//! A pod's volumes as folders of the node. As in a real kubelet, all files of a volume change at the same time, when a
//! link is renamed. So a program never reads old and new files together.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccount,
    ServiceAccountTokenProjection, Volume,
};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::environment::{field_value, resource_value};
use super::objects::{Data, Objects};
use crate::enter::Mount;

/// The files of a volume: content and mode for each path.
type Payload = BTreeMap<String, (Vec<u8>, u32)>;

pub struct Volumes {
    /// Has one folder for each volume of the pod.
    folder: PathBuf,
    /// The folder of PersistentVolumeClaims. Their files remain after the end of a pod.
    claims: PathBuf,
    client: Client,
    written: Mutex<BTreeMap<String, Payload>>,
    /// For each path of a projected token: the token and the time to request the next one.
    tokens: Mutex<BTreeMap<String, (String, Instant)>>,
}

impl Volumes {
    pub fn new(pod: &Path, claims: &Path, client: &Client) -> Volumes {
        Volumes {
            folder: pod.join("volumes"),
            claims: claims.to_owned(),
            client: client.clone(),
            written: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// Creates missing volumes and updates changed ones.
    pub async fn sync(&self, pod: &Pod, objects: &Objects, address: &str) -> Result<(), String> {
        let Some(spec) = &pod.spec else { return Ok(()) };
        let group = spec
            .security_context
            .as_ref()
            .and_then(|context| context.fs_group);
        let group = group.and_then(|group| u32::try_from(group).ok());
        for volume in spec.volumes.iter().flatten() {
            let payload = self.payload(pod, volume, objects, address).await;
            let payload = payload.map_err(|error| format!("volume {}: {error}", volume.name))?;
            let folder = self.source(pod, volume)?;
            let failed = |error: std::io::Error| format!("volume {}: {error}", volume.name);
            if !folder.exists() {
                std::fs::create_dir_all(&folder).map_err(failed)?;
                if payload.is_none() {
                    let mode = std::fs::Permissions::from_mode(0o2777);
                    std::fs::set_permissions(&folder, mode).map_err(failed)?;
                    chown(&folder, None, group).map_err(failed)?;
                }
            }
            let Some(payload) = payload else { continue };
            let written = self
                .written
                .lock()
                .map_err(|error| error.to_string())?
                .get(&volume.name)
                == Some(&payload);
            if !written {
                write(&folder, &payload, group).map_err(failed)?;
                let mut written = self.written.lock().map_err(|error| error.to_string())?;
                written.insert(volume.name.clone(), payload);
            }
        }
        Ok(())
    }

    /// Returns the mounts of a container.
    pub fn mounts(
        &self,
        pod: &Pod,
        container: &Container,
        expand: impl Fn(&str) -> String,
    ) -> Result<Vec<Mount>, String> {
        let spec = pod.spec.as_ref().ok_or("a pod without spec")?;
        let mut mounts = Vec::new();
        for wanted in container.volume_mounts.iter().flatten() {
            let mut volumes = spec.volumes.iter().flatten();
            let volume = volumes.find(|volume| volume.name == wanted.name);
            let volume = volume.ok_or_else(|| format!("no volume {}", wanted.name))?;
            let mut source = self.source(pod, volume)?;
            let inside = wanted.sub_path_expr.as_deref().map(&expand);
            if let Some(inside) = inside.or_else(|| wanted.sub_path.clone()) {
                source = source.join(&inside);
                if !source.exists() && self.is_writable(volume) {
                    std::fs::create_dir_all(&source).map_err(|error| error.to_string())?;
                }
                // A subPath mounts the file and not the link to it, so the content does not change later.
                let failed = |error| format!("subPath {inside} of {}: {error}", wanted.name);
                source = std::fs::canonicalize(&source).map_err(failed)?;
            }
            mounts.push(Mount {
                source,
                target: wanted.mount_path.clone().into(),
                read_only: wanted.read_only == Some(true) || !self.is_writable(volume),
            });
        }
        // Inner mounts come after outer mounts.
        mounts.sort_by(|a, b| a.target.cmp(&b.target));
        Ok(mounts)
    }

    fn is_writable(&self, volume: &Volume) -> bool {
        volume.empty_dir.is_some()
            || volume.host_path.is_some()
            || volume.persistent_volume_claim.is_some()
    }

    fn source(&self, pod: &Pod, volume: &Volume) -> Result<PathBuf, String> {
        if let Some(host) = &volume.host_path {
            return Ok(host.path.clone().into());
        }
        if let Some(claim) = &volume.persistent_volume_claim {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            return Ok(self.claims.join(namespace).join(&claim.claim_name));
        }
        Ok(self.folder.join(&volume.name))
    }

    async fn payload(
        &self,
        pod: &Pod,
        volume: &Volume,
        objects: &Objects,
        address: &str,
    ) -> Result<Option<Payload>, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut payload = Payload::new();
        if let Some(map) = &volume.config_map {
            let data = objects.config_map(namespace, &map.name);
            put_data(
                &mut payload,
                data,
                &map.items,
                map.optional,
                mode(map.default_mode),
            )?;
        } else if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            let data = objects.secret(namespace, name);
            put_data(
                &mut payload,
                data,
                &secret.items,
                secret.optional,
                mode(secret.default_mode),
            )?;
        } else if let Some(downward) = &volume.downward_api {
            let files = downward.items.iter().flatten();
            put_fields(
                &mut payload,
                pod,
                files,
                address,
                mode(downward.default_mode),
            )?;
        } else if let Some(projected) = &volume.projected {
            let mode = mode(projected.default_mode);
            for source in projected.sources.iter().flatten() {
                if let Some(map) = &source.config_map {
                    let data = objects.config_map(namespace, &map.name);
                    put_data(&mut payload, data, &map.items, map.optional, mode)?;
                }
                if let Some(secret) = &source.secret {
                    let data = objects.secret(namespace, &secret.name);
                    put_data(&mut payload, data, &secret.items, secret.optional, mode)?;
                }
                if let Some(downward) = &source.downward_api {
                    let files = downward.items.iter().flatten();
                    put_fields(&mut payload, pod, files, address, mode)?;
                }
                if let Some(token) = &source.service_account_token {
                    let text = self.token(pod, &volume.name, token).await?;
                    payload.insert(token.path.clone(), (text.into_bytes(), mode));
                }
            }
        } else if self.is_writable(volume) {
            return Ok(None);
        } else {
            return Err("this kind of volume is not supported".to_owned());
        }
        Ok(Some(payload))
    }

    async fn token(
        &self,
        pod: &Pod,
        volume: &str,
        projection: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        let key = format!("{volume}/{}", projection.path);
        if let Ok(tokens) = self.tokens.lock()
            && let Some((token, until)) = tokens.get(&key)
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let meta = &pod.metadata;
        let account = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref());
        let audiences: Vec<&String> = projection.audience.iter().collect();
        let request = json!({
            "spec": {
                "audiences": audiences,
                "expirationSeconds": projection.expiration_seconds,
                "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid },
            },
        });
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), namespace);
        let account = account.unwrap_or("default");
        let answer: Result<Value, _> = accounts
            .create_subresource("token", account, &PostParams::default(), &request)
            .await;
        let answer = answer.map_err(|error| format!("token of {account}: {error}"))?;
        let seconds = answer["spec"]["expirationSeconds"].as_u64();
        let token = answer["status"]["token"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        // A kubelet renews a token after 80 % of its lifetime.
        let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(3600)) * 4 / 5;
        if let Ok(mut tokens) = self.tokens.lock() {
            tokens.insert(key, (token.clone(), until));
        }
        Ok(token)
    }
}

fn mode(given: Option<i32>) -> u32 {
    given
        .and_then(|mode| u32::try_from(mode).ok())
        .unwrap_or(0o644)
}

fn put_data(
    payload: &mut Payload,
    data: Result<Data, String>,
    items: &Option<Vec<KeyToPath>>,
    optional: Option<bool>,
    default: u32,
) -> Result<(), String> {
    let mut data = match data {
        Err(_) if optional == Some(true) => return Ok(()),
        data => data?,
    };
    let Some(items) = items.as_ref().filter(|items| !items.is_empty()) else {
        payload.extend(data.into_iter().map(|(key, value)| (key, (value, default))));
        return Ok(());
    };
    for item in items {
        match data.remove(&item.key) {
            Some(value) => {
                let mode = item.mode.map_or(default, |given| mode(Some(given)));
                payload.insert(item.path.clone(), (value, mode));
            }
            None if optional == Some(true) => {}
            None => return Err(format!("references non-existent key {}", item.key)),
        }
    }
    Ok(())
}

fn put_fields<'a>(
    payload: &mut Payload,
    pod: &Pod,
    files: impl Iterator<Item = &'a DownwardAPIVolumeFile>,
    address: &str,
    default: u32,
) -> Result<(), String> {
    for file in files {
        let value = if let Some(field) = &file.field_ref {
            field_value(pod, field, address)?
        } else if let Some(resource) = &file.resource_field_ref {
            let name = resource.container_name.as_deref().unwrap_or_default();
            let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let container = containers.find(|container| container.name == name);
            let container = container.ok_or_else(|| format!("no container {name}"))?;
            resource_value(container, &resource.resource)?
        } else {
            continue;
        };
        let mode = file.mode.map_or(default, |given| mode(Some(given)));
        payload.insert(file.path.clone(), (value.into_bytes(), mode));
    }
    Ok(())
}

/// Writes a payload as a kubelet does: `..data` is a link to the current folder, and each name is a link through
/// `..data`.
fn write(folder: &Path, payload: &Payload, group: Option<u32>) -> std::io::Result<()> {
    let link = folder.join("..data");
    let old = std::fs::read_link(&link).ok();
    let count = old
        .as_ref()
        .and_then(|old| old.to_str()?.strip_prefix("..")?.parse::<u64>().ok());
    let name = format!("..{}", count.map_or(1, |count| count + 1));
    let new = folder.join(&name);
    std::fs::create_dir_all(&new)?;
    for (path, (content, mode)) in payload {
        let path = new.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, content)?;
        let mode = if group.is_some() { mode | 0o440 } else { *mode };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        chown(&path, None, group)?;
    }
    let next = folder.join("..data_next");
    symlink(&name, &next)?;
    std::fs::rename(&next, &link)?;
    let tops: Vec<&str> = payload
        .keys()
        .filter_map(|path| path.split('/').next())
        .collect();
    for top in &tops {
        let at = folder.join(top);
        if at.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(top), at)?;
        }
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let entry_name = entry.file_name();
        let entry_name = entry_name.to_string_lossy();
        if !entry_name.starts_with("..") && !tops.contains(&entry_name.as_ref()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    if let Some(old) = old {
        std::fs::remove_dir_all(folder.join(old))?;
    }
    Ok(())
}
