//! What a real API server refuses: by the schemas of `deploy/crds`, and by the policies of `deploy/admission` where the
//! schemas are somebody else's. A refused edit leaves the stored object as it was.

mod cluster;
mod golden;
mod groups;
mod later;
mod routes;
mod splits;
mod weights;

use cluster::{Broken, Cluster};

/// All SMI kinds as Weir ships them, and no policy.
#[tokio::test]
async fn the_shipped_schemas_refuse_what_weir_cannot_read() {
    let cluster = Cluster::with_shipped_kinds().await;
    splits::right_forms_are_stored(&cluster, "default").await;
    groups::right_forms_are_stored(&cluster, "default").await;
    let of_schema = |case: &Broken| case.by_schema;
    splits::broken_edits(&cluster, "unlabelled", of_schema).await;
    groups::broken_edits(&cluster, "unlabelled", of_schema).await;
    groups::broken_policy_objects(&cluster).await;
    golden::objects_without_a_problem_are_stored(&cluster).await;
}

/// Kinds of other projects, whose schemas let everything through.
#[tokio::test]
async fn the_policies_refuse_what_foreign_schemas_let_through() {
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
async fn what_was_stored_before_stays_writable() {
    let cluster = Cluster::with_foreign_kinds().await;
    later::policies_pass_an_unchanged_spec(&cluster).await;
    later::shipped_schemas_pass_an_unchanged_spec(&cluster).await;
}

/// kubectl asks the API server to refuse unknown fields; most other clients do not.
#[tokio::test]
async fn a_mistyped_field_is_refused_for_every_client() {
    let cluster = Cluster::with_shipped_kinds().await;
    later::mistyped_fields(&cluster).await;
}
