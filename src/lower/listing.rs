//! In which order a model lists its parameters, where some stand in tables of their own.
//!
//! A module lists its parameters as it was made, which is nearly always the order in which it uses
//! them; optimizers and the allocator follow it. Layers of a spec own theirs and stand in that
//! order. What `params` and `buffers` declare stands before all layers, whoever uses it, and so is
//! listed where it is first used.

use crate::graph::Graph;

/// Gives each parameter its place: those of layers, declared parameters and declared buffers each
/// keep the order among themselves, and the three are merged by first use; what nothing uses comes
/// last. `declared` are numbers of parameters, in order. `O(nodes + parameters · log parameters)`.
pub(super) fn list(graph: &mut Graph, declared: &[u32]) {
    if declared.is_empty() {
        return;
    }
    let mut is_declared = vec![false; graph.parameters.len()];
    for &number in declared {
        if let Some(declared) = is_declared.get_mut(number as usize) {
            *declared = true;
        }
    }
    let mut first = graph.first_uses();
    // One that is used early takes along all that stand before it in its table.
    let mut earliest = [u32::MAX; 3];
    for (number, parameter) in graph.parameters.iter().enumerate().rev() {
        let table = match (is_declared[number], parameter.buffer) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        earliest[table] = earliest[table].min(first[number]);
        first[number] = earliest[table];
    }
    let mut order: Vec<usize> = (0..first.len()).collect();
    order.sort_by_key(|&number| first[number]);
    for (place, number) in order.into_iter().enumerate() {
        graph.parameters[number].place = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use crate::facts::fixture::lowered;

    #[track_caller]
    fn check(text: &str, listed: &[&str]) {
        let (_, model) = lowered(&format!("spec = 1\n{text}"));
        let graph = &model.graph;
        let order = graph.listed_parameters().into_iter();
        let paths: Vec<_> = order
            .map(|number| graph.parameter_path(&graph.parameters[number]))
            .collect();
        assert_eq!(paths, listed);
    }

    /// Guards that declared parameters go where they are used, in the order of their table.
    #[test]
    fn declared_parameters_stand_where_they_are_used() {
        check(
            r#"
[inputs]
x = [2, 8]
[params]
never = [3]
[[layers]]
op = "linear"
name = "a"
out_features = 8
"#,
            &["a.weight", "a.bias", "never"],
        );
        check(
            r#"
[inputs]
x = [2, 8]
[params]
w = [8, 8]
b = [8]
late = [8]
[buffers]
shift = [8]
[[layers]]
op = "linear"
name = "first"
out_features = 8
[[layers]]
name = "own"
formula = "b + first @ w"
[[layers]]
op = "layer_norm"
name = "norm"
[[layers]]
name = "end"
formula = "(norm + shift) * late"
"#,
            &[
                "first.weight",
                "first.bias",
                "w",
                "b",
                "norm.weight",
                "norm.bias",
                "shift",
                "late",
            ],
        );
    }

    /// Guards tables of blocks, an instance each.
    #[test]
    fn blocks_list_their_own() {
        check(
            r#"
[inputs]
x = [2, 8]
[blocks.part]
inputs = ["x"]
params = { scale = [8] }
layers = [
  { name = "fc", op = "linear", out_features = 8 },
  { name = "scaled", formula = "fc * scale" },
]
[[layers]]
name = "h"
op = "part"
repeat = 2
"#,
            &[
                "h.0.fc.weight",
                "h.0.fc.bias",
                "h.0.scale",
                "h.1.fc.weight",
                "h.1.fc.bias",
                "h.1.scale",
            ],
        );
    }
}
