//! Creates the Secret `weir-tls` once. The Secret has a certificate for the control plane's Services, and the
//! certificate of its authority. The key of the authority is discarded. A Job of `kubectl apply -k deploy/` runs this
//! program for users who have no certificate.
//!
//! It is a separate program, so that the control plane does not need the right or the code to write a Secret. This
//! program may create Secrets in its namespace, but may not read or change them.

use std::collections::BTreeMap;
use std::env;
use std::process::ExitCode;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

const SECRET: &str = "weir-tls";

/// The certificate is not renewed. Use cert-manager for renewal.
const LIFE: Duration = Duration::days(3650);

/// Clocks differ, so the certificate is valid from a time before now.
const BEFORE: Duration = Duration::hours(1);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the environment has no POD_NAMESPACE: {0}")]
    Namespace(#[from] env::VarError),
    #[error("no certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("the Secret {SECRET} cannot be created: {0}")]
    Secret(#[from] kube::Error),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("weir-certificate: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<&'static str, Error> {
    let namespace = env::var("POD_NAMESPACE")?;
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(certificate(&namespace, OffsetDateTime::now_utc())?),
        ..Secret::default()
    };
    let secrets = Api::namespaced(Client::try_default().await?, &namespace);
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok("created the Secret weir-tls"),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            Ok("the Secret weir-tls exists already, and stays as it is")
        }
        Err(error) => Err(error.into()),
    }
}

/// The names of the control plane, for proxies and for its other replicas.
fn names(namespace: &str) -> Vec<String> {
    vec![
        format!("weir.{namespace}.svc"),
        format!("weir.{namespace}"),
        format!("weir-peers.{namespace}.svc"),
        format!("*.weir-peers.{namespace}.svc"),
    ]
}

fn certificate(
    namespace: &str,
    now: OffsetDateTime,
) -> Result<BTreeMap<String, ByteString>, Error> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority
        .distinguished_name
        .push(DnType::CommonName, "weir");
    (authority.not_before, authority.not_after) = (now - BEFORE, now + LIFE);
    let key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&key)?.pem();
    let issuer = Issuer::new(authority, key);

    let mut server = CertificateParams::new(names(namespace))?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server
        .distinguished_name
        .push(DnType::CommonName, format!("weir.{namespace}.svc"));
    (server.not_before, server.not_after) = (now - BEFORE, now + LIFE);
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let server_pem = server.signed_by(&key, &issuer)?.pem();

    let files = [
        ("ca.crt", authority_pem),
        ("tls.crt", server_pem),
        ("tls.key", key.serialize_pem()),
    ];
    let data = files.map(|(name, pem)| (name.to_owned(), ByteString(pem.into_bytes())));
    Ok(data.into())
}
