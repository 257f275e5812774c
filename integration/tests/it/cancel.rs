//! Cancelling a statement reaches the right session and never a later one.
