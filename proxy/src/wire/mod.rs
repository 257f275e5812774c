//! Integers, strings and length-prefixed bodies, read and written without panicking.
//!
//! Invariant: no protocol knowledge, no I/O, no allocation on read.

mod reader;
mod writer;

pub use reader::Malformed;
pub use reader::Reader;
pub use writer::length_prefixed;
pub use writer::put_cstr;
