//! An edit that breaks an object never moves live traffic: every kind of [`edits::EDITS`] under load, in a folder and
//! in a cluster.

mod cluster;
mod edits;
mod folder;
mod scene;
