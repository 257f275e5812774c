//! What happens when either side goes away.
