//! A configuration, read key by key.
//!
//! A key that is missing or null has the default of the configuration's class; a key that no one
//! asks for is ignored. A wrong value is noted, and a harmless one put in its place, so that all
//! that is wrong is told at once.

use super::json::{Json, MAX_BYTES};
use crate::import::ImportError;

/// The largest size that a configuration may state.
const MAX_SIZE: i128 = 1 << 31;

/// The most layers that a configuration may state.
const MAX_LAYERS: i128 = 4096;

/// One configuration, and what was found wrong with it so far.
#[derive(Debug)]
pub(super) struct Config {
    entries: Vec<(String, Json)>,
    /// Where in the file the entries stand: `text_config.`, or nothing.
    prefix: String,
    faults: Vec<String>,
}

impl Config {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// Where the text is no JSON object, has a key twice, or is past a limit.
    pub fn parse(text: &str) -> Result<Config, ImportError> {
        if text.len() > MAX_BYTES {
            let message = format!(
                "the configuration is {} bytes long, more than the {MAX_BYTES} that are read",
                text.len()
            );
            return Err(ImportError::new(message));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match serde_json::from_str(text) {
            Ok(Json::Object(entries)) => Ok(Config::of(entries, String::new())),
            Ok(other) => Err(ImportError::new(format!(
                "a configuration is a JSON object, not {}",
                other.describe()
            ))),
            Err(error) => Err(ImportError::new(format!(
                "the configuration cannot be read as JSON: {error}"
            ))),
        }
    }

    fn of(entries: Vec<(String, Json)>, prefix: String) -> Config {
        Config {
            entries,
            prefix,
            faults: Vec::new(),
        }
    }

    /// What is wrong, in the order in which it was found.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Takes over what was found wrong with a part of this configuration.
    pub fn absorb(&mut self, part: Config) {
        self.faults.extend(part.faults);
    }

    /// The object under a key as a configuration of its own; an empty one where there is none.
    pub fn part(&mut self, key: &str) -> Config {
        let entries = match self.get(&[key]) {
            Some((_, Json::Object(entries))) => entries.clone(),
            Some((key, other)) => {
                let what = other.describe();
                self.wrong(&key, "an object", &what);
                Vec::new()
            }
            None => Vec::new(),
        };
        Config::of(entries, format!("{}{key}.", self.prefix))
    }

    /// Notes that something is wrong.
    pub fn fault(&mut self, message: impl Into<String>) {
        self.faults.push(message.into());
    }

    fn wrong(&mut self, key: &str, wanted: &str, given: &str) {
        let message = format!("`{}{key}` must be {wanted}, not {given}", self.prefix);
        self.faults.push(message);
    }

    /// The first of the keys that is there and not null, and its value.
    fn get(&self, keys: &[&str]) -> Option<(String, &Json)> {
        keys.iter().find_map(|&wanted| {
            let (key, value) = self.entries.iter().find(|(key, _)| key == wanted)?;
            (*value != Json::Null).then(|| (key.clone(), value))
        })
    }

    /// Whether a key is there, and says null.
    pub fn is_null(&self, key: &str) -> bool {
        let is = |entry: &&(String, Json)| entry.0 == key;
        self.entries
            .iter()
            .find(is)
            .is_some_and(|(_, value)| *value == Json::Null)
    }

    /// What to call the model: its path's last part, or else the type.
    pub fn name(&mut self, model_type: &str) -> String {
        let path = self.text(&["_name_or_path"], "");
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or("");
        match last.is_empty() || last.len() > 100 {
            true => model_type.to_owned(),
            false => last.to_owned(),
        }
    }

    /// Which of the keys has a value; the first where none has.
    pub fn first_of<'a>(&self, keys: &[&'a str]) -> &'a str {
        let found = keys.iter().find(|&&key| self.has(&[key]));
        found.or(keys.first()).copied().unwrap_or_default()
    }

    /// Whether one of the keys has a value.
    pub fn has(&self, keys: &[&str]) -> bool {
        self.get(keys).is_some()
    }

    /// A whole number between two bounds, both included.
    fn whole(&mut self, keys: &[&str], least: i128, most: i128) -> Option<u64> {
        let (key, value) = self.get(keys)?;
        if let Json::Integer(value) = value
            && (least..=most).contains(value)
        {
            return u64::try_from(*value).ok();
        }
        let given = value.describe();
        let wanted = format!("a whole number from {least} to {most}");
        self.wrong(&key, &wanted, &given);
        None
    }

    /// A size of 1 or more. The keys are names of one setting.
    pub fn size(&mut self, keys: &[&str], default: u64) -> u64 {
        self.whole(keys, 1, MAX_SIZE).unwrap_or(default)
    }

    /// A size of 1 or more that may be left out.
    pub fn optional_size(&mut self, keys: &[&str]) -> Option<u64> {
        self.whole(keys, 1, MAX_SIZE)
    }

    /// A size of 1 or more; `None` where it is left out or "auto".
    pub fn size_or_auto(&mut self, keys: &[&str]) -> Option<u64> {
        match self.get(keys) {
            Some((_, Json::Text(text))) if text == "auto" => None,
            _ => self.optional_size(keys),
        }
    }

    /// A number of 0 or more.
    pub fn count(&mut self, keys: &[&str], default: u64) -> u64 {
        self.whole(keys, 0, MAX_SIZE).unwrap_or(default)
    }

    /// A number of layers.
    pub fn layers(&mut self, keys: &[&str], default: u64) -> u64 {
        self.whole(keys, 1, MAX_LAYERS).unwrap_or(default)
    }

    /// The number of a token, which may be negative or left out.
    pub fn token(&mut self, keys: &[&str], default: Option<i64>) -> Option<i64> {
        match self.get(keys) {
            None => default,
            Some((_, Json::Integer(value))) if value.abs() <= MAX_SIZE => {
                i64::try_from(*value).ok()
            }
            Some((key, other)) => {
                let given = other.describe();
                self.wrong(&key, "the number of a token", &given);
                default
            }
        }
    }

    /// A finite real number that may be left out.
    pub fn optional_real(&mut self, keys: &[&str]) -> Option<f64> {
        let (key, value) = self.get(keys)?;
        match value {
            Json::Real(value) if value.is_finite() => Some(*value),
            Json::Integer(value) => Some(*value as f64),
            other => {
                let given = other.describe();
                self.wrong(&key, "a number", &given);
                None
            }
        }
    }

    /// A positive real number.
    pub fn positive(&mut self, keys: &[&str], default: f64) -> f64 {
        self.bounded(
            keys,
            default,
            f64::MIN_POSITIVE,
            f64::MAX,
            "a number above 0",
        )
    }

    /// The epsilon of a norm, a standard deviation or the like: from 0 up.
    pub fn not_negative(&mut self, keys: &[&str], default: f64) -> f64 {
        self.bounded(keys, default, 0.0, f64::MAX, "a number of 0 or more")
    }

    /// A probability of dropping something.
    pub fn dropout(&mut self, keys: &[&str], default: f64) -> f64 {
        self.bounded(keys, default, 0.0, 1.0, "a probability from 0 to 1")
    }

    /// A share from 0 to 1 that may be left out.
    pub fn share(&mut self, keys: &[&str]) -> Option<f64> {
        self.has(keys)
            .then(|| self.bounded(keys, 1.0, 0.0, 1.0, "a share from 0 to 1"))
    }

    fn bounded(&mut self, keys: &[&str], default: f64, low: f64, high: f64, what: &str) -> f64 {
        let Some(value) = self.optional_real(keys) else {
            return default;
        };
        if (low..=high).contains(&value) {
            return value;
        }
        if let Some((key, _)) = self.get(keys) {
            self.wrong(&key, what, &value.to_string());
        }
        default
    }

    /// A truth value.
    pub fn flag(&mut self, keys: &[&str], default: bool) -> bool {
        match self.get(keys) {
            None => default,
            Some((_, Json::Boolean(value))) => *value,
            Some((key, other)) => {
                let given = other.describe();
                self.wrong(&key, "true or false", &given);
                default
            }
        }
    }

    /// A text.
    pub fn text(&mut self, keys: &[&str], default: &str) -> String {
        self.optional_text(keys)
            .unwrap_or_else(|| default.to_owned())
    }

    /// A text that may be left out.
    pub fn optional_text(&mut self, keys: &[&str]) -> Option<String> {
        match self.get(keys)? {
            (_, Json::Text(text)) => Some(text.clone()),
            (key, other) => {
                let given = other.describe();
                self.wrong(&key, "a text", &given);
                None
            }
        }
    }

    /// One of some texts.
    pub fn choice<'a>(&mut self, keys: &[&str], known: &[&'a str], default: &'a str) -> &'a str {
        let Some(text) = self.optional_text(keys) else {
            return default;
        };
        if let Some(&found) = known.iter().find(|&&word| word == text) {
            return found;
        }
        if let Some((key, _)) = self.get(keys) {
            self.wrong(
                &key,
                &format!("one of {}", known.join(", ")),
                &format!("{text:?}"),
            );
        }
        default
    }

    /// A list of texts; empty where there is none.
    pub fn texts(&mut self, keys: &[&str]) -> Vec<String> {
        let (key, items) = match self.get(keys) {
            None => return Vec::new(),
            Some((key, Json::List(items))) => (key, items.clone()),
            Some((key, other)) => {
                let given = other.describe();
                self.wrong(&key, "a list of texts", &given);
                return Vec::new();
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Json::Text(text) => texts.push(text),
                other => {
                    self.wrong(
                        &key,
                        "a list of texts",
                        &format!("one with {}", other.describe()),
                    );
                    return Vec::new();
                }
            }
        }
        texts
    }

    /// A list of whole numbers of 0 or more.
    pub fn counts(&mut self, keys: &[&str], default: &[u64]) -> Vec<u64> {
        let (key, items) = match self.get(keys) {
            None => return default.to_vec(),
            Some((key, Json::List(items))) => (key, items.clone()),
            Some((key, other)) => {
                let given = other.describe();
                self.wrong(&key, "a list of whole numbers", &given);
                return default.to_vec();
            }
        };
        let numbers: Option<Vec<u64>> = items
            .iter()
            .map(|item| match item {
                Json::Integer(value) if (0..=MAX_SIZE).contains(value) => {
                    u64::try_from(*value).ok()
                }
                _ => None,
            })
            .collect();
        match numbers {
            Some(numbers) if numbers.len() as i128 <= MAX_LAYERS => numbers,
            _ => {
                let wanted =
                    format!("a list of up to {MAX_LAYERS} whole numbers from 0 to {MAX_SIZE}");
                self.wrong(&key, &wanted, "this one");
                default.to_vec()
            }
        }
    }

    /// One whole number for both axes, or a list of two.
    pub fn pair(&mut self, keys: &[&str], default: u64) -> (u64, u64) {
        if let Some((_, Json::List(_))) = self.get(keys) {
            let both = self.counts(keys, &[default, default]);
            if let [first, second] = both[..]
                && first.min(second) > 0
            {
                return (first, second);
            }
            if let Some((key, _)) = self.get(keys) {
                self.wrong(&key, "a size or a list of two", "this list");
            }
            return (default, default);
        }
        let size = self.size(keys, default);
        (size, size)
    }

    /// The number of entries of an object.
    pub fn entries(&self, key: &str) -> Option<u64> {
        match self.get(&[key])? {
            (_, Json::Object(entries)) => Some(entries.len() as u64),
            _ => None,
        }
    }

    /// GPT-Neo's list of patterns and how often each repeats, `[[["global", "local"], 12]]`, as one
    /// answer for each layer: whether it is local.
    pub fn attention_types(&mut self, key: &str, layers: u64) -> Vec<bool> {
        let mut local = Vec::new();
        let items = match self.get(&[key]) {
            None => return (0..layers).map(|at| at % 2 == 1).collect(),
            Some((_, Json::List(items))) => items.clone(),
            Some((_, other)) => vec![other.clone()],
        };
        for item in items {
            let Json::List(pair) = &item else {
                self.wrong(key, "a list of pairs", &item.describe());
                break;
            };
            let [Json::List(names), Json::Integer(times @ 0..=MAX_LAYERS)] = &pair[..] else {
                self.wrong(key, "a list of pairs of names and a number", "this one");
                break;
            };
            let one: Option<Vec<bool>> = names
                .iter()
                .map(|name| match name {
                    Json::Text(name) if name == "local" => Some(true),
                    Json::Text(name) if name == "global" => Some(false),
                    _ => None,
                })
                .collect();
            match one {
                Some(one) if one.len() as i128 * times <= MAX_LAYERS => {
                    for _ in 0..*times {
                        local.extend(&one);
                    }
                }
                _ => self.wrong(key, "made of \"global\" and \"local\"", "this"),
            }
        }
        if local.len() as u64 != layers && self.faults.is_empty() {
            self.fault(format!(
                "`{key}` says what {} layers see, but there are {layers}",
                local.len()
            ));
        }
        local
    }

    /// Notes where `part` of a size does not divide it, as heads do the width.
    pub fn divides(&mut self, (whole_name, whole): (&str, u64), (part_name, part): (&str, u64)) {
        if part == 0 || !whole.is_multiple_of(part) {
            let message = format!(
                "`{prefix}{whole_name}` is {whole}, which `{prefix}{part_name}` = {part} does not divide",
                prefix = self.prefix
            );
            self.faults.push(message);
        }
    }

    /// Notes that a setting changes what the model computes in a way that is not known here.
    pub fn unsupported(&mut self, key: &str, value: &str) {
        let message = format!("`{}{key}` = {value} is not supported", self.prefix);
        self.faults.push(message);
    }
}
