//! A cache of all ConfigMaps and Secrets, for the volumes and variables of pods. Watches update the cache.

use std::collections::BTreeMap;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client};
use tokio::sync::watch;

pub type Data = BTreeMap<String, Vec<u8>>;

pub struct Objects {
    config_maps: Store<ConfigMap>,
    secrets: Store<Secret>,
    /// The number of changes so far.
    pub changes: watch::Receiver<u64>,
}

impl Objects {
    pub fn watch(client: &Client) -> Objects {
        let (counter, changes) = watch::channel(0);
        let (config_maps, writer) = reflector::store();
        let stream = watcher(
            Api::<ConfigMap>::all(client.clone()),
            watcher::Config::default(),
        );
        let stream = reflector(writer, stream.default_backoff()).boxed();
        tokio::spawn(count(stream, counter.clone()));
        let (secrets, writer) = reflector::store();
        let stream = watcher(
            Api::<Secret>::all(client.clone()),
            watcher::Config::default(),
        );
        let stream = reflector(writer, stream.default_backoff()).boxed();
        tokio::spawn(count(stream, counter));
        Objects {
            config_maps,
            secrets,
            changes,
        }
    }

    pub fn config_map(&self, namespace: &str, name: &str) -> Result<Data, String> {
        let found = self
            .config_maps
            .get(&ObjectRef::new(name).within(namespace));
        let found = found.ok_or_else(|| format!("configmap \"{name}\" not found"))?;
        let text = found.data.iter().flatten();
        let text = text.map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        let binary = found.binary_data.iter().flatten();
        let binary = binary.map(|(key, value)| (key.clone(), value.0.clone()));
        Ok(text.chain(binary).collect())
    }

    pub fn secret(&self, namespace: &str, name: &str) -> Result<Data, String> {
        let found = self.secrets.get(&ObjectRef::new(name).within(namespace));
        let found = found.ok_or_else(|| format!("secret \"{name}\" not found"))?;
        let data = found.data.iter().flatten();
        Ok(data
            .map(|(key, value)| (key.clone(), value.0.clone()))
            .collect())
    }
}

async fn count<K>(
    mut stream: futures::stream::BoxStream<'static, watcher::Result<watcher::Event<K>>>,
    counter: watch::Sender<u64>,
) {
    while let Some(event) = stream.next().await {
        match event {
            Ok(_) => counter.send_modify(|count| *count += 1),
            Err(error) => tracing::debug!(%error, "watching ConfigMaps and Secrets"),
        }
    }
}
