//! Bytes → `RecordBatch`: records in, typed columns out, bad records aside.

