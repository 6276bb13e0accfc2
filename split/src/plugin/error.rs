//! Messages about a refused plugin configuration, for the operator who wrote it.

use std::fmt;

/// One kind of mistake. In each text, the value from the configuration replaces `{}`.
#[derive(Debug, PartialEq, Eq)]
pub struct PluginMessage {
    /// The keys with the mistake.
    pub keys: &'static str,
    pub cause: &'static str,
    pub remedy: &'static str,
}

/// The effect of each mistake.
pub const PLUGIN_EFFECT: &str = "the proxy refuses this configuration of the filter";

/// A mistake, and the value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginError {
    message: &'static PluginMessage,
    found: String,
}

impl PluginError {
    pub(super) fn new(message: &'static PluginMessage, found: impl Into<String>) -> PluginError {
        let found = found.into();
        PluginError { message, found }
    }

    /// Returns `plugin configuration: KEYS: CAUSE`.
    pub fn cause(&self) -> String {
        let (keys, cause) = (self.fill(self.message.keys), self.fill(self.message.cause));
        format!("plugin configuration: {keys}: {cause}")
    }

    pub fn remedy(&self) -> String {
        self.fill(self.message.remedy)
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{}", &self.found)
    }
}

/// `plugin configuration: KEYS: CAUSE: EFFECT; REMEDY`.
impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {PLUGIN_EFFECT}; {}", self.cause(), self.remedy())
    }
}

impl std::error::Error for PluginError {}

macro_rules! messages {
    ($($name:ident = $keys:literal, $cause:literal, $remedy:literal;)*) => {
        $(pub(super) static $name: PluginMessage = PluginMessage {
            keys: $keys,
            cause: $cause,
            remedy: $remedy,
        };)*

        /// All messages, for `docs/problems.md`.
        pub static PLUGIN_MESSAGES: &[&PluginMessage] = &[$(&$name),*];
    };
}

