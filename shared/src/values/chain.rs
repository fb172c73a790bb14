//! Errors as one line.

use std::error::Error;
use std::fmt;

/// Shows what an error says and all that lies beneath it, outermost first. What is said already is not repeated: some
/// errors show their own cause.
pub struct Chain<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        let mut beneath = self.0.source();
        while let Some(error) = beneath {
            let text = error.to_string();
            if !said.contains(&text) {
                said = format!("{said}: {text}");
            }
            beneath = error.source();
        }
        f.write_str(&said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn each_layer_is_said_once() {
        let inner = Layer("refused", None);
        let middle = Layer("connection failed: refused", Some(Box::new(inner)));
        let outer = Layer("no answer", Some(Box::new(middle)));
        assert_eq!(Chain(&outer).to_string(), "no answer: connection failed: refused");
    }
}
