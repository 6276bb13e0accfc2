use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{Request, Response, StatusCode};
use kube::client::Body;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;
use tower::service_fn;

use super::*;

mod keys;

/// An API server that gives a fixed answer to each TokenReview, and has keys. It counts the TokenReviews and the
/// requests for keys.
struct Api {
    tokens: Tokens,
    reviews: Arc<AtomicUsize>,
    key_requests: Arc<AtomicUsize>,
    answer: Arc<Mutex<serde_json::Value>>,
    keys: Arc<Mutex<serde_json::Value>>,
}

impl Api {
    fn new(answer: serde_json::Value) -> Api {
        let reviews = Arc::new(AtomicUsize::new(0));
        let answer = Arc::new(Mutex::new(answer));
        let key_requests = Arc::new(AtomicUsize::new(0));
        let keys = Arc::new(Mutex::new(json!({ "keys": [jwk(pair(), "1")] })));
        let (count, own_answer) = (reviews.clone(), answer.clone());
        let (count_keys, own_keys) = (key_requests.clone(), keys.clone());
        let service = service_fn(move |request: Request<Body>| {
            let is_of_keys = match request.uri().path() {
                "/apis/authentication.k8s.io/v1/tokenreviews" => false,
                "/openid/v1/jwks" => true,
                other => panic!("{other}"),
            };
            let (count, answer) = if is_of_keys {
                (&count_keys, &own_keys)
            } else {
                (&count, &own_answer)
            };
            count.fetch_add(1, Ordering::SeqCst);
            let answer = answer.lock().unwrap().clone();
            async move {
                // During this time other requests with the same token begin to wait.
                tokio::time::sleep(Duration::from_millis(10)).await;
                let status = if answer.is_null() {
                    StatusCode::INTERNAL_SERVER_ERROR
                } else {
                    StatusCode::CREATED
                };
                let answer = if is_of_keys {
                    answer
                } else {
                    json!({ "spec": { "token": "" }, "status": answer })
                };
                let response = Response::builder().status(status);
                response.body(Body::from(answer.to_string().into_bytes()))
            }
        });
        let client = kube::Client::new(service, "default");
        let own = Path::new("/nowhere");
        Api {
            tokens: Tokens::new(client, own, Arc::default()),
            reviews,
            key_requests,
            answer,
            keys,
        }
    }

    fn have_keys(&self, keys: serde_json::Value) {
        *self.keys.lock().unwrap() = keys;
    }

    fn say(&self, answer: serde_json::Value) {
        *self.answer.lock().unwrap() = answer;
    }

    fn reviews(&self) -> usize {
        self.reviews.load(Ordering::SeqCst)
    }
}

fn good() -> serde_json::Value {
    json!({
        "authenticated": true,
        "audiences": [AUDIENCE],
        "user": { "username": "system:serviceaccount:shop:buyer" },
    })
}

/// The key pair of the API server.
fn pair() -> &'static EcdsaKeyPair {
    static PAIR: OnceLock<EcdsaKeyPair> = OnceLock::new();
    PAIR.get_or_init(new_pair)
}

