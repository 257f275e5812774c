//! From the first byte to the first ReadyForQuery.
