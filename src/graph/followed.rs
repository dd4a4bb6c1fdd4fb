//! Tensors whose element type is that of another tensor, which a traced program states only as what
//! it was while it was traced: `x.to(input_dtype)`, `torch.rand(shape, dtype=x.dtype)`.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{Graph, NodeId, TensorId};
use crate::ops::Autocast;

/// For each tensor whose type follows another's: the other. `O(nodes + operands)`.
pub fn followed(graph: &Graph) -> FxHashMap<TensorId, TensorId> {
    let mut followed = FxHashMap::default();
    noise(graph, &mut followed);
    restored(graph, &mut followed);
    followed
}

/// Conversions that lead back. Norms and softmax are often computed in float32 for their precision,
/// by a conversion that changes nothing where the input is float32 already, and their result is
/// given the type of that input again. So the second conversion of a chain stands for the type
/// from before the first. Chains end at products, whose type is their own. A chain is not begun by
/// what is made of no real number that was given, such as positions, nor by a number of rank 0, which
/// gives its type to nothing. Of two conversions without anything but views between, the first one has
/// done nothing, or the second would undo it; and what a root is taken of before the next conversion
/// is converted for that, and leads nowhere back.
fn restored(graph: &Graph, followed: &mut FxHashMap<TensorId, TensorId>) {
    let mut given: Vec<bool> = vec![false; graph.types.len()];
    for &(_, id) in &graph.inputs {
        given[id.0 as usize] = true;
    }
    for parameter in &graph.parameters {
        given[parameter.tensor.0 as usize] = true;
    }
    let rooted = rooted(graph);
    // For what is made of a converted tensor: that tensor before its conversion.
    let mut origins: FxHashMap<TensorId, TensorId> = FxHashMap::default();
    // Views of what is converted at the beginning of a chain: the conversion.
    let mut direct: FxHashMap<TensorId, TensorId> = FxHashMap::default();
    for (_, node) in graph.nodes() {
        let output = node.first_output;
        let Some(&input) = node.arguments.first().filter(|id| id.is_present()) else {
            continue;
        };
        let same = graph.ty(input).dtype == graph.ty(output).dtype;
        let of_given = node
            .arguments
            .iter()
            .filter(|id| id.is_present() && graph.ty(**id).dtype.is_float())
            .any(|id| given[id.0 as usize]);
        if of_given {
            node.outputs().for_each(|id| given[id.0 as usize] = true);
        }
        let begins = of_given && graph.ty(input).shape.rank() > 0;
        if !graph.ty(output).dtype.is_float() || node.op.autocast == Autocast::Lower {
            continue;
        }
        let states = node.op.attribute_position("dtype");
        let states = states.is_some_and(|position| node.attributes.get(position).is_some());
        let origin = node
            .arguments
            .iter()
            .find_map(|id| origins.get(id).copied());
        let converts = states && same && node.op.name == "to";
        if let (Some(origin), true, Some(&first)) = (origin, converts, direct.get(&input)) {
            followed.insert(first, origin);
            origins.insert(output, input);
            direct.insert(output, output);
            continue;
        }
        if converts && origin.is_none() && begins {
            direct.insert(output, output);
        } else if let (true, Some(&first)) = (node.op.view, direct.get(&input)) {
            node.outputs().for_each(|id| _ = direct.insert(id, first));
        }
        match (origin, states && same) {
            (Some(_), true) if converts && rooted[output.0 as usize] => {
                origins.insert(output, input);
            }
            (Some(origin), true) if node.op.name == "to" => {
                followed.insert(output, origin);
            }
            (Some(origin), _) => {
                node.outputs().for_each(|id| _ = origins.insert(id, origin));
            }
            (None, true) if begins => {
                origins.insert(output, input);
            }
            (None, _) => {}
        }
    }
}

/// By tensor: whether a root, such as that of a mean square, is taken of what is made of it, before it is
/// converted or goes into a product.
fn rooted(graph: &Graph) -> Vec<bool> {
    let mut rooted: Vec<bool> = vec![false; graph.types.len()];
    for at in (0..graph.dag.node_count() as u32).rev() {
        let node = graph.node(NodeId(at));
        let ends = node.op.name == "to" || node.op.autocast == Autocast::Lower;
        let root = matches!(node.op.name, "rsqrt" | "sqrt");
        if root || (!ends && node.outputs().any(|id| rooted[id.0 as usize])) {
            let operands = node.arguments.iter().filter(|id| id.is_present());
            operands.for_each(|id| rooted[id.0 as usize] = true);
        }
    }
    rooted
}

