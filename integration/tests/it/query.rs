//! Simple and extended queries answer byte for byte as a direct connection does.
