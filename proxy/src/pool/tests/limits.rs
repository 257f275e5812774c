//! What bounds the pool.
