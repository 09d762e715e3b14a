use std::collections::HashSet;

use toml::de::{DeTable, DeValue};

use super::*;

/// The declared keys that stand nowhere in a file, `Later` ones excepted, as paths. A table that can stand at several places
/// is read by one function wherever it does: a key of it counts if it is at one of them. What a kind has in common with the
/// client credentials counts once, since it is read by the same code.
pub(in crate::config) fn absent_keys(file: &DeTable<'_>) -> Vec<String> {
    let mut found = Found::default();
    found.table(&ROOT, &[file], "");
    let Found { absent, present } = found;
    let absent = absent.into_iter().filter(|(key, _)| !present.contains(key)).map(|(_, path)| path);
    absent.filter(|path| !is_of_all_grants(path)).collect()
}

fn is_of_all_grants(path: &str) -> bool {
    let Some(Shape::Map { of: Shape::Table(kinds), .. }) = ROOT.key("credentials").map(|key| key.shape) else {
        panic!("credentials are a map of tables")
    };
    let doc = |kind: &str, name: &str| Some(kinds.key(kind)?.shape.table()?.key(name)?.doc);
    let Some((kind, key)) = path.strip_prefix("credentials.*.").and_then(|path| path.split_once('.')) else {
        return false;
    };
    let name = key.split('.').next().unwrap_or(key);
    kind != "client_credentials" && doc(kind, name) == doc("client_credentials", name)
}

