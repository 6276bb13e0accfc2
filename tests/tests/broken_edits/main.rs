//! An edit that breaks an object never moves live traffic. The tests apply every edit of [`edits::EDITS`] under load,
//! in a folder and in a cluster.

mod cluster;
mod edits;
mod folder;
mod scene;
