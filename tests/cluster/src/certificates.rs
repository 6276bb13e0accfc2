//! The API server's certificate authority, its server certificate, and the key that signs ServiceAccount tokens. The
//! server certificate is valid for every name of the API server.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

pub const SERVER: &str = "server.crt";
pub const SERVER_KEY: &str = "server.key";
pub const AUTHORITY: &str = "ca.crt";
pub const ACCOUNTS_KEY: &str = "accounts.key";
pub const ACCOUNTS_PUBLIC: &str = "accounts.pub";

const NAMES: [&str; 5] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Writes all files into `folder`.
pub fn write(folder: &Path, addresses: &[IpAddr]) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    authority
        .distinguished_name
        .push(DnType::CommonName, "weir-cluster");
    let key = KeyPair::generate().expect("a key");
    let signed = authority.self_signed(&key).expect("a certificate");
    put(folder, AUTHORITY, &signed.pem());
    let issuer = Issuer::new(authority, key);

    let names = NAMES
        .iter()
        .map(|name| (*name).to_owned())
        .collect::<Vec<_>>();
    let mut server = CertificateParams::new(names).expect("DNS names");
    server
        .distinguished_name
        .push(DnType::CommonName, "kube-apiserver");
    let addresses = addresses.iter().map(|address| SanType::IpAddress(*address));
    server.subject_alt_names.extend(addresses);
    let key = KeyPair::generate().expect("a key");
    let signed = server.signed_by(&key, &issuer).expect("a certificate");
    put(folder, SERVER, &signed.pem());
    put(folder, SERVER_KEY, &key.serialize_pem());

    let accounts = KeyPair::generate().expect("a key");
    put(folder, ACCOUNTS_KEY, &accounts.serialize_pem());
    put(folder, ACCOUNTS_PUBLIC, &accounts.public_key_pem());
}

fn put(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap_or_else(|error| panic!("{name}: {error}"));
}
