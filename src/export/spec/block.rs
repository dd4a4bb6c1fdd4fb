//! Which regions become which blocks, and what arguments those take.

use rustc_hash::FxHashMap;

use super::fold::{Fold, Written};
use super::names;
use super::text::{Body, Line, Number, TensorText, Value, entries, key, list, quoted, tensor_text};

/// Most arguments of a block; regions that differ in more numbers are different blocks.
const MAX_ARGUMENTS: usize = 6;

/// Stands for a number that may differ.
const HOLE: &str = "\u{1}";

/// Classes that say nothing of what a module is.
const CONTAINERS: [&str; 5] = [
    "Sequential",
    "ModuleList",
    "ModuleDict",
    "Module",
    "CheckpointImpl",
];

/// Decides for all regions of one height, and writes the blocks that come of it.
pub(super) fn decide(fold: &mut Fold<'_>, level: &[usize]) {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known: FxHashMap<(String, String), usize> = FxHashMap::default();
    for &region in level {
        if region == 0 || fold.regions[region].lines.len() <= 1 {
            continue;
        }
        let mut skeleton = fold.regions[region].clone();
        for number in numbers(&mut skeleton) {
            HOLE.clone_into(&mut number.text);
        }
        let text = definition("", &skeleton, &[], fold);
        let class = fold.tree.regions[region].class.clone();
        let at = *known.entry((class, text)).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.push(region),
            None => groups.push(vec![region]),
        }
    }
    for group in groups {
        if let [one] = group[..]
            && fold.is_wrapper(one)
        {
            continue;
        }
        let columns = columns(fold, &group);
        if columns.varying() <= MAX_ARGUMENTS {
            write(fold, &group, &columns);
            continue;
        }
        let mut alike: Vec<(Vec<String>, Vec<usize>)> = Vec::new();
        for (row, &region) in group.iter().enumerate() {
            let values = columns.row(row);
            match alike.iter_mut().find(|(known, _)| *known == values) {
                Some((_, regions)) => regions.push(region),
                None => alike.push((values, vec![region])),
            }
        }
        for (_, regions) in alike {
            if regions.len() == 1 && fold.is_wrapper(regions[0]) {
                continue;
            }
            let same = self::columns(fold, &regions);
            write(fold, &regions, &same);
        }
    }
}

/// All numbers of a region that may become arguments, in order.
fn numbers(written: &mut Written) -> Vec<&mut Number> {
    let mut numbers: Vec<&mut Number> = Vec::new();
    for (_, _, text) in &mut written.parameters {
        numbers.extend(text.shape.iter_mut());
    }
    for line in &mut written.lines {
        line_numbers(line, &mut numbers);
    }
    numbers
}

fn line_numbers<'l>(line: &'l mut Line, numbers: &mut Vec<&'l mut Number>) {
    if let Body::Formula(pieces) = &mut line.body {
        for piece in pieces {
            if let super::text::Piece::Number(number) = piece {
                numbers.push(number);
            }
        }
    }
    for (_, value) in &mut line.attributes {
        match value {
            Value::Number(number) => numbers.push(number),
            Value::Numbers(many) => numbers.extend(many.iter_mut()),
            Value::Types(types) => {
                numbers.extend(
                    types
                        .iter_mut()
                        .flat_map(|ty: &mut TensorText| ty.shape.iter_mut()),
                );
            }
            Value::Boolean(_) | Value::Text(_) | Value::Parameter(_) => {}
        }
    }
}

/// The numbers of regions that are alike but for them: one column for each place.
struct Columns {
    /// By place, then by region.
    values: Vec<Vec<String>>,
    roles: Vec<smol_str::SmolStr>,
}

impl Columns {
    fn row(&self, region: usize) -> Vec<String> {
        self.values
            .iter()
            .map(|column| column[region].clone())
            .collect()
    }

    fn is_constant(&self, at: usize) -> bool {
        self.values[at].windows(2).all(|pair| pair[0] == pair[1])
    }

    /// How many different columns differ from region to region and follow from no other.
    fn varying(&self) -> usize {
        let mut kinds: Vec<&[String]> = Vec::new();
        for (at, column) in self.values.iter().enumerate() {
            if !self.is_constant(at)
                && !kinds.contains(&column.as_slice())
                && !kinds.iter().any(|kind| factor(kind, column).is_some())
            {
                kinds.push(column);
            }
        }
        kinds.len()
    }
}

fn columns(fold: &Fold<'_>, group: &[usize]) -> Columns {
    let mut columns = Columns {
        values: Vec::new(),
        roles: Vec::new(),
    };
    for (row, &region) in group.iter().enumerate() {
        let mut written = fold.regions[region].clone();
        for (at, number) in numbers(&mut written).into_iter().enumerate() {
            if row == 0 {
                columns.values.push(Vec::with_capacity(group.len()));
                columns.roles.push(number.role.clone());
            }
            if let Some(column) = columns.values.get_mut(at) {
                column.push(std::mem::take(&mut number.text));
            }
        }
    }
    columns
}

