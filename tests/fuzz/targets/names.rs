//! Parses any bytes as a plugin configuration, and as the names in a certificate.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_split::{IdentityDomains, Plugin, peer_identity};

const DOMAINS: IdentityDomains = IdentityDomains {
    trust_domain: "cluster.local",
    cluster_domain: "cluster.local",
};

fuzz_target!(|input: &[u8]| {
    if let Err(error) = Plugin::parse(input) {
        assert!(error.to_string().starts_with("plugin configuration: "));
    }
    for identity in [
        peer_identity(Some(input), None, DOMAINS),
        peer_identity(None, Some(input), DOMAINS),
    ]
    .into_iter()
    .flatten()
    {
        let (namespace, name) = identity.split_once('/').expect("two parts");
        assert!(!namespace.is_empty() && !name.is_empty() && !name.contains('/'));
        let written = [
            format!("/ns/{namespace}/sa/{name}"),
            format!("{name}.{namespace}.cluster.local"),
        ];
        let input = std::str::from_utf8(input).expect("text");
        assert!(written.iter().any(|form| input.ends_with(form)));
    }
});
