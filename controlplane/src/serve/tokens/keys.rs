//! Checks the signatures of tokens. A token that the API server has not signed is refused without a TokenReview.
//!
//! The API server's keys are read from `/openid/v1/jwks` (RFC 7517). By default every ServiceAccount may read this
//! path: the ClusterRole `system:service-account-issuer-discovery` allows it. A signature proves that the API server
//! has made the token. Only a TokenReview proves that the token is still valid.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{
    self, EcdsaVerificationAlgorithm, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout};

const PATH: &str = "/openid/v1/jwks";
/// Shortest time between two requests for the keys, even if many tokens name unknown keys.
const EVERY: Duration = Duration::from_secs(1);
/// Shortest time between a failed request for the keys and the next request.
const RETRY: Duration = Duration::from_secs(10);
/// Time limit of a request.
const ANSWER: Duration = Duration::from_secs(2);
/// Maximum number of keys that are kept. An API server has one or two keys, and a few more during a key rotation.
const MAX_KEYS: usize = 64;
/// The supported algorithms (RFC 7518).
const ALGORITHMS: [&str; 5] = ["RS256", "RS384", "RS512", "ES256", "ES384"];
/// The supported lengths of RSA keys.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// Who has signed a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signature {
    OfApiServer,
    OfAnother,
    /// The replica cannot read the keys, or does not support the key or the algorithm of the token.
    Unverified,
}

pub(super) struct Keys {
    client: kube::Client,
    newest: RwLock<Arc<KeySet>>,
    /// When the keys may be requested again. A task that requests the keys holds this lock, so that other tasks wait
    /// for the same answer.
    next: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Default)]
struct KeySet {
    /// The keys by `kid`. The value None means that the key is not supported, or that several keys have this `kid`.
    by_name: HashMap<String, Option<Key>>,
    /// True if the API server has more than [`MAX_KEYS`] keys.
    has_more: bool,
    read: Option<Instant>,
}

enum Key {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

/// A JSON Web Key (RFC 7517): numbers are base64url, most significant byte first.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: String,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

/// A token in JWS compact serialization (RFC 7515).
struct Signed<'t> {
    header: Header,
    /// The bytes that are signed.
    message: &'t [u8],
    signature: Vec<u8>,
}

impl Keys {
    pub(super) fn new(client: kube::Client) -> Keys {
        Keys {
            client,
            newest: RwLock::default(),
            next: tokio::sync::Mutex::default(),
        }
    }

    /// Returns who has signed this token. If the token names an unknown key, reads the keys again, at most once in each
    /// second.
    pub(super) async fn verify(&self, token: &str) -> Signature {
        let Some(signed) = Signed::of(token) else {
            return Signature::OfAnother;
        };
        if let Some(signature) = self.newest().verify(&signed) {
            return signature;
        }
        match self.read().await {
            Some(newest) => {
                let signature = newest.verify(&signed);
                signature.unwrap_or_else(|| newest.without_key(&signed))
            }
            None => Signature::Unverified,
        }
    }

    fn newest(&self) -> Arc<KeySet> {
        let newest = self.newest.read();
        newest.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns keys that were read after the beginning of this call. Returns None if the keys cannot be read.
    async fn read(&self) -> Option<Arc<KeySet>> {
        let called = Instant::now();
        let mut next = self.next.lock().await;
        let newest = self.newest();
        match newest.read {
            Some(read) if read >= called => return Some(newest),
            Some(_) => {
                if let Some(next) = *next {
                    sleep_until(next).await;
                }
            }
            None if next.is_some_and(|next| Instant::now() < next) => return None,
            None => {}
        }
        let at = Instant::now();
        match timeout(ANSWER, self.request()).await {
            Ok(Some(document)) => {
                *next = Some(at + EVERY);
                let newest = Arc::new(KeySet::of(document, at));
                let mut shared = self.newest.write().unwrap_or_else(PoisonError::into_inner);
                *shared = newest.clone();
                Some(newest)
            }
            _ => {
                *next = Some(Instant::now() + RETRY);
                // The previous keys stay in use. A token with another key cannot be checked.
                None
            }
        }
    }

    async fn request(&self) -> Option<JwkSet> {
        let request = axum::http::Request::get(PATH).body(Vec::new()).ok()?;
        let text = self.client.request_text(request).await.ok()?;
        serde_json::from_str(&text).ok()
    }
}

impl KeySet {
    fn of(document: JwkSet, read: Instant) -> KeySet {
        let has_more = document.keys.len() > MAX_KEYS;
        let mut by_name = HashMap::new();
        for jwk in document.keys.into_iter().take(MAX_KEYS) {
            let key = jwk.key();
            by_name
                .entry(jwk.kid)
                .and_modify(|several| *several = None)
                .or_insert(key);
        }
        KeySet {
            by_name,
            has_more,
            read: Some(read),
        }
    }

