//! Ops of imported models that PyTorch has as methods, or that stand outside of `torch`.

use super::super::code::{self, Code, function, method};
use super::Site;

/// What `torch` has no function for: its name, and what it is given.
pub fn outside(site: &Site) -> Code {
    let name = match site.call.op.name {
        name @ ("deform_conv2d" | "roi_align" | "roi_pool" | "nms") => {
            format!("torchvision.ops.{name}")
        }
        name => name.to_owned(),
    };
    let mut parts = vec![code::string(&name)];
    parts.extend(site.tensors(0));
    function("unwritten", parts)
}

pub fn scatter_reduce(site: &Site) -> Code {
    let parts = [
        site.tensor(0),
        site.needed("dim"),
        site.tensor(1),
        site.tensor(2),
        site.needed("reduce"),
    ];
    function("torch.scatter_reduce", parts)
}

pub fn index_put(site: &Site) -> Code {
    let mut parts = vec![code::tuple(site.tensors(2)), site.tensor(1)];
    parts.extend(site.unless("accumulate", false));
    method(&site.code(0), "index_put", parts)
}
