//! Real drivers on the way a test suite would use them.
