//! What a proxy with clusters of Weir lacks, and the partial document that it should run.

use std::sync::Arc;

use weir_core::status::cluster_gaps::ClusterGaps;
use weir_core::watermark::Watermark;

#[derive(Clone, Debug, Default)]
pub(in crate::serve) struct ClusterStatus {
    pub gaps: ClusterGaps,
    /// None if the proxy should run the whole document.
    pub partial: Option<ExpectedPartial>,
}

/// The partial document that a proxy should run.
#[derive(Clone, Debug)]
pub(in crate::serve) struct ExpectedPartial {
    pub revision: String,
    /// The revision of the whole document.
    pub whole: String,
    /// A proxy that runs the partial document has every change up to this watermark, except in rules with missing
    /// clusters. The watermark is not in [`super::super::revision_watermarks`], because a whole document of an older plan
    /// may have the same revision.
    pub watermark: Arc<Watermark>,
}

impl ClusterStatus {
    /// Continues the status of the previous poll. As long as the proxy does not run the whole document, it lacks what it
    /// lacked before.
    pub(super) fn follow(&mut self, before: Option<ClusterStatus>, runs_whole: bool) {
        if self.gaps.is_empty()
            && !runs_whole
            && let Some(before) = before
        {
            self.gaps = before.gaps;
        }
    }

    /// True if the proxy runs the partial document, and this document belongs to the newest whole document.
    pub(super) fn is_current(&self, applied: &str, newest_whole: Option<&String>) -> bool {
        self.partial
            .as_ref()
            .is_some_and(|it| it.revision == applied && newest_whole == Some(&it.whole))
    }
}