/// Which keys of which tables there are, and which are not, with their paths.
#[derive(Default)]
struct Found {
    present: HashSet<(*const Table, &'static str)>,
    absent: Vec<((*const Table, &'static str), String)>,
}

impl Found {
    fn table(&mut self, table: &'static Table, written: &[&DeTable<'_>], path: &str) {
        for key in table.keys.iter().filter(|key| !matches!(key.shape, Shape::Later(_))) {
            let path = format!("{path}{}", key.name);
            let values: Vec<&DeValue<'_>> =
                written.iter().filter_map(|table| table.get(key.name)).map(|value| value.get_ref()).collect();
            let name = (std::ptr::from_ref(table), key.name);
            if values.is_empty() {
                self.absent.push((name, path.clone()));
            } else {
                self.present.insert(name);
            }
            self.shape(&key.shape, &values, &path);
        }
    }

    fn shape(&mut self, shape: &Shape, values: &[&DeValue<'_>], path: &str) {
        let tables = || values.iter().filter_map(|value| value.as_table());
        let items = || values.iter().filter_map(|value| value.as_array()).flat_map(|items| items.iter());
        match shape {
            Shape::Table(table) | Shape::SecretOr(table) => {
                self.table(table, &tables().collect::<Vec<_>>(), &format!("{path}."));
            }
            Shape::Tables(table) => {
                let tables: Vec<_> = items().filter_map(|item| item.get_ref().as_table()).collect();
                self.table(table, &tables, &format!("{path}."));
            }
            Shape::List(of) => self.shape(of, &items().map(|item| item.get_ref()).collect::<Vec<_>>(), path),
            Shape::Map { of, .. } => {
                let values: Vec<_> = tables().flat_map(|table| table.values()).map(|value| value.get_ref()).collect();
                self.shape(of, &values, &format!("{path}.*"));
            }
            Shape::Either(shapes) => {
                for shape in shapes.iter().filter(|shape| matches!(shape, Shape::Table(_))) {
                    self.shape(shape, values, path);
                }
            }
            Shape::OneOrMore(Shape::Table(table)) => {
                let tables: Vec<_> = tables().chain(items().filter_map(|item| item.get_ref().as_table())).collect();
                self.table(table, &tables, &format!("{path}."));
            }
            _ => {}
        }
    }
}

#[test]
fn every_key_is_explained_once() {
    let mut tables = 0;
    each_table(&ROOT, &mut |table| {
        tables += 1;
        for (index, key) in table.keys.iter().enumerate() {
            assert!(!key.doc.is_empty(), "{}", key.name);
            assert!(table.keys[..index].iter().all(|other| other.name != key.name), "{}", key.name);
        }
    });
    assert!(tables > 20, "{tables}");
}

fn each_table(table: &'static Table, visit: &mut dyn FnMut(&'static Table)) {
    visit(table);
    for key in table.keys {
        each_table_of(&key.shape, visit);
    }
}

fn each_table_of(shape: &Shape, visit: &mut dyn FnMut(&'static Table)) {
    match shape {
        Shape::Table(table) | Shape::Tables(table) | Shape::SecretOr(table) => each_table(table, visit),
        Shape::List(of) | Shape::OneOrMore(of) | Shape::Map { of, .. } => each_table_of(of, visit),
        Shape::Either(shapes) => shapes.iter().for_each(|shape| each_table_of(shape, visit)),
        _ => {}
    }
}

/// Editors show it while a file is written: what a key is for, its unit, and what holds where it is left out.
#[test]
fn every_key_is_described_with_its_default_and_unit() {
    let mut described = 0;
    let mut wrong = Vec::new();
    each_table(&ROOT, &mut |table| {
        for key in table.keys.iter().filter(|key| !matches!(key.shape, Shape::Later(_))) {
            let has_default =
                matches!(key.shape, Shape::Duration { .. } | Shape::Integer { .. } | Shape::Boolean | Shape::Choice(_));
            let says_default = key.required || !has_default || key.doc.contains("Default");
            // Durations carry their units with them.
            let says_unit = !key.name.ends_with("_bytes_max") || key.doc.contains("bytes");
            if key.doc.len() < 10 || !key.doc.ends_with('.') || !says_default || !says_unit {
                wrong.push(format!("{}: {}", key.name, key.doc));
            }
            described += 1;
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(described > 80, "{described}");
}

/// The pages for people say of each key what editors show.
#[test]
fn the_pages_on_configuration_have_every_key() {
    let kinds = std::fs::read_dir("docs/credentials").unwrap().map(|entry| entry.unwrap().path());
    let pages = ["docs/configuration.md", "docs/aggregates.md"].map(std::path::PathBuf::from).into_iter().chain(kinds);
    let page: String = pages.map(|page: std::path::PathBuf| std::fs::read_to_string(page).unwrap()).collect();
    let page = page.replace(['`', '\\'], "").replace("**Required.** ", "");
    let missing = |key: &&Key| {
        let row = format!("\n| {} | {}", key.name, key.doc.replace('`', ""));
        !matches!(key.shape, Shape::Later(_)) && !page.contains(&row)
    };
    let mut wrong = Vec::new();
    each_table(&ROOT, &mut |table| {
        let tables = std::ptr::eq(table, &ROOT) || table.one_kind;
        wrong.extend(
            table.keys.iter().filter(missing).filter(|_| !tables).map(|key| format!("{}: {}", key.name, key.doc)),
        );
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// With `ATTACHE_BLESS` in the environment it is written anew.
#[test]
fn the_published_schema_is_current() {
    if std::env::var_os("ATTACHE_BLESS").is_some() {
        std::fs::write("proxy.schema.json", json_schema()).unwrap();
    }
    let published = std::fs::read_to_string("proxy.schema.json").unwrap_or_default();
    assert!(published == json_schema(), "write it anew with `attache schema > proxy.schema.json`");
}

#[test]
fn a_file_that_is_no_toml_shows_no_secret() {
    let cases = [
        ("[a.b-c]\n", "[a.b-c]\n"),
        ("key = \"sécret\"\n", "key = \"*******\"\n"),
        ("key = secret # 1\n", "key = ****** # *\n"),
        ("key secret\n", "*** ******\n"),
        ("key = { password = \"x\" }", "key = { ******** = \"*\" }"),
        ("key = '''\nsecret=\n'''\nb = 1", "key = '''\n******=\n'''\nb = *"),
    ];
    assert_eq!(cases.len(), 6);
    for (text, masked) in cases {
        assert_eq!(mask_unparsed(text), masked);
    }
}

#[test]
fn what_is_masked_keeps_its_place() {
    assert_eq!(mask("a = \"sé\"\nb", std::slice::from_ref(&(4..9))), "a = \"***\"\nb");
}
