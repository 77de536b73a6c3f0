//! Drift: the same platform lock with another digest, explained.

use crate::digest::Digest;
use crate::error::Error;
use crate::lock::Output;

/// The error for an image that is not the one pinned: which layers differ.
pub fn error(name: &str, pinned: &Output, baked: &Output, lock: &Digest) -> Error {
    let mut lines = vec![
        format!("platform lock   {lock}"),
        format!("pinned image    {}", pinned.image),
        format!("baked image     {}", baked.image),
    ];
    for (index, layer) in baked.layers.iter().enumerate() {
        match pinned.layers.get(index) {
            Some(known) if known.diff_id == layer.diff_id && known.name == layer.name => {}
            Some(known) => {
                lines.push(format!("layer {} ({})", index + 1, layer.name));
                lines.push(format!("  pinned diff id {}", known.diff_id));
                lines.push(format!("  baked diff id  {}", layer.diff_id));
            }
            None => lines.push(format!("layer {} ({}) is not pinned", index + 1, layer.name)),
        }
    }
    for layer in pinned.layers.iter().skip(baked.layers.len()) {
        lines.push(format!("layer {} is pinned and was not baked", layer.name));
    }
    Error::no(format!("drift: the image of `{name}` for {} is not the one that its lockfile pins", baked.platform))
        .detail(lines.join("\n"))
        .hint(format!("`kiln build {name} --check` names the paths that differ and the scripts that wrote them"))
        .hint("if the format of images was changed on purpose, `kiln lock` voids the pinned outputs")
}
