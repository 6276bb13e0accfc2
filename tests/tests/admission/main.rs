//! Tests that a real API server refuses invalid objects. The schemas of `deploy/crds` refuse objects of SMI kinds. The
//! policies of `deploy/admission` refuse objects of kinds whose CRDs come from other projects.

mod cluster;
mod golden;
mod groups;
mod routes;
mod splits;
mod stored_objects;
mod weights;

use cluster::{Broken, Cluster};

/// Installs Weir's CRDs for all SMI kinds, and no admission policies.
#[tokio::test]
async fn shipped_schemas_refuse_unreadable_objects() {
    let cluster = Cluster::with_shipped_kinds().await;
    splits::right_forms_are_stored(&cluster, "default").await;
    groups::right_forms_are_stored(&cluster, "default").await;
    let of_schema = |case: &Broken| case.by_schema;
    splits::broken_edits(&cluster, "unlabelled", of_schema).await;
    groups::broken_edits(&cluster, "unlabelled", of_schema).await;
    groups::broken_policy_objects(&cluster).await;
    golden::objects_without_a_problem_are_stored(&cluster).await;
}

/// Installs CRDs of other projects: SMI CRDs that accept any field, and the released CRDs of Gateway API.
#[tokio::test]
async fn policies_cover_gaps_of_foreign_schemas() {
    let cluster = Cluster::with_foreign_kinds().await;
    cluster.policies().await;
    splits::right_forms_are_stored(&cluster, "labelled").await;
    groups::right_forms_are_stored(&cluster, "labelled").await;
    let of_policy = |case: &Broken| case.by_policy;
    splits::broken_edits(&cluster, "labelled", of_policy).await;
    splits::broken_edits(&cluster, "unlabelled", |_| None).await;
    groups::broken_edits(&cluster, "labelled", of_policy).await;
    groups::broken_edits(&cluster, "unlabelled", |_| None).await;
    routes::broken_edits(&cluster, "labelled", |case| Some(case.words)).await;
    routes::broken_edits(&cluster, "unlabelled", |_| None).await;
    routes::routes_of_others_are_not_judged(&cluster).await;
    golden::objects_without_a_problem_are_stored(&cluster).await;
}

#[tokio::test]
async fn objects_stored_before_stay_writable() {
    let cluster = Cluster::with_foreign_kinds().await;
    stored_objects::policies_pass_an_unchanged_spec(&cluster).await;
    stored_objects::shipped_schemas_pass_an_unchanged_spec(&cluster).await;
}

/// kubectl asks the API server to refuse unknown fields; most other clients do not.
#[tokio::test]
async fn mistyped_field_is_refused_everywhere() {
    let cluster = Cluster::with_shipped_kinds().await;
    stored_objects::mistyped_fields(&cluster).await;
}
