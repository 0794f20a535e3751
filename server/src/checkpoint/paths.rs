//! The name of every object: the private checkpoint objects of a query, and its public Parquet files.
//!
//! ```text
//! private  store.json                                   the id of this state store
//!          gens/<generation>.json                        claims of server generations
//!          gens/<generation>.fenced                      that server was thrown out while it ran
//!          q/<query>/ckpt/<id>.json                      the manifest chain: creating the next one is the commit
//!          q/<query>/bundle/<generation>-<id>-<attempt>.arrow
//!          q/<query>/sealed/<generation>-<id>-<attempt>-<n>.json   lists of sealed files
//!          q/<query>/replay/<generation>-<id>-<attempt>-<n>.json   lists of runs of rows for the hot table
//!          q/<query>/runs/<path of a public file>.json   which of its rows are of which checkpoint
//!          q/<query>/gc/<id>                             up to here manifests may have been deleted
//!          q/<query>/kept/<id>.json                      copies of older manifests, to fall back to
//!          q/<query>/def/<version>.txt                   what a version of the query means
//!          q/<query>/def/<version>.json                  the files that define it, as they were
//!          q/<view>/change.json                          what the operator is asked, and the answer
//!          q/<query>/dropped/<path of a public file>     files of checkpoints that an operator has given up
//! public   .touchline/<query>.json                       whose the folder of a query is
//!          <view>/event_date=YYYY-MM-DD/<query>-<generation>-<instance>-<seal>-<part>.parquet
//!          <view>.changes/event_date=…                   in the same way, where rows that may change again have files
//! ```
//! Numbers have twenty digits, so that names sort as numbers do.

use object_store::path::Path;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::generation::Generation;
use super::hex;
use crate::error::Result;
use crate::store::Store;

/// Ledgers of a query beside its own output. No view folder can clash with them: a dot in a name is escaped.
pub const LATE_LEDGER: &str = "touchline.late";
pub const DEAD_LETTER_LEDGER: &str = "touchline.dead_letters";

/// The output of a query that has each change of its rows. Its folder is the view's own with a dot in its name, which no view's has.
pub const CHANGES: &str = "touchline.changes";

/// Longest escaped name, bytes: with the numbers around it a file name stays below the 255 bytes of common file systems.
const NAME_BYTES_MAX: usize = 100;

pub(super) fn generations() -> Path {
    Path::from("gens")
}

pub(super) fn generation(number: u64) -> Path {
    Path::from(format!("gens/{number:020}.json"))
}

pub(super) fn generation_number(path: &Path) -> Option<u64> {
    number(path.filename()?.strip_suffix(".json")?)
}

/// The note of a server that was thrown out.
pub(super) fn thrown_out(number: u64) -> Path {
    Path::from(format!("gens/{number:020}.fenced"))
}

pub(super) fn is_thrown_out(path: &Path) -> bool {
    path.filename().and_then(|name| name.strip_suffix(".fenced")).and_then(number).is_some()
}

pub(super) fn state_store() -> Path {
    Path::from("store.json")
}

/// Names the objects of one query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryPaths {
    name: String,
}

impl QueryPaths {
    pub fn new(query: &str) -> Self {
        QueryPaths { name: escape(query) }
    }

    pub(super) fn manifests(&self) -> Path {
        Path::from(format!("q/{}/ckpt", self.name))
    }

    pub(super) fn manifest(&self, id: u64) -> Path {
        Path::from(format!("q/{}/ckpt/{id:020}.json", self.name))
    }

    pub(super) fn manifest_id(path: &Path) -> Option<u64> {
        number(path.filename()?.strip_suffix(".json")?)
    }

    /// Manifests that are kept below the boundary. Copies, because those of the chain go in order of ids: [`super::Chain::commit`].
    pub(super) fn all_kept(&self) -> Path {
        Path::from(format!("q/{}/kept", self.name))
    }

    /// Its name tells its id as a manifest's does.
    pub(super) fn kept(&self, id: u64) -> Path {
        Path::from(format!("q/{}/kept/{id:020}.json", self.name))
    }

    /// As the query is called in the names of objects.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Of all queries of a store, sorted, each as [`QueryPaths::name`].
    pub(super) async fn folders(store: &Store) -> Result<Vec<String>> {
        let all = Path::from("q");
        let found = store.objects().list_with_delimiter(Some(&all)).await;
        let found = found.map_err(|error| store.failed("list", &all, error))?;
        let mut folders: Vec<String> =
            found.common_prefixes.iter().filter_map(|prefix| prefix.filename().map(str::to_owned)).collect();
        folders.sort();
        Ok(folders)
    }

    /// All private objects of the query.
    pub(super) fn all(&self) -> Path {
        Path::from(format!("q/{}", self.name))
    }

    /// What a version of the query means.
    pub(super) fn definition(&self, version: &str) -> Path {
        Path::from(format!("q/{}/def/{version}.txt", self.name))
    }

