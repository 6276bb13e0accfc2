//! `weir wait`: reads the status of an object in the cluster, until the current generation of the object is live.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::discovery;
use tokio::time::{sleep, timeout};
use weir_core::manifest::object::SupportedKind;
use weir_core::status::liveness::{liveness, parse_kind};

use super::shared_arguments::{parse_duration, parse_namespace};

/// Time between two reads of the object.
const PAUSE: Duration = Duration::from_millis(250);
/// Time limit of a request to the API server.
const ANSWER: Duration = Duration::from_secs(10);

#[derive(Args)]
pub struct Wait {
    /// Kind and name of a TrafficSplit, HTTPRoute, GRPCRoute or TCPRoute, such as httproute/web. The kind may have its
    /// group: httproute.policy.linkerd.io/web
    #[arg(value_name = "KIND/NAME", value_parser = parse_object)]
    object: (SupportedKind, String),
    /// Namespace of the object; without it, the namespace of the current kubeconfig context
    #[arg(short, long, value_name = "NS", value_parser = parse_namespace)]
    namespace: Option<String>,
    /// Longest time to wait
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "60s")]
    timeout: Duration,
}

fn parse_object(text: &str) -> Result<(SupportedKind, String), &'static str> {
    const HOW: &str =
        "write KIND/NAME with the kind trafficsplit, httproute, grpcroute or tcproute";
    let (kind, name) = text.split_once('/').ok_or(HOW)?;
    let kind = parse_kind(kind).ok_or(HOW)?;
    (!name.is_empty() && !name.contains('/'))
        .then(|| (kind, name.to_owned()))
        .ok_or(HOW)
}

/// Exits with 0 when the object is live. Exits with 1 if it is not live in time, does not exist, or cannot be read.
#[tokio::main(flavor = "current_thread")]
pub async fn run(args: Wait) -> ExitCode {
    match args.wait().await {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("weir wait: {message}");
            ExitCode::FAILURE
        }
    }
}

impl Wait {
    async fn wait(self) -> Result<String, String> {
        let client = kube::Client::try_default();
        let client = client
            .await
            .map_err(|error| format!("no cluster: {error}"))?;
        let (kind, name) = &self.object;
        let namespace = self
            .namespace
            .unwrap_or_else(|| client.default_namespace().to_owned());
        let object = format!("{} {namespace}/{name}", kind.name);
        let end = Instant::now() + self.timeout;
        let mut api = None;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let object_read = read(&client, &mut api, *kind, &namespace, name);
            let object_read = timeout(ANSWER.min(left), object_read).await;
            let missing = match object_read.unwrap_or_else(|_| Err(Unread::no_answer())) {
                Ok(value) => match liveness(kind.kind, &value) {
                    Ok(live) => return Ok(format!("{object} is live: {}", live.join("; "))),
                    Err(missing) => missing.join("\n  "),
                },
                Err(Unread::Absent(why)) => return Err(why),
                Err(Unread::Failed(why)) => format!("the API server does not send it: {why}"),
            };
            if Instant::now() + PAUSE >= end {
                return Err(format!(
                    "{object} is not live after {:?}:\n  {missing}",
                    self.timeout
                ));
            }
            sleep(PAUSE).await;
        }
    }
}

/// Why the object could not be read.
enum Unread {
    /// The object or its kind does not exist.
    Absent(String),
    /// The next request may succeed.
    Failed(String),
}

impl Unread {
    fn no_answer() -> Unread {
        Unread::Failed("no answer in time".to_owned())
    }
}

/// Reads the object. At the first call, finds the version of the kind that the API server serves, and sets `api`.
async fn read(
    client: &kube::Client,
    api: &mut Option<Api<DynamicObject>>,
    kind: SupportedKind,
    namespace: &str,
    name: &str,
) -> Result<serde_json::Value, Unread> {
    let found = match api {
        Some(api) => api,
        None => {
            let resource = discover(client, kind).await?;
            api.insert(Api::namespaced_with(client.clone(), namespace, &resource))
        }
    };
    let object = found.get_opt(name).await.map_err(failed)?;
    let absent = || Unread::Absent(format!("there is no {} {namespace}/{name}", kind.name));
    serde_json::to_value(object.ok_or_else(absent)?)
        .map_err(|error| Unread::Failed(error.to_string()))
}

async fn discover(client: &kube::Client, kind: SupportedKind) -> Result<ApiResource, Unread> {
    let absent = || {
        let SupportedKind { group, name, .. } = kind;
        Unread::Absent(format!(
            "this cluster has no kind {name} of the group {group}: install its CustomResourceDefinition"
        ))
    };
    match discovery::group(client, kind.group).await {
        Ok(group) => {
            let found = group.recommended_kind(kind.name);
            found.map(|(resource, _)| resource).ok_or_else(absent)
        }
        Err(kube::Error::Discovery(_)) => Err(absent()),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: kube::Error) -> Unread {
    Unread::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::parse_object;

    #[test]
    fn object_has_kind_and_name() {
        let parsed = parse_object("ts/web").map(|(kind, name)| (kind.name, name));
        assert_eq!(parsed, Ok(("TrafficSplit", "web".to_owned())));
        for wrong in ["web", "service/web", "ts/", "ts/a/b"] {
            assert!(parse_object(wrong).is_err(), "{wrong}");
        }
    }
}
