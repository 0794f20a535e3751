//! JSON through SQL, what no text may do to it, and the same answers as serde_json's.

use arrow::array::Array;
use arrow::util::display::array_value_to_string;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use proptest::prelude::*;
use serde_json::{Value as Tree, json};

use super::path::Step;
use super::text::{DEPTH_MAX, NotJson, find};
use super::{Path, is_json};

fn run(expression: &str) -> Result<Option<String>> {
    let context = SessionContext::new();
    crate::register(&context);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(async { context.sql(&format!("SELECT {expression}")).await?.collect().await })?;
    let column = batches[0].column(0);
    Ok(column.is_valid(0).then(|| array_value_to_string(column, 0).unwrap()))
}

fn check(cases: &[(&str, Option<&str>)]) {
    for (expression, expected) in cases {
        let found = run(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert_eq!(found.as_deref(), *expected, "{expression}");
    }
}

// The arrows take the field or item as JSON or as text, and what is not there is NULL.
#[test]
fn arrows_mean_what_they_mean_in_postgres() {
    check(&[
        (r#"'{"a": {"b" : [1, "x"]}}' -> 'a'"#, Some(r#"{"b" : [1, "x"]}"#)),
        (r#"'{"a": {"b" : [1, "x"]}}' -> 'a' -> 'b' -> 1"#, Some(r#""x""#)),
        (r#"'{"a": {"b" : [1, "x"]}}' -> 'a' -> 'b' ->> 1"#, Some("x")),
        (r#"'{"a": {"b" : [1, "x"]}}' ->> 'a'"#, Some(r#"{"b" : [1, "x"]}"#)),
        (r#"'[10, 20, 30]' -> 0"#, Some("10")),
        (r#"'[10, 20, 30]' ->> -1"#, Some("30")),
        (r#"'[10, 20, 30]' -> -4"#, None),
        (r#"'[10, 20, 30]' -> 3"#, None),
        (r#"'[10, 20, 30]' -> 9223372036854775807"#, None),
        (r#"'[10, 20, 30]' -> -9223372036854775808"#, None),
        (r#"'[]' -> -1"#, None),
        // Null is a value as JSON, and NULL as text.
        (r#"'{"a": null}' -> 'a'"#, Some("null")),
        (r#"'{"a": null}' ->> 'a'"#, None),
        (r#"'{"a": null}' -> 'b'"#, None),
        // Of another kind.
        (r#"'[1]' -> 'a'"#, None),
        (r#"'{"0": 1}' -> 0"#, None),
        (r#"'"text"' -> 'a'"#, None),
        // Names are compared as what they stand for, and the last of two counts.
        (r#"'{"a": 1, "a": {"b": 2}}' -> 'a'"#, Some(r#"{"b": 2}"#)),
        (r#"'{"a": {"b": 2}, "\u0061": 1}' -> 'a'"#, Some("1")),
        (r#"'{"": 1}' ->> ''"#, Some("1")),
        (r#"'{"ключ": "значение"}' ->> 'ключ'"#, Some("значение")),
        (r#"'{"a": "tab\tquote\"\u00e9\ud83d\ude00\/\\"}' ->> 'a'"#, Some("tab\tquote\"é😀/\\")),
        (r#"'{"a": 12.500}' ->> 'a'"#, Some("12.500")),
        (r#"'{"a": true}' ->> 'a'"#, Some("true")),
        // What is no JSON has nothing in it, also where it goes wrong behind what is asked for.
        (r#"'{"a": 1' -> 'a'"#, None),
        (r#"'{"a": 1} x' -> 'a'"#, None),
        (r#"'{"a": 1, "b": 01}' -> 'a'"#, None),
        ("'' -> 'a'", None),
        ("CAST(NULL AS VARCHAR) -> 'a'", None),
        ("'{}' -> CAST(NULL AS VARCHAR)", None),
    ]);
    let error = run("1 -> 'a'").unwrap_err().strip_backtrace();
    assert!(error.contains("json_object_field takes (json VARCHAR, field VARCHAR), not (BIGINT, VARCHAR)"), "{error}");
    let error = run("'{}' ->> 1.5").unwrap_err().strip_backtrace();
    assert!(error.contains("json_object_field_text takes (json VARCHAR, field VARCHAR), not ("), "{error}");
}

// SQL/JSON: scalars by json_value, the rest by json_query, and both tell nothing from null by json_exists.
#[test]
fn paths_lead_to_values_of_one_kind() {
    let j = r#"'{"a": {"b": [1, {"c d": "x"}, null, true]}, "n": 1.50, "s": "q\"q", "z": null}'"#;
    for (function, path, expected) in [
        ("json_value", "$.a.b[0]", Some("1")),
        ("json_value", "$.a.b[1].\"c d\"", Some("x")),
        ("json_value", "$.a.b[1][\"c d\"]", Some("x")),
        ("json_value", "$['a']['b'][3]", Some("true")),
        ("json_value", "$.a.b[2]", None),
        ("json_value", "$.a.b[9]", None),
        ("json_value", "$.n", Some("1.50")),
        ("json_value", " $.s ", Some("q\"q")),
        ("json_value", "$.a", None),
        ("json_value", "$.a.b", None),
        ("json_value", "$", None),
        ("json_query", "$.a.b[1]", Some(r#"{"c d": "x"}"#)),
        ("json_query", "$.n", None),
        ("json_query", "$.z", None),
        ("json_query", "$.x", None),
        ("json_exists", "$.z", Some("true")),
        ("json_exists", "$.a.b[2]", Some("true")),
        ("json_exists", "$.a.b[4]", Some("false")),
        ("json_exists", "$.x", Some("false")),
        ("json_exists", "$", Some("true")),
    ] {
        let path = path.replace('\'', "''");
        check(&[(&format!("{function}({j}, '{path}')"), expected)]);
    }
    check(&[
        ("json_value('7', '$')", Some("7")),
        ("json_value('no', '$')", None),
        ("json_exists('no', '$')", Some("false")),
        ("json_exists(NULL, '$')", None),
        ("json_exists('{}', CAST(NULL AS VARCHAR))", None),
        // A path that comes with the data is no mistake of the query.
        ("json_value('{\"a\": 1}', p) FROM (VALUES ('$.a')) AS t(p)", Some("1")),
        ("json_value('{\"a\": 1}', p) FROM (VALUES ('a')) AS t(p)", None),
        ("json_exists('{\"a\": 1}', p) FROM (VALUES ('$..a')) AS t(p)", None),
    ]);
}

#[test]
fn a_path_that_is_none_is_refused_when_the_query_is_planned() {
    for path in [
        "",
        "a",
        "$.",
        "$a",
        "$.a.",
        "$[",
        "$[1",
        "$[-1]",
        "$[*]",
        "$[''a'']x",
        "$[''a]",
        "$..a",
        "$.a[1.5]",
        "$[99999999999999999999]",
    ] {
        let error = run(&format!("json_value('{{}}', '{path}')")).unwrap_err().strip_backtrace();
        assert!(error.contains("json_value: '") && error.contains("is no path: "), "{path}: {error}");
        assert!(
            error.ends_with("a path is $, then .name, ['name'] and [0], as in $.player.positions[2]['x y']"),
            "{error}"
        );
    }
    let long = format!("${}", ".a".repeat(DEPTH_MAX + 1));
    assert!(Path::parse(&long).unwrap_err().contains("it has too many steps"));
    assert!(Path::parse(&long[..long.len() - 2]).is_ok());
    let path = Path::parse(r"$['it\'s']").unwrap();
    assert_eq!(path.steps(), [Step::Field("it's")]);
}

#[test]
fn lengths_and_kinds() {
    check(&[
        ("json_array_length('[1, [2, 3], {}]')", Some("3")),
        ("json_array_length(' [ ] ')", Some("0")),
        ("json_array_length('{}')", None),
        ("json_array_length('[1')", None),
        ("json_typeof('{}')", Some("object")),
        ("json_typeof(' [1]')", Some("array")),
        ("json_typeof('\"a\"')", Some("string")),
        ("json_typeof('-1e-5')", Some("number")),
        ("json_typeof('false')", Some("boolean")),
        ("json_typeof('null')", Some("null")),
        ("json_typeof('nul')", None),
        ("json_typeof(NULL)", None),
    ]);
}

// Calls nest no deeper than the limit, whatever stands in a text.
#[test]
fn hostile_nesting_is_no_json_and_takes_no_stack() {
    let nested = |open: &str, close: &str, depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    assert!(is_json(&nested("[", "]", DEPTH_MAX)));
    assert!(!is_json(&nested("[", "]", DEPTH_MAX + 1)));
    assert!(is_json(&nested("{\"a\":", "}", DEPTH_MAX)));
    for depth in [DEPTH_MAX + 1, 100_000, 5_000_000] {
        assert_eq!(find(&nested("[", "]", depth), &[Step::Element(-1)]), Err(NotJson));
        assert_eq!(find(&"[".repeat(depth), &[]), Err(NotJson));
        assert_eq!(find(&"{\"a\":".repeat(depth), &[Step::Field("a")]), Err(NotJson));
    }
    // To the bottom, and one step beyond it.
    let mut steps = vec![Step::Element(0); DEPTH_MAX];
    let text = nested("[", "]", DEPTH_MAX);
    assert_eq!(find(&text, &steps).unwrap().map(|value| value.text()), Some("1"));
    steps.push(Step::Element(0));
    assert_eq!(find(&text, &steps), Ok(None));
}

fn tree() -> impl Strategy<Value = Tree> {
    let scalar = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        any::<i64>().prop_map(Tree::from),
        (-1e9..1e9_f64).prop_map(Tree::from),
        ".{0,8}".prop_map(Tree::from),
    ];
    scalar.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Tree::from),
            prop::collection::btree_map("[ab\"\\\\é ]{0,2}", inner, 0..5)
                .prop_map(|fields| Tree::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_path_finds_what_serde_json_has_there(made in tree(), turns in prop::collection::vec(0..6_usize, 0..5), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&made) } else { serde_json::to_string(&made) }.unwrap();
        // As it is read, for a number may be read as its neighbour.
        let tree: Tree = serde_json::from_str(&text).unwrap();
        // Some way down, perhaps beyond the end.
        let (mut here, mut steps) = (Some(&tree), Vec::new());
        for turn in &turns {
            here = match here {
                Some(Tree::Object(fields)) => match fields.iter().nth(*turn) {
                    Some((name, value)) => {
                        steps.push(Step::Field(name));
                        Some(value)
                    }
                    None => {
                        steps.push(Step::Field("nobody"));
                        None
                    }
                },
                Some(Tree::Array(items)) => {
                    let from_the_end = turn % 2 == 1;
                    let index = *turn as i64;
                    steps.push(Step::Element(if from_the_end { -index } else { index }));
                    if from_the_end { items.len().checked_sub(*turn).and_then(|at| items.get(at)) } else { items.get(*turn) }
                }
                _ => {
                    steps.push(Step::Element(0));
                    None
                }
            };
        }
        let found = find(&text, &steps).expect("it is JSON");
        let read: Option<Tree> = found.map(|value| serde_json::from_str(value.text()).unwrap());
        prop_assert_eq!(read.as_ref(), here);
        if let Some(Tree::String(expected)) = here {
            let unquoted = found.and_then(|value| value.unquoted());
            prop_assert_eq!(unquoted.as_deref(), Some(expected.as_str()));
        }
        if let Some(Tree::Array(items)) = here {
            prop_assert_eq!(found.and_then(|value| value.items()), Some(items.len()));
        }
    }

    #[test]
    fn a_text_is_json_where_it_is_for_serde_json(
        made in tree(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&b"{}[]\",:0e-.\\u tn\x01"[..])), 0..4),
    ) {
        let mut bytes = json!([made]).to_string().into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
        let expected = match serde_json::from_str::<Tree>(&text) {
            Ok(_) => true,
            // It looks no further then.
            Err(error) if error.to_string().contains("number out of range") => return Ok(()),
            Err(_) => false,
        };
        prop_assert_eq!(is_json(&text), expected, "{}", text);
    }

    #[test]
    fn no_text_and_no_path_panics(text in ".{0,40}", path in ".{0,20}", dollar in any::<bool>()) {
        let path = if dollar { format!("${path}") } else { path };
        if let Ok(path) = Path::parse(&path) {
            let _ = find(&text, &path.steps());
        }
        let _ = is_json(&text);
    }
}
