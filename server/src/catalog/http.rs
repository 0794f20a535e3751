//! How a table takes records by HTTP: what its options say, as plain values.

/// `'http.ingest' = 'true'` or `'http.path' = '…'` of a topic's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpIngest {
    /// Takes requests beside `/api/ingest/<table>`; begins with `/api/`.
    pub path: Option<String>,
    /// What a request to `path` holds.
    pub body: HttpBody,
    /// The column whose text is the record's key; it is NOT NULL.
    pub key: Option<String>,
    /// The column that an answer to a single record names; it is NOT NULL.
    pub id: Option<String>,
}

/// What the JSON of a request is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HttpBody {
    /// A list of records, one record, or NDJSON.
    #[default]
    Records,
    /// One record, and the answer is about it.
    Record,
    /// An object in which this field is the list of records.
    Field(String),
}