/// For each tensor of random factors that are made for some data, such as the zeros and ones of
/// stochastic depth: the data. They are made in its type (`torch.rand(shape, dtype=x.dtype)`),
/// which a traced program states only as what it was. `O(nodes + operands)`.
fn noise(graph: &Graph, noise: &mut FxHashMap<TensorId, TensorId>) {
    // Tensors that nothing but draws and numbers go into, by the first of each chain of them.
    let mut chains: Vec<(SmallVec<[TensorId; 4]>, bool)> = Vec::new();
    let mut drawn: FxHashMap<TensorId, usize> = FxHashMap::default();
    for (_, node) in graph.nodes() {
        let output = node.first_output;
        let mut tensors: SmallVec<[TensorId; 4]> = SmallVec::new();
        for &id in node.arguments.iter().filter(|id| id.is_present()) {
            if graph.constant(id).is_none() {
                tensors.push(id);
            }
        }
        if graph.ty(output).dtype.is_float() && tensors.iter().all(|id| drawn.contains_key(id)) {
            let chain = tensors.first().map_or(chains.len(), |id| drawn[id]);
            if chain == chains.len() {
                chains.push(Default::default());
            }
            chains[chain].0.push(output);
            chains[chain].1 |= node.op.random;
            drawn.insert(output, chain);
        }
        let (&[a, b], "mul" | "div") = (&tensors[..], node.op.name) else {
            continue;
        };
        let (factors, data) = match drawn.contains_key(&b) {
            true => (b, a),
            false => (a, b),
        };
        let Some((chain, true)) = drawn.get(&factors).map(|&chain| &mut chains[chain]) else {
            continue;
        };
        if drawn.contains_key(&data) || graph.ty(data).dtype != graph.ty(factors).dtype {
            continue;
        }
        // The first data decides.
        for id in std::mem::take(chain) {
            // What is made before the data cannot take its type from it.
            if data < id {
                noise.entry(id).or_insert(data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::lowered;

    /// Which layer's output has its type from which.
    fn shown(layers: &str) -> Vec<String> {
        let (_, model) = lowered(&format!("spec = 1\n[inputs]\nx = [2, 8]\n{layers}"));
        let graph = &model.graph;
        let mut shown: Vec<String> = followed(graph)
            .into_iter()
            .map(|(id, other)| format!("{} as {}", graph.tensor_name(id), graph.tensor_name(other)))
            .collect();
        shown.sort();
        shown
    }

    /// Guards the way back of a norm in float32, and a conversion that none precedes.
    #[test]
    fn the_second_conversion_of_a_chain_leads_back() {
        let norm = r#"
[[layers]]
name = "wide"
op = "to"
dtype = "float32"
in = "x"
[[layers]]
name = "scaled"
formula = "wide * rsqrt(mean(wide ** 2, dim=-1, keepdim=true) + 1e-6)"
[[layers]]
name = "back"
op = "to"
dtype = "float32"
"#;
        assert_eq!(shown(norm), ["back as x"]);
        let product = norm.replace(
            "name = \"back\"",
            "name = \"product\"\nop = \"linear\"\nout_features = 8\n[[layers]]\nname = \"back\"",
        );
        assert!(shown(&product).is_empty());
    }

    /// Guards a conversion to the type of a weight before a norm in float32.
    #[test]
    fn the_first_of_two_conversions_changes_nothing() {
        let twice = "[[layers]]\nname = \"same\"\nop = \"to\"\ndtype = \"float32\"\nin = \"x\"\n\
                     [[layers]]\nname = \"wide\"\nop = \"to\"\ndtype = \"float32\"\n[[layers]]\n\
                     name = \"back\"\nop = \"to\"\ndtype = \"float32\"\nin = \"scaled\"\n";
        let scaled = "[[layers]]\nname = \"scaled\"\nformula = \"exp(wide)\"\n";
        let (before, back) = twice.split_at(twice.rfind("[[layers]]").unwrap());
        assert_eq!(
            shown(&format!("{before}{scaled}{back}")),
            ["back as same", "same as x"]
        );
    }

    /// Guards a norm in float32 of what was in float32 already.
    #[test]
    fn what_a_root_is_taken_of_leads_nowhere_back() {
        let gated = "[[layers]]\nname = \"first\"\nop = \"to\"\ndtype = \"float32\"\nin = \"x\"\n\
                     [[layers]]\nname = \"wide\"\nformula = \"exp(first)\"\n[[layers]]\n\
                     name = \"second\"\nop = \"to\"\ndtype = \"float32\"\n[[layers]]\nname = \"scaled\"\n\
                     formula = \"second * rsqrt(mean(second ** 2, dim=-1, keepdim=true))\"\n[[layers]]\n\
                     name = \"back\"\nop = \"to\"\ndtype = \"float32\"\n";
        assert_eq!(shown(gated), ["back as wide"]);
    }

    /// Guards the factors of stochastic depth, and random data that is added.
    #[test]
    fn random_factors_follow_what_they_scale() {
        let depth = r#"
[[layers]]
name = "factors"
formula = "floor(rand([2, 1]) + 0.9)"
[[layers]]
name = "kept"
formula = "x * factors"
"#;
        assert!(
            shown(depth).contains(&"factors as x".to_owned()),
            "{:?}",
            shown(depth)
        );
        assert!(shown(&depth.replace("x * f", "x + f")).is_empty());
    }
}
