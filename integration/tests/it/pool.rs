//! Who gets which upstream connection.