    /// The files that a version of the query was defined in.
    pub(super) fn definition_files(&self, version: &str) -> Path {
        Path::from(format!("q/{}/def/{version}.json", self.name))
    }

    /// Of a view: whether it is to become another version.
    pub(super) fn change(&self) -> Path {
        Path::from(format!("q/{}/change.json", self.name))
    }

    pub(super) fn definitions(&self) -> Path {
        Path::from(format!("q/{}/def", self.name))
    }

    /// Where a public file goes whose checkpoint has been given up.
    pub(super) fn set_aside(&self, file: &str) -> Path {
        Path::from(format!("q/{}/dropped/{file}", self.name))
    }

    /// From the name of a folder.
    pub(super) fn of_folder(folder: &str) -> Self {
        QueryPaths { name: folder.to_owned() }
    }

    pub(super) fn bundles(&self) -> Path {
        Path::from(format!("q/{}/bundle", self.name))
    }

    pub(super) fn bundle(&self, generation: u64, id: u64, attempt: Uuid) -> Path {
        Path::from(format!("q/{}/bundle/{generation:020}-{id:020}-{}.arrow", self.name, attempt.simple()))
    }

    pub(super) fn sealed_lists(&self) -> Path {
        Path::from(format!("q/{}/sealed", self.name))
    }

    pub(super) fn sealed_list(&self, generation: u64, id: u64, attempt: Uuid, n: usize) -> Path {
        Path::from(format!("q/{}/sealed/{generation:020}-{id:020}-{}-{n}.json", self.name, attempt.simple()))
    }

    pub(super) fn hot_lists(&self) -> Path {
        Path::from(format!("q/{}/replay", self.name))
    }

    pub(super) fn hot_list(&self, generation: u64, id: u64, attempt: Uuid, n: usize) -> Path {
        Path::from(format!("q/{}/replay/{generation:020}-{id:020}-{}-{n}.json", self.name, attempt.simple()))
    }

    /// The checkpoint that a bundle or a list was written for, and the generation that wrote it.
    pub(super) fn written_for(path: &Path) -> Option<(u64, u64)> {
        let mut parts = path.filename()?.split('-');
        let generation = number(parts.next()?)?;
        Some((number(parts.next()?)?, generation))
    }

    pub(super) fn boundaries(&self) -> Path {
        Path::from(format!("q/{}/gc", self.name))
    }

    pub(super) fn boundary(&self, id: u64) -> Path {
        Path::from(format!("q/{}/gc/{id:020}", self.name))
    }

    pub(super) fn boundary_id(path: &Path) -> Option<u64> {
        number(path.filename()?)
    }

    /// What lies beside a sealed file, as long as that does: named by it alone, so that whoever finds the file finds this. `None` for a
    /// path that is no sealed file's.
    pub(super) fn runs(file: &str) -> Option<Path> {
        let stem = file.strip_suffix(".parquet")?;
        // The query's name can have the sign in it that stands between the numbers.
        let query = stem.rsplit('/').next()?.rsplitn(5, '-').nth(4)?;
        Some(Path::from(format!("q/{query}/runs/{stem}.json")))
    }

    /// Whose the public folder is: beside the folders and never in one, so that no reader with a glob meets it.
    pub(super) fn owner(&self) -> Path {
        Path::from(format!(".touchline/{}.json", self.name))
    }

    /// Whether a path is that of a sealed file of this query, whichever server wrote it.
    pub(super) fn is_sealed_file(&self, path: &Path) -> bool {
        let Some(stem) = path.filename().and_then(|name| name.strip_suffix(".parquet")) else { return false };
        // From the end, as the query's name can have the sign in it that stands between the numbers.
        let parts: Vec<&str> = stem.rsplitn(5, '-').collect();
        let [part, seal, instance, generation, query] = parts.as_slice() else { return false };
        let digits = |text: &str, many: usize| text.len() == many && text.bytes().all(|byte| byte.is_ascii_digit());
        let hexadecimal = |byte: u8| byte.is_ascii_hexdigit();
        *query == self.name
            && digits(generation, 20)
            && instance.len() == 8
            && instance.bytes().all(hexadecimal)
            && digits(seal, 20)
            && part.len() >= 4
            && digits(part, part.len())
    }

    /// The folder of one of the query's outputs, within the public store.
    pub(super) fn folder(&self, output: &str) -> String {
        match output {
            CHANGES => format!("{}.changes", self.name),
            other => public_folder(other),
        }
    }

    /// A sealed file, within the public store. `event_date` is `YYYY-MM-DD`.
    ///
    /// The instance keeps names apart if checkpoints are ever removed and generations begin anew beside old files.
    pub fn sealed_file(&self, output: &str, event_date: &str, by: Generation, seal: u64, part: usize) -> String {
        let folder = self.folder(output);
        let instance = &by.instance.simple().to_string()[..8];
        format!(
            "{folder}/event_date={event_date}/{}-{:020}-{instance}-{seal:020}-{part:04}.parquet",
            self.name, by.number
        )
    }
}

