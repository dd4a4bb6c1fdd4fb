//! Where the calls of an imported model were written: lines of programs that nobody has read yet.
//!
//! An importer opens no file, and most findings need none. So a place is the number of a trace until
//! findings are made; the few that are wanted then are looked up.

use smol_str::SmolStr;

use crate::graph::{DefinitionId, NodeId};
use crate::source::{FileId, Span};

/// A line of a program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Trace {
    /// The file, as the program's own trace names it.
    pub file: SmolStr,
    /// The line, from 1.
    pub line: u32,
    /// What stood in the line, without its indentation.
    pub text: SmolStr,
}

/// The lines in which the calls and layers of a model were written.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    /// All lines, each once.
    pub lines: Vec<Trace>,
    /// By call: the number of its line.
    pub nodes: Vec<Option<u32>>,
    /// By definition: the number of its line.
    pub definitions: Vec<Option<u32>>,
}

impl Traces {
    /// The place of a call.
    pub fn node(&self, node: NodeId) -> Option<Span> {
        place(self.nodes.get(node.0 as usize))
    }

    /// The place of a layer's definition.
    pub fn definition(&self, definition: DefinitionId) -> Option<Span> {
        place(self.definitions.get(definition.0 as usize))
    }

    /// The line that a place stands for; `None` for a place in a text.
    pub fn line(&self, span: Span) -> Option<&Trace> {
        match span.file {
            FileId::UNREAD => self.lines.get(span.start as usize),
            _ => None,
        }
    }
}

fn place(trace: Option<&Option<u32>>) -> Option<Span> {
    let number = (*trace?)? as usize;
    Some(Span::new(FileId::UNREAD, number, number + 1))
}
