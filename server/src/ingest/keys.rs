//! Who may send: keys `tl_<id>_<secret>`, of which the file keeps the SHA-256 and never the secret.
//!
//! The file has one JSON object a line. It is looked at whenever somebody shows a key, and read again when it has changed. One that
//! cannot be read lets nobody in: it may be that which takes a key away.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::store::with_disk_hint;

const PREFIX: &str = "tl_";
/// Hexadecimal digits.
const ID_DIGITS: usize = 12;
/// Of what the random generator gives 244 bits are random.
const SECRET_DIGITS: usize = 64;
const FILE_BYTES_MAX: u64 = 16 << 20;
const INGEST: &str = "ingest:";

/// One key, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub id: String,
    /// Of the whole key, in lower-case hexadecimal digits.
    pub sha256: String,
    pub grants: Vec<Grant>,
    /// Milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// The same; `None`: it never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
    /// Records a second.
    pub records_per_second: u32,
}

/// What a key is good for: `ingest:orders`, `ingest:game_*` or `ingest:*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grant {
    /// The name of a table, or the beginning of names.
    table: String,
    is_prefix: bool,
}

impl Grant {
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no grant; write ingest:TABLE, ingest:PREFIX* or ingest:*");
        let table = text.strip_prefix(INGEST).ok_or_else(wrong)?;
        let (table, is_prefix) = table.strip_suffix('*').map_or((table, false), |table| (table, true));
        if table.contains('*') || table.contains(char::is_whitespace) || (table.is_empty() && !is_prefix) {
            return Err(wrong());
        }
        Ok(Grant { table: table.to_owned(), is_prefix })
    }

    fn covers(&self, table: &str) -> bool {
        if self.is_prefix { table.starts_with(&self.table) } else { table == self.table }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{INGEST}{}{}", self.table, if self.is_prefix { "*" } else { "" })
    }
}

impl TryFrom<String> for Grant {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Grant::parse(&text)
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> String {
        grant.to_string()
    }
}

impl Key {
    /// Draws a key. The text is all that there is of the secret: it is shown to whoever will use it, and kept nowhere.
    pub fn draw(grants: Vec<Grant>, now: Micros, expires_ms: Option<i64>, records_per_second: u32) -> (Key, String) {
        let mut id = Uuid::new_v4().simple().to_string();
        id.truncate(ID_DIGITS);
        let text = format!("{PREFIX}{id}_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let sha256 = hex(&Sha256::digest(text.as_bytes()));
        (Key { id, sha256, grants, created_ms: now / 1_000, expires_ms, records_per_second }, text)
    }

    pub(super) fn may_send_to(&self, table: &str) -> bool {
        self.grants.iter().any(|grant| grant.covers(table))
    }

    pub fn has_expired(&self, now: Micros) -> bool {
        self.expires_ms.is_some_and(|expires| expires <= now / 1_000)
    }
}

/// All keys of a file, by id.
pub type Keys = BTreeMap<String, Arc<Key>>;

/// Reads a file of keys. One that does not exist has none.
///
/// # Errors
/// `Invalid` where others than its owner may open it, or a line is no key; `Unavailable` where it cannot be read.
pub fn read(path: &Path) -> Result<Keys> {
    match File::open(path) {
        Ok(file) => read_open(path, file),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Keys::new()),
        Err(error) => Err(unusable(path, "read", error)),
    }
}

fn read_open(path: &Path, file: File) -> Result<Keys> {
    let about = file.metadata().map_err(|error| unusable(path, "read", error))?;
    if about.permissions().mode() & 0o077 != 0 {
        return Err(Error::invalid(format!("others may open the keys file {}", path.display()))
            .detail(format!("its mode is {:04o}", about.permissions().mode() & 0o7777))
            .hint(format!("chmod 600 {}", path.display())));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| unusable(path, "read", error))?;
    let mut keys = Keys::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        // The line is not shown: nobody knows what somebody has written there.
        let key: Key = serde_json::from_str(line).map_err(|error| {
            Error::invalid(format!("line {} of the keys file {} is no key", number + 1, path.display()))
                .detail(format!("column {}", error.column()))
                .hint("make keys with touchline keys create")
        })?;
        keys.insert(key.id.clone(), Arc::new(key));
    }
    Ok(keys)
}

