//! Where artifacts come from: one folder per kind, each with its index, its solver and its way from an
//! artifact to a part. Nothing outside an ecosystem's folder knows how it works, and none knows another, but that `fetch` has Debian's open a `.deb`.

pub mod debian;
pub mod fetch;
pub mod local;
pub mod npm;
pub mod origin;
pub mod origins;
pub mod placing;
pub mod pypi;
