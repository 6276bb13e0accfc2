//! Checks tokens of ServiceAccounts by TokenReviews, and caches the results.
//!
//! ```text
//! audience, expiry, signature (without a TokenReview) --> a permit --> TokenReview --> cache (key: hash of the token)
//! ```
//!
//! A TokenReview needs a permit, and the number of permits is limited. There are separate permits for tokens that were
//! good before, for other tokens that the API server has signed, and for tokens whose signature cannot be checked. So a
//! client with invented tokens does not delay other clients.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::{Api, PostParams};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use self::keys::{Keys, Signature};
use self::review_store::{Hash, ReviewStore};
pub(super) use self::token_session::TokenSession;
use weir_core::manifest::problem::messages::answer as messages;
use weir_core::metrics::Metrics;
use weir_core::owner::Owner;

/// The audience that a token must have.
pub const AUDIENCE: &str = "weir.dev";
/// The token that this process shows to the other replicas.
pub const OWN_TOKEN: &str = "/var/run/secrets/weir.dev/token";

/// If a token is bound to a pod, this field in the status of the TokenReview contains the uid of the pod.
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
/// Time for which a good result is used without a new TokenReview. During this time the token of a deleted pod is still
/// accepted.
const FRESH: Duration = Duration::from_secs(180);
/// Time for which a good result is used while the API server does not answer. The result is never used after the token
/// has expired.
const STALE: Duration = Duration::from_secs(3600);
/// Time for which a bad result is used.
const BAD: Duration = Duration::from_secs(10);
/// Pause after a failed TokenReview, if an older result for the token can still be used.
const RETRY: Duration = Duration::from_secs(5);
/// Time limit for the wait for a permit and the TokenReview together.
const REVIEW: Duration = Duration::from_secs(5);
/// Permits for TokenReviews of tokens that were good before.
const GOOD_BEFORE: usize = 8;
/// Permits for TokenReviews of other tokens that the API server has signed.
const SIGNED: usize = 8;
/// Permits for TokenReviews of tokens whose signature cannot be checked.
const UNVERIFIED: usize = 2;
/// Maximum number of tokens whose result is cached.
const MAX_TOKENS: usize = 1 << 13;
/// Time after the expiry of a token in which the replica still sends a TokenReview, because clocks differ.
const LEEWAY: Duration = Duration::from_secs(60);

pub struct Tokens {
    reviews: Api<TokenReview>,
    own_token: PathBuf,
    keys: Keys,
    permits: ReviewPermits,
    cache: Mutex<ReviewStore>,
    metrics: Arc<Metrics>,
}

/// Limits of concurrent TokenReviews.
struct ReviewPermits {
    good_before: Semaphore,
    signed: Semaphore,
    unverified: Semaphore,
}

/// The cached result of one token. A request holds the lock while it waits for the TokenReview, so that other requests
/// with the same token wait for this result.
#[derive(Default)]
struct ReviewCell(tokio::sync::Mutex<Option<CachedReview>>);

struct CachedReview {
    result: Result<Arc<Account>, String>,
    /// When the last TokenReview ended, with or without a result.
    at: Instant,
    /// After this time a new TokenReview is needed.
    fresh: Instant,
    /// Until this time the result can be used while the API server does not answer.
    stale: Instant,
}

/// A ServiceAccount.
#[derive(Debug, PartialEq, Eq)]
pub struct Account {
    pub namespace: String,
    /// `system:serviceaccount:NAMESPACE:NAME`
    pub username: String,
    /// The pod to which the token is bound, or the ServiceAccount if the token is bound to no pod.
    pub owner: Arc<Owner>,
}

/// Why there is no account for a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Denied {
    Invalid(String),
    /// The API server could not review the token.
    Unavailable(String),
}

