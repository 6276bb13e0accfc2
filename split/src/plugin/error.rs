//! Why a plugin configuration is refused, in words for the operator who wrote it.

use std::fmt;

/// One kind of mistake. In each text `{}` stands for the value that was found.
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
}

/// `plugin configuration: KEYS: CAUSE: EFFECT; REMEDY`.
impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PluginMessage {
            keys,
            cause,
            remedy,
        } = self.message;
        let [keys, cause, remedy] =
            [keys, cause, remedy].map(|text| text.replace("{}", &self.found));
        write!(
            f,
            "plugin configuration: {keys}: {cause}: {PLUGIN_EFFECT}; {remedy}"
        )
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
        r#"write at least { "control_plane": "CLUSTER" }, the Envoy cluster that reaches weir serve"#;
    NOT_JSON = "all keys", "the configuration is not JSON, from {} on",
        r#"write JSON such as { "control_plane": "weir" }, as a google.protobuf.StringValue"#;
    NOT_A_MAP = "all keys", "the configuration is not a JSON object",
        r#"write it in braces: { "control_plane": "weir" }"#;
    UNKNOWN_KEY = "{}", "there is no such key", "correct the name; docs/filter-config.md has all keys";
    KEY_TWICE = "{}", "the key is there twice", "take one of the two out";
    NOT_TEXT = "{}", "the value is not a string", "write it in quotes";
    NOT_BOOLEAN = "{}", "the value is neither true nor false", "write true or false, without quotes";
    NOT_TEXTS = "{}", "the value is not a map of strings",
        r#"write it as { "NAME": "VALUE" }"#;
    NO_CONTROL_PLANE = "control_plane", "the key is missing or empty, and there is no initial configuration",
        "name the Envoy cluster that reaches weir serve";
    TWO_SCOPES = "namespace, gateway", "both keys are there, and a proxy has one scope",
        "take one of the two out";
    NAMESPACE = "namespace", r#""{}" is not the name of a namespace"#,
        r#"write lower-case letters, digits and '-', or "*" for the splits of hosts of every namespace"#;
    GATEWAY = "gateway", r#""{}" does not name a Gateway"#, "write NAMESPACE/NAME";
    LISTENER_WITHOUT_GATEWAY = "listener", "a listener belongs to a Gateway, and the key gateway is missing",
        "add the key gateway";
    LISTENERS_WITHOUT_GATEWAY = "listeners", "listeners belong to a Gateway, and the key gateway is missing",
        "add the key gateway";
    TWO_LISTENERS = "listener, listeners", "both keys are there", "take one of the two out";
    LISTENERS_OF_TCP = "listeners", "connections of several listeners cannot be told apart",
        "write listener, with the name of one";
    NO_LISTENERS = "listeners", "no port is named",
        r#"write the ports of this proxy's sockets and the Gateway's listeners: { "8080": ["http"] }"#;
    LISTENERS_PORT = "listeners", r#""{}" is not a port from 1 to 65535"#,
        r#"write the ports of this proxy's sockets and the Gateway's listeners: { "8080": ["http"] }"#;
    LISTENERS_NAMES = "listeners", r#"port "{}" has no list of names"#,
        r#"write the names of the Gateway's listeners behind the port: { "8080": ["http"] }"#;
    HEADER = "header", r#""{}" is not the name of a header"#, "write lower-case letters, digits and '-'";
    INITIAL = "initial", "the value is not a configuration as weir translate prints it",
        "write what weir translate prints";
    UNTIL_CONFIGURED = "until_configured", r#""{}" is not possible"#, r#"write "pass" or "503""#;
    PROTOCOL = "protocol", r#""{}" is not possible"#, r#"write "http" or "tcp""#;
    DIRECTION = "direction", r#""{}" is not possible"#, r#"write "outbound" or "inbound""#;
    ROOT_OF_REQUESTS = "root", "the key is only for connections", r#"add "protocol": "tcp""#;
    ROOT = "root", r#""{}" does not name a port of a Service"#, "write SERVICE.NAMESPACE:PORT";
    INBOUND = "direction", "an inbound filter has to know its workload",
        "add the keys namespace and service_account";
    ACCOUNT_WITHOUT_NAMESPACE = "service_account", "the ServiceAccount's namespace is missing",
        "add the key namespace";
    ACCOUNT_OF_EVERY_NAMESPACE = "service_account", r#"a ServiceAccount belongs to one namespace, and "*" means every namespace"#,
        "write the ServiceAccount's namespace as namespace";
    ACCOUNT = "service_account", r#""{}" is not the name of a ServiceAccount"#,
        "write lower-case letters, digits, '-' and '.'";
    NO_TRUST_DOMAIN = "trust_domain", "an inbound filter has to know whose certificates name its cluster's ServiceAccounts",
        "add the key trust_domain: TRUST-DOMAIN of the certificates' spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME";
    TRUST_DOMAIN = "trust_domain", r#""{}" is not a SPIFFE trust domain"#,
        "write lower-case letters, digits, '-', '.' and '_', such as cluster.local";
    MAX_AGE = "access_max_age", "{} is not a number of seconds from 60 to 604800 (a week)",
        "write a whole number, without quotes: 3600";
    MAX_AGE_OF_ANYONE = "access_max_age", "only a proxy with a service account and a control plane has permissions that can be too old",
        "add the keys service_account and control_plane, or take this one out";
    PLACEHOLDER = "cluster", r#""{}" has another placeholder than {service}, {namespace} and {port}"#,
        "use only these three";
    CLUSTER_NAME = "cluster, clusters", "the name of a cluster is empty or has white space",
        "write the name as Envoy has it";
    CLUSTERS = "clusters", r#""{}" does not name a backend"#, "write SERVICE.NAMESPACE:PORT";
}
