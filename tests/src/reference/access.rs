//! TrafficTargets of the SMI, which permit clients to reach workloads. A client has the permissions of all targets that
//! name it; everything else is denied.

use serde_json::{Value as Json, json};

use super::generate::Random;
use super::manifest::{json_of_group_match, object_of_service};
use super::{GATEWAY_NAMESPACE, GroupMatch, Request};

/// Targets and HTTPRouteGroups of one namespace. The namespace has one workload for each account of [`ACCOUNTS`].
#[derive(Clone, Debug)]
pub struct Policy {
    pub targets: Vec<Target>,
    /// The matches of each group, each with its name. Several matches may have the same name.
    pub groups: Vec<Vec<(String, GroupMatch)>>,
}

#[derive(Clone, Debug)]
pub struct Target {
    pub version: String,
    /// An account in the target's namespace.
    pub destination: String,
    /// `NAMESPACE/NAME`.
    pub sources: Vec<String>,
    pub rules: Vec<Allowed>,
}

#[derive(Clone, Debug)]
pub enum Allowed {
    /// The index of a group, and names of its matches. An empty list means all matches.
    Requests(usize, Vec<String>),
    /// Ports for connections. An empty list means all ports.
    Connections(Vec<u16>),
}

/// ServiceAccounts of the workloads. The workload of the account NAME is behind the Service NAME. The Service NAME is
/// the only backend of the Service `to-NAME`.
pub const ACCOUNTS: [&str; 2] = ["a", "b"];
pub const CLIENTS: [&str; 3] = ["shop/x", "shop/y", "shop-a/x"];
/// Ports of each Service. The first port is for requests; the other ports are for connections.
pub const PORTS: [u16; 3] = [80, 3306, 3307];

impl Policy {
    pub fn lets_request(&self, client: &str, destination: &str, request: &Request) -> bool {
        self.between(client, destination).any(|rule| match rule {
            Allowed::Connections(_) => false,
            Allowed::Requests(group, names) => {
                self.groups[*group].iter().any(|(name, one_match)| {
                    (names.is_empty() || names.contains(name)) && one_match.fits(request)
                })
            }
        })
    }

    pub fn lets_connection(&self, client: &str, destination: &str, port: u16) -> bool {
        self.between(client, destination).any(|rule| match rule {
            Allowed::Requests(..) => false,
            Allowed::Connections(ports) => ports.is_empty() || ports.contains(&port),
        })
    }

    fn between(&self, client: &str, destination: &str) -> impl Iterator<Item = &Allowed> {
        let targets = self.targets.iter().filter(move |target| {
            target.destination == destination && target.sources.iter().any(|it| it == client)
        });
        targets.flat_map(|target| &target.rules)
    }

    pub fn manifests(&self) -> Vec<Json> {
        let mut objects = Vec::new();
        for account in ACCOUNTS {
            let mut service = object_of_service(GATEWAY_NAMESPACE, account, &PORTS);
            service["spec"]["selector"] = json!({ "app": account });
            let mut root = object_of_service(GATEWAY_NAMESPACE, &format!("to-{account}"), &PORTS);
            for port in 1..PORTS.len() {
                root["spec"]["ports"][port]["appProtocol"] = "tcp".into();
            }
            objects.extend([service, root]);
            objects.push(json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": { "name": account, "namespace": "shop", "labels": { "app": account } },
                "spec": { "serviceAccountName": account },
            }));
            objects.push(json!({
                "apiVersion": "split.smi-spec.io/v1alpha2",
                "kind": "TrafficSplit",
                "metadata": { "name": account, "namespace": "shop" },
                "spec": {
                    "service": format!("to-{account}"),
                    "backends": [{ "service": account, "weight": 1 }],
                },
            }));
        }
        for (index, matches) in self.groups.iter().enumerate() {
            let matches = matches.iter().map(|(name, one_match)| {
                let mut json = json_of_group_match(one_match);
                json["name"] = name.as_str().into();
                json
            });
            objects.push(json!({
                "apiVersion": "specs.smi-spec.io/v1alpha4",
                "kind": "HTTPRouteGroup",
                "metadata": { "name": format!("g{index}"), "namespace": "shop" },
                "spec": { "matches": matches.collect::<Vec<_>>() },
            }));
        }
        for (index, target) in self.targets.iter().enumerate() {
            objects.extend(target.manifests(&format!("t{index}")));
        }
        objects
    }
}

impl Target {
    /// Returns the target, and a TCPRoute for each rule about connections.
    fn manifests(&self, name: &str) -> Vec<Json> {
        let mut objects = Vec::new();
        let mut rules = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            rules.push(match rule {
                Allowed::Requests(group, names) if names.is_empty() => {
                    json!({ "kind": "HTTPRouteGroup", "name": format!("g{group}") })
                }
                Allowed::Requests(group, names) => {
                    json!({ "kind": "HTTPRouteGroup", "name": format!("g{group}"), "matches": names })
                }
                Allowed::Connections(ports) => {
                    let route = format!("{name}-{index}");
                    objects.push(json!({
                        "apiVersion": "specs.smi-spec.io/v1alpha4",
                        "kind": "TCPRoute",
                        "metadata": { "name": route, "namespace": "shop" },
                        "spec": { "matches": { "ports": ports } },
                    }));
                    json!({ "kind": "TCPRoute", "name": route })
                }
            });
        }
        let account = |namespace: &str, name: &str| json!({ "kind": "ServiceAccount", "name": name, "namespace": namespace });
        let sources = self.sources.iter().filter_map(|it| it.split_once('/'));
        let sources: Vec<_> = sources
            .map(|(namespace, name)| account(namespace, name))
            .collect();
        let mut target = json!({
            "apiVersion": format!("access.smi-spec.io/{}", self.version),
            "kind": "TrafficTarget",
            "metadata": { "name": name, "namespace": "shop" },
        });
        let destination = account("shop", &self.destination);
        if self.version == "v1alpha1" {
            target["destination"] = destination;
            target["sources"] = sources.into();
            target["specs"] = rules.into();
        } else {
            target["spec"] =
                json!({ "destination": destination, "sources": sources, "rules": rules });
        }
        objects.push(target);
        objects
    }
}

impl Random {
    pub fn policy(&mut self) -> Policy {
        let named = |random: &mut Random| (random.text(&["m", "n"]), random.group_match());
        Policy {
            groups: self.several(2, 2, |random| random.several(1, 3, named)),
            targets: self.several(1, 6, |random| Target {
                version: random.text(&["v1alpha1", "v1alpha2", "v1alpha3"]),
                destination: random.text(&ACCOUNTS),
                sources: random.several(0, 3, |random| random.text(&CLIENTS)),
                rules: random.several(0, 4, |random| {
                    if random.once_in(3) {
                        Allowed::Connections(random.several(0, 2, |random| random.one_of(&PORTS)))
                    } else {
                        let group = random.one_of(&[0, 1]);
                        Allowed::Requests(
                            group,
                            random.several(0, 2, |random| random.text(&["m", "n", "o"])),
                        )
                    }
                }),
            }),
        }
    }
}
