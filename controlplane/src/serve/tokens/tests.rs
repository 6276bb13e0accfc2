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

/// An API server with a fixed answer to each TokenReview, and with keys. It counts the requests for both.
struct Api {
    tokens: Tokens,
    asked: Arc<AtomicUsize>,
    asked_keys: Arc<AtomicUsize>,
    answer: Arc<Mutex<serde_json::Value>>,
    keys: Arc<Mutex<serde_json::Value>>,
}

impl Api {
    fn new(answer: serde_json::Value) -> Api {
        let asked = Arc::new(AtomicUsize::new(0));
        let answer = Arc::new(Mutex::new(answer));
        let asked_keys = Arc::new(AtomicUsize::new(0));
        let keys = Arc::new(Mutex::new(json!({ "keys": [jwk(pair(), "1")] })));
        let (count, said) = (asked.clone(), answer.clone());
        let (count_keys, own_keys) = (asked_keys.clone(), keys.clone());
        let service = service_fn(move |request: Request<Body>| {
            let is_of_keys = match request.uri().path() {
                "/apis/authentication.k8s.io/v1/tokenreviews" => false,
                "/openid/v1/jwks" => true,
                other => panic!("{other}"),
            };
            let (count, said) = match is_of_keys {
                true => (&count_keys, &own_keys),
                false => (&count, &said),
            };
            count.fetch_add(1, Ordering::SeqCst);
            let answer = said.lock().unwrap().clone();
            async move {
                // Other requests with the same token wait meanwhile.
                tokio::time::sleep(Duration::from_millis(10)).await;
                let status = match answer.is_null() {
                    true => StatusCode::INTERNAL_SERVER_ERROR,
                    false => StatusCode::CREATED,
                };
                let answer = match is_of_keys {
                    true => answer,
                    false => json!({ "spec": { "token": "" }, "status": answer }),
                };
                let response = Response::builder().status(status);
                response.body(Body::from(answer.to_string().into_bytes()))
            }
        });
        let client = kube::Client::new(service, "default");
        let own = Path::new("/nowhere");
        Api {
            tokens: Tokens::new(client, own, Arc::default()),
            asked,
            asked_keys,
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

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
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
    let written = EcdsaKeyPair::generate_pkcs8(scheme, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(scheme, written.as_ref(), &random).unwrap()
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

/// As the API server signs it.
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
async fn one_question_for_a_token_and_its_answer_is_kept() {
    let api = Api::new(good());
    let token = plain();
    let (first, second) = tokio::join!(api.tokens.account(&token), api.tokens.account(&token));
    assert_eq!(first, second);
    assert_eq!(first.unwrap().namespace, "shop");
    assert_eq!(api.asked(), 1);
    tokio::time::advance(FRESH).await;
    api.tokens.account(&token).await.unwrap();
    assert_eq!(api.asked(), 2);

    let short = token_of(5);
    api.tokens.account(&short).await.unwrap();
    tokio::time::advance(Duration::from_secs(6)).await;
    // The clock of the claims is another one, which goes on.
    api.say(json!({ "authenticated": false, "error": "token has expired" }));
    let denied = api.tokens.account(&short).await;
    let message = messages::review_failed("token has expired").to_string();
    assert_eq!(denied, Err(Denied::Invalid(message)));
}

fn token_of(seconds: i64) -> String {
    token("system:serviceaccount:shop:buyer", json!(AUDIENCE), seconds)
}

#[tokio::test(start_paused = true)]
async fn a_known_token_counts_while_the_api_server_is_away_and_an_unknown_one_does_not() {
    let api = Api::new(good());
    // Made once: the next second makes another one.
    let token = plain();
    api.tokens.account(&token).await.unwrap();
    api.say(serde_json::Value::Null);
    tokio::time::advance(FRESH).await;
    assert!(api.tokens.account(&token).await.is_ok());
    assert!(api.tokens.account(&token).await.is_ok());
    assert_eq!(api.asked(), 2, "it is left alone for a while");
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
async fn the_tokens_of_one_account_do_not_keep_out_another() {
    let api = Api::new(good());
    // Made once: the next second makes another one.
    let token = plain();
    api.tokens.account(&token).await.unwrap();
    let evil = Arc::new(Owner::of_account("evil", "system:serviceaccount:evil:a"));
    for number in 0..2 * MAX_TOKENS {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_le_bytes());
        let now = Instant::now();
        let mut store = api.tokens.store();
        let place = store.place(hash, now);
        store.answered(hash, &place, Some(evil.clone()), now + STALE, now);
    }
    assert!(api.tokens.account(&token_of(600)).await.is_ok());
    assert_eq!(api.asked(), 2);
    assert!(api.tokens.account(&token).await.is_ok());
    assert_eq!(api.asked(), 2, "the answer was kept");
    assert_eq!(api.tokens.store().len(), MAX_TOKENS);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_token_for_us_is_asked_for_once_or_not_at_all() {
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
    assert_eq!(api.asked(), 0);
    // One by its claims, however well it is signed.
    let expired = api.tokens.account(&token_of(-61)).await;
    assert_eq!(
        expired,
        Err(Denied::Invalid(messages::expired().to_string()))
    );
    assert_eq!(api.asked(), 0);
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
        assert_eq!(api.asked(), number + 1);
    }
    tokio::time::advance(BAD).await;
    api.say(good());
    assert!(api.tokens.account(&token_of(100)).await.is_ok());
}

#[tokio::test]
async fn what_a_token_says_is_said_by_the_pod_that_it_is_bound_to() {
    let mut said = good();
    let owner = async |said: &serde_json::Value, seconds| {
        let api = Api::new(said.clone());
        let account = api.tokens.account(&token_of(seconds)).await.unwrap();
        (*account.owner).clone()
    };
    let account = "system:serviceaccount:shop:buyer";
    assert_eq!(owner(&said, 60).await, Owner::of_account("shop", account));
    for uid in ["1", "2"] {
        said["user"]["extra"] = json!({
            "authentication.kubernetes.io/pod-name": ["a"],
            "authentication.kubernetes.io/pod-uid": [uid],
        });
        assert_eq!(owner(&said, 60).await, Owner::of_pod("shop", uid));
    }
}

#[tokio::test]
async fn a_replica_shows_the_token_of_the_same_account() {
    let mut api = Api::new(good());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), plain()).unwrap();
    let account = api.tokens.account(&plain()).await.unwrap();
    assert!(!api.tokens.is_own(&account), "there is no token of its own");
    api.tokens.own_token = file.path().to_owned();
    assert!(api.tokens.is_own(&account));
    let other = Account {
        namespace: "shop".into(),
        username: "system:serviceaccount:shop:other".into(),
        owner: Arc::default(),
    };
    assert!(!api.tokens.is_own(&other));
}
