//! The names of calls as paths of modules.
//!
//! PyTorch's exporters write the modules that a call stands in: the older one into the node's name,
//! `/layer1/layer1.0/conv1/Conv`, the newer one into its metadata. Others separate scopes by
//! slashes, too. A node without a name is called for its op and its first output.

use super::schema::NodeProto;

/// The key of the metadata in which PyTorch's newer exporter lists the paths of modules.
const SCOPES: &str = "pkg.torch.onnx.name_scopes";

/// Where a call stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Path {
    /// The names of the modules, from the outside in, each without what the one around it is
    /// called: `layer1`, `0`, `conv1`.
    pub modules: Vec<String>,
    /// The call's own name.
    pub leaf: String,
}

/// Most modules that may stand in each other; deeper ones are joined.
const MAX_DEPTH: usize = 32;

/// The path of a node.
pub(super) fn path(node: &NodeProto) -> Path {
    let scopes = node
        .metadata_props
        .iter()
        .find(|entry| entry.key == SCOPES)
        .map(|entry| quoted(&entry.value));
    let mut parts: Vec<&str> = match &scopes {
        Some(scopes) => scopes.iter().map(|scope| scope.as_str()).collect(),
        None => node.name.split('/').collect(),
    };
    let leaf = parts.pop().unwrap_or_default();
    parts.retain(|part| !part.is_empty());
    let leaf = match (leaf, scopes.is_some()) {
        (_, true) if !node.name.is_empty() => node.name.clone(),
        ("", _) => {
            let output = node.output.iter().find(|name| !name.is_empty());
            match output {
                Some(output) => format!("{}_{output}", node.op_type),
                None => node.op_type.clone(),
            }
        }
        (leaf, _) => leaf.to_owned(),
    };
    let mut modules: Vec<String> = Vec::with_capacity(parts.len());
    let mut outer = "";
    for part in parts.into_iter().take(MAX_DEPTH) {
        let own = part
            .strip_prefix(outer)
            .and_then(|rest| rest.strip_prefix('.'))
            .filter(|_| !outer.is_empty());
        modules.push(own.unwrap_or(part).to_owned());
        outer = part;
    }
    Path { modules, leaf }
}

/// The texts of a list as Python writes it: `['', 'layer1']`.
fn quoted(list: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut rest = list;
    while let Some(start) = rest.find(['\'', '"']) {
        let quote = &rest[start..=start];
        let Some(length) = rest[start + 1..].find(quote) else {
            break;
        };
        texts.push(rest[start + 1..start + 1 + length].to_owned());
        rest = &rest[start + length + 2..];
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::super::schema::StringStringEntryProto;
    use super::*;

    fn check(node: NodeProto, expected: &str) {
        let Path { modules, leaf } = path(&node);
        assert_eq!(format!("{} {leaf}", modules.join(".")), expected);
    }

    #[test]
    fn names_fold_into_paths_of_modules() {
        for (name, expected) in [
            ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1 Conv"),
            (
                "/features/features.0/features.0.1/Relu_2",
                "features.0.1 Relu_2",
            ),
            (
                "/transformer/h.0/attn/MatMul",
                "transformer.h.0.attn MatMul",
            ),
            ("model/conv1/Conv2D", "model.conv1 Conv2D"),
            ("Log_5", " Log_5"),
            ("", " Relu_y"),
        ] {
            let node = NodeProto {
                name: name.into(),
                op_type: "Relu".into(),
                output: vec!["y".into()],
                ..NodeProto::default()
            };
            check(node, expected);
        }
    }

    #[test]
    fn scopes_of_the_metadata_win() {
        let node = NodeProto {
            name: "node_conv2d_3".into(),
            metadata_props: vec![StringStringEntryProto {
                key: SCOPES.into(),
                value: "['', 'layer1', 'layer1.0', 'layer1.0.conv1', 'conv2d_3']".into(),
            }],
            ..NodeProto::default()
        };
        check(node, "layer1.0.conv1 node_conv2d_3");
    }
}
