//! Which object store a reader's plan can reach: the one with the public tables, and nothing else.
//!
//! DataFusion's default registry opens the local file system for `file://` and for plain paths. Here an unknown URL is
//! an error whatever the statement says, so no SQL text can name a file or a host.

use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::execution::object_store::{ObjectStoreRegistry, ObjectStoreUrl};
use object_store::ObjectStore;
use url::Url;

use super::patient::{Patient, READ_WITHIN};

/// The name under which plans ask for the store of the public tables.
const PUBLIC: &str = "touchline://public/";

pub fn public_store_url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse(PUBLIC).expect("a constant that parses")
}

/// Knows the store of the public tables under [`public_store_url`]; cannot be taught another.
#[derive(Debug)]
pub struct PublicStore {
    store: Arc<dyn ObjectStore>,
}

impl PublicStore {
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        PublicStore { store: Arc::new(Patient::new(store, READ_WITHIN)) }
    }
}

impl ObjectStoreRegistry for PublicStore {
    /// Ignored: the set of stores is fixed when the server starts.
    fn register_store(&self, _url: &Url, _store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if url.scheme() == "touchline" && url.host_str() == Some("public") {
            return Ok(Arc::clone(&self.store));
        }
        plan_err!("statements cannot read from \"{}\" URLs: only published tables have names", url.scheme())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn only_the_public_store_can_be_reached() {
        let registry = PublicStore::new(Arc::new(InMemory::new()));
        let env = RuntimeEnvBuilder::new().with_object_store_registry(Arc::new(registry)).build().expect("builds");
        assert!(env.object_store(public_store_url()).is_ok());
        for url in [
            "file:///",
            "file:///etc",
            "http://169.254.169.254/",
            "https://example.com/",
            "s3://public/",
            "touchline://other/",
        ] {
            let url = Url::parse(url).expect("a URL");
            assert!(env.object_store_registry.get_store(&url).is_err(), "{url} must not be reachable");
            env.register_object_store(&url, Arc::new(InMemory::new()));
            assert!(env.object_store_registry.get_store(&url).is_err(), "{url} must not become reachable");
        }
    }
}
