//! Makes ServiceAccount tokens, and signs them with the key of the API server.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{KeyPair, SigningKey};
use serde_json::{Value, json};
use weir_cluster::ApiServer;

/// Returns the signing key of this API server.
pub fn key_of(server: &ApiServer) -> KeyPair {
    let key = std::fs::read_to_string(server.folder().join("accounts.key")).expect("accounts.key");
    KeyPair::from_pem(&key).expect("a key")
}

/// Returns the claims of a ServiceAccount token that expires in `seconds`. Tokens with different `number` differ.
pub fn claims(
    [namespace, name, uid]: [&str; 3],
    audience: &str,
    seconds: i64,
    number: u32,
) -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time")
        .as_secs();
    let now = i64::try_from(now).expect("a time");
    json!({
        "iss": "https://kubernetes.default.svc",
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "aud": [audience],
        "iat": now - 7200,
        "nbf": now - 7200,
        "exp": now + seconds,
        "jti": number.to_string(),
        "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": name, "uid": uid } },
    })
}

pub fn signed(key: &KeyPair, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "alg": "ES256", "typ": "JWT" });
    let text = format!("{}.{}", part(&header), part(claims));
    let signature = plain_signature(&key.sign(text.as_bytes()).expect("a signature"));
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// Converts an ECDSA signature from ASN.1 to the form in a JWT: two numbers of 32 bytes.
fn plain_signature(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut plain = Vec::new();
    for _ in 0..2 {
        let (number, after) = rest[2..].split_at(usize::from(rest[1]));
        let digits = &number[number.len().saturating_sub(32)..];
        plain.resize(plain.len() + 32 - digits.len(), 0);
        plain.extend_from_slice(digits);
        rest = after;
    }
    plain
}