/// By which whole number all of a column are larger than those of another one.
fn factor(smaller: &[String], larger: &[String]) -> Option<i64> {
    let mut factor = None;
    for (a, b) in smaller.iter().zip(larger) {
        let (a, b): (i64, i64) = (a.parse().ok()?, b.parse().ok()?);
        if a < 1 || b % a != 0 {
            return None;
        }
        match factor {
            None => factor = Some(b / a),
            Some(known) if known == b / a => {}
            Some(_) => return None,
        }
    }
    factor.filter(|&factor| factor > 1)
}

/// Writes the block of some regions.
fn write(fold: &mut Fold<'_>, group: &[usize], columns: &Columns) {
    let Some(&first) = group.first() else { return };
    let mut written = fold.regions[first].clone();
    let mut arguments: Vec<(String, usize)> = Vec::new();
    let mut taken = written.taken.clone();
    for (at, number) in numbers(&mut written).into_iter().enumerate() {
        if columns.is_constant(at) {
            continue;
        }
        let column = &columns.values[at];
        let same = arguments
            .iter()
            .find(|(_, known)| columns.values[*known] == *column);
        let multiple = arguments
            .iter()
            .find_map(|(name, known)| Some((name, factor(&columns.values[*known], column)?)));
        number.text = match (same, multiple) {
            (Some((name, _)), _) => name.clone(),
            (None, Some((name, factor))) => format!("{factor} * {name}"),
            (None, None) => {
                let name = taken.unique(&columns.roles[at]);
                arguments.push((name.clone(), at));
                name
            }
        };
    }
    let wanted = hint(fold, group);
    let name = names::block(&mut fold.block_names, &wanted);
    let parameters: Vec<&str> = arguments.iter().map(|(name, _)| name.as_str()).collect();
    let text = definition(&name, &written, &parameters, fold);
    fold.blocks.push(text);
    for (row, &region) in group.iter().enumerate() {
        let given = arguments
            .iter()
            .map(|(name, at)| {
                let number = Number::new(&columns.values[*at][row], name);
                (name.clone(), number)
            })
            .collect();
        fold.regions[region].block = Some((name.clone(), given));
    }
}

/// What to call the block of some regions: after the class, or after what they are called where the
/// class is any container.
fn hint(fold: &Fold<'_>, group: &[usize]) -> String {
    let region = &fold.tree.regions[group[0]];
    if !CONTAINERS.contains(&region.class.as_str()) && !region.class.is_empty() {
        return region.class.clone();
    }
    let short = |name: &str| {
        let last = name.trim_end_matches(|c: char| c.is_ascii_digit());
        last.trim_end_matches(['.', '_']).to_owned()
    };
    let name = short(&region.name);
    let same = group
        .iter()
        .all(|&one| short(&fold.tree.regions[one].name) == name);
    match same && !name.is_empty() {
        true => name,
        false => region.class.clone(),
    }
}

/// The text of a block.
pub(super) fn definition(
    name: &str,
    written: &Written,
    arguments: &[&str],
    fold: &Fold<'_>,
) -> String {
    let names = &written.names;
    let mut text = format!("[blocks.{}]\n", key(name));
    let inputs = list(written.inputs.iter().map(|&id| quoted(names.tensor(id))));
    text.push_str(&format!("inputs = {inputs}\n"));
    if !arguments.is_empty() {
        let arguments = list(arguments.iter().map(|name| quoted(name)));
        text.push_str(&format!("args = {arguments}\n"));
    }
    for (table, buffer) in [("params", false), ("buffers", true)] {
        let own = own(written, fold, buffer);
        if !own.is_empty() {
            text.push_str(&format!("{table} = {{ {} }}\n", own.join(", ")));
        }
    }
    let mut previous = written.inputs.first().copied();
    let mut layers = String::from("layers = [\n");
    for (at, line) in written.lines.iter().enumerate() {
        let given = names.lines.get(at).and_then(Option::as_deref);
        let entries: Vec<String> = entries(line, given, names, previous)
            .into_iter()
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        layers.push_str(&format!("  {{ {} }},\n", entries.join(", ")));
        previous = line.outputs.first().copied();
    }
    layers.push_str("]\n");
    if written.outputs.len() != 1 || written.outputs.first().copied() != previous {
        let outputs = list(written.outputs.iter().map(|&id| quoted(names.tensor(id))));
        if !written.outputs.is_empty() {
            text.push_str(&format!("outputs = {outputs}\n"));
        }
    }
    text.push_str(&layers);
    text
}

/// The parameters or buffers of a region's own, as entries of a table, in the order in which the
/// module lists them.
pub(super) fn own(written: &Written, fold: &Fold<'_>, buffer: bool) -> Vec<String> {
    let graph = fold.graph();
    let parameter = |number: u32| &graph.parameters[number as usize];
    let mut own: Vec<_> = written
        .parameters
        .iter()
        .filter(|(number, ..)| parameter(*number).buffer == buffer)
        .collect();
    own.sort_by_key(|(number, ..)| parameter(*number).place);
    own.into_iter()
        .map(|(number, _, text)| {
            let tensor = parameter(*number).tensor;
            let name = key(written.names.tensor(tensor));
            format!("{name} = {}", tensor_text(text))
        })
        .collect()
}