/// Changes a file of keys, as a whole and durably: whoever reads it sees it before or after. Several may do so at once.
///
/// # Errors
/// Those of [`read`], and `Unavailable` where it cannot be written.
pub fn change<T>(path: &Path, change: impl FnOnce(&mut Keys) -> Result<T>) -> Result<T> {
    // Where a link leads: what is written beside it would leave the file that others read as it was.
    let real = std::fs::canonicalize(path).ok();
    let path = real.as_deref().unwrap_or(path);
    let failed = |error: std::io::Error| unusable(path, "write", error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let folder = File::open(folder).map_err(failed)?;
    folder.lock().map_err(failed)?;
    let owner = std::fs::metadata(path).ok();
    let mut keys = read(path)?;
    let outcome = change(&mut keys)?;
    let mut text = String::new();
    for key in keys.values() {
        let line = serde_json::to_string(key.as_ref()).map_err(|_| Error::bug("a key is plain values"))?;
        text.push_str(&line);
        text.push('\n');
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // Left over from somebody who was killed: the lock is ours.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
    // The server has another user than who administers it, as a rule, and could not read a file of root's.
    if let Some(owner) = owner
        && owner.uid() != file.metadata().map_err(failed)?.uid()
    {
        fchown(&file, Some(owner.uid()), Some(owner.gid())).map_err(failed)?;
    }
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&new, path).and_then(|()| folder.sync_all()).map_err(failed)?;
    Ok(outcome)
}

fn unusable(path: &Path, what: &str, error: std::io::Error) -> Error {
    let told = Error::unavailable(format!("cannot {what} the keys file {}", path.display()));
    with_disk_hint(told, &error).caused_by(error)
}

/// What tells that a file is another one or has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    bytes: u64,
    mode: u32,
    changed: (i64, i64),
}

impl Version {
    fn of(about: &Metadata) -> Self {
        // The change time, which nobody can set.
        let changed = (about.ctime(), about.ctime_nsec());
        Version { device: about.dev(), inode: about.ino(), bytes: about.len(), mode: about.mode(), changed }
    }
}

/// A file of keys as it is now.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    /// `None`: there was no file.
    of: Option<Version>,
    /// `None`: it could not be read.
    keys: Option<Arc<Keys>>,
}

/// What a shown key turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Valid(Arc<Key>),
    Expired,
    Unknown,
}

impl KeyFile {
    pub(super) fn new(path: PathBuf) -> Self {
        KeyFile { path, known: Mutex::new(None) }
    }

    /// The keys as the file has them now, and whether it was read for that. `None`: it cannot be read, which has been logged.
    pub(super) fn current(&self) -> (Option<Arc<Keys>>, bool) {
        let version = std::fs::metadata(&self.path).ok().map(|about| Version::of(&about));
        let mut known = self.known.lock();
        if let Some(known) = known.as_ref().filter(|known| known.of == version) {
            return (known.keys.clone(), false);
        }
        let keys = match read(&self.path) {
            Ok(keys) => Some(Arc::new(keys)),
            Err(error) => {
                tracing::error!(error = error.report(), "nobody may send records by HTTP");
                None
            }
        };
        *known = Some(Known { of: version, keys: keys.clone() });
        (keys, true)
    }
}

/// Looks a key up.
pub(super) fn look_up(keys: &Keys, text: &str, now: Micros) -> Shown {
    let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
    let is_hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let known = parts.filter(|(id, secret)| is_hex(id, ID_DIGITS) && is_hex(secret, SECRET_DIGITS));
    let key = known.and_then(|(id, _)| keys.get(id));
    // One that nobody has takes as long as a wrong secret.
    let expected = key.map_or("", |key| key.sha256.as_str());
    let is_right = same(hex(&Sha256::digest(text.as_bytes())).as_bytes(), expected.as_bytes());
    match key {
        Some(key) if is_right && key.has_expired(now) => Shown::Expired,
        Some(key) if is_right => Shown::Valid(Arc::clone(key)),
        _ => Shown::Unknown,
    }
}