    /// Returns who has signed the token, or None if the set does not contain the key of the token.
    fn verify(&self, signed: &Signed) -> Option<Signature> {
        match &signed.header.kid {
            Some(name) => self
                .by_name
                .get(name)
                .map(|key| check(key.as_ref(), signed)),
            None => {
                let mut all = self.all(signed);
                all.find(|it| *it == Signature::OfApiServer)
            }
        }
    }

    /// Returns the result for a token whose key is not in this set.
    fn without_key(&self, signed: &Signed) -> Signature {
        let is_unnamed = signed.header.kid.is_none();
        let may_be_signed = self.has_more
            || self.by_name.is_empty()
            || is_unnamed && self.all(signed).any(|it| it == Signature::Unverified);
        if may_be_signed {
            Signature::Unverified
        } else {
            Signature::OfAnother
        }
    }

    /// Checks a token without `kid` with each key. Returns the results.
    fn all(&self, signed: &Signed) -> impl Iterator<Item = Signature> {
        let keys = self.by_name.values();
        keys.map(|key| check(key.as_ref(), signed))
    }
}

fn check(key: Option<&Key>, signed: &Signed) -> Signature {
    if signed.header.alg == "none" {
        return Signature::OfAnother;
    }
    if !ALGORITHMS.contains(&signed.header.alg.as_str()) {
        return Signature::Unverified;
    }
    match key.map(|key| key.has_signed(signed)) {
        None => Signature::Unverified,
        Some(true) => Signature::OfApiServer,
        Some(false) => Signature::OfAnother,
    }
}

impl Key {
    fn has_signed(&self, signed: &Signed) -> bool {
        let alg = signed.header.alg.as_str();
        match self {
            Key::Rsa { n, e } => {
                let scheme: &RsaParameters = match alg {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    _ => return false,
                };
                let key = RsaPublicKeyComponents { n, e };
                key.verify(scheme, signed.message, &signed.signature)
                    .is_ok()
            }
            Key::P256(point) if alg == "ES256" => {
                verify_on_curve(&signature::ECDSA_P256_SHA256_FIXED, point, signed)
            }
            Key::P384(point) if alg == "ES384" => {
                verify_on_curve(&signature::ECDSA_P384_SHA384_FIXED, point, signed)
            }
            Key::P256(_) | Key::P384(_) => false,
        }
    }
}

fn verify_on_curve(
    scheme: &'static EcdsaVerificationAlgorithm,
    point: &[u8],
    signed: &Signed,
) -> bool {
    let key = UnparsedPublicKey::new(scheme, point);
    key.verify(signed.message, &signed.signature).is_ok()
}

impl Jwk {
    fn key(&self) -> Option<Key> {
        let number = |text: &Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
        if self.kty == "RSA" {
            let (n, e) = (number(&self.n)?, number(&self.e)?);
            let significant = n.iter().skip_while(|byte| **byte == 0);
            let highest = significant.clone().next();
            let unused = highest.map_or(0, |byte| byte.leading_zeros() as usize);
            let bits = (significant.count() * 8).saturating_sub(unused);
            return RSA_BITS.contains(&bits).then_some(Key::Rsa { n, e });
        }
        let (x, y) = (number(&self.x)?, number(&self.y)?);
        // SEC 1, 2.3.3: an uncompressed point begins with the byte 4.
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        match self.crv.as_deref() {
            Some("P-256") => Some(Key::P256(point)),
            Some("P-384") => Some(Key::P384(point)),
            _ => None,
        }
    }
}

impl Signed<'_> {
    fn of(token: &str) -> Option<Signed<'_>> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, _) = message.split_once('.')?;
        let header = BASE64_URL_SAFE_NO_PAD.decode(header).ok()?;
        Some(Signed {
            header: serde_json::from_slice(&header).ok()?,
            message: message.as_bytes(),
            signature: BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }
}