messages! {
    EMPTY = "all keys", "the configuration is empty",
        r#"write at least { "control_plane": "CLUSTER" } with the name of the Envoy cluster for weir serve"#;
    STRUCT = "all keys", "the configuration is a google.protobuf.Struct, and Envoy does not give it to the filter as JSON",
        r#"write JSON text as a google.protobuf.StringValue: { "@type": type.googleapis.com/google.protobuf.StringValue, value: '{ "control_plane": "weir" }' }"#;
    NOT_JSON = "all keys", "the configuration is not valid JSON at {}",
        r#"write JSON such as { "control_plane": "weir" }, as a google.protobuf.StringValue"#;
    NOT_A_MAP = "all keys", "the configuration is not a JSON object",
        r#"write it in braces: { "control_plane": "weir" }"#;
    UNKNOWN_KEY = "{}", "there is no such key", "correct the name; docs/filter-config.md has all keys";
    KEY_TWICE = "{}", "the configuration has this key twice", "remove one of the two";
    NOT_TEXT = "{}", "the value is not a string", "write it in quotes";
    NOT_BOOLEAN = "{}", "the value is neither true nor false", "write true or false, without quotes";
    NOT_TEXTS = "{}", "the value is not a map of strings",
        r#"write it as { "NAME": "VALUE" }"#;
    NO_CONTROL_PLANE = "control_plane", "the key is missing or empty, and there is no initial configuration",
        "write the name of the Envoy cluster for weir serve";
    TWO_SCOPES = "namespace, gateway", "the configuration has both keys, and a proxy can have only one of them",
        "remove one of the two";
    NAMESPACE = "namespace", r#""{}" is not the name of a namespace"#,
        r#"write lower-case letters, digits and '-', or "*" for the splits of host names in all namespaces"#;
    GATEWAY = "gateway", r#""{}" does not name a Gateway"#, "write NAMESPACE/NAME";
    LISTENER_WITHOUT_GATEWAY = "listener", "a listener belongs to a Gateway, and the key gateway is missing",
        "add the key gateway";
    LISTENERS_WITHOUT_GATEWAY = "listeners", "listeners belong to a Gateway, and the key gateway is missing",
        "add the key gateway";
    TWO_LISTENERS = "listener, listeners", "the configuration has both keys", "remove one of the two";
    LISTENERS_OF_TCP = "listeners", "the filter cannot find out the listener of a TCP connection",
        "write listener, with the name of one listener";
    NO_LISTENERS = "listeners", "the value is not a map with at least one port",
        r#"write each port of this proxy's sockets with the names of its listeners: { "8080": ["http"] }"#;
    LISTENERS_PORT = "listeners", r#""{}" is not a port from 1 to 65535"#,
        r#"write each port of this proxy's sockets with the names of its listeners: { "8080": ["http"] }"#;
    LISTENERS_NAMES = "listeners", r#"port "{}" has no list of names"#,
        r#"write the names of the Gateway's listeners after the port: { "8080": ["http"] }"#;
    HEADER = "header", r#""{}" is not the name of a header"#, "write lower-case letters, digits and '-'";
    INITIAL = "initial", "the value is not a configuration for the filter",
        "write the output of weir translate";
    UNTIL_CONFIGURED = "until_configured", r#""{}" is not a possible value"#, r#"write "pass" or "503""#;
    PROTOCOL = "protocol", r#""{}" is not a possible value"#, r#"write "http" or "tcp""#;
    DIRECTION = "direction", r#""{}" is not a possible value"#, r#"write "outbound" or "inbound""#;
    ROOT_OF_REQUESTS = "root", "the key is only for TCP connections", r#"add "protocol": "tcp""#;
    ROOT = "root", r#""{}" does not name a port of a Service"#, "write SERVICE.NAMESPACE:PORT";
    INBOUND = "direction", "an inbound filter needs the ServiceAccount of its workload",
        "add the keys namespace and service_account";
    ACCOUNT_WITHOUT_NAMESPACE = "service_account", "the ServiceAccount's namespace is missing",
        "add the key namespace";
    ACCOUNT_OF_EVERY_NAMESPACE = "service_account", r#"a ServiceAccount belongs to one namespace, and "*" means every namespace"#,
        "set namespace to the namespace of the ServiceAccount";
    ACCOUNT = "service_account", r#""{}" is not the name of a ServiceAccount"#,
        "write lower-case letters, digits, '-' and '.'";
    NO_TRUST_DOMAIN = "trust_domain", "the key is missing, and an inbound filter needs it to check the certificates of clients",
        "add the key trust_domain, with the TRUST-DOMAIN of the SPIFFE IDs spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME";
    TRUST_DOMAIN = "trust_domain", r#""{}" is not a SPIFFE trust domain"#,
        "write lower-case letters, digits, '-', '.' and '_', such as cluster.local";
    MAX_AGE = "access_max_age", "{} is not a number of seconds from 60 to 604800 (a week)",
        "write a whole number, without quotes: 3600";
    MAX_AGE_OF_ANYONE = "access_max_age", "only a proxy with a service account and a control plane can have permissions that are too old",
        "add the keys service_account and control_plane, or remove access_max_age";
    PLACEHOLDER = "cluster", r#""{}" has a placeholder other than {service}, {namespace} and {port}"#,
        "use only these three";
    CLUSTER_NAME = "cluster, clusters", "the name of a cluster is empty or has white space",
        "write the name that the cluster has in Envoy's configuration";
    CLUSTERS_FROM = "clusters_from", r#""{}" is not a possible value"#, r#"write "envoy" or "weir""#;
    CLUSTERS_WITHOUT_CONTROL_PLANE = "clusters_from", "only a control plane can send clusters, and the key control_plane is missing",
        "add the key control_plane, or remove clusters_from";
    NAMES_OF_CLUSTERS = "clusters_from, cluster, clusters", "the control plane gives each cluster its name, so the proxy has no cluster with another name",
        "remove cluster and clusters, or remove clusters_from";
    CLUSTERS = "clusters", r#""{}" does not name a backend"#, "write SERVICE.NAMESPACE:PORT";
}
