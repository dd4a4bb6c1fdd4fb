//! Mixtures of experts: a router chooses some of many feed-forward layers for each token.

use super::decoder::Decoder;
use super::parts::linear;
use super::text::{Block, SpecText, Tensor, formula, formulas, op};

/// A mixture of experts in place of a feed-forward layer.
#[derive(Debug, Clone)]
pub(super) struct Experts {
    /// How many there are.
    pub count: u64,
    /// How many each token goes through.
    pub chosen: u64,
    /// Elements between the two layers of an expert.
    pub hidden: u64,
    /// Whether the weights of the chosen ones are made to sum up to 1.
    pub normed: bool,
    /// Elements between the layers of an expert that all tokens go through, behind a gate.
    pub shared: Option<u64>,
    /// Which layers have one.
    pub layers: Vec<bool>,
}

impl Experts {
    /// Declares dims and blocks: the block `sparse` takes the place of a feed-forward layer.
    pub fn declare(&self, spec: &mut SpecText, model: &Decoder) {
        spec.dim("experts", self.count);
        spec.dim("chosen", self.chosen);
        spec.dim("expert_hidden", self.hidden);
        // Rows that each expert gets if all get the same.
        spec.dim("routed", "batch * seq * chosen");
        spec.dim("each", "routed // experts");
        spec.dim("fuller", "routed % experts");
        if let Some(shared) = self.shared {
            spec.dim("shared_hidden", shared);
            let block = model.gated(spec, "shared_expert", "shared_hidden");
            spec.block(block);
        }
        let std = model.std;
        let act = model.activation.of(spec, "gate_rows");
        let weights = match self.normed {
            true => "top / top.sum(dim=-1, keepdim=True)",
            false => "top",
        };
        spec.block(
            Block::new("experts_of", &["rows", "gate_up_proj", "down_proj"])
                .arguments(&["count", "rows_each"])
                .note("Experts that get the same number of rows.")
                .layers([
                    formula("groups", "rows.reshape(count, rows_each, width)"),
                    formula("gate_up", "bmm(groups, gate_up_proj.transpose(1, 2))"),
                    formulas(&["gate_rows", "up_rows"], "chunk(gate_up, 2, dim=-1)"),
                    formula("hidden_rows", format!("{act} * up_rows")),
                    formula("down", "bmm(hidden_rows, down_proj.transpose(1, 2))"),
                    formula("", "down.reshape(count * rows_each, width)"),
                ]),
        );
        let all = |each: &str| {
            format!("experts_of(sorted, gate_up_proj, down_proj, count=experts, rows_each={each})")
        };
        let first = "experts_of(sorted[:fuller * (each + 1)], gate_up_proj[:fuller], \
                     down_proj[:fuller], count=fuller, rows_each=each + 1)";
        let rest = "experts_of(sorted[fuller * (each + 1):], gate_up_proj[fuller:], \
                    down_proj[fuller:], count=experts - fuller, rows_each=each)";
        let made = format!(
            "{} if fuller == 0 else ({first} if each == 0 else cat([{first}, {rest}], dim=0))",
            all("each")
        );
        let mut block = Block::new("sparse", &["x"])
            .note(
                "Each token goes through the experts that the router chooses for it. Here all get the\n\
                 same number of tokens, or one more, as the loss of balance wants it.",
            )
            .param(
                Tensor::new("gate_up_proj", &["experts", "2 * expert_hidden", "width"])
                    .set("init", "normal"),
            )
            .param(
                Tensor::new("down_proj", &["experts", "width", "expert_hidden"])
                    .set("init", "normal"),
            )
            .layers([
                formula("flat", "x.reshape(batch * seq, width)"),
                linear("gate", "experts", false, std),
                formula("probabilities", "softmax(gate.float(), dim=-1)"),
                formulas(&["top", "expert"], "topk(probabilities, chosen, dim=-1)"),
                formula("weights", weights),
                formula("order", "argsort(expert.flatten())"),
                formula("rows", "order // chosen"),
                formula("sorted", "index_select(flat, 0, rows)"),
                formula("made", made),
                formula(
                    "weighted",
                    "made * index_select(weights.flatten(), 0, order)[:, None]",
                ),
                formula("mixed", "index_add(zeros_like(flat), 0, rows, weighted)"),
            ]);
        if self.shared.is_some() {
            block = block.layers([
                op("shared_expert", "shared_expert").reads(&["flat"]),
                linear("shared_expert_gate", "1", false, std).reads(&["flat"]),
                formula("all", "mixed + sigmoid(shared_expert_gate) * shared_expert"),
                formula("", "all.reshape(batch, seq, width)"),
            ]);
        } else {
            block = block.layer(formula("", "mixed.reshape(batch, seq, width)"));
        }
        spec.block(block);
    }
}