/// The claims of a token (RFC 7519), not verified. A token with wrong claims is refused without a TokenReview. A token
/// with right claims still needs a TokenReview.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: String,
    exp: u64,
    #[serde(default)]
    aud: Audiences,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl Tokens {
    /// `own_token` is the file with the token of this process. Other replicas have tokens of the same ServiceAccount.
    pub fn new(client: kube::Client, own_token: &Path, metrics: Arc<Metrics>) -> Tokens {
        Tokens {
            reviews: Api::all(client.clone()),
            own_token: own_token.to_owned(),
            keys: Keys::new(client),
            permits: ReviewPermits {
                good_before: Semaphore::new(GOOD_BEFORE),
                signed: Semaphore::new(SIGNED),
                unverified: Semaphore::new(UNVERIFIED),
            },
            cache: Mutex::new(ReviewStore::new(MAX_TOKENS)),
            metrics,
        }
    }

    /// True if `account` is the ServiceAccount of this process.
    pub(super) fn is_own(&self, account: &Account) -> bool {
        let token = std::fs::read_to_string(&self.own_token).unwrap_or_default();
        Claims::of(token.trim()).is_some_and(|claims| claims.sub == account.username)
    }

    /// Returns the account of the token, from the cache or by a TokenReview.
    pub(super) async fn account(&self, token: &str) -> Result<Arc<Account>, Denied> {
        self.account_within(token, FRESH).await
    }

    /// Like [`Tokens::account`], with a TokenReview if the cached result is older than `max_age`.
    async fn account_within(&self, token: &str, max_age: Duration) -> Result<Arc<Account>, Denied> {
        let Some(claims) = Claims::of(token) else {
            return Err(Denied::Invalid(messages::not_a_token().to_string()));
        };
        if !claims.aud.contain(AUDIENCE) {
            let message = messages::other_audience(AUDIENCE);
            return Err(Denied::Invalid(message.to_string()));
        }
        if claims.is_over() {
            return Err(Denied::Invalid(messages::expired().to_string()));
        }
        let hash: Hash = Sha256::digest(token).into();
        let cached = self.store().get(&hash);
        let (cell, permits) = match cached {
            Some(cell) => (cell, None),
            None => {
                let permits = self.permits_for(token).await?;
                let cell = self.store().cell(hash, Instant::now());
                (cell, Some(permits))
            }
        };
        let mut review = cell.0.lock().await;
        let now = Instant::now();
        let is_fresh = |it: &&CachedReview| now < it.fresh && now < it.at + max_age;
        if let Some(review) = review.as_ref().filter(is_fresh) {
            return review.result.clone().map_err(Denied::Invalid);
        }
        let was_good = review.as_ref().is_some_and(|it| it.result.is_ok());
        let permits = match permits {
            _ if was_good => &self.permits.good_before,
            Some(permits) => permits,
            None => self.permits_for(token).await?,
        };
        match self.review(token, permits).await {
            Ok(result) => {
                let (fresh, stale) = match &result {
                    Ok(_) => {
                        let left = claims.left();
                        (FRESH.min(left), STALE.min(left))
                    }
                    Err(_) => (BAD, BAD),
                };
                let now = Instant::now();
                let stale = now + stale;
                *review = Some(CachedReview {
                    result: result.clone(),
                    at: now,
                    fresh: now + fresh,
                    stale,
                });
                let owner = result.as_ref().ok().map(|account| account.owner.clone());
                self.store().record(hash, &cell, owner, stale, now);
                result.map_err(Denied::Invalid)
            }
            Err(error) => {
                self.metrics.count_token_review("unavailable");
                // The time is read again, because the TokenReview may have taken seconds.
                let now = Instant::now();
                let review = review.as_mut();
                match review.filter(|it| it.result.is_ok() && now < it.stale) {
                    Some(review) => {
                        review.at = now;
                        review.fresh = (now + RETRY).min(review.stale);
                        review.result.clone().map_err(Denied::Invalid)
                    }
                    None => Err(Denied::Unavailable(
                        messages::api_server_away(error).to_string(),
                    )),
                }
            }
        }
    }

    fn store(&self) -> MutexGuard<'_, ReviewStore> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the permits for a token that was not good before. Returns Err if the API server has not signed the
    /// token.
    async fn permits_for(&self, token: &str) -> Result<&Semaphore, Denied> {
        match self.keys.verify(token).await {
            Signature::OfApiServer => Ok(&self.permits.signed),
            Signature::Unverified => Ok(&self.permits.unverified),
            Signature::OfAnother => {
                self.metrics.count_token_review("forged");
                Err(Denied::Invalid(messages::forged().to_string()))
            }
        }
    }

    /// Returns the result of a TokenReview. The outer result is Err if the API server has given no result.
    async fn review(
        &self,
        token: &str,
        permits: &Semaphore,
    ) -> Result<Result<Arc<Account>, String>, String> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: Some(vec![AUDIENCE.into()]),
            },
            ..TokenReview::default()
        };
        let answer = async {
            // An error is impossible, because the semaphore is never closed.
            let _permit = permits.acquire().await;
            self.reviews.create(&PostParams::default(), &review).await
        };
        let answer = timeout(REVIEW, answer).await;
        let answer = answer.map_err(|_| "no answer in time".to_owned())?;
        let status = answer.map_err(|error| error.to_string())?.status;
        let status = status.ok_or("the answer has no status")?;
        let result = account_of(status);
        let label = if result.is_ok() { "good" } else { "bad" };
        self.metrics.count_token_review(label);
        Ok(result)
    }
}

fn account_of(
    status: k8s_openapi::api::authentication::v1::TokenReviewStatus,
) -> Result<Arc<Account>, String> {
    if status.authenticated != Some(true) {
        let why = status.error.filter(|why| !why.is_empty());
        let why = why.unwrap_or_else(|| "the token is unknown".into());
        return Err(messages::review_failed(why).to_string());
    }
    // A server without support for audiences sends an empty list.
    let audiences = status.audiences.unwrap_or_default();
    if !audiences.iter().any(|audience| audience == AUDIENCE) {
        return Err(messages::other_audience(AUDIENCE).to_string());
    }
    let user = status.user.unwrap_or_default();
    let username = user.username.unwrap_or_default();
    let account = username.strip_prefix("system:serviceaccount:");
    let Some((namespace, _)) = account.and_then(|account| account.split_once(':')) else {
        return Err(messages::not_a_token().to_string());
    };
    let pod_uids = user.extra.as_ref().and_then(|extra| extra.get(POD_UID));
    let owner = match pod_uids.and_then(|uids| uids.first()) {
        Some(uid) => Owner::of_pod(namespace, uid),
        None => Owner::of_account(namespace, &username),
    };
    Ok(Arc::new(Account {
        namespace: namespace.into(),
        owner: Arc::new(owner),
        username,
    }))
}

impl Claims {
    fn of(token: &str) -> Option<Claims> {
        let mut parts = token.split('.');
        let claims = parts.nth(1)?;
        // The third part of a token, the signature, must exist.
        parts.next()?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    fn is_over(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let ends = Duration::from_secs(self.exp).saturating_add(LEEWAY);
        now.is_ok_and(|now| now >= ends)
    }

    /// Returns the time until the token expires.
    fn left(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Duration::from_secs(self.exp).saturating_sub(now.unwrap_or_default())
    }
}

impl Default for Audiences {
    fn default() -> Audiences {
        Audiences::Many(Vec::new())
    }
}

impl Audiences {
    fn contain(&self, audience: &str) -> bool {
        match self {
            Audiences::One(one) => one == audience,
            Audiences::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

mod keys;
mod review_store;
#[cfg(test)]
mod tests;
mod token_session;