/// The folder of an output within the public store.
pub fn public_folder(output: &str) -> String {
    match output {
        LATE_LEDGER | DEAD_LETTER_LEDGER => output.to_owned(),
        view => escape(view),
    }
}

fn number(digits: &str) -> Option<u64> {
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Lower-case ASCII letters, digits, `_` and `-` stand as they are; any other byte becomes `!xx`. Different names stay
/// different, also where the file system ignores case. A long name ends in its hash.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("!{other:02x}")),
        }
    }
    if escaped.is_empty() {
        escaped.push('!');
    }
    if escaped.len() > NAME_BYTES_MAX {
        escaped.truncate(NAME_BYTES_MAX - 34);
        escaped.push_str("!!");
        escaped.push_str(&hex(&Sha256::digest(name.as_bytes()))[..32]);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_object_store_unchanged_and_stay_in_their_folder() {
        for name in ["momentum_5m", "Momentum", "../../etc", "a/b", "", ".", "a b%20", "größe", "!", &"x".repeat(500)]
        {
            let paths = QueryPaths::new(name);
            let path = paths.manifest(7);
            assert_eq!(path.parts().count(), 4, "{name:?} gives {path}");
            assert!(path.as_ref().starts_with("q/") && path.as_ref().ends_with("/ckpt/00000000000000000007.json"));
            assert_eq!(Path::parse(path.as_ref()).unwrap(), path);
            assert!(path.parts().all(|part| part.as_ref().len() < 250));
            assert_eq!(QueryPaths::manifest_id(&path), Some(7));
        }
    }

    #[test]
    fn different_names_never_share_objects() {
        let long = "x".repeat(300);
        let names = ["a", "A", "!41", "a.b", "a_b", "a-b", "", "!", "touchline.late", long.as_str(), &long[1..]];
        let mut seen: Vec<_> = names.iter().map(|name| QueryPaths::new(name).name.to_lowercase()).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), names.len());
        assert_ne!(public_folder("late"), public_folder(LATE_LEDGER));
    }

    #[test]
    fn what_lies_beside_a_public_file_is_in_the_folder_of_its_query() {
        let by = Generation { number: 3, instance: Uuid::nil() };
        for query in ["momentum", "a-b-c", "Momentum", "v-12345678"] {
            let paths = QueryPaths::new(query);
            let mut runs = Vec::new();
            for output in [query, LATE_LEDGER, CHANGES] {
                let file = paths.sealed_file(output, "2026-01-01", by, 4, 0);
                let path = QueryPaths::runs(&file).expect("a sealed file");
                assert!(path.as_ref().starts_with(&format!("q/{}/runs/", paths.name)), "{path}");
                assert_eq!(QueryPaths::written_for(&path), None, "clean-up does not know it");
                runs.push(path);
            }
            assert!(runs[0] != runs[1] && runs[0] != runs[2] && runs[1] != runs[2]);
        }
        assert_eq!(QueryPaths::runs("v/notes.txt"), None);
        assert_eq!(QueryPaths::runs("v/a.parquet"), None);
    }

    #[test]
    fn a_sealed_file_tells_its_query_and_other_files_tell_none() {
        let by = Generation { number: 3, instance: Uuid::from_u128(0xabcd << 100) };
        for query in ["momentum", "a-b-c", "Momentum", "a-12345678"] {
            let paths = QueryPaths::new(query);
            for part in [0, 12_345] {
                let file = Path::from(paths.sealed_file(query, "2026-01-01", by, 4, part));
                assert!(paths.is_sealed_file(&file), "{file}");
                for other in ["a", "a-b", "b-c", "moment", "momentum-5"] {
                    assert!(!QueryPaths::new(other).is_sealed_file(&file), "{file} is not of {other}");
                }
            }
        }
        let paths = QueryPaths::new("v");
        for file in ["v/a.parquet", "v/notes.txt", "v/v-1-2-3-4.parquet", "v/event_date=2026-01-01/v.parquet"] {
            assert!(!paths.is_sealed_file(&Path::from(file)), "{file}");
        }
        assert_eq!(paths.owner().as_ref(), ".touchline/v.json");
        assert!(!paths.owner().as_ref().starts_with(&format!("{}/", public_folder("v"))));
    }

    #[test]
    fn a_bundle_tells_its_checkpoint_and_strangers_tell_none() {
        let bundle = QueryPaths::new("q").bundle(3, 41, Uuid::nil());
        assert_eq!(QueryPaths::written_for(&bundle), Some((41, 3)));
        assert_eq!(QueryPaths::written_for(&Path::from("q/q/bundle/notes.txt")), None);
        assert_eq!(QueryPaths::manifest_id(&Path::from("q/q/ckpt/7.json")), None);
        assert_eq!(QueryPaths::manifest_id(&Path::from("q/q/ckpt/+0000000000000000007.json")), None);
    }
}
