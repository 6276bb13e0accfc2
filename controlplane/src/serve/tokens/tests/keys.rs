//! Tests which tokens need a TokenReview, and which permits these tokens wait for.

use super::*;

/// A token that `openssl dgst -sha256 -sign` has signed with the RSA key of `MODULUS`. The token expires in 2100.
const RS256: &str = "eyJhbGciOiAiUlMyNTYiLCAia2lkIjogInJzYSJ9.eyJleHAiOjQxMDI0NDQ4MDAsImF1ZCI6WyJ3ZWlyLmRldiJdLCJzdWIiOiJ\
    zeXN0ZW06c2VydmljZWFjY291bnQ6c2hvcDpidXllciJ9.miWp-hMazkzAhQHrTICZO-4EE_omL1uh69Zv7OdtiAktFSLYjGEYGr\
    auo07y_y2N6VDZVokULSQsepgPvtH1RHVAVWcfwMhdRieEso8LKDfBc3ZEzaASJZZqGPH46BUTeaYDeC7m_LaxdYUOHVcswwjuxe\
    urf9SFnzVQA-j90zqtvCaIKFy1kuAM44sV_AnH-5cTOc8yvlugqh1iUJhfTqTDl5RjNZAJrV8nAJtmjUoq6xZZXiOqQ2-cvB7suI\
    DRElgRz42L6m-yTh5A_GXjLZNkvCFRaRkQ9nSaI-68SRTfdysCNbTTUDdW3CcE-ENx7cycrVhboYc0lp8UsRY5iA";
const MODULUS: &str = "-Lp2FzaLOh255oq0BJ9e_L8DA3DBgSVOBVKYmNgZ7vmv9qPm-ylvfLqhG-qZlUWJZ3T8G03xbPgTo4icqqV6hdm9jTK1kFY0NZQV\
    eqCC6Xd-oKGR3aABHisIu9R3Kf99KdeWjXTMGnBVUD-4ZLdmlx41gmPGQgDnvpOsg6CiTMMFCuHGK2SG-CDvJEn-p53i_awqP57f\
    ZjN9cFsJlfqKN6bR2qyadhXypDwApOyAnyMh0h-VJq8YDUF90QKTaWjnB4-8Ya0uaRoxwmEm3awdd6KKAuZzUrEFbk28tdgAy7rL\
    ylupDmf--bBTpCA_wg1YfHOtB62e2g7hUphmJLu-hQ";

fn claims() -> serde_json::Value {
    json!({ "sub": "system:serviceaccount:shop:buyer", "aud": [AUDIENCE], "exp": 4_102_444_800_u64 })
}

/// Returns a token that names this key, but is signed with another key.
fn forged(name: &str) -> String {
    signed(
        &new_pair(),
        json!({ "alg": "ES256", "kid": name }),
        claims(),
    )
}

fn is_invalid(result: &Result<Arc<Account>, Denied>) -> bool {
    matches!(result, Err(Denied::Invalid(_)))
}

