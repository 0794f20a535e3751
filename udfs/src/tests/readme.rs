//! `udfs/README.md` says what the registry says.

use crate::functions;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const BEGIN: &str = "<!-- functions: written by the test readme_lists_every_function -->\n";
const END: &str = "<!-- end of functions -->\n";

/// The list: a table to find a function in, then each with all that its doc comment says.
fn list() -> String {
    let mut text = String::from("\n| function | what it gives |\n|---|---|\n");
    for function in functions() {
        let description = function.description();
        let first = description.markdown().split("\n\n").next().unwrap_or_default().replace('\n', " ");
        text.push_str(&format!("| [`{0}`](#{0}) | {first} |\n", description.name));
    }
    for function in functions() {
        let description = function.description();
        let kind = match function {
            crate::Function::Scalar(..) => "",
            crate::Function::Aggregate(..) => "Aggregate. ",
        };
        text.push_str(&format!(
            "\n### {}\n\n    {}\n\n{kind}{}\n",
            description.name,
            description.signature(),
            description.markdown()
        ));
    }
    text.push('\n');
    text
}

#[test]
fn readme_lists_every_function() {
    let stored = std::fs::read_to_string(README).expect("udfs/README.md");
    let (before, rest) = stored.split_once(BEGIN).expect("README.md marks where the list begins");
    let (_, after) = rest.split_once(END).expect("README.md marks where the list ends");
    let made = format!("{before}{BEGIN}{}{END}{after}", list());
    if std::env::var_os("TOUCHLINE_UPDATE").is_some() {
        std::fs::write(README, &made).expect("udfs/ is writable");
        return;
    }
    assert!(
        stored == made,
        "udfs/README.md is stale; run TOUCHLINE_UPDATE=1 cargo test --release --workspace --lib readme, and look at the difference"
    );
}
