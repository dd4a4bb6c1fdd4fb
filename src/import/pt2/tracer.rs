//! The line of Python that a call comes from, out of the stack that the program keeps of it.

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use crate::lower::{Trace, Traces};

/// Collects the lines of calls.
#[derive(Debug, Default)]
pub(super) struct Tracer<'a> {
    /// What was collected.
    pub traces: Traces,
    numbers: FxHashMap<Frame<'a>, u32>,
}

/// A frame of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Frame<'a> {
    file: &'a str,
    line: u32,
    text: &'a str,
}

impl<'a> Tracer<'a> {
    /// The number of the line that a stack leads to.
    pub(super) fn line(&mut self, stack: &'a str) -> Option<u32> {
        let frame = innermost(stack)?;
        let next = self.traces.lines.len() as u32;
        let number = *self.numbers.entry(frame).or_insert(next);
        if number == next {
            self.traces.lines.push(Trace {
                file: SmolStr::new(frame.file),
                line: frame.line,
                text: SmolStr::new(frame.text),
            });
        }
        Some(number)
    }
}

/// The innermost frame that is not PyTorch's own: what calls `conv1` tells more than how every
/// convolution is called. `O(length of the stack)`.
fn innermost(stack: &str) -> Option<Frame<'_>> {
    let mut last = None;
    let mut end = stack.len();
    for (at, mark) in stack.rmatch_indices("File \"") {
        if let Some(frame) = read(&stack[at + mark.len()..end]) {
            if !is_library(frame.file) {
                return Some(frame);
            }
            // Code that PyTorch generated is in no file.
            if !frame.file.starts_with('<') {
                last.get_or_insert(frame);
            }
        }
        end = at;
    }
    last
}

/// `train.py", line 37, in forward⏎    o = s.net(x)`
fn read(frame: &str) -> Option<Frame<'_>> {
    let (file, rest) = frame.split_once("\", line ")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let line = rest.get(..digits)?.parse().ok().filter(|&line| line > 0)?;
    let text = rest.split('\n').nth(1).unwrap_or_default().trim();
    (!file.is_empty() && !file.contains('\n')).then_some(Frame { file, line, text })
}

fn is_library(file: &str) -> bool {
    if file.starts_with('<') {
        return true;
    }
    let mut parts = file.split(['/', '\\']);
    parts.any(|part| matches!(part, "site-packages" | "dist-packages"))
        && parts.next() == Some("torch")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stack: &str) -> String {
        innermost(stack).map_or("-".to_owned(), |frame| {
            format!("{}:{} {}", frame.file, frame.line, frame.text)
        })
    }

    #[test]
    fn a_stack_leads_to_the_line_that_calls_the_module() {
        let own = "  File \"train.py\", line 37, in forward\n    o = s.net(x)\n";
        let resnet = "  File \"/v/site-packages/torchvision/models/resnet.py\", line 92, in forward\n    out = self.conv1(x)\n";
        let torch = "  File \"/v/site-packages/torch/nn/modules/conv.py\", line 565, in forward\n    return self._conv_forward(input)\n";
        assert_eq!(
            check(&[own, resnet, torch].concat()),
            "/v/site-packages/torchvision/models/resnet.py:92 out = self.conv1(x)"
        );
        assert_eq!(check(&[own, torch].concat()), "train.py:37 o = s.net(x)");
        assert_eq!(
            check(torch),
            "/v/site-packages/torch/nn/modules/conv.py:565 return self._conv_forward(input)"
        );
    }

    #[test]
    fn what_is_no_stack_leads_nowhere() {
        for stack in [
            "",
            "File \"",
            "File \"x\", line 0, in f",
            "File \"x\", line 99999999999, in f",
            "File \"x, line 3",
            "File \"<eval_with_key>.7\", line 6, in forward\n    relu = torch.relu(x)",
        ] {
            assert_eq!(check(stack), "-", "{stack}");
        }
        assert_eq!(check("File \"x\", line 3"), "x:3 ");
    }
}