#[tokio::test(start_paused = true)]
async fn forged_token_needs_no_review() {
    let api = Api::new(good());
    let none = json!({ "alg": "none" });
    let elsewhere = json!({ "alg": "RS256", "kid": "1" });
    let tampered = {
        let token = plain();
        let (text, _) = token.rsplit_once('.').unwrap();
        let (_, signature) = RS256.rsplit_once('.').unwrap();
        format!("{text}.{signature}")
    };
    for wrong in [
        forged("1"),
        forged("unknown"),
        signed(&new_pair(), json!({ "alg": "ES256" }), claims()),
        signed(pair(), none, claims()),
        signed(pair(), elsewhere, claims()),
        tampered,
    ] {
        let result = api.tokens.account(&wrong).await;
        assert!(is_invalid(&result), "{wrong}: {result:?}");
    }
    assert_eq!(api.reviews(), 0);
    assert_eq!(api.tokens.store().len(), 0, "nothing is kept");
    assert!(api.tokens.account(&plain()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn rsa_and_ec_keys_are_supported() {
    let api = Api::new(good());
    let rsa = json!({ "kty": "RSA", "kid": "rsa", "n": MODULUS, "e": "AQAB" });
    api.have_keys(json!({ "keys": [jwk(pair(), "1"), rsa] }));
    assert!(api.tokens.account(RS256).await.is_ok());
    assert!(api.tokens.account(&plain()).await.is_ok());
    let unnamed = signed(pair(), json!({ "alg": "ES256" }), claims());
    assert!(api.tokens.account(&unnamed).await.is_ok());
    let spoilt = RS256.replace(".eyJleHAiOjQ", ".eyJleHAiOjU");
    assert_ne!(spoilt, RS256);
    assert!(is_invalid(&api.tokens.account(&spoilt).await));
}

#[tokio::test(start_paused = true)]
async fn new_keys_are_read_every_second() {
    let api = Api::new(good());
    assert!(api.tokens.account(&plain()).await.is_ok());
    assert_eq!(api.key_requests.load(Ordering::SeqCst), 1);
    let newer = new_pair();
    api.have_keys(json!({ "keys": [jwk(pair(), "1"), jwk(&newer, "2")] }));
    let start = Instant::now();
    let by_newer = signed(&newer, json!({ "alg": "ES256", "kid": "2" }), claims());
    assert!(api.tokens.account(&by_newer).await.is_ok());
    assert!(start.elapsed() < Duration::from_millis(1100));
    let start = Instant::now();
    let several = (0..100).map(|number| forged(&number.to_string()));
    let several: Vec<String> = several.collect();
    let reviews = several.iter().map(|token| api.tokens.account(token));
    let result = futures::future::join_all(reviews).await;
    assert!(result.iter().all(is_invalid), "{result:?}");
    assert!(start.elapsed() < Duration::from_millis(2100));
    assert!(api.key_requests.load(Ordering::SeqCst) <= 4);
}

/// Tokens whose signature cannot be checked wait for each other. Other tokens do not wait for these tokens.
#[tokio::test(start_paused = true)]
async fn unverified_tokens_delay_no_others() {
    let api = Api::new(good());
    let known = plain();
    api.tokens.account(&known).await.unwrap();
    api.have_keys(serde_json::Value::Null);
    tokio::time::advance(FRESH).await;
    let unreadable: Vec<String> = (0..200).map(|it| forged(&format!("k{it}"))).collect();
    api.say(json!({ "authenticated": false }));
    let strangers = unreadable.iter().map(|token| api.tokens.account(token));
    let strangers = futures::future::join_all(strangers);
    let others = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let start = Instant::now();
        api.say(good());
        assert!(api.tokens.account(&known).await.is_ok());
        // This token is signed with a key that was read earlier.
        assert!(api.tokens.account(&token_of(77)).await.is_ok());
        start.elapsed()
    };
    let (_, took) = tokio::join!(strangers, others);
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn unsupported_key_leaves_decision_to_review() {
    let api = Api::new(good());
    let other = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "AAAA" });
    api.have_keys(json!({ "keys": [jwk(pair(), "1"), other] }));
    assert!(api.tokens.account(&forged("ed")).await.is_ok());
    assert_eq!(api.reviews(), 1);
}

/// The API server may have signed these tokens with a key or an algorithm that Weir does not support.
#[tokio::test(start_paused = true)]
async fn unverified_signature_leaves_decision_to_review() {
    let own = jwk(pair(), "1");
    let ed = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "AAAA" });
    let bits = |count: usize| BASE64_URL_SAFE_NO_PAD.encode(vec![255_u8; count / 8]);
    let rsa = |count| json!({ "kty": "RSA", "kid": "rsa", "n": bits(count), "e": "AQAB" });
    let many = (0..=64).map(|it| jwk(pair(), &format!("k{it}")));
    let many: Vec<_> = many.collect();
    let header = |alg: &str, name: &str| json!({ "alg": alg, "kid": name });
    let unnamed = json!({ "alg": "ES256" });
    for (what, keys, header) in [
        ("an algorithm", json!([own]), header("PS256", "1")),
        (
            "a short key",
            json!([own, rsa(1024)]),
            header("RS256", "rsa"),
        ),
        (
            "a long key",
            json!([own, rsa(16384)]),
            header("RS256", "rsa"),
        ),
        (
            "a key beyond the limit",
            json!(many),
            header("ES256", "k64"),
        ),
        ("any key", json!([own, ed]), unnamed.clone()),
        ("any algorithm", json!([own]), json!({ "alg": "PS256" })),
        (
            "two keys of a name",
            json!([jwk(&new_pair(), "1"), own]),
            header("ES256", "1"),
        ),
        ("no keys", json!([]), header("ES256", "1")),
    ] {
        let api = Api::new(good());
        api.have_keys(json!({ "keys": keys }));
        let token = signed(&new_pair(), header, claims());
        let result = api.tokens.account(&token).await;
        assert!(result.is_ok(), "{what}: {result:?}");
        assert_eq!(api.reviews(), 1, "{what}");
    }
    for (what, keys, header) in [
        (
            "the supported key",
            json!([own, rsa(2048)]),
            header("RS256", "rsa"),
        ),
        ("all keys", json!([own, rsa(2048)]), unnamed),
        ("another key", json!([own, ed]), header("ES256", "2")),
    ] {
        let api = Api::new(good());
        api.have_keys(json!({ "keys": keys }));
        let token = signed(&new_pair(), header, claims());
        let result = api.tokens.account(&token).await;
        assert!(is_invalid(&result), "{what}: {result:?}");
        assert_eq!(api.reviews(), 0, "{what}");
    }
}