/// Compares in a time that does not depend on where texts of one length differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differs = a.iter().zip(b).fold(0, |differs, (a, b)| std::hint::black_box(differs | (a ^ b)));
    a.len() == b.len() && differs == 0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(text: &str) -> Grant {
        Grant::parse(text).unwrap()
    }

    fn add(path: &Path, grants: &[&str], expires_ms: Option<i64>) -> (String, String) {
        let (key, text) = Key::draw(grants.iter().map(|text| grant(text)).collect(), 1_000_000, expires_ms, 10);
        let id = key.id.clone();
        change(path, |keys| {
            keys.insert(key.id.clone(), Arc::new(key));
            Ok(())
        })
        .unwrap();
        (id, text)
    }

    #[test]
    fn a_key_is_known_by_its_digest_until_it_expires() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/keys.json");
        let (id, text) = add(&path, &["ingest:orders"], Some(5_000));
        let (_, other) = add(&path, &["ingest:*"], None);
        let stored = std::fs::read_to_string(&path).unwrap();
        let secret = text.rsplit('_').next().unwrap();
        assert!(stored.contains(&id) && !stored.contains(secret) && stored.lines().count() == 2, "{stored}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let keys = read(&path).unwrap();
        assert!(matches!(look_up(&keys, &text, 4_999_999), Shown::Valid(key) if key.id == id));
        assert_eq!(look_up(&keys, &text, 5_000_000), Shown::Expired);
        let mut wrong = text.clone();
        wrong.replace_range(text.len() - 1.., if text.ends_with('0') { "1" } else { "0" });
        let swapped = format!("tl_{id}_{}", other.rsplit('_').next().unwrap());
        for unknown in ["", "tl_", "tl__", "key", &wrong[..], &swapped[..], &text[..text.len() - 1], "tl_ä_ö"] {
            assert_eq!(look_up(&keys, unknown, 0), Shown::Unknown, "{unknown}");
        }
    }

    #[test]
    fn a_key_is_good_for_the_tables_of_its_grants() {
        let (key, _) = Key::draw(vec![grant("ingest:orders"), grant("ingest:game_*")], 0, None, 1);
        assert!(["orders", "game_", "game_a"].iter().all(|table| key.may_send_to(table)));
        assert!(["order", "orders2", "gam", ""].iter().all(|table| !key.may_send_to(table)));
        for wrong in ["", "orders", "ingest:", "read:*", "ingest:a*b", "ingest:**", "ingest:a b"] {
            assert!(Grant::parse(wrong).is_err(), "{wrong}");
        }
        for right in ["ingest:*", "ingest:a", "ingest:a*"] {
            assert_eq!(grant(right).to_string(), right);
        }
    }

    #[test]
    fn what_changes_in_the_file_counts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let file = KeyFile::new(path.clone());
        assert!(file.current().0.unwrap().is_empty(), "there is no file yet");
        let (id, text) = add(&path, &["ingest:*"], None);
        let (keys, read) = file.current();
        assert!(read && matches!(look_up(&keys.unwrap(), &text, 0), Shown::Valid(_)));
        assert!(!file.current().1, "it has not changed");
        change(&path, |keys| Ok(keys.remove(&id))).unwrap().unwrap();
        assert_eq!(look_up(&file.current().0.unwrap(), &text, 0), Shown::Unknown);
    }

    #[test]
    fn a_file_stays_its_owners_and_a_link_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("keys.json"), folder.path().join("link.json"));
        add(&path, &["ingest:*"], None);
        // Root alone can give a file away; others see here that it stays theirs.
        let _ = std::os::unix::fs::chown(&path, Some(4_711), Some(4_712));
        let owner = |about: Metadata| (about.uid(), about.gid());
        let before = owner(std::fs::metadata(&path).unwrap());
        std::os::unix::fs::symlink(&path, &link).unwrap();
        add(&link, &["ingest:*"], None);
        assert_eq!(owner(std::fs::metadata(&path).unwrap()), before);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(read(&path).unwrap().len(), 2);
    }

    #[test]
    fn a_file_that_others_may_open_or_that_is_broken_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        add(&path, &["ingest:*"], None);
        let file = KeyFile::new(path.clone());
        assert!(file.current().0.is_some());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(file.current().0.is_none());
        assert!(read(&path).unwrap_err().report().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(file.current().0.is_some());
        std::fs::write(&path, "{\"id\":\"secret thing\"}\n").unwrap();
        assert!(file.current().0.is_none());
        let report = read(&path).unwrap_err().report();
        assert!(report.contains("line 1 of the keys file") && !report.contains("secret thing"), "{report}");
    }
}
