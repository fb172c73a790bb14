//! What an invariant is, and a mutation that shows that it is held.

use std::fmt;

use serde_json::{Value, json};

use crate::stack::Template;

/// What must hold between the template and something else.
pub struct Invariant {
    /// Its name: that of its check.
    pub name: &'static str,
    /// What breaks if it does not hold.
    pub why: &'static str,
    /// The file that has the other side of it.
    pub other_side: &'static str,
    /// Panics unless it holds.
    pub check: fn(&Template),
    /// Faults that it must find.
    pub mutations: &'static [Mutation],
}

/// A change of the template's text that is a fault. A path begins with a section of the template, or in its resources; a
/// slash in a name is `~1`, as in JSON pointers.
pub enum Mutation {
    /// Gives what is there another value, which is YAML.
    Set(&'static str, &'static str),
    /// Gives something a value that it does not have; `-` is a further item of a list.
    Add(&'static str, &'static str),
    /// Takes something away.
    Remove(&'static str),
    /// Puts the second text in place of the first, wherever it stands below the path.
    Swap(&'static str, &'static str, &'static str),
}

impl Mutation {
    /// As the translator is asked for it.
    pub fn as_edit(&self) -> Value {
        match self {
            Self::Set(path, value) => json!({ "operation": "set", "path": whole(path), "value": value }),
            Self::Add(path, value) => json!({ "operation": "add", "path": whole(path), "value": value }),
            Self::Remove(path) => json!({ "operation": "remove", "path": whole(path) }),
            Self::Swap(path, from, to) => {
                json!({ "operation": "swap", "path": whole(path), "from": from, "value": to })
            }
        }
    }
}

/// As the manual lists it: what is taken away, added, set, or put in the place of what.
impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(path, value) => write!(f, "{} = {value}", short(path)),
            Self::Add(path, value) => write!(f, "+{} = {value}", short(path)),
            Self::Remove(path) => write!(f, "−{}", short(path)),
            Self::Swap(path, from, to) => {
                write!(f, "{}: {} → {}", short(path), from.replace('\\', ""), to.replace('\\', ""))
            }
        }
    }
}

/// The path without what stands in each.
fn short(path: &str) -> String {
    path.replace("/Properties/", "/").replace("/Policies/0/PolicyDocument/", "/").replace("~1", "/")
}

const SECTIONS: [&str; 7] = ["Parameters", "Mappings", "Rules", "Conditions", "Globals", "Resources", "Outputs"];

fn whole(path: &str) -> Vec<String> {
    let mut names: Vec<_> = path.split('/').map(|name| name.replace("~1", "/")).collect();
    if !SECTIONS.contains(&names[0].as_str()) {
        names.insert(0, "Resources".to_owned());
    }
    names
}

/// `check, other side, why, [mutations]`
macro_rules! invariants {
    ($($check:ident, $other_side:literal, $why:literal, [$($mutation:expr),+ $(,)?];)+) => {
        /// Those of this file.
        pub const ALL: &[$crate::invariant::Invariant] = &[$($crate::invariant::Invariant {
            name: stringify!($check),
            why: $why,
            other_side: $other_side,
            check: $check,
            mutations: &[$($mutation),+],
        }),+];
    };
}

pub(crate) use invariants;