fn new_pair() -> EcdsaKeyPair {
    let (scheme, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(scheme, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(scheme, pkcs8.as_ref(), &random).unwrap()
}

fn jwk(pair: &EcdsaKeyPair, name: &str) -> serde_json::Value {
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let number = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    json!({ "kty": "EC", "crv": "P-256", "kid": name, "x": number(x), "y": number(y) })
}

fn signed(pair: &EcdsaKeyPair, header: serde_json::Value, claims: serde_json::Value) -> String {
    let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// Returns a token that the API server has signed.
fn token(name: &str, audience: serde_json::Value, seconds: i64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let exp = now.saturating_add_signed(seconds);
    let claims = json!({ "sub": name, "aud": audience, "exp": exp });
    signed(pair(), json!({ "alg": "ES256", "kid": "1" }), claims)
}

fn plain() -> String {
    token(
        "system:serviceaccount:shop:buyer",
        json!([AUDIENCE]),
        36_000,
    )
}

#[tokio::test(start_paused = true)]
async fn token_is_reviewed_once_and_cached() {
    let api = Api::new(good());
    let token = plain();
    let (first, second) = tokio::join!(api.tokens.account(&token), api.tokens.account(&token));
    assert_eq!(first, second);
    assert_eq!(first.unwrap().namespace, "shop");
    assert_eq!(api.reviews(), 1);
    tokio::time::advance(FRESH).await;
    api.tokens.account(&token).await.unwrap();
    assert_eq!(api.reviews(), 2);

    let short = token_of(5);
    api.tokens.account(&short).await.unwrap();
    tokio::time::advance(Duration::from_secs(6)).await;
    // This test pauses the clock of tokio, but not the system clock, which decides whether the claims have expired.
    api.say(json!({ "authenticated": false, "error": "token has expired" }));
    let denied = api.tokens.account(&short).await;
    let message = messages::review_failed("token has expired").to_string();
    assert_eq!(denied, Err(Denied::Invalid(message)));
}

fn token_of(seconds: i64) -> String {
    token("system:serviceaccount:shop:buyer", json!(AUDIENCE), seconds)
}

#[tokio::test(start_paused = true)]
async fn cached_token_survives_api_server_outage() {
    let api = Api::new(good());
    // The token is made once, because `plain` returns another token in the next second.
    let token = plain();
    api.tokens.account(&token).await.unwrap();
    api.say(serde_json::Value::Null);
    tokio::time::advance(FRESH).await;
    assert!(api.tokens.account(&token).await.is_ok());
    assert!(api.tokens.account(&token).await.is_ok());
    assert_eq!(api.reviews(), 2, "there is a pause after a failed review");
    let unknown = api.tokens.account(&token_of(60)).await;
    assert!(
        matches!(unknown, Err(Denied::Unavailable(_))),
        "{unknown:?}"
    );
    tokio::time::advance(STALE).await;
    let old = api.tokens.account(&token).await;
    assert!(matches!(old, Err(Denied::Unavailable(_))), "{old:?}");
    api.say(good());
    assert!(api.tokens.account(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn accounts_do_not_evict_each_other() {
    let api = Api::new(good());
    // The token is made once, because `plain` returns another token in the next second.
    let token = plain();
    api.tokens.account(&token).await.unwrap();
    let evil = Arc::new(Owner::of_account("evil", "system:serviceaccount:evil:a"));
    for number in 0..2 * MAX_TOKENS {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_le_bytes());
        let now = Instant::now();
        let mut store = api.tokens.store();
        let cell = store.cell(hash, now);
        store.record(hash, &cell, Some(evil.clone()), now + STALE, now);
    }
    assert!(api.tokens.account(&token_of(600)).await.is_ok());
    assert_eq!(api.reviews(), 2);
    assert!(api.tokens.account(&token).await.is_ok());
    assert_eq!(api.reviews(), 2, "the result is still cached");
    assert_eq!(api.tokens.store().len(), MAX_TOKENS);
}

#[tokio::test(start_paused = true)]
async fn invalid_tokens_cost_no_reviews() {
    let api = Api::new(good());
    for wrong in [
        "",
        "a",
        "a.b.c",
        "a.e30.c",
        &token("x", json!(["other"]), 60),
    ] {
        let denied = api.tokens.account(wrong).await;
        assert!(matches!(denied, Err(Denied::Invalid(_))), "{wrong}");
    }
    assert_eq!(api.reviews(), 0);
    // This token is signed, and its claims have expired.
    let expired = api.tokens.account(&token_of(-61)).await;
    assert_eq!(
        expired,
        Err(Denied::Invalid(messages::expired().to_string()))
    );
    assert_eq!(api.reviews(), 0);
    for (number, answer) in [
        json!({ "authenticated": false }),
        json!({ "authenticated": true, "user": good()["user"] }),
        json!({ "authenticated": true, "audiences": ["other"], "user": good()["user"] }),
        json!({ "authenticated": true, "audiences": [AUDIENCE], "user": { "username": "admin" } }),
    ]
    .into_iter()
    .enumerate()
    {
        api.say(answer.clone());
        let token = token_of(100 + i64::try_from(number).unwrap());
        for _ in 0..2 {
            let denied = api.tokens.account(&token).await;
            assert!(matches!(denied, Err(Denied::Invalid(_))), "{answer}");
        }
        assert_eq!(api.reviews(), number + 1);
    }
    tokio::time::advance(BAD).await;
    api.say(good());
    assert!(api.tokens.account(&token_of(100)).await.is_ok());
}

#[tokio::test]
async fn bound_pod_owns_the_token() {
    let mut status = good();
    let owner = async |status: &serde_json::Value, seconds| {
        let api = Api::new(status.clone());
        let account = api.tokens.account(&token_of(seconds)).await.unwrap();
        (*account.owner).clone()
    };
    let account = "system:serviceaccount:shop:buyer";
    assert_eq!(owner(&status, 60).await, Owner::of_account("shop", account));
    for uid in ["1", "2"] {
        status["user"]["extra"] = json!({
            "authentication.kubernetes.io/pod-name": ["a"],
            "authentication.kubernetes.io/pod-uid": [uid],
        });
        assert_eq!(owner(&status, 60).await, Owner::of_pod("shop", uid));
    }
}

#[tokio::test]
async fn replicas_have_the_same_account() {
    let mut api = Api::new(good());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), plain()).unwrap();
    let account = api.tokens.account(&plain()).await.unwrap();
    assert!(!api.tokens.is_own(&account), "this process has no token");
    api.tokens.own_token = file.path().to_owned();
    assert!(api.tokens.is_own(&account));
    let other = Account {
        namespace: "shop".into(),
        username: "system:serviceaccount:shop:other".into(),
        owner: Arc::default(),
    };
    assert!(!api.tokens.is_own(&other));
}
