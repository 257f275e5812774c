//! No secret is seen in any output.
