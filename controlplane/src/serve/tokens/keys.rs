//! The keys by which the API server signs tokens: a token that it has not signed needs no TokenReview.
//!
//! The keys are read from `/openid/v1/jwks` (RFC 7517). By default every ServiceAccount may read it, by the ClusterRole
//! `system:service-account-issuer-discovery`. A signature proves that the API server has made the token. It does not
//! prove that the token still counts: only a TokenReview does.

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
/// Shortest time between two requests for the keys, however many tokens name a key that is not known.
const EVERY: Duration = Duration::from_secs(1);
/// The same after a request that failed.
const AWAY: Duration = Duration::from_secs(10);
/// Time for a request.
const ANSWER: Duration = Duration::from_secs(2);
/// Most keys that are kept. A server has one or two, and some more while they are changed.
const MAX_KEYS: usize = 64;
/// The algorithms that are supported (RFC 7518).
const ALGORITHMS: [&str; 5] = ["RS256", "RS384", "RS512", "ES256", "ES384"];
/// The lengths of RSA keys that are supported.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// What the signature of a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signature {
    OfApiServer,
    OfAnother,
    /// The keys cannot be read, or the token may be signed by a key or an algorithm that is not supported here.
    Unreadable,
}

pub(super) struct Keys {
    client: kube::Client,
    newest: RwLock<Arc<Set>>,
    /// When the keys may be requested again. The task that requests them holds the lock, and other tasks wait.
    next: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Set {
    /// The keys by their names. None stands for a key that is not supported, and for several keys of one name.
    by_name: HashMap<String, Option<Key>>,
    /// Whether the server has keys that are not in `by_name`.
    has_more: bool,
    read: Option<Instant>,
}

enum Key {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Jwk>,
}

/// A key as it is written: numbers are base64url, most significant byte first.
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

/// The parts of a token.
struct Signed<'t> {
    header: Header,
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

    /// Who has signed this token. If the token names a key that is not known, the keys are read again, at most once a
    /// second.
    pub(super) async fn verify(&self, token: &str) -> Signature {
        let Some(signed) = Signed::of(token) else {
            return Signature::OfAnother;
        };
        let known = self.known();
        if let Some(said) = known.verify(&signed) {
            return said;
        }
        match self.read().await {
            Some(newest) => {
                let said = newest.verify(&signed);
                said.unwrap_or_else(|| newest.of_unknown_key(&signed))
            }
            None => Signature::Unreadable,
        }
    }

    fn known(&self) -> Arc<Set> {
        let newest = self.newest.read();
        newest.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keys, read after this call began; None if they cannot be read.
    async fn read(&self) -> Option<Arc<Set>> {
        let called = Instant::now();
        let mut next = self.next.lock().await;
        let known = self.known();
        match known.read {
            Some(read) if read >= called => return Some(known),
            Some(_) => {
                if let Some(next) = *next {
                    sleep_until(next).await;
                }
            }
            None if next.is_some_and(|next| Instant::now() < next) => return None,
            None => {}
        }
        let at = Instant::now();
        match timeout(ANSWER, self.ask()).await {
            Ok(Some(document)) => {
                *next = Some(at + EVERY);
                let newest = Arc::new(Set::of(document, at));
                let mut place = self.newest.write().unwrap_or_else(PoisonError::into_inner);
                *place = newest.clone();
                Some(newest)
            }
            _ => {
                *next = Some(Instant::now() + AWAY);
                // The known keys stay in use. A token that names another key cannot be checked.
                None
            }
        }
    }

    async fn ask(&self) -> Option<Document> {
        let request = axum::http::Request::get(PATH).body(Vec::new()).ok()?;
        let text = self.client.request_text(request).await.ok()?;
        serde_json::from_str(&text).ok()
    }
}

impl Set {
    fn of(document: Document, read: Instant) -> Set {
        let has_more = document.keys.len() > MAX_KEYS;
        let mut by_name = HashMap::new();
        for jwk in document.keys.into_iter().take(MAX_KEYS) {
            let key = jwk.key();
            by_name
                .entry(jwk.kid)
                .and_modify(|several| *several = None)
                .or_insert(key);
        }
        Set {
            by_name,
            has_more,
            read: Some(read),
        }
    }

    /// None if the key that has signed the token is not known.
    fn verify(&self, signed: &Signed) -> Option<Signature> {
        match &signed.header.kid {
            Some(name) => self.by_name.get(name).map(|key| said(key.as_ref(), signed)),
            None => {
                let mut all = self.all(signed);
                all.find(|said| *said == Signature::OfApiServer)
            }
        }
    }

    /// Of a token for which `verify` knows no key.
    fn of_unknown_key(&self, signed: &Signed) -> Signature {
        let is_unnamed = signed.header.kid.is_none();
        let may_be_another = self.has_more
            || self.by_name.is_empty()
            || is_unnamed && self.all(signed).any(|said| said == Signature::Unreadable);
        match may_be_another {
            true => Signature::Unreadable,
            false => Signature::OfAnother,
        }
    }

    /// What each key says of a token that names no key.
    fn all(&self, signed: &Signed) -> impl Iterator<Item = Signature> {
        let keys = self.by_name.values();
        keys.map(|key| said(key.as_ref(), signed))
    }
}

fn said(key: Option<&Key>, signed: &Signed) -> Signature {
    if signed.header.alg == "none" {
        return Signature::OfAnother;
    }
    if !ALGORITHMS.contains(&signed.header.alg.as_str()) {
        return Signature::Unreadable;
    }
    match key.map(|key| key.has_signed(signed)) {
        None => Signature::Unreadable,
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
                of_curve(&signature::ECDSA_P256_SHA256_FIXED, point, signed)
            }
            Key::P384(point) if alg == "ES384" => {
                of_curve(&signature::ECDSA_P384_SHA384_FIXED, point, signed)
            }
            Key::P256(_) | Key::P384(_) => false,
        }
    }
}

fn of_curve(scheme: &'static EcdsaVerificationAlgorithm, point: &[u8], signed: &Signed) -> bool {
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
        // SEC 1, 2.3.3: the byte 4 begins an uncompressed point.
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
